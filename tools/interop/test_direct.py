"""Direct: over UDP on this machine, no relay."""

from collections.abc import Callable
from typing import Any

import pytest

from interop.conftest import Pair
from interop.peer import Peer, PeerError

pytestmark = pytest.mark.interop

ALPN = "interop/echo/0"
MIB = 1 << 20
Evidence = Callable[[str], None]
Ends = tuple[int, int]
"""The connection's number at the dialer and at the listener."""


async def join(pair: Pair, alpns: tuple[str, ...] = (ALPN,)) -> Ends:
    """Bind both, dial the listener's addresses, echo streams at both ends."""
    home = await pair.listener.call("bind", alpns=alpns)
    away = await pair.dialer.call("bind")
    accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
    dialled = await pair.dialer.call(
        "connect",
        endpoint=away["endpoint"],
        alpn=ALPN,
        id=home["id"],
        addresses=home["addresses"],
    )
    accepted = await accepting
    assert (dialled["remote"], dialled["side"]) == (home["id"], "CLIENT")
    assert (accepted["remote"], accepted["side"]) == (away["id"], "SERVER")
    assert dialled["alpn"] == accepted["alpn"] == accepted["offered"] == ALPN
    assert not accepted["relayed"]
    assert any(path["direct"] and path["selected"] for path in dialled["paths"])
    await pair.dialer.call("serve_echo", connection=dialled["connection"])
    await pair.listener.call("serve_echo", connection=accepted["connection"])
    return dialled["connection"], accepted["connection"]


def both(pair: Pair, ends: Ends) -> tuple[tuple[Peer, int], tuple[Peer, int]]:
    """Give each end with its connection: what works one way must work the other way."""
    return (pair.dialer, ends[0]), (pair.listener, ends[1])


async def test_handshake(pair: Pair, evidence: Evidence) -> None:
    """Each side learns the other's key and the ALPN; the path is direct."""
    ends = await join(pair)
    stats = await pair.dialer.call("stats", connection=ends[0])
    assert stats["udp_tx_datagrams"] > 0
    assert stats["udp_rx_bytes"] > 1200
    evidence(f"{stats['udp_rx_bytes']} bytes received")


async def test_ticket(pair: Pair) -> None:
    """A ticket made by the listener is understood by the dialer."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "ticket": home["ticket"]}
    dialled = await pair.dialer.call("connect", **arguments)
    assert dialled["remote"] == home["id"]
    assert (await accepting)["remote"] == away["id"]


async def test_bidirectional_streams(pair: Pair, evidence: Evidence) -> None:
    """2 MiB echoed with equal checksums, opened from either side."""
    ends = await join(pair)
    for peer, connection in both(pair, ends):
        told = await peer.call("bi", connection=connection, seed="bi", size=2 * MIB, within=60)
        assert told["same"] == 1
        evidence(f"{told['mbit_s']} Mbit/s")


async def test_smallest_streams(pair: Pair) -> None:
    """Streams of 0 and 1 bytes are echoed: an end without data, an end with its only byte."""
    ends = await join(pair)
    for peer, connection in both(pair, ends):
        for size in (0, 1):
            told = await peer.call("bi", connection=connection, seed="small", size=size)
            assert told["same"] == 1


async def test_unidirectional_streams(pair: Pair) -> None:
    """1 MiB arrives with the right checksum, opened from either side."""
    ends = both(pair, await join(pair))
    for (here, mine), (there, theirs) in (ends, ends[::-1]):
        taking = there.begin("take_uni", connection=theirs)
        sent = await here.call("send_uni", connection=mine, seed="uni", size=MIB)
        assert await taking == sent
        assert sent["bytes"] == MIB


async def test_many_streams(pair: Pair, evidence: Evidence) -> None:
    """150 streams of 16 KiB at once, more than the peer's first credit of 100, either side."""
    ends = await join(pair)
    for peer, connection in both(pair, ends):
        arguments = {"seed": "many", "size": 1 << 14, "count": 150}
        told = await peer.call("bi", connection=connection, within=60, **arguments)
        assert told["same"] == told["streams"] == 150
    evidence("2 x 150 streams")


async def test_datagrams(pair: Pair, evidence: Evidence) -> None:
    """50 datagrams of 1000 bytes come back unchanged, sent from either side."""
    for first in (0, 1):
        ends = both(pair, await join(pair))
        (here, mine), (there, theirs) = ends[first], ends[1 - first]
        await there.call("serve_echo", connection=theirs, datagrams=True)
        told = await here.call("datagrams", connection=mine, count=50, size=1000)
        assert told["echoed"] == 50
        evidence(f"{told['sent']} sent, max {told['max']} bytes")


async def test_stream_reset_and_stop(pair: Pair) -> None:
    """The codes of RESET_STREAM and STOP_SENDING arrive, both ways."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "ticket": home["ticket"]}
    dialled = await pair.dialer.call("connect", **arguments)
    ends = both(pair, (dialled["connection"], (await accepting)["connection"]))
    for (here, mine), (there, theirs) in (ends, ends[::-1]):
        seeing = there.begin("see_reset", connection=theirs)
        await here.call("reset", connection=mine, code=77)
        assert (await seeing)["code"] == 77
        stopped = here.begin("stopped", connection=mine)
        await there.call("stop", connection=theirs, code=78)
        assert (await stopped)["code"] == 78


async def test_one_of_several_alpns(pair: Pair) -> None:
    """A listener with several ALPNs settles on the one that was dialled."""
    await join(pair, ("interop/other/0", ALPN, "interop/third/0"))


async def test_repeated_dials(pair: Pair) -> None:
    """The same two endpoints connect five times, each connection with a working stream."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    for turn in range(5):
        accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
        arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "ticket": home["ticket"]}
        dialled = await pair.dialer.call("connect", **arguments)
        accepted = await accepting
        await pair.listener.call("serve_echo", connection=accepted["connection"])
        mine = dialled["connection"]
        told = await pair.dialer.call("bi", connection=mine, seed=f"turn {turn}", size=10_000)
        assert told["same"] == 1
        await pair.dialer.call("close", connection=mine, code=0, reason="")
        await pair.listener.call("closed", connection=accepted["connection"])


async def test_both_dial_at_once(pair: Pair) -> None:
    """Each endpoint dials the other at the same time; both connections stand."""
    here = await pair.dialer.call("bind", alpns=[ALPN])
    there = await pair.listener.call("bind", alpns=[ALPN])
    sides = ((pair.dialer, here, there), (pair.listener, there, here))
    accepts = [peer.begin("accept", endpoint=own["endpoint"]) for peer, own, _ in sides]
    dials = [
        peer.begin("connect", endpoint=own["endpoint"], alpn=ALPN, ticket=other["ticket"])
        for peer, own, other in sides
    ]
    for dial, (_, _, other) in zip(dials, sides, strict=True):
        assert (await dial)["remote"] == other["id"]
    for accept, (_, _, other) in zip(accepts, sides, strict=True):
        assert (await accept)["remote"] == other["id"]


async def test_wrong_endpoint_id(pair: Pair, evidence: Evidence) -> None:
    """Dialling an address under another key fails, at both ends."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    stranger = await pair.dialer.call("bind")
    accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "addresses": home["addresses"]}
    with pytest.raises(PeerError) as dialler:
        await pair.dialer.call("connect", id=stranger["id"], **arguments)
    assert dialler.value.kind == "CONNECT"
    assert "the cryptographic handshake failed: error 48" in dialler.value.last_line
    with pytest.raises(PeerError) as listener:
        await accepting
    evidence(f"dialer: {dialler.value.last_line}; listener: {listener.value.last_line}")


async def test_alpn_mismatch(pair: Pair, evidence: Evidence) -> None:
    """No common ALPN: TLS alert 120 (crypto error 0x178) at the dialer, an error at both."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
    arguments = {"endpoint": away["endpoint"], "ticket": home["ticket"]}
    with pytest.raises(PeerError) as dialler:
        await pair.dialer.call("connect", alpn="interop/unknown/0", **arguments)
    assert dialler.value.kind == "CONNECT"
    assert dialler.value.last_line == (
        "aborted by peer: the cryptographic handshake failed: "
        "error 120: peer doesn't support any known protocol"
    )
    with pytest.raises(PeerError) as listener:
        await accepting
    evidence(f"dialer: {dialler.value.last_line}; listener: {listener.value.last_line}")


async def test_refused_attempt(pair: Pair, evidence: Evidence) -> None:
    """An attempt that the listener refuses fails at the dialer with CONNECTION_REFUSED."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    deciding = pair.listener.begin("accept", endpoint=home["endpoint"], decision="refuse")
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "ticket": home["ticket"]}
    with pytest.raises(PeerError) as dialler:
        await pair.dialer.call("connect", **arguments)
    await deciding
    evidence(f"dialer: {dialler.value.last_line}")
    assert dialler.value.last_line == (
        "aborted by peer: the server refused to accept a new connection"
    )


async def test_address_validation_by_retry(pair: Pair, evidence: Evidence) -> None:
    """A Retry is answered: the next attempt has a validated address and succeeds."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    accepting = pair.listener.begin("accept", endpoint=home["endpoint"], decision="validate")
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "ticket": home["ticket"]}
    dialled = await pair.dialer.call("connect", **arguments)
    assert dialled["remote"] == home["id"]
    accepted = await accepting
    assert accepted["remote"] == away["id"]
    assert accepted["retries"] >= 1
    evidence(f"{accepted['retries']} Retry packets")


async def test_close_code_and_reason(pair: Pair, evidence: Evidence) -> None:
    """The application's code and reason cross over, from either side."""
    for first in (0, 1):
        ends = await join(pair)
        order = both(pair, ends)
        (here, mine), (there, theirs) = order[first], order[1 - first]
        waiting = there.begin("closed", connection=theirs)
        local = await here.call("close", connection=mine, code=42, reason="enough of this")
        told = (await waiting)["reason"]
        assert told == "closed by peer: enough of this (code 42)"
        assert local["reason"] == "closed"
    evidence(told)


Side = tuple[Peer, int, int]
"""A peer, the number of its endpoint, that of its connection."""


async def sides(pair: Pair) -> tuple[Side, Side]:
    """Connect two fresh endpoints."""
    home = await pair.listener.call("bind", alpns=[ALPN])
    away = await pair.dialer.call("bind")
    accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "ticket": home["ticket"]}
    dialled = await pair.dialer.call("connect", **arguments)
    accepted = await accepting
    return (
        (pair.dialer, away["endpoint"], dialled["connection"]),
        (pair.listener, home["endpoint"], accepted["connection"]),
    )


async def test_graceful_endpoint_close(pair: Pair, evidence: Evidence) -> None:
    """Closing an endpoint closes its connections with code 0 at once, from either side."""
    for first in (0, 1):
        both_sides = await sides(pair)
        (here, endpoint, _), (there, _, theirs) = both_sides[first], both_sides[1 - first]
        waiting = there.begin("closed", connection=theirs)
        told = await here.call("close_endpoint", endpoint=endpoint)
        assert told["closed"]
        assert not told["accepts"]
        assert (await waiting)["reason"] == "closed by peer: 0"
        evidence(f"{here.kind} closed in {told['ms']} ms")


async def test_last_words(pair: Pair) -> None:
    """A code and a reason arrive although the endpoint closes at once, and who accepts is told."""
    for first in (0, 1):
        both_sides = await sides(pair)
        (here, endpoint, mine), (there, _, theirs) = both_sides[first], both_sides[1 - first]
        waiting = there.begin("closed", connection=theirs)
        accepting = here.begin("next", endpoint=endpoint)
        words: dict[str, Any] = {"connection": mine, "code": 42, "reason": "thanks, bye!"}
        told = await here.call("close_endpoint", endpoint=endpoint, **words)
        assert told["closed"]
        assert not (await accepting)["some"]
        assert (await waiting)["reason"] == "closed by peer: thanks, bye! (code 42)"
