"""The three protocols against gateways on loopback: good ones, broken ones, hostile ones."""

import asyncio
import itertools
import os

import pytest

from iroh.portmap import Router
from iroh.portmap.errors import BadAnswerError, NoAnswerError, PortmapError, RefusedError
from iroh.portmap.protocols import NatPmp, Pcp
from iroh.portmap.upnp import Upnp
from iroh.portmap.xml import MAX_BYTES
from iroh_base import SocketAddr

from .gateways import HERE, udp_gateway, upnp_gateway
from .test_texts import described


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    """Questions that stay unanswered must not take two seconds each."""
    monkeypatch.setattr("iroh.portmap.udp_query.WAITS", (0.02, 0.02))
    monkeypatch.setattr("iroh.portmap.upnp.SEARCH_TIMEOUT", 0.05)
    monkeypatch.setattr("iroh.portmap.upnp.HTTP_TIMEOUT", 5.0)


@pytest.fixture
async def udp():
    async with udp_gateway() as gateway:
        yield gateway


@pytest.fixture
async def upnp():
    async with upnp_gateway() as gateway:
        yield gateway


def nat_pmp(gateway) -> NatPmp:
    return NatPmp(HERE, gateway.port)


def pcp(gateway) -> Pcp:
    return Pcp(HERE, os.urandom, gateway.port)


def igd(gateway) -> Upnp:
    ports = itertools.count()
    group = ("127.0.0.1", gateway.port)
    return Upnp(HERE, lambda _below: next(ports), group, gateway.port)


# -- by UDP ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [nat_pmp, pcp])
async def test_a_mapping_from_its_beginning_to_its_end(udp, make) -> None:
    protocol = make(udp)
    await protocol.probe()
    udp.taken.add(4567)
    mapping = await protocol.map(4567, None)
    assert mapping.external == ("203.0.113.1", 4568)
    assert mapping.lifetime in (3600, 7200)
    assert (await protocol.map(4567, mapping.external)).external == mapping.external
    assert await protocol.check(mapping)
    await protocol.release(mapping)
    await udp.released.wait()
    assert not udp.mapped


@pytest.mark.parametrize("make", [nat_pmp, pcp])
async def test_another_external_address_is_noticed(udp, make) -> None:
    protocol = make(udp)
    mapping = await protocol.map(4567, None)
    udp.ip = "203.0.113.2"
    assert not await protocol.check(mapping)


@pytest.mark.parametrize("make", [nat_pmp, pcp])
async def test_a_gateway_that_forgot_is_told_again(udp, make) -> None:
    protocol = make(udp)
    mapping = await protocol.map(4567, None)
    udp.mapped.clear()
    assert await protocol.check(mapping)
    assert udp.mapped == {4567: 4567}
    udp.mapped.clear()
    udp.taken.add(4567)
    assert not await protocol.check(mapping)


@pytest.mark.parametrize("make", [nat_pmp, pcp])
async def test_a_lost_question_is_asked_again(udp, make) -> None:
    good, turns = udp.good, iter((False, True, True, True, True))
    udp.answers = lambda data: good(data) if next(turns) else []
    await make(udp).probe()
    assert len(udp.requests) == 2


@pytest.mark.parametrize("make", [nat_pmp, pcp])
async def test_silence(udp, make) -> None:
    udp.answers = lambda _data: []
    with pytest.raises(NoAnswerError, match="no answer from 127"):
        await make(udp).probe()
    assert len(udp.requests) == 2


async def test_nobody_listens(udp) -> None:
    udp.transport.close()
    await asyncio.sleep(0)
    with pytest.raises(NoAnswerError):
        await nat_pmp(udp).probe()
    nowhere = NatPmp(Router("127.0.0.1", "192.0.2.77"))  # not an address of ours
    with pytest.raises(NoAnswerError, match="no way to"):
        await nowhere.probe()


async def test_a_gateway_of_the_older_protocol(udp) -> None:
    udp.pcp = False
    with pytest.raises(RefusedError, match="only NAT-PMP"):
        await pcp(udp).probe()
    await nat_pmp(udp).probe()


async def test_answers_to_other_questions_are_passed_over(udp) -> None:
    good = udp.good

    def confuse(data: bytes) -> list[bytes]:
        (right,) = good(data)
        wrong = bytearray(right)
        if data[0] == 2 and data[1] == 1:
            wrong[24] ^= 1  # another's nonce
        elif data[0] == 0 and data[1] == 1:
            wrong[9] ^= 1  # another's port
        return [bytes(wrong)] * 3 + [right] if wrong != right else [right]

    udp.answers = confuse
    assert (await pcp(udp).map(4567, None)).external.port == 4567
    assert (await nat_pmp(udp).map(4567, None)).external.port == 4567


@pytest.mark.parametrize("make", [nat_pmp, pcp])
@pytest.mark.parametrize("answer", [b"", b"\0", b"\xff" * 60, bytes(1500), b"\2\x81" + bytes(70)])
async def test_nonsense_is_an_error(udp, make, answer: bytes) -> None:
    udp.answers = lambda _data: [answer]
    with pytest.raises(PortmapError):
        await make(udp).map(4567, None)


@pytest.mark.parametrize("make", [nat_pmp, pcp])
@pytest.mark.parametrize("ip", ["0.0.0.0", "127.0.0.1", "255.255.255.255"])
async def test_an_external_address_that_cannot_be(udp, make, ip: str) -> None:
    udp.ip = ip
    with pytest.raises(BadAnswerError, match="no external address"):
        await make(udp).map(4567, None)


@pytest.mark.parametrize("make", [nat_pmp, pcp])
async def test_a_mapping_that_is_over_at_once(udp, make) -> None:
    udp.lifetime = 0
    with pytest.raises(BadAnswerError, match="without a lifetime"):
        await make(udp).map(4567, None)


async def test_a_flood_of_answers_is_bounded(udp) -> None:
    udp.answers = lambda data: [*udp.good(data), *[b"\0\x81\0\0" + bytes(12)] * 500]
    await nat_pmp(udp).probe()


# -- by UPnP -----------------------------------------------------------------------------------


async def test_upnp_from_its_beginning_to_its_end(upnp) -> None:
    protocol = igd(upnp)
    await protocol.probe()
    await protocol.probe()  # remembered
    assert upnp.searches <= 2
    mapping = await protocol.map(4567, None)
    assert mapping.external == ("203.0.113.1", 4567)
    assert b"<NewInternalClient>127.0.0.1</NewInternalClient>" in upnp.mapped["4567"]
    assert b"<NewLeaseDuration>7200</NewLeaseDuration>" in upnp.mapped["4567"]
    assert await protocol.check(mapping)
    upnp.ip = "203.0.113.2"
    assert not await protocol.check(mapping)
    upnp.ip = "203.0.113.1"
    await protocol.release(mapping)
    assert not upnp.mapped
    assert not await protocol.check(mapping)
    with pytest.raises(RefusedError, match="714"):
        await protocol.release(mapping)


async def test_taken_ports_and_odd_routers(upnp) -> None:
    protocol = igd(upnp)
    upnp.faults = [718, 501]
    assert (await protocol.map(4567, None)).external.port == 32_769
    upnp.faults = [725]
    mapping = await protocol.map(4567, SocketAddr("203.0.113.1", 80))
    assert (mapping.external.port, mapping.lifetime) == (80, 0)
    upnp.faults = [724]
    assert (await protocol.map(4567, SocketAddr("203.0.113.1", 80))).external.port == 4567
    upnp.faults = [718] * 9
    with pytest.raises(NoAnswerError, match="were taken"):
        await protocol.map(4567, None)
    assert upnp.calls.count("AddPortMapping") == 3 + 2 + 2 + 4
    upnp.faults = [402]
    with pytest.raises(RefusedError, match="402"):
        await protocol.map(4567, None)


async def test_only_the_gateway_is_followed(upnp, monkeypatch) -> None:
    for location in (
        "http://192.0.2.66/desc.xml",
        "http://localhost:1/desc.xml",
        "https://127.0.0.1/desc.xml",
        "http://user@127.0.0.1/desc.xml",
        "http://127.0.0.1.evil.example/d",
        "file:///etc/passwd",
        "http://[::1",
    ):
        upnp.location = location
        with pytest.raises(NoAnswerError, match="no gateway device"):
            await igd(upnp).probe()
    upnp.location = None
    upnp.description = described(url="http://192.0.2.66/ctl")
    with pytest.raises(BadAnswerError, match="does not lead to the gateway"):
        await igd(upnp).probe()
    upnp.description = described(base="http://192.0.2.66/")
    with pytest.raises(BadAnswerError, match="does not lead to the gateway"):
        await igd(upnp).probe()
    upnp.raw = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.66/\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(BadAnswerError, match="status 302"):
        await igd(upnp).probe()


async def test_a_search_answered_by_somebody_else(upnp) -> None:
    stranger = Upnp(
        Router("127.0.0.9", "127.0.0.1"), lambda _: 0, ("127.0.0.1", upnp.port), upnp.port
    )
    with pytest.raises(NoAnswerError, match="no gateway device"):
        await stranger.probe()
    nowhere = Upnp(Router("127.0.0.1", "192.0.2.77"), lambda _: 0)
    with pytest.raises(NoAnswerError, match="no search"):
        await nowhere.probe()


async def test_answers_that_are_too_long_or_nonsense(upnp) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
    upnp.raw = head + b"<" * (MAX_BYTES + 70_000)
    with pytest.raises(BadAnswerError, match="more than"):
        await igd(upnp).probe()
    squeezed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi"
    for raw in (b"\0\1\2\3", squeezed):
        upnp.raw = raw
        with pytest.raises(PortmapError):
            await igd(upnp).probe()


async def test_a_description_that_never_ends(upnp, monkeypatch) -> None:
    monkeypatch.setattr("iroh.portmap.upnp.HTTP_TIMEOUT", 0.1)
    upnp.raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<root>"

    async def serve(_reader, writer) -> None:
        writer.write(upnp.raw)
        await stalled.wait()
        writer.close()

    stalled = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upnp.location = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(NoAnswerError, match="no answer within"):
        await igd(upnp).probe()
    stalled.set()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("ip", ["", "not an address", "2001:db8::1", "0.0.0.0"])
async def test_an_external_address_that_is_none(upnp, ip: str) -> None:
    upnp.ip = ip
    with pytest.raises(BadAnswerError):
        await igd(upnp).map(4567, None)
