import asyncio
import errno
import socket
import sys
from types import SimpleNamespace

import pytest

from iroh.errors import BindError
from iroh.magicsock.binds import Bind
from iroh.magicsock.transports.ip import IpTransport
from iroh.magicsock.udp import UdpSocket, local_ip
from iroh.quic.datagrams import Datagrams
from iroh_base import SocketAddr

LOOPBACK = [Bind(SocketAddr("127.0.0.1", 0)), Bind(SocketAddr("::1", 0))]


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
    receiver = inbox.receiver = IpTransport(inbox, [request.param])
    sender = IpTransport(Inbox(), [request.param])
    receiver.start()
    sender.start()
    is_v4 = request.param.addr.is_ipv4
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
    for bound in sender._bound:
        bound.udp._gso = False
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


async def test_lone_datagrams_are_read_one_a_turn_and_none_is_left_behind(pair) -> None:
    sender, to, inbox = pair
    for count in (1, 1, 1, 5, 1, 40):  # the first lets the next ones be trusted
        inbox.batches.clear()
        parts = [bytes([i]) * (20 + i) for i in range(count)]
        for part in parts:
            sender.send(Datagrams(to, part))
        assert await inbox.datagrams(count) == parts


class Kernel:
    """Stands in for the kernel's side of one socket: a script of errors, None for success."""

    def __init__(self, udp: UdpSocket, *script: int | None) -> None:
        self.script = list(script)
        self.always: int | None = None
        self.sent: list[tuple[bytes, list[int]]] = []
        udp._send_one = self  # type: ignore[method-assign,assignment]

    def __call__(self, data, ancillary, remote) -> None:
        error = self.script.pop(0) if self.script else self.always
        if error is not None:
            raise OSError(error, "as scripted")
        self.sent.append((data, sorted(kind for _, kind, _ in ancillary)))


@pytest.fixture
async def udp():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    udp = UdpSocket(sock, lambda _: None)
    udp.start()
    udp._gso = udp._linux = True
    yield udp
    udp.close()


TO = SocketAddr("127.0.0.1", 9)
LOCAL = bytes([127, 0, 0, 2])
PKTINFO, SEGMENT = 8, 103


async def test_a_full_kernel_buffer_queues_and_then_drops_the_oldest(udp) -> None:
    kernel = Kernel(udp)
    kernel.always = errno.EAGAIN
    for _ in range(300):
        udp.send(Datagrams(TO, b"x" * 20, 10))
    assert len(udp._queue) == 256
    assert udp.dropped == (300 - 256) * 2
    flush = asyncio.create_task(udp.flush())
    await asyncio.sleep(0)
    assert not flush.done()
    kernel.always = None
    await flush
    assert len(kernel.sent) == 256
    assert udp.dropped == (300 - 256) * 2


async def test_closing_drops_the_queue_and_ends_a_flush(udp) -> None:
    kernel = Kernel(udp)
    kernel.always = errno.EAGAIN
    udp.send(Datagrams(TO, b"x" * 20, 10))
    flush = asyncio.create_task(udp.flush())
    await asyncio.sleep(0)
    udp.close()
    await flush
    assert udp.dropped == 2


async def test_what_left_before_the_buffer_was_full_is_not_sent_again(udp) -> None:
    udp._gso = False
    kernel = Kernel(udp, None, errno.EAGAIN)
    udp.send(Datagrams(TO, b"aabbc", 2, local=LOCAL))
    await udp.flush()
    assert kernel.sent == [(b"aa", [PKTINFO]), (b"bb", [PKTINFO]), (b"c", [PKTINFO])]


async def test_segmentation_offload_is_given_up_only_if_it_is_the_trouble(udp) -> None:
    kernel = Kernel(udp, errno.EINVAL, errno.EINVAL, errno.EINVAL)  # the address is wrong
    udp.send(Datagrams(TO, b"aabb", 2))
    assert udp.dropped == 2
    udp.send(Datagrams(TO, b"aabb", 2))
    assert kernel.sent == [(b"aabb", [SEGMENT])]
    kernel.script = [errno.EIO]  # the device cannot do it
    udp.send(Datagrams(TO, b"aabb", 2))
    udp.send(Datagrams(TO, b"ccdd", 2))
    assert [data for data, _ in kernel.sent[1:]] == [b"aa", b"bb", b"cc", b"dd"]
    assert udp.dropped == 2


async def test_a_source_address_that_is_gone_is_left_to_the_kernel(udp) -> None:
    kernel = Kernel(udp, errno.EINVAL)
    udp.send(Datagrams(TO, b"roaming", local=LOCAL))
    assert kernel.sent == [(b"roaming", [])]
    assert udp.dropped == 0


@pytest.fixture
async def proactor(monkeypatch):
    """The running loop watches no sockets for others than asyncio, as Windows' ProactorEventLoop.

    That loop itself was not run.
    """
    loop = asyncio.get_running_loop()

    def only_asyncio(real):
        def watch(*args):
            if not sys._getframe(1).f_globals["__name__"].startswith("asyncio."):
                raise NotImplementedError
            return real(*args)

        return watch

    for name in ("add_reader", "remove_reader", "add_writer", "remove_writer"):
        monkeypatch.setattr(loop, name, only_asyncio(getattr(loop, name)))
    monkeypatch.setattr("iroh.magicsock.udp.sys", SimpleNamespace(platform="win32"))


async def test_a_loop_that_cannot_watch_sockets_reads_itself(proactor, pair) -> None:
    sender, to, inbox = pair
    parts = [bytes([i]) * 1200 for i in range(10)] + [b"last"]
    sender.send(Datagrams(to, b"".join(parts), 1200))
    assert await inbox.datagrams(11) == parts
    assert inbox.receiver.rebind()
    assert to in inbox.receiver.bound_sockets()
    sender.send(Datagrams(to, b"again"))
    assert (await inbox.datagrams(12))[-1] == b"again"


async def test_such_a_loop_tries_a_full_buffer_again(proactor, udp) -> None:
    kernel = Kernel(udp, *[errno.EAGAIN] * 3)
    udp.send(Datagrams(TO, b"one"))
    udp.send(Datagrams(TO, b"two"))
    await udp.flush()
    assert [data for data, _ in kernel.sent] == [b"one", b"two"]
    assert udp.dropped == 0


async def test_what_such_a_loop_says_of_earlier_sends_is_no_datagram(proactor, monkeypatch) -> None:
    """Windows tells there that somebody did not want what we sent: as an error, or as no source."""
    told, here = asyncio.Event(), asyncio.get_running_loop()
    said = iter([ConnectionResetError(10054, "reset"), (b"", None), (b"", ("192.0.2.1", 1))])

    async def sock_recvfrom(*_args) -> tuple[bytes, object]:
        match next(said, None):
            case None:
                told.set()
                return await here.create_future()
            case OSError() as error:
                raise error
            case answer:
                return answer

    monkeypatch.setattr(here, "sock_recvfrom", sock_recvfrom)
    transport = IpTransport(lambda batches: pytest.fail(repr(batches)), LOOPBACK[:1])
    transport.start()
    await told.wait()
    transport.close()


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_routers_are_told_not_to_cut(system: str, monkeypatch) -> None:
    """The numbers of the options are those of the systems' headers; they were not run."""
    monkeypatch.setattr(sys, "platform", system)
    asked = []
    monkeypatch.setattr(UdpSocket, "_try_option", lambda _self, *option: asked.append(option))
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
            UdpSocket(sock, lambda _: None)
    levels = [level for level, _, _ in asked if level != socket.SOL_SOCKET]
    assert levels == [socket.IPPROTO_IP, socket.IPPROTO_IPV6]


async def test_closing_after_the_loop_is_harmless() -> None:
    def elsewhere() -> UdpSocket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp = UdpSocket(sock, lambda _: None)

        async def start() -> None:
            udp.start()

        asyncio.run(start())
        return udp

    udp = await asyncio.to_thread(elsewhere)
    udp.close()
    udp.close()


async def test_a_port_in_use_says_what_to_do() -> None:
    first = IpTransport(Inbox(), LOOPBACK[:1])
    taken = first.bound_sockets()[0]
    with pytest.raises(BindError, match="choose another address or port"):
        IpTransport(Inbox(), [Bind(taken)])
    first.close()


async def test_a_source_inside_the_mapped_prefix_is_dropped() -> None:
    inbox = Inbox()
    transport = IpTransport(inbox, LOOPBACK)
    good = Datagrams(SocketAddr("192.0.2.1", 1), b"good")
    transport._on_batches([Datagrams(SocketAddr("fd15:70a:510b::1", 12345), b"evil"), good])
    assert inbox.batches == [good]
    assert transport.dropped_mapped_source == 1
    transport.close()


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "0.0.0.0", "::"])
async def test_only_what_was_asked_for(ip: str) -> None:
    bound = SocketAddr(ip, 0)
    transport = IpTransport(Inbox(), [Bind(bound)], defaults=False)
    (socket_addr,) = transport.bound_sockets()
    assert socket_addr.is_ipv4 == bound.is_ipv4
    assert all(addr.is_ipv4 == bound.is_ipv4 for addr in transport.direct_addresses())
    other = SocketAddr("::1" if bound.is_ipv4 else "127.0.0.1", 1)
    assert not transport.send(Datagrams(other, b"no way"))
    transport.close()


async def test_no_socket_at_all() -> None:
    transport = IpTransport(Inbox(), defaults=False)
    transport.start()
    assert transport.bound_sockets() == transport.direct_addresses() == []
    assert not transport.send(Datagrams(TO, b"no way"))
    await transport.flush()
    transport.close()


@pytest.mark.parametrize("text", ["[fe80::1%99]:0", "192.0.2.1:0", "[2001:db8::1]:0"])
async def test_an_address_that_is_not_ours_is_a_clear_error(text) -> None:
    with pytest.raises(BindError, match="cannot bind UDP"):
        IpTransport(Inbox(), [Bind(SocketAddr.parse(text))])


async def test_bytes_and_datagrams_are_counted(pair) -> None:
    sender, to, inbox = pair
    sender.send(Datagrams(to, b"a" * 25, 10))
    await inbox.datagrams(3)
    sent, received = sender._metrics, inbox.receiver._metrics
    assert sent.send_ipv4 + sent.send_ipv6 == 25
    assert received.recv_data_ipv4 + received.recv_data_ipv6 == 25
    assert (sent.send_ipv4 > 0) == (received.recv_data_ipv4 > 0) == to.is_ipv4
    assert received.recv_datagrams == 3


async def test_direct_addresses_of_unspecified_sockets_are_the_machines() -> None:
    transport = IpTransport(Inbox())
    ports = {addr.port for addr in transport.bound_sockets()}
    direct = transport.direct_addresses()
    assert direct
    assert {addr.port for addr in direct} <= ports
    assert not any(addr.ip in ("0.0.0.0", "::") for addr in direct)
    transport.close()
