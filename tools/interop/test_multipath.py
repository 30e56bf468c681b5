"""Multipath: more than one path under a connection, over our relay and direct.

Both ends' magic sockets open, punch, choose and close by themselves. Where a test wants what they
would not do (change statuses to and fro, leave the better path), it gives our engine the command.
"""

import asyncio
import operator
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from interop.conftest import Pair
from interop.peer import Peer
from interop.servers import Server

pytestmark = pytest.mark.interop

ALPN = "interop/multipath/0"
MIB = 1 << 20
FIRST_WINDOW = 7
"""The largest path id before any path ended (upstream: 8 paths)."""
APART = 0.05
TRIES = 10
Evidence = Callable[[str], None]
WITH_OURS = ["ours-rust", "rust-ours"]


@dataclass(frozen=True, slots=True)
class Joined:
    """A connection, by its number at each end, and the endpoints that it belongs to."""

    dialer: int
    listener: int
    away: dict[str, Any]
    home: dict[str, Any]


async def join(pair: Pair, relay: Server, direct: bool) -> Joined:
    """Dial the listener over the relay, or with its addresses known as well; echo at both ends."""
    away = await pair.dialer.call("bind", relay=relay.url)
    home = await pair.listener.call("bind", alpns=[ALPN], relay=relay.url)
    await pair.dialer.call("online", endpoint=away["endpoint"])
    await pair.listener.call("online", endpoint=home["endpoint"])
    arguments = {"endpoint": away["endpoint"], "alpn": ALPN, "id": home["id"]}
    if direct:
        # One: a Rust client tries all, and keeps the fastest path of them under whatever id.
        arguments["addresses"] = [text for text in home["addresses"] if text[0] != "["][:1]
    arguments["relay"] = relay.url
    for _ in range(TRIES):
        accepting = pair.listener.begin("accept", endpoint=home["endpoint"])
        dialled = await pair.dialer.call("connect", **arguments)
        accepted = await accepting
        if accepted["relayed"] is not direct:
            break  # the first packet goes every way at once, and the fastest wins
        await pair.dialer.call("close", connection=dialled["connection"], code=0, reason="")
    else:
        pytest.fail(f"the relay was faster than loopback {TRIES} times")
    await pair.dialer.call("serve_echo", connection=dialled["connection"])
    await pair.listener.call("serve_echo", connection=accepted["connection"])
    return Joined(dialled["connection"], accepted["connection"], away, home)


async def until(look: Callable[[], Awaitable[Any]], within: float = 15) -> Any:
    """Ask again until the answer is true, and give it: other processes give no events."""
    async with asyncio.timeout(within):
        while not (answer := await look()):  # noqa: ASYNC110
            await asyncio.sleep(APART)
    return answer


async def paths(peer: Peer, connection: int) -> list[dict[str, Any]]:
    """The open paths as the public API tells them."""
    told = await peer.call("paths", connection=connection)
    return list(told["paths"])


async def inside(peer: Peer, connection: int) -> dict[str, Any]:
    """What our engine knows."""
    return await peer.call("inside", connection=connection)


def ends(pair: Pair, joined: Joined) -> tuple[tuple[Peer, int], tuple[Peer, int]]:
    """Dialer and listener, with their numbers of the connection."""
    return (pair.dialer, joined.dialer), (pair.listener, joined.listener)


def ours_of(pair: Pair, joined: Joined) -> tuple[Peer, int]:
    """Our end."""
    return next(end for end in ends(pair, joined) if end[0].kind == "ours")


async def echo(pair: Pair, joined: Joined, size: int) -> None:
    """Send a stream to and fro, from either side."""
    for peer, connection in ends(pair, joined):
        told = await peer.call("bi", connection=connection, seed="paths", size=size)
        assert told["same"] == 1


async def relayed_bytes(relay: Server) -> int:
    """Bytes that came to the relay so far."""
    return (await relay.counters())["bytes_recv"]


async def has_ids(pair: Pair, joined: Joined) -> bool:
    """Whether our client may open one more path: the peer's ids for it may be on their way."""
    told = await inside(pair.dialer, joined.dialer)
    return bool(told["next_path_has_ids"])


async def route(peer: Peer, connection: int, relayed: bool) -> dict[str, Any]:
    """The open path over the relay, or the direct one."""
    return next(path for path in await paths(peer, connection) if path["relayed"] is relayed)


async def two_paths(peer: Peer, connection: int) -> list[dict[str, Any]] | None:
    """Both paths, once there are a direct and a relayed one."""
    found = await paths(peer, connection)
    kinds = sorted(path["relayed"] for path in found)
    return found if kinds == [False, True] else None


async def test_relay_path_as_backup(pair: Pair, relay: Server, evidence: Evidence) -> None:
    """The client adds its relay path by itself; the data stays on the direct path."""
    joined = await join(pair, relay, direct=True)
    for peer, connection in ends(pair, joined):
        for path in await until(lambda: two_paths(peer, connection)):  # noqa: B023
            assert path["selected"] is path["direct"]
            assert path["direct"] or int(path["id"]) >= 1
    before = await relayed_bytes(relay)
    await echo(pair, joined, MIB)
    relayed = await relayed_bytes(relay) - before
    assert relayed < 50_000
    for peer, connection in ends(pair, joined):
        direct = await route(peer, connection, relayed=False)
        assert min(direct["tx"], direct["rx"]) > 2 * MIB
    evidence(f"of 4 MiB, {relayed} bytes were relayed")


@pytest.mark.parametrize("pair", WITH_OURS, indirect=True)
async def test_statuses(pair: Pair, relay: Server, evidence: Evidence) -> None:
    """The Rust peer's PATH_STATUS arrives; ours, changed four times, is taken without complaint."""
    joined = await join(pair, relay, direct=True)
    for peer, connection in ends(pair, joined):
        await until(lambda: two_paths(peer, connection))  # noqa: B023
    ours, connection = ours_of(pair, joined)

    async def told_status() -> bool:
        known = (await inside(ours, connection))["paths"]
        return any(path["told_available"] is not None for path in known)

    await until(told_status)
    for available in (False, True, False, True):
        for path in await paths(ours, connection):
            number = int(path["id"])
            await ours.call("set_status", connection=connection, path=number, available=available)
        await echo(pair, joined, 10_000)
    known = (await inside(ours, connection))["paths"]
    evidence("; ".join(f"path {p['id']}: told {p['told_available']}" for p in known))


@pytest.mark.parametrize("pair", WITH_OURS, indirect=True)
async def test_data_moves_to_the_other_path(pair: Pair, relay: Server, evidence: Evidence) -> None:
    """We abandon the direct path: Rust answers PATH_ABANDON, and streams go on over the relay."""
    joined = await join(pair, relay, direct=True)
    for peer, connection in ends(pair, joined):
        await until(lambda: two_paths(peer, connection))  # noqa: B023
    ours, connection = ours_of(pair, joined)
    before = await relayed_bytes(relay)
    direct = int((await route(ours, connection, relayed=False))["id"])
    await ours.call("close_path", connection=connection, path=direct)
    await echo(pair, joined, 100_000)

    async def gone() -> bool:
        told = await inside(ours, connection)
        return all(path["id"] != direct for path in told["paths"])

    await until(gone)
    told = await inside(ours, connection)
    assert told["local_max"] > FIRST_WINDOW, "an id has ended: our window moves on"
    relayed = await relayed_bytes(relay) - before
    assert relayed > 100_000
    evidence(f"{relayed} bytes relayed; path ids up to {told['local_max']}")


async def find_direct(peer: Peer, connection: int) -> dict[str, Any] | None:
    """The direct path, when there is one; the selected one of several."""
    found = [path for path in await paths(peer, connection) if path["direct"]]
    return max(found, key=operator.itemgetter("selected"), default=None)


async def test_relayed_then_direct(pair: Pair, relay: Server, evidence: Evidence) -> None:
    """A relayed connection gets a direct path by NAT traversal and uses it, all by itself.

    The time counts from when both ends hold the connection to when both send over the direct path.
    """
    joined = await join(pair, relay, direct=False)
    start = time.monotonic()

    async def settled() -> bool:
        found = [await find_direct(peer, connection) for peer, connection in ends(pair, joined)]
        return all(path is not None and path["selected"] for path in found)

    await until(settled)
    took = time.monotonic() - start
    before = await relayed_bytes(relay)
    await echo(pair, joined, MIB)
    relayed = await relayed_bytes(relay) - before
    assert relayed < 100_000
    evidence(f"direct after {1000 * took:.0f} ms; of 4 MiB, {relayed} bytes were relayed")


@pytest.mark.parametrize("pair", WITH_OURS, indirect=True)
async def test_paths_come_and_go(pair: Pair, relay: Server, evidence: Evidence) -> None:
    """The client opens and leaves paths beyond the first 8 ids; PATH_ABANDON and ids both ways."""
    joined = await join(pair, relay, direct=True)
    if pair.dialer.kind == "ours":
        await open_and_close(pair, joined, relay, 12)
    else:
        await until(lambda: two_paths(pair.dialer, joined.dialer))
        await many_candidates(pair, joined)
    ours, connection = ours_of(pair, joined)
    told = await inside(ours, connection)
    assert told["local_max"] > FIRST_WINDOW
    assert told["peer_max"] > FIRST_WINDOW
    await echo(pair, joined, 100_000)
    evidence(f"ids up to {told['local_max']} ours, {told['peer_max']} theirs")


async def open_and_close(pair: Pair, joined: Joined, relay: Server, count: int) -> None:
    """As the client, open a path over the relay, prove it, and abandon it, again and again."""
    for _ in range(count):
        await until(lambda: has_ids(pair, joined))
        opened = await pair.dialer.call(
            "open_path",
            connection=joined.dialer,
            endpoint=joined.away["endpoint"],
            remote=relay.url,
        )
        number = opened["path"]

        async def proven(number: int = number) -> bool:
            known = (await inside(pair.dialer, joined.dialer))["paths"]
            return any(path["id"] == number and path["state"] == "OPEN" for path in known)

        await until(proven)
        await pair.dialer.call("close_path", connection=joined.dialer, path=number)


async def many_candidates(pair: Pair, joined: Joined) -> None:
    """As the server, tell candidates in turn; the Rust client opens paths, keeps one, leaves."""
    port = joined.home["sockets"][0].rpartition(":")[2]
    everywhere = joined.home["addresses"]
    for turn in range(8):
        told = [*everywhere, *(f"127.0.0.{n}:{port}" for n in range(1, 2 + turn))]
        await pair.listener.call("tell_candidates", connection=joined.listener, addresses=told)
        wanted = FIRST_WINDOW + 1 + turn // 2

        async def moved(largest: int = wanted) -> bool:
            known = await inside(pair.listener, joined.listener)
            return bool(known["local_max"] >= largest)

        await until(moved)


@pytest.mark.parametrize("pair", WITH_OURS, indirect=True)
async def test_transfer_over_two_paths(pair: Pair, relay: Server, evidence: Evidence) -> None:
    """A transfer goes on while our end switches it between the direct and the relayed path."""
    joined = await join(pair, relay, direct=True)
    for peer, connection in ends(pair, joined):
        await until(lambda: two_paths(peer, connection))  # noqa: B023
    ours, connection = ours_of(pair, joined)
    (rust, theirs) = next(end for end in ends(pair, joined) if end[0].kind == "rust")
    before = await relayed_bytes(relay)
    taking = rust.begin("take_bulk", connection=theirs)
    sending = ours.begin("send_bulk", connection=connection, seed="switch", size=64 * MIB)
    switches = 0
    while not sending.done():
        switches += 1
        await ours.call("prefer", connection=connection, relayed=bool(switches % 2))
        await asyncio.sleep(APART)
    sent = await sending
    assert (await taking)["sha256"] == sent["sha256"]
    relayed = await relayed_bytes(relay) - before
    assert relayed > MIB
    evidence(f"64 MiB, {switches} switches, {relayed >> 20} MiB of it relayed")
