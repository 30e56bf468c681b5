"""Relayed: through our relay server, dialled by nothing but key and relay URL."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from interop.conftest import Pair
from interop.servers import Server, running

pytestmark = pytest.mark.interop

ALPN = "interop/relayed/0"
MIB = 1 << 20
HANDSHAKE = 4_000
"""Bytes of contents that the smallest handshake sends through the relay: three 1200 byte Initials
at least, and what follows."""
Evidence = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Joined:
    """A connection that began at the relay: its numbers, and what both ends said about it."""

    dialer: int
    listener: int
    dialled: dict[str, Any]
    accepted: dict[str, Any]


async def join(pair: Pair, relay: Server, other: Server | None = None) -> Joined:
    """Dial by relay URL alone, and prove where it went. `other`: the dialer's home, if another."""
    away = await pair.dialer.call("bind", alpns=[ALPN], relay=(other or relay).url)
    bound = await pair.listener.call("bind", alpns=[ALPN], relay=relay.url)
    home = await pair.listener.call("online", endpoint=bound["endpoint"])
    await pair.dialer.call("online", endpoint=away["endpoint"])
    assert home["relay"] == relay.url
    before = await relay.counters()
    accepting = pair.listener.begin("accept", endpoint=bound["endpoint"])
    dialled = await pair.dialer.call(
        "connect", endpoint=away["endpoint"], alpn=ALPN, id=home["id"], relay=home["relay"]
    )
    accepted = await accepting
    assert dialled["remote"] == home["id"]
    assert accepted["remote"] == away["id"]
    assert accepted["relayed"], "the first packet did not come over the relay"
    for told in (dialled, accepted):
        assert any(path["relayed"] for path in told["paths"]), told["paths"]
    after = await relay.counters()
    passed = after["bytes_recv"] - before["bytes_recv"]
    assert passed > HANDSHAKE, f"only {passed} bytes went through the relay"
    return Joined(dialled["connection"], accepted["connection"], dialled, accepted)


def ends_of(pair: Pair) -> tuple[Any, Any]:
    """Dialer, listener."""
    return pair.dialer, pair.listener


async def is_relayed(pair: Pair, joined: Joined) -> bool:
    """Say whether the dialer still has no path but the relay."""
    told = await pair.dialer.call("paths", connection=joined.dialer)
    return all(path["relayed"] for path in told["paths"])


async def test_streams(pair: Pair, relay: Server, evidence: Evidence) -> None:
    """1 MiB echoed with equal checksums, from either side, counted by the relay."""
    joined = await join(pair, relay)
    before = await relay.counters()
    await pair.listener.call("serve_echo", connection=joined.listener)
    await pair.dialer.call("serve_echo", connection=joined.dialer)
    for peer, connection in ((pair.dialer, joined.dialer), (pair.listener, joined.listener)):
        told = await peer.call("bi", connection=connection, seed="relay", size=MIB, within=60)
        assert told["same"] == 1
        evidence(f"{told['mbit_s']} Mbit/s")
    after = await relay.counters()
    passed = after["bytes_recv"] - before["bytes_recv"]
    if await is_relayed(pair, joined):
        assert passed > 4 * MIB
        evidence(f"stayed relayed, {passed} bytes counted")
    else:
        evidence(f"went direct after {passed} relayed bytes")


async def test_datagrams(pair: Pair, relay: Server) -> None:
    """20 datagrams of 500 bytes come back unchanged."""
    joined = await join(pair, relay)
    await pair.listener.call("serve_echo", connection=joined.listener, datagrams=True)
    told = await pair.dialer.call("datagrams", connection=joined.dialer, count=20, size=500)
    assert told["echoed"] == 20


async def test_close_code_and_reason(pair: Pair, relay: Server) -> None:
    """The application's code and reason cross over."""
    joined = await join(pair, relay)
    waiting = pair.listener.begin("closed", connection=joined.listener)
    await pair.dialer.call("close", connection=joined.dialer, code=7, reason="bye")
    assert (await waiting)["reason"] == "closed by peer: bye (code 7)"


async def test_dialer_at_home_elsewhere(pair: Pair, relay: Server) -> None:
    """A dialer whose home is another relay joins the listener's relay for this connection."""
    async with running("relay") as other:
        joined = await join(pair, relay, other)
        assert (await other.counters())["accepts"] >= 1
        await pair.listener.call("serve_echo", connection=joined.listener)
        told = await pair.dialer.call("bi", connection=joined.dialer, seed="two", size=10_000)
        assert told["same"] == 1


async def test_a_second_endpoint_with_the_same_key(pair: Pair, relay: Server) -> None:
    """It takes the relay over: who dials the key from then on reaches it, not the first."""
    key = "07" * 32
    where: dict[str, Any] = {"relay": relay.url, "address": "127.0.0.1:0", "key": key}
    for number in range(2):
        away = await pair.dialer.call("bind", relay=relay.url)  # one that knows nothing yet
        await pair.dialer.call("online", endpoint=away["endpoint"])
        bound = await pair.listener.call("bind", alpns=[f"{ALPN}{number}"], **where)
        home = await pair.listener.call("online", endpoint=bound["endpoint"])
        accepting = pair.listener.begin("accept", endpoint=bound["endpoint"])
        target: dict[str, Any] = {"id": home["id"], "relay": home["relay"]}
        target["alpn"] = f"{ALPN}{number}"
        dialled = await pair.dialer.call("connect", endpoint=away["endpoint"], **target)
        accepted = await accepting
        assert (dialled["remote"], accepted["remote"]) == (home["id"], away["id"])
        closed = pair.dialer.begin("closed", connection=dialled["connection"])
        await pair.listener.call("close", connection=accepted["connection"], code=1, reason="bye")
        assert (await closed)["reason"] == "closed by peer: bye (code 1)"


async def test_relay_counts_its_clients(pair: Pair, relay: Server, evidence: Evidence) -> None:
    """Both endpoints are clients of the relay; after their end it has seen both leave."""
    endpoints = []
    for peer in ends_of(pair):
        bound = await peer.call("bind", relay=relay.url)
        endpoints.append(bound["endpoint"])
        await peer.call("online", endpoint=bound["endpoint"])
    counters = await relay.counters()
    assert counters["accepts"] == 2
    for peer, endpoint in zip(ends_of(pair), endpoints, strict=True):
        await peer.call("close_endpoint", endpoint=endpoint)
    counters = await relay.until("disconnects", 2)
    evidence(f"{counters['unique_client_keys']} keys")
