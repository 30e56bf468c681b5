"""Looked up: a Rust endpoint with n0's own preset asks our DNS server, in a namespace."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from interop import namespace, servers
from interop.conftest import Pair, spawn_pair
from interop.peer import PeerError

pytestmark = pytest.mark.interop

ALPN = "interop/looked-up/0"
PUBLISH = Path(__file__).with_name("publish.py")
Evidence = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lab:
    """Two peers and our DNS server in a namespace; `prefix` runs a command in it."""

    pair: Pair
    dns: servers.Server
    prefix: tuple[str, ...]

    async def publish(self, key: str, addresses: list[str]) -> None:
        """Publish an endpoint's addresses at our server, over HTTP."""
        command = (*self.prefix, sys.executable, "-I", str(PUBLISH), self.dns.url, key, *addresses)
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0


@pytest.fixture(params=["ours-rust", "rust-ours", "rust-rust"])
async def lab(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> AsyncIterator[Lab]:
    """A namespace with everything in it; CI must be able to make one, others may not."""
    reason = namespace.missing()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must be able to make a network namespace: {reason}")
        pytest.skip(reason)
    async with AsyncExitStack() as stack:
        prefix = await stack.enter_async_context(namespace.enter())
        dns = await stack.enter_async_context(servers.running("dns", str(tmp_path), prefix=prefix))
        yield Lab(await spawn_pair(stack, request.param, record_property, prefix), dns, prefix)


async def test_dial_by_key(lab: Lab, evidence: Evidence) -> None:
    """preset_n0 finds the listener's address under dns.iroh.link at our server and dials it."""
    key = secrets.token_hex(32)
    home = await lab.pair.listener.call("bind", alpns=[ALPN], key=key)
    await lab.publish(key, home["addresses"])
    away = await lab.pair.dialer.call("bind", preset="n0")
    before = await lab.dns.counters()
    accepting = lab.pair.listener.begin("accept", endpoint=home["endpoint"])
    dialled = await lab.pair.dialer.call(
        "connect", endpoint=away["endpoint"], alpn=ALPN, id=home["id"]
    )
    assert dialled["remote"] == home["id"]
    accepted = await accepting
    assert accepted["remote"] == away["id"]
    after = await lab.dns.counters()
    asked = after["dns_requests"] - before["dns_requests"]
    found = after["dns_lookup_success"] - before["dns_lookup_success"]
    assert asked >= 1
    assert found >= 1
    await lab.pair.listener.call("serve_echo", connection=accepted["connection"])
    told = await lab.pair.dialer.call(
        "bi", connection=dialled["connection"], seed="dns", size=100_000
    )
    assert told["same"] == 1
    evidence(f"{asked} DNS requests, {found} answered; {dialled['ms']} ms")


async def test_nobody_published(lab: Lab, evidence: Evidence) -> None:
    """A key that nobody published cannot be dialled: the server says so, the dialer gives up."""
    stranger = await lab.pair.listener.call("bind", alpns=[ALPN])
    away = await lab.pair.dialer.call("bind", preset="n0")
    before = await lab.dns.counters()
    with pytest.raises(PeerError) as caught:
        await lab.pair.dialer.call(
            "connect", endpoint=away["endpoint"], alpn=ALPN, id=stranger["id"]
        )
    after = await lab.dns.counters()
    name = "dns_lookup_notfound"
    assert after[name] > before[name]
    assert caught.value.kind == "CONNECT"
    evidence(caught.value.last_line)
