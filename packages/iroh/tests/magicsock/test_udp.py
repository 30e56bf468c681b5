import asyncio
import socket

import pytest

from iroh.errors import BindError
from iroh.magicsock.transports.ip import IpTransport
from iroh.magicsock.udp import UdpSocket, local_ip
from iroh.quic.datagrams import Datagrams
from iroh_base import SocketAddr

LOOPBACK = [SocketAddr("127.0.0.1", 0), SocketAddr("::1", 0)]


class Inbox:
    """Collects datagrams and wakes who waits for a number of them."""

    def __init__(self) -> None:
        self.batches: list[Datagrams] = []
        self._arrived = asyncio.Event()

    def __call__(self, batches) -> None:
        self.batches += batches
        self._arrived.set()

    async def datagrams(self, count: int) -> list[bytes]:
        while sum(map(len, self.batches)) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return [data for batch in self.batches for data in batch]


@pytest.fixture(params=LOOPBACK, ids=["ipv4", "ipv6"])
async def pair(request):
    inbox = Inbox()
    receiver = IpTransport(inbox, [request.param])
    sender = IpTransport(Inbox(), [request.param])
    receiver.start()
    sender.start()
    is_v4 = request.param.is_ipv4
    to = next(a for a in receiver.bound_sockets() if a.is_ipv4 == is_v4)
    yield sender, to, inbox
    sender.close()
    receiver.close()


async def test_a_batch_arrives_whole_and_in_order(pair) -> None:
    sender, to, inbox = pair
    parts = [bytes([i]) * 1200 for i in range(10)] + [b"last"]
    sender.send(Datagrams(to, b"".join(parts), 1200))
    assert await inbox.datagrams(11) == parts
    assert inbox.batches[0].remote.port in {a.port for a in sender.bound_sockets()}


async def test_ecn_and_our_own_address_come_along(pair) -> None:
    sender, to, inbox = pair
    sender.send(Datagrams(to, b"marked", ecn=2))
    await inbox.datagrams(1)
    if socket.SOL_SOCKET == 1:  # Linux: elsewhere the socket does not tell
        assert inbox.batches[0].ecn == 2
        assert local_ip(inbox.batches[0].local) == to.ip


async def test_without_segmentation_offload_datagrams_leave_one_by_one(pair) -> None:
    sender, to, inbox = pair
    for sock in sender._sockets.values():
        sock._gso = False
    sender.send(Datagrams(to, b"a" * 30, 10))
    assert await inbox.datagrams(3) == [b"a" * 10] * 3


async def test_more_segments_than_one_call_takes(pair) -> None:
    sender, to, inbox = pair
    sender.send(Datagrams(to, b"x" * 100 * 60, 100))
    assert len(await inbox.datagrams(60)) == 60


async def test_what_the_kernel_refuses_is_a_counted_drop(pair) -> None:
    sender, to, inbox = pair
    sender.send(Datagrams(to._replace(port=0), b"to no port"))
    assert sender.dropped == 1
    sender.send(Datagrams(to, b"goes on"))
    assert await inbox.datagrams(1) == [b"goes on"]


async def test_zero_length_datagrams_are_ignored(pair) -> None:
    _, to, inbox = pair
    family = socket.AF_INET if to.is_ipv4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as plain:
        plain.sendto(b"", to)
        plain.sendto(b"real", to)
        assert await inbox.datagrams(1) == [b"real"]


async def test_a_full_kernel_buffer_queues_and_then_drops_the_oldest() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    udp = UdpSocket(sock, lambda _: None)
    udp.start()
    udp._send_now = lambda batch: False  # type: ignore[method-assign]
    to = SocketAddr("127.0.0.1", 9)
    for _ in range(300):
        udp.send(Datagrams(to, b"x" * 20, 10))
    assert len(udp._queue) == 256
    assert udp.dropped == (300 - 256) * 2
    udp.close()


async def test_a_port_in_use_says_what_to_do() -> None:
    first = IpTransport(Inbox(), [SocketAddr("127.0.0.1", 0)])
    taken = first.bound_sockets()[0]
    with pytest.raises(BindError, match="choose another address or port"):
        IpTransport(Inbox(), [taken])
    first.close()


async def test_a_source_inside_the_mapped_prefix_is_dropped() -> None:
    inbox = Inbox()
    transport = IpTransport(inbox, LOOPBACK)
    good = Datagrams(SocketAddr("192.0.2.1", 1), b"good")
    transport._on_batches([Datagrams(SocketAddr("fd15:70a:510b::1", 12345), b"evil"), good])
    assert inbox.batches == [good]
    assert transport.dropped_mapped_source == 1
    transport.close()


async def test_direct_addresses_of_unspecified_sockets_are_the_machines() -> None:
    transport = IpTransport(Inbox())
    ports = {addr.port for addr in transport.bound_sockets()}
    direct = transport.direct_addresses()
    assert direct
    assert {addr.port for addr in direct} <= ports
    assert not any(addr.ip in ("0.0.0.0", "::") for addr in direct)
    transport.close()
