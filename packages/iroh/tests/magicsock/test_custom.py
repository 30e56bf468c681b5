"""The custom transports of an endpoint, and what foreign code may do to them."""

import asyncio
import contextlib
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.errors import BindError
from iroh.magicsock.mapped import MappedAddrs
from iroh.magicsock.transports import custom
from iroh.magicsock.transports.custom import CustomTransport, CustomTransports
from iroh.metrics import SocketMetrics
from iroh.quic.datagrams import Datagrams
from iroh_base import CustomAddr

HERE, THERE = CustomAddr(0x77, b"here"), CustomAddr(0x77, b"there")
MAPPED = MappedAddrs(lambda n: bytes(n))


class Wire(CustomTransport):
    """Notes what it is told; fails where the test says so."""

    def __init__(self, transport_id: int = 0x77, takes: bool = True, **fails: Exception) -> None:
        self.id = transport_id
        self.takes = takes
        self.fails = fails
        self.sent: list[tuple] = []
        self.log: list[str] = []
        self.deliver = None

    def did(self, what: str) -> None:
        self.log.append(what)
        if what in self.fails:
            raise self.fails[what]

    async def start(self, deliver) -> None:
        self.deliver = deliver
        self.did("start")
        self.local_addrs.set((HERE,))

    def is_valid_send_addr(self, addr) -> bool:
        self.did("valid")
        return addr.id == self.id

    def send(self, dst, src, data, segment_size) -> bool:
        self.did("send")
        self.sent.append((dst, src, data, segment_size))
        return self.takes

    async def close(self) -> None:
        self.did("close")

    def abort(self) -> None:
        self.did("abort")


class Wide(Wire):
    max_transmit_segments = 2


def make(*transports: CustomTransport) -> tuple[CustomTransports, list[Datagrams], SocketMetrics]:
    got: list[Datagrams] = []
    metrics = SocketMetrics()
    return CustomTransports(transports, MAPPED, got.extend, metrics), got, metrics


@contextlib.asynccontextmanager
async def started(*transports: CustomTransport):
    made = make(*transports)
    await made[0].start()
    yield made
    await made[0].close()


def batch(to: CustomAddr = THERE, data: bytes = b"aabbc", size: int = 2, local=None) -> Datagrams:
    return Datagrams(MAPPED.custom.get(to), data, size, 0, local)


async def test_datagrams_are_sent_one_by_one_unless_a_transport_takes_more() -> None:
    narrow, wide = Wire(1), Wide(2)
    async with started(narrow, wide) as (transports, _, metrics):
        assert transports.send(batch(CustomAddr(1, b""), local=HERE))
        assert transports.send(batch(CustomAddr(2, b"")))
        assert not transports.send(batch(CustomAddr(3, b"")))
        assert transports.dropped == 3
        assert metrics.send_custom == 10
    to = CustomAddr(1, b"")
    assert narrow.sent == [(to, HERE, b"aa", 2), (to, HERE, b"bb", 2), (to, HERE, b"c", 1)]
    to = CustomAddr(2, b"")
    assert wide.sent == [(to, None, b"aabb", 2), (to, None, b"c", 1)]


async def test_what_one_refuses_the_next_may_send() -> None:
    full, free = Wire(takes=False), Wire()
    async with started(full, free) as (transports, _, metrics):
        assert transports.send(batch())
        assert transports.dropped == 0
        assert metrics.send_custom == 5
    assert len(full.sent) == len(free.sent) == 3


async def test_a_failing_transport_harms_nobody_and_is_logged_once(caplog) -> None:
    bad, mean = Wire(send=OSError("broken"), close=OSError("jammed")), Wire(valid=TypeError("bug"))
    gone, good = Wire(send=asyncio.CancelledError()), Wire()
    async with started(bad, mean, gone, good) as (transports, _, metrics):
        for _ in range(5):
            assert transports.send(batch())
        assert metrics.custom_errors == 15
    assert good.log == ["start", *["valid", "send", "send", "send"] * 5, "close"]
    assert metrics.custom_errors == 16
    texts = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    parts = ("send", "is_valid_send_addr", "send", "close")
    assert texts == [f"custom transport Wire: {what} failed" for what in parts]


async def test_runs_are_joined_and_handed_over_after_the_turn() -> None:
    wire = Wire()
    async with started(wire) as (_transports, got, metrics):
        for data in (b"aa", b"bb", b"c", b"dd"):
            wire.deliver(THERE, data, local=HERE)
        wire.deliver(HERE, memoryview(b"eeff"), segment_size=2)
        wire.deliver(HERE, b"gg")
        wire.deliver(HERE, b"hhh")
        wire.deliver(HERE, b"")
        assert got == []
        await asyncio.sleep(0)
        found = [(b.remote.key, b.local, b.data, b.segment_size) for b in got]
        assert found == [
            (THERE, HERE, b"aabbc", 2),
            (THERE, HERE, b"dd", 2),
            (HERE, None, b"eeffgg", 2),
            (HERE, None, b"hhh", 3),
        ]
        assert (metrics.recv_data_custom, metrics.recv_datagrams) == (16, 8)
        assert metrics.recv_gro_datagrams == 2


runs = st.tuples(
    st.sampled_from([HERE, THERE]), st.sampled_from([HERE, None]), st.binary(max_size=7)
)


@given(st.lists(st.tuples(runs, st.integers(-1, 4)), max_size=20))
def test_joining_changes_no_datagram_and_no_order(deliveries) -> None:
    async def main() -> list[Datagrams]:
        wire = Wire()
        async with started(wire) as (_transports, got, _):
            for (remote, local, data), size in deliveries:
                wire.deliver(remote, data, segment_size=size, local=local)
            await asyncio.sleep(0)
            return list(got)

    sent = [
        (remote, local, one)
        for (remote, local, data), size in deliveries
        for one in Datagrams(remote, data, max(size, 0))
    ]
    got = asyncio.run(main())
    assert [(batch.remote.key, batch.local, one) for batch in got for one in batch] == sent


async def test_the_queue_is_bounded() -> None:
    wire = Wire()
    async with started(wire) as (transports, got, _):
        for _ in range(custom.MAX_QUEUED + 5):
            wire.deliver(THERE, b"xx")
        assert transports.dropped == 5
        await asyncio.sleep(0)
        assert sum(map(len, got)) == custom.MAX_QUEUED
        wire.deliver(THERE, bytes(custom.MAX_DATAGRAM + 1))
        assert transports.dropped == 6
        for _ in range(80):
            wire.deliver(THERE, bytes(custom.MAX_DATAGRAM))
        assert transports.dropped == 6 + 80 - custom.MAX_QUEUED_BYTES // custom.MAX_DATAGRAM


async def test_wrong_deliveries_are_the_transports_own_errors() -> None:
    wire = Wire()
    async with started(wire) as (_transports, got, _):
        for remote, data, local in ((b"there", b"x", None), (THERE, "x", None), (THERE, b"x", 1)):
            with pytest.raises(TypeError):
                wire.deliver(remote, data, local=local)
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            await asyncio.to_thread(wire.deliver, THERE, b"x")
        assert got == []
    wire.deliver(THERE, b"late")
    await asyncio.sleep(0)
    assert got == []


async def test_what_cannot_start_is_closed_again() -> None:
    first, second, third = Wire(), Wire(start=OSError("no such device")), Wire()
    transports, _, _ = make(first, second, third)
    with pytest.raises(BindError, match=r"transport Wire cannot start: .*no such device"):
        await transports.start()
    assert not transports.send(batch(CustomAddr(1, b"")))
    await transports.close()
    assert [first.log[-1], second.log, third.log] == ["close", ["start", "close"], []]
    odd, _, _ = make(Wire(start=asyncio.CancelledError()))
    with pytest.raises(BindError, match="CancelledError"):
        await odd.start()
    await odd.close()
    again, _, _ = make(first)
    with pytest.raises(BindError, match="another endpoint"):
        await again.start()
    await again.close()
    assert first.log.count("close") == 1


async def test_addresses_of_all_each_once(caplog) -> None:
    class Mute(Wire):
        @property
        def local_addrs(self):
            raise OSError("who am I?")

        async def start(self, deliver) -> None:
            pass

    async with started(Wire(), Wire(), Mute()) as (transports, _, metrics):
        assert transports.local_addrs() == [HERE]
        assert metrics.custom_errors == 1


async def test_a_transport_that_does_not_close_is_left(monkeypatch, caplog) -> None:
    monkeypatch.setattr(custom, "CLOSE_TIMEOUT", 0.01)

    class Stuck(Wire):
        async def close(self) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.log.append("cancelled")

    stuck, good = Stuck(), Wire()
    async with started(stuck, good):
        pass
    assert (stuck.log[-1], good.log[-1]) == ("cancelled", "close")
    assert "takes too long to close" in caplog.text


async def test_abort_releases_without_a_loop() -> None:
    bad, good = Wire(abort=OSError("stuck")), Wire()
    transports, _, metrics = make(bad, good)
    await transports.start()
    transports.abort()
    assert (good.log[-1], metrics.custom_errors) == ("abort", 1)
    await transports.close()  # nothing is left to close
    assert "close" not in good.log
