"""What a connection says of its paths: snapshots, updates, events."""

import asyncio
import dataclasses

from iroh import (
    CustomAddr,
    Endpoint,
    EndpointAddr,
    PathChangeCallback,
    PathEvent,
    PathEventCallback,
    PathSelector,
    PathSnapshot,
    PathStatsRecord,
    SecretKey,
    SocketAddr,
    TransportAddrUsage,
)
from iroh.magicsock.inbox import Inbox
from iroh.magicsock.selector import Way
from iroh.path_events import MAX_EVENTS, PathEvents, PathUpdates, changes
from iroh.quic import path_events as pe
from iroh.quic.api import PathInfo, PathStats
from iroh.quic.errors import LocallyClosed
from iroh.testing import MemoryNetwork, memory_addr

from .conftest import meet


async def test_paths_can_be_watched_until_the_end(connect) -> None:
    client, server = await connect()
    updates = client.watch_paths()
    (path,) = await anext(updates)
    assert path.is_selected
    server.close()
    assert [paths async for paths in updates] == []  # as upstream: it ends, and says no more
    assert [paths async for paths in client.paths_stream()] == []
    assert [event async for event in client.path_events()] == []


async def test_path_events_end_with_the_paths(connect) -> None:
    client, server = await connect()
    events = client.watch_path_events()
    server.close()
    (event,) = [event async for event in events]
    assert event.is_closed()
    assert event.is_CLOSED()
    assert not event.is_opened()
    assert event.id == "0"
    assert event.remote_addr.startswith("127.0.0.1:")
    assert event.last_stats.current_mtu >= 1200
    assert isinstance(event, PathEvent)
    assert repr(event).startswith("PathEvent.CLOSED(id='0'")


async def test_path_callbacks(connect) -> None:
    client, server = await connect()
    paths, events, told = [], [], asyncio.Event()

    class Paths(PathChangeCallback):
        async def on_change(self, now) -> None:
            paths.append(now)
            told.set()

    class Events(PathEventCallback):
        async def on_event(self, event) -> None:
            events.append(event)
            told.set()

    handles = client.watch_paths(Paths()), client.watch_path_events(Events())
    await told.wait()
    assert [path.is_selected for path in paths[0]] == [True]
    assert events == []
    server.close()
    while not events:
        told.clear()
        await told.wait()
    for handle in handles:
        await handle.stop()
    assert len(paths) == 1


def path(number: int, remote: str, selected: bool = False) -> PathSnapshot:
    stats = PathStatsRecord(**{field.name: number for field in dataclasses.fields(PathStatsRecord)})
    return PathSnapshot(
        id=str(number),
        is_selected=selected,
        remote_addr=remote,
        is_ip=False,
        is_relay="://" in remote,
        local_addr=remote if "://" in remote else "unknown",
        rtt_ms=1,
        stats=stats,
    )


def test_the_events_between_two_states() -> None:
    relay, direct = "https://relay.example/", "192.0.2.1:1"
    where = {"id": "1", "remote_addr": direct, "local_addr": "unknown"}
    assert changes([path(0, relay, True)], [path(0, relay, True)]) == []
    assert changes([path(0, relay, True)], [path(0, relay), path(1, direct, True)]) == [
        PathEvent.OPENED(**where),
        PathEvent.SELECTED(**where),
    ]
    (closed, selected) = changes([path(0, relay), path(1, direct, True)], [path(0, relay, True)])
    assert closed == PathEvent.CLOSED(**where, last_stats=path(1, direct).stats)
    assert selected == PathEvent.SELECTED(id="0", remote_addr=relay, local_addr=relay)
    moved = changes([path(0, relay, True)], [path(0, direct, True)])
    assert [type(event).__name__ for event in moved] == ["CLOSED", "OPENED", "SELECTED"]


class Engine:
    """A connection of the engine, as far as paths go."""

    def __init__(self) -> None:
        self.inbox = Inbox(1000, asyncio.get_running_loop().create_future)
        self.connection = self
        self.open: dict[int, PathInfo] = {}
        self.totals: dict[int, PathStats] = {}

    def paths(self) -> list[PathInfo]:
        return list(self.open.values())

    def path_stats(self, path_id: int) -> PathStats | None:
        return self.totals.get(path_id)

    def add(self, path_id: int, selected: bool = False) -> None:
        remote = SocketAddr("192.0.2.1", 1000 + path_id)
        self.open[path_id] = PathInfo(path_id, remote, selected, PathStats())
        self.inbox.take([pe.PathEstablished(path_id, remote)])

    def drop(self, path_id: int) -> None:
        remote = self.open.pop(path_id).remote
        self.inbox.take([pe.PathAbandoned(path_id, remote, pe.AbandonReason.PEER, 0)])


async def test_a_slow_reader_is_told_how_much_it_missed() -> None:
    engine = Engine()
    events = PathEvents(engine)
    engine.add(0, selected=True)
    for number in range(1, 10):
        engine.add(number)
    assert (await anext(events)) == PathEvent.LAGGED(missed=11 - MAX_EVENTS)
    assert [(await anext(events)).id for _ in range(MAX_EVENTS)] == list("23456789")
    engine.add(10)
    assert (await anext(events)).is_opened()  # it has caught up


async def test_no_event_is_lost_to_coalescing_and_the_last_stats_are_the_last() -> None:
    """A path that comes and goes while nobody reads is told of all the same."""
    engine = Engine()
    events = PathEvents(engine)
    engine.add(0, selected=True)
    engine.add(1)
    engine.totals[1] = PathStats(udp_tx_bytes=4321, rtt=0.02)
    engine.drop(1)
    engine.inbox.close(LocallyClosed())
    opened, selected, also, gone, end = [event async for event in events]
    assert (opened.is_opened(), selected.is_selected(), also.is_opened()) == (True, True, True)
    assert (gone.id, gone.last_stats.udp_tx_bytes, gone.last_stats.rtt_ms) == ("1", 4321, 20)
    assert (end.is_closed(), end.id) == (True, "0")


async def test_updates_come_when_something_that_shows_has_changed() -> None:
    engine = Engine()
    updates = PathUpdates(engine)
    assert await anext(updates) == []
    engine.add(0)
    engine.add(1)
    assert [path.id for path in await anext(updates)] == ["0", "1"]
    step = asyncio.ensure_future(anext(updates))
    engine.inbox.take([pe.PathClosed(7, None)])
    await asyncio.sleep(0)
    assert not step.done()
    engine.drop(0)
    assert [path.id for path in await step] == ["1"]


async def test_listeners_are_not_kept(connect) -> None:
    client, _ = await connect()
    events = client.path_events()
    assert len(client._driver.inbox.path_listeners) == 1
    del events
    assert len(client._driver.inbox.path_listeners) == 0


async def test_both_ends_of_a_path_are_named(connect, bind) -> None:
    client, server = await connect()
    for connection in (client, server):
        (path,) = connection.paths()
        assert path.remote == SocketAddr.parse(path.remote_addr)
        assert (path.local_addr, path.is_custom) == ("127.0.0.1", False)
    network, ends = MemoryNetwork(), []
    for _ in range(2):
        key = SecretKey.generate()
        transport = network.create_transport(key.public())
        ends.append(await bind(preset=transport, bind_addr=None, secret_key=key, alpns=[b"test/0"]))
    dialled, accepted = await meet(*ends, ends[1].id())
    ours, theirs = (memory_addr(end.id()) for end in ends)
    (path,) = dialled.paths()
    assert (path.remote, path.remote_addr, path.local_addr) == (theirs, str(theirs), str(ours))
    assert (path.is_custom, path.is_ip, path.is_relay) == (True, False, False)
    (path,) = accepted.paths()
    assert (path.remote, path.local_addr) == (ours, str(theirs))


class PreferCustom(PathSelector):
    """As upstream's example of a custom transport has it."""

    def select(self, context) -> Way | None:
        kinds = sorted(context.paths, key=lambda path: not isinstance(path.way.remote, CustomAddr))
        return kinds[0].way if kinds else None


async def test_a_second_path_over_another_transport(bind) -> None:
    """The handshake goes over loopback; the custom address gets a path that is preferred."""
    network, ends = MemoryNetwork(loss=1.0), []
    for _ in range(2):
        key = SecretKey.generate()
        transport = network.create_transport(key.public())
        ends.append(
            await bind(
                secret_key=key,
                custom_transports=[transport],
                alpns=[b"test/0"],
                path_selector=PreferCustom(),
            )
        )
    client, server = ends
    addr = EndpointAddr(server.id(), None, [server.bound_sockets()[0], *server.custom_addrs()])
    dialled, accepted = await meet(client, server, addr)
    network.loss = 0.0  # from now on
    for end, peer in ((dialled, server), (accepted, client)):
        async for paths in end.paths_stream():
            custom = [path for path in paths if path.is_custom and path.is_selected]
            if custom:
                break
        assert custom[0].remote == memory_addr(peer.id())
        assert any(path.is_ip and not path.is_selected for path in end.paths())
    events = [dialled.path_events(), accepted.path_events()]
    driver = dialled._driver
    driver.connection.path_commands.close(int(custom[0].id), driver.host.now())
    driver.schedule()
    for end in events:
        story = [await anext(end), await anext(end)]
        assert [type(event).__name__ for event in story] == ["CLOSED", "SELECTED"]
        assert story[0].id == custom[0].id
        assert story[0].last_stats.udp_tx_datagrams > 0
        assert story[1].remote_addr.startswith("127.0.0.1:")
    stats = client.stats()
    assert stats["socket:transport_custom_paths_added"].value == 1
    assert stats["socket:transport_custom_paths_removed"].value == 1
    dialled.close()
    for end in events:
        assert "0" in [event.id for event in [e async for e in end] if event.is_closed()]


async def test_what_is_known_of_a_peer_and_what_of_it_is_in_use(bind) -> None:
    server, client = await bind(alpns=[b"test/0"]), await bind()
    assert await client.remote_info(server.id()) is None
    dead = SocketAddr("127.0.0.1", 9)
    addr = EndpointAddr(server.id(), None, [server.bound_sockets()[0], dead])
    dialled, accepted = await meet(client, server, addr)

    async def usage(end: Endpoint, peer: Endpoint) -> dict:
        info = await end.remote_info(peer.id())
        assert info.id == peer.id()
        return {entry.addr: entry.usage for entry in info.addrs}

    active, inactive = TransportAddrUsage.ACTIVE, TransportAddrUsage.INACTIVE
    at = {end: SocketAddr.parse(end.bound_sockets()[0]) for end in (server, client)}
    known = await usage(client, server)
    assert (known[at[server]], known[dead]) == (active, inactive)
    assert (await usage(server, client))[at[client]] is active
    assert (await client.remote_addr(server.id())).addrs == known.keys()
    dialled.close()
    await accepted.closed()
    for end, peer in ((client, server), (server, client)):
        assert set((await usage(end, peer)).values()) == {inactive}
    await client.close()
    assert await client.remote_info(server.id()) is None
