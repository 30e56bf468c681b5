import asyncio

import pytest

from iroh.magicsock import inbox as module
from iroh.magicsock.inbox import Inbox
from iroh.quic import events as ev
from iroh.quic import path_events as pe
from iroh.quic.errors import ApplicationClosed, ConnectionGone, LocallyClosed, TimedOut


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox(1000, asyncio.get_running_loop().create_future)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_unread_datagrams_are_bounded_in_bytes_and_the_newest_stay(inbox) -> None:
    inbox.take([ev.DatagramReceived(bytes([n]) * 100) for n in range(15)])
    assert inbox.datagrams_dropped == 5
    assert [(await inbox.read_datagram())[0] for _ in range(10)] == list(range(5, 15))
    inbox.take([ev.DatagramReceived(b"x" * 1000)])
    assert len(await inbox.read_datagram()) == 1000


async def test_a_datagram_larger_than_the_buffer_is_dropped(inbox) -> None:
    inbox.take([ev.DatagramReceived(b"x" * 1001)])
    assert inbox.datagrams_dropped == 1
    inbox.take([ev.DatagramReceived(b"fits")])
    assert await inbox.read_datagram() == b"fits"


async def test_empty_datagrams_are_bounded_in_number(inbox, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_DATAGRAMS", 10)
    inbox.take([ev.DatagramReceived(b"")] * 25)
    assert inbox.datagrams_dropped == 15
    assert [await inbox.read_datagram() for _ in range(10)] == [b""] * 10


async def test_what_arrived_can_be_taken_after_the_end(inbox) -> None:
    inbox.take([ev.DatagramReceived(b"last"), ev.StreamOpened(3), ev.Closed(TimedOut())])
    assert await inbox.read_datagram() == b"last"
    assert await inbox.accept_stream(bidirectional=False) == 3
    for ended in (inbox.read_datagram(), inbox.accept_stream(False), inbox.wait_connected()):
        with pytest.raises(ConnectionGone):
            await ended
    assert inbox.take([ev.Drained()])


async def test_each_arrival_wakes_one_and_a_cancelled_one_loses_nothing(inbox) -> None:
    tasks = [asyncio.create_task(inbox.accept_stream(True)) for _ in range(3)]
    await turns()
    inbox.take([ev.StreamOpened(1), ev.StreamOpened(5)])
    tasks[0].cancel()
    await turns()
    assert tasks[0].cancelled()
    assert [tasks[1].result(), tasks[2].result()] == [1, 5]


async def test_the_end_wakes_everybody_and_counts_once(inbox) -> None:
    ends: list[str] = []
    inbox.at_end(lambda: ends.append("before"))
    waiting = [
        asyncio.create_task(coroutine)
        for coroutine in (inbox.wait_alpn(), inbox.wait_connected(), inbox.read_datagram())
    ]
    closed = asyncio.create_task(inbox.wait_closed())
    await turns()
    inbox.take([ev.Closed(ApplicationClosed(7))])
    inbox.close(LocallyClosed())
    inbox.at_end(lambda: ends.append("after"))
    assert await closed == ApplicationClosed(7)
    for task in waiting:
        with pytest.raises(ConnectionGone):
            await task
    assert ends == ["before", "after"]
    assert len(inbox.waiters) == 0


async def test_many_who_want_a_stream_are_not_all_woken_for_a_few(inbox) -> None:
    woken = 0

    async def opener() -> None:
        nonlocal woken
        await inbox.waiters.wait(("streams", True))
        woken += 1

    tasks = [asyncio.create_task(opener()) for _ in range(9)]
    await turns()
    inbox.take([ev.StreamsAvailable(True, 3)])
    await turns()
    assert woken == 3
    inbox.close(TimedOut())
    await asyncio.gather(*tasks)


async def test_path_changes_are_counted_until_the_end(inbox) -> None:
    told: list[object] = []
    inbox.on_path_event = told.append
    watcher = inbox.path_changes.watch()
    inbox.take([ev.PathChanged("there")])
    assert inbox.remote == "there"
    assert await watcher.updated() == 1
    inbox.path_selected("there")
    events = [
        pe.PathEstablished(1, "elsewhere"),
        pe.PathMoved(1, "further"),
        pe.PathSilent(1, 2),
        pe.PathStatusChanged(1, False),
        pe.PathAbandoned(1, "further", pe.AbandonReason.PEER, 0),
        pe.PathClosed(1, "further"),
    ]
    inbox.take(events)
    assert told[1:] == events, "those that change no path, too"
    inbox.path_selected("elsewhere")
    assert inbox.remote == "elsewhere"
    inbox.close(TimedOut())
    assert [n async for n in inbox.path_changes.watch()] == [7]
