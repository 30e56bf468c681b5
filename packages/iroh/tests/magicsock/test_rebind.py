"""Fresh sockets in the places of old ones, without losing a datagram or the port."""

import asyncio
import socket

import pytest

from iroh.magicsock.binds import Bind
from iroh.magicsock.transports import ip
from iroh.magicsock.transports.ip import IpTransport
from iroh.quic.datagrams import Datagrams
from iroh_base import SocketAddr


class Heard:
    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.more = asyncio.Event()

    def __call__(self, batches) -> None:
        self.data += [data for batch in batches for data in batch]
        self.more.set()

    async def until(self, data: bytes) -> None:
        while data not in self.data:
            self.more.clear()
            await self.more.wait()


@pytest.fixture(params=["127.0.0.1", "::1"])
async def transport(request):
    heard = Heard()
    transport = IpTransport(heard, [Bind(SocketAddr(request.param, 0))], defaults=False)
    transport.heard = heard
    transport.start()
    yield transport
    transport.close()


def tell(transport: IpTransport, data: bytes) -> None:
    (to,) = transport.bound_sockets()
    family = socket.AF_INET if to.is_ipv4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, to)


async def test_the_port_stays_and_nothing_is_lost(transport) -> None:
    before, raws = transport.bound_sockets(), transport.sockets()
    raw = raws[0]
    for n in range(3):
        for part in range(40):  # more than one wake-up of a socket takes
            tell(transport, b"%d/%d" % (n, part))
        assert transport.rebind()
    assert transport.bound_sockets() == before
    assert raws is transport.sockets()
    assert raws[0] is not raw
    assert raw.fileno() < 0
    assert len(transport.heard.data) == 120
    tell(transport, b"after")
    await transport.heard.until(b"after")
    assert transport.send(Datagrams(before[0], b"myself"))
    await transport.heard.until(b"myself")


async def test_nobody_else_can_have_the_port(transport) -> None:
    assert transport.rebind()
    with pytest.raises(OSError, match="in use"):
        ip._new_socket(transport.bound_sockets()[0], ip._REUSE)


async def test_the_old_socket_stays_when_there_can_be_no_new_one(transport, monkeypatch) -> None:
    (raw,) = transport.sockets()

    def refuse(*_: object) -> socket.socket:
        raise OSError("no such address")

    monkeypatch.setattr(ip, "_new_socket", refuse)
    assert not transport.rebind()
    assert transport.sockets() == [raw]
    monkeypatch.undo()
    tell(transport, b"still here")
    await transport.heard.until(b"still here")
    assert transport.rebind()


async def test_another_port_where_ours_cannot_be_had(transport, monkeypatch) -> None:
    (before,) = transport.bound_sockets()
    monkeypatch.setattr(ip, "_REUSE", None)
    assert transport.rebind()
    (after,) = transport.bound_sockets()
    assert (after.ip, after.port != before.port) == (before.ip, True)
    tell(transport, b"moved")
    await transport.heard.until(b"moved")


async def test_after_close_there_is_nothing_to_do(transport) -> None:
    (raw,) = transport.sockets()
    transport.close()
    assert transport.rebind()
    assert transport.sockets() == [raw]


async def test_closing_in_the_middle(transport) -> None:
    tell(transport, b"last")
    transport._deliver = lambda _batches: transport.close()
    transport.rebind()
    assert all(bound.udp.closed for bound in transport._bound)


async def test_what_is_queued_leaves_by_the_new_socket(transport) -> None:
    (to,) = transport.bound_sockets()
    udp = transport._bound[0].udp
    udp._enqueue(Datagrams(to, b"queued"))
    assert transport.rebind()
    await transport.heard.until(b"queued")
    await transport.flush()
