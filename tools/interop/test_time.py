"""Time: what takes half a minute to show (with --long)."""

import asyncio
import time
from collections.abc import Callable

import pytest

from interop.conftest import Pair
from interop.peer import PeerError
from interop.test_direct import both, join

pytestmark = [pytest.mark.interop, pytest.mark.long, pytest.mark.timeout(120)]

IDLE = 30.0
"""Seconds of silence after which a connection ends (both sides' max_idle_timeout)."""
QUIET = 35.0
Evidence = Callable[[str], None]


async def test_35_seconds_of_silence(pair: Pair, evidence: Evidence) -> None:
    """Longer than the idle timeout without a word: keep-alives hold the connection."""
    ends = both(pair, await join(pair))
    before = [await peer.call("stats", connection=connection) for peer, connection in ends]
    await asyncio.sleep(QUIET)
    for (peer, connection), early in zip(ends, before, strict=True):
        told = await peer.call("bi", connection=connection, seed="still here", size=10_000)
        assert told["same"] == 1
        late = await peer.call("stats", connection=connection)
        sent = late["udp_tx_datagrams"] - early["udp_tx_datagrams"]
        assert sent > 0
        evidence(f"{peer.kind} sent {sent} datagrams")


async def test_killed_peer(pair: Pair, evidence: Evidence) -> None:
    """A peer that dies without a word: the other end times out, and its waiting calls fail."""
    ends = both(pair, await join(pair))
    # The Rust end dies, so that ours is the one that has to notice; of two Rusts the listener.
    dying = 0 if pair.dialer.kind == "rust" and pair.listener.kind == "ours" else 1
    (victim, _), (peer, connection) = ends[dying], ends[1 - dying]
    within = IDLE + 20
    waiting = [
        peer.begin("closed", connection=connection, within=within),
        peer.begin("take_uni", connection=connection, within=within),
    ]
    await peer.call("bi", connection=connection, seed="last words", size=1000)
    start = time.monotonic()
    await victim.kill()
    assert (await waiting[0])["reason"] == "timed out"
    took = time.monotonic() - start
    with pytest.raises(PeerError) as caught:
        await waiting[1]
    assert IDLE - 6 < took < IDLE + 10
    evidence(f"{peer.kind} noticed after {took:.1f} s: {caught.value.last_line}")
