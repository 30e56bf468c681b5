"""Relay protocol: a client (who dials) on a server, frame by frame, over http and over TLS with an
own authority. The other client on the relay is of the other kind.
"""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from interop import results
from interop.relay_clients import Client, OurClient, Refused, client
from interop.relays import Authority, Relay, relay
from iroh_base.keys import SecretKey
from iroh_relay.client import probe_latency, ws
from iroh_relay.protos import MAX_BATCH_CONTENTS, MAX_SINGLE_CONTENTS

pytestmark = [pytest.mark.interop, pytest.mark.rust_relay]

SCHEMES = ("http", "https")
OTHER = {"ours": "rust", "rust": "ours"}
LIMIT = 20_000
"""Bytes per second of the rate limit."""
Evidence = Callable[[str], None]


@dataclass
class Stage:
    """Which client is tried on which relay, and everybody on it; all ends with the stack."""

    kind: str
    server: str
    authority: Authority
    stack: AsyncExitStack
    prove: Callable[[str], None]

    async def relay(self, scheme: str, more: str = "") -> Relay:
        """Start the relay under test."""
        started = await self.stack.enter_async_context(
            relay(self.server, scheme, self.authority, more)
        )
        self.prove(started.proof)
        return started

    async def client(
        self, where: Relay, kind: str | None = None, key: SecretKey | None = None, token: str = ""
    ) -> tuple[Client, Callable[[], Awaitable[None]]]:
        """Connect one, by default of the kind under test; and how to end it."""
        own = await self.stack.enter_async_context(AsyncExitStack())
        connecting = client(kind or self.kind, where.url, self.authority.roots, key, token or None)
        one = await own.enter_async_context(connecting)
        self.prove(one.proof)
        return one, own.aclose


@pytest.fixture(params=results.PAIRS)
async def stage(
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    tmp_path: Path,
) -> AsyncIterator[Stage]:
    """A client and a server of these kinds."""
    kind, server = request.param.split("-")
    async with AsyncExitStack() as stack:
        prove = lambda text: record_property(results.PROOF, text)  # noqa: E731
        yield Stage(kind, server, Authority(tmp_path), stack, prove)


async def expect(one: Client, *words: str) -> None:
    """The next event must be this."""
    seen = await one.events.get()
    assert [word[:100] for word in seen] == [word[:100] for word in words]
    assert seen == list(words)


async def test_datagrams_and_batches(stage: Stage) -> None:
    """Single datagrams and batches up to the largest, each ECN mark, both ways, and their order"""
    for scheme in SCHEMES:
        where = await stage.relay(scheme)
        one, _ = await stage.client(where)
        other, _ = await stage.client(where, OTHER[stage.kind])
        frames = (
            (b"hello", 0, 2),
            (b"x", 0, 1),
            (bytes(range(250)) * 100, 1452, 3),
            (bytes(MAX_SINGLE_CONTENTS), 0, 0),
            (bytes(MAX_BATCH_CONTENTS), 1, 1),
        )
        for sender, receiver in ((one, other), (other, one)):
            for data, size, ecn in frames:
                sender.send(receiver.id, data, size, ecn)
            for data, size, ecn in frames:
                words = ("datagrams", sender.id.hex(), str(size), str(ecn), data.hex())
                await expect(receiver, *words)


async def test_pings_and_leaving(stage: Stage) -> None:
    """Pings are answered; who was sent something hears that the sender has left"""
    for scheme in SCHEMES:
        where = await stage.relay(scheme)
        one, _ = await stage.client(where)
        other, leave = await stage.client(where, OTHER[stage.kind])
        one.ping(b"12345678")
        await expect(one, "pong", b"12345678".hex())
        other.send(one.id, b"here I am")
        assert (await one.events.get())[0] == "datagrams"
        await leave()
        await expect(one, "gone", other.id.hex())


async def test_tokens(stage: Stage) -> None:
    """A shared token lets in; none or a wrong one is denied with `not authorized`"""
    for scheme in SCHEMES:
        where = await stage.relay(scheme, 'access.shared_token = ["s3cret", "other"]\n')
        for token in ("", "wrong"):
            with pytest.raises(Refused, match="not authorized"):
                await stage.client(where, token=token)
        one, _ = await stage.client(where, token="other")
        one.ping(b"welcome!")
        await expect(one, "pong", b"welcome!".hex())


async def test_lists(stage: Stage) -> None:
    """An allowlist lets in the one key and denies the other"""
    key = SecretKey.generate()
    where = await stage.relay("https", f'access.allowlist = ["{key.public()}"]\n')
    with pytest.raises(Refused, match="not authorized"):
        await stage.client(where)
    await stage.client(where, key=key)


async def test_one_id_twice(stage: Stage) -> None:
    """The older one is told, the newer one gets the datagrams, and the other way when it leaves"""
    for scheme in SCHEMES:
        where = await stage.relay(scheme)
        key = SecretKey.generate()
        older, _ = await stage.client(where, key=key)
        newer, leave = await stage.client(where, OTHER[stage.kind], key=key)
        await expect(older, "status", "SameEndpointIdConnected")
        other, _ = await stage.client(where)
        for data, receiver in ((b"to the newer", newer), (b"to the older", older)):
            other.send(older.id, data)
            await expect(receiver, "datagrams", other.id.hex(), "0", "0", data.hex())
            if receiver is newer:
                await leave()
                await expect(older, "status", "Healthy")


async def test_rate_limit(stage: Stage, evidence: Evidence) -> None:
    """Who sends too much is told once and read more slowly; every datagram arrives, pongs too"""
    loop = asyncio.get_running_loop()
    for scheme in SCHEMES:
        where = await stage.relay(scheme, f"[limits.client.rx]\nbytes_per_second = {LIMIT}\n")
        one, _ = await stage.client(where)
        other, _ = await stage.client(where, OTHER[stage.kind])
        start = loop.time()
        for number in range(20):
            one.send(other.id, number.to_bytes(2) * 600)
        for number in range(20):
            words = ("datagrams", one.id.hex(), "0", "0", (number.to_bytes(2) * 600).hex())
            await expect(other, *words)
        evidence(f"{20 * 1200 / (loop.time() - start):.0f} B/s")
        await expect(one, "status", "RateLimited")
        one.ping(b"and now?")
        await expect(one, "pong", b"and now?".hex())
        assert await where.metric("conns_rx_ratelimited_total") == 1


async def test_no_challenge_over_tls(stage: Stage, evidence: Evidence) -> None:
    """The proof made with the TLS session is taken: no challenge, one round trip less"""
    where = await stage.relay("https")
    one, _ = await stage.client(where)
    if isinstance(one, OurClient):
        assert not one.was_challenged
    if stage.server == "ours":
        assert await where.metric("handshakes_by_key_material") == 1
        evidence("counted")
    else:
        told = await where.logged("authentication succeeded via")
        assert "keying material" in told, told
        evidence("logged")
    plain = await stage.relay("http")
    one, _ = await stage.client(plain)
    if isinstance(one, OurClient):
        assert one.was_challenged


async def test_probe(stage: Stage) -> None:
    """GET /ping is answered over either scheme, so that a relay can become a home"""
    for scheme in SCHEMES:
        where = await stage.relay(scheme)
        context = ssl.create_default_context(cafile=str(stage.authority.roots))
        assert await probe_latency(where.url, ssl_context=context) > 0
        await stage.client(where)


async def test_the_relay_ends(stage: Stage, evidence: Evidence) -> None:
    """Asked to end, it drops its clients; they come back to the one started in its place"""
    for scheme in SCHEMES:
        where = await stage.relay(scheme)
        one, _ = await stage.client(where)
        await where.end()
        seen = [(await one.events.get())]
        while seen[-1] != ["ended"]:
            seen.append(await one.events.get())
        evidence(" ".join(itertools.chain(*seen)))
        await where.start()
        again, _ = await stage.client(where)
        again.ping(b"you too?")
        await expect(again, "pong", b"you too?".hex())


@pytest.mark.parametrize("stage", ["ours-rust"], indirect=True)  # Rust always offers both
async def test_version_1(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of the old version is told in words, and not at all of a rate limit"""
    monkeypatch.setattr(ws, "offer", lambda: "iroh-relay-v1")
    for scheme in SCHEMES:
        where = await stage.relay(scheme, f"[limits.client.rx]\nbytes_per_second = {LIMIT}\n")
        key = SecretKey.generate()
        older, _ = await stage.client(where, key=key)
        newer, leave = await stage.client(where, "rust", key=key)
        assert (await older.events.get())[:3] == ["health", "Another", "endpoint"]
        await leave()
        assert (await older.events.get())[:3] == ["health", "The", "connection"]
        other, _ = await stage.client(where, "rust")
        for _ in range(5):
            older.send(other.id, bytes(1200))
            words = ("datagrams", newer.id.hex(), "0", "0", bytes(1200).hex())
            await expect(other, *words)
        older.ping(b"no more?")
        await expect(older, "pong", b"no more?".hex())
