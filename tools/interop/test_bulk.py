"""Bulk: long transfers, many streams and many connections."""

import asyncio
import itertools
from collections.abc import Callable

import pytest

from interop.conftest import Pair
from interop.peer import Peer, PeerError
from interop.test_direct import ALPN, both, join

pytestmark = pytest.mark.interop

MIB = 1 << 20
SIZE, LONG_SIZE = 256 * MIB, 1024 * MIB
RUST_UPDATES_WITHIN = 999
"""Packets after which a Rust peer has updated its keys (noq: a random 10 to 999)."""
FULL_DATAGRAM = 1400
"""Bytes of payload that only a datagram beyond the first MTU of 1200 can carry."""
Evidence = Callable[[str], None]


async def move(source: tuple[Peer, int], sink: tuple[Peer, int], seed: str, size: int) -> str:
    """Send a long stream and compare its checksum; give the speed and the work in a line."""
    (here, mine), (there, theirs) = source, sink
    taking = there.begin("take_bulk", connection=theirs, within=300)
    sent = await here.call("send_bulk", connection=mine, seed=seed, size=size, within=300)
    taken = await taking
    assert taken["bytes"] == sent["bytes"] == size
    assert taken["sha256"] == sent["sha256"]
    speed = size / 1e6 / sent["seconds"]
    return (
        f"{here.kind}->{there.kind} {size >> 20} MiB: {speed:.0f} MB/s, "
        f"CPU {sent['cpu']:.1f} s + {taken['cpu']:.1f} s"
    )


@pytest.mark.timeout(300)
async def test_large_transfers(
    pair: Pair, evidence: Evidence, request: pytest.FixtureRequest
) -> None:
    """256 MiB on one stream arrive with the right checksum, each way (1 GiB with --long)."""
    size = LONG_SIZE if request.config.getoption("--long") else SIZE
    ends = both(pair, await join(pair))
    for source, sink in (ends, ends[::-1]):
        evidence(await move(source, sink, "large", size))


@pytest.mark.parametrize("pair", ["ours-rust", "rust-ours"], indirect=True)
async def test_key_updates(pair: Pair, evidence: Evidence) -> None:
    """The Rust peer updates its keys during a transfer and we follow; what it sends arrives."""
    for rust_sends in (True, False):
        ends = both(pair, await join(pair))
        ours = next(end for end in ends if end[0].kind == "ours")
        rust = next(end for end in ends if end[0].kind == "rust")
        source, sink = (rust, ours) if rust_sends else (ours, rust)
        await move(source, sink, "update", 16 * MIB)
        # As a receiver Rust sends nothing but ACKs, so that it takes longer to its update.
        inside = await ours[0].call("inside", connection=ours[1])
        if rust_sends:
            received = sum(path["rx"] for path in inside["paths"])
            assert received > RUST_UPDATES_WITHIN
            assert inside["receive_phase"] >= 1
        assert inside["send_phase"] == inside["receive_phase"]
        evidence(f"{source[0].kind} sends: phase {inside['receive_phase']}")


async def test_1000_streams(pair: Pair, evidence: Evidence) -> None:
    """1000 streams of 1 KiB at once, ten times the peer's first credit, opened from either side."""
    ends = await join(pair)
    for peer, connection in both(pair, ends):
        arguments = {"seed": "thousand", "size": 1 << 10, "count": 1000}
        told = await peer.call("bi", connection=connection, within=60, **arguments)
        assert told["same"] == told["streams"] == 1000
        evidence(f"{told['mbit_s']} Mbit/s")


async def test_datagrams_of_full_size(pair: Pair, evidence: Evidence) -> None:
    """As the path's MTU is found, datagrams grow with it and come back whole, either way."""
    ends = both(pair, await join(pair))
    sizes = [await settled_size(*end) for end in ends]
    assert min(sizes) >= FULL_DATAGRAM
    for (here, mine), (there, theirs) in (ends, ends[::-1]):
        await there.call("serve_echo", connection=theirs, datagrams=True)
        told = await here.call("datagrams", connection=mine, count=20, size=min(sizes))
        assert told["echoed"] == 20
        # One end reads datagrams to echo them, so the other way needs a connection of its own.
        ends = both(pair, await join(pair))
        for end in ends:
            await settled_size(*end)
    evidence(f"{sizes[0]} and {sizes[1]} bytes")


async def settled_size(peer: Peer, connection: int) -> int:
    """Keep a connection busy until MTU discovery has had its say."""
    for turn in range(50):
        told = await peer.call("max_datagram", connection=connection)
        if told["size"] >= FULL_DATAGRAM:
            break
        await peer.call("bi", connection=connection, seed=f"mtu {turn}", size=20_000)
    return int(told["size"])


async def test_20_dials_in_a_row(pair: Pair, evidence: Evidence) -> None:
    """The same two endpoints connect and close 20 times, each time with a working stream."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "ticket": home["ticket"]}
    times = []
    for turn in range(20):
        accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
        dialled = await pair.dialer.call("connect", **arguments)
        times.append(dialled["ms"])
        accepted = await accepting
        await pair.listener.call("serve_echo", connection=accepted["connection"])
        mine = dialled["connection"]
        told = await pair.dialer.call("bi", connection=mine, seed=f"turn {turn}", size=10_000)
        assert told["same"] == 1
        waiting = pair.listener.begin("closed", connection=accepted["connection"])
        await pair.dialer.call("close", connection=mine, code=turn, reason="next")
        assert (await waiting)["reason"] == f"closed by peer: next (code {turn})"
    evidence(f"{sorted(times)[10]} ms in the median")


async def test_40_connections_at_once(pair: Pair, evidence: Evidence) -> None:
    """40 connections between the same endpoints are dialled at once, and all carry streams."""
    count = 40
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "ticket": home["ticket"]}
    accepts = [pair.listener.begin("accept", endpoint=home["endpoint"]) for _ in range(count)]
    dials = [pair.dialer.begin("connect", **arguments) for _ in range(count)]
    dialled = await asyncio.gather(*dials)
    for accepted in await asyncio.gather(*accepts):
        await pair.listener.call("serve_echo", connection=accepted["connection"])
    echoes = [
        pair.dialer.begin("bi", connection=each["connection"], seed=f"at once {n}", size=50_000)
        for n, each in enumerate(dialled)
    ]
    assert sum(told["same"] for told in await asyncio.gather(*echoes)) == count
    evidence(f"the slowest in {max(each['ms'] for each in dialled)} ms")


async def test_close_in_the_middle(pair: Pair, evidence: Evidence) -> None:
    """Closed with data in flight: reader and writer fail, those of the other end with the code."""
    for first, closer_sends in itertools.product((0, 1), (True, False)):
        order = both(pair, await join(pair))
        (here, mine), (there, theirs) = order[first], order[1 - first]
        (writer, out), (reader, into) = (
            order[first ^ (not closer_sends)],
            order[first ^ closer_sends],
        )
        taking = reader.begin("take_some", connection=into, size=MIB)
        writing = writer.begin("send_bulk", connection=out, seed="cut", size=64 * MIB)
        stream = (await taking)["stream"]
        waiting = there.begin("closed", connection=theirs)
        await here.call("close", connection=mine, code=99, reason="cut")
        assert (await waiting)["reason"] == "closed by peer: cut (code 99)"
        reading = reader.begin("read_on", stream=stream)
        for peer, act in ((writer, writing), (reader, reading)):
            with pytest.raises(PeerError) as caught:
                await act
            wanted = "LocallyClosed" if peer is here else "error_code: 99"
            assert wanted in caught.value.last_line
    evidence(caught.value.last_line)
