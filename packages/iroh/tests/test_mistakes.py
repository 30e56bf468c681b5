"""What newcomers do wrong, and what they are told: the class, a built-in base to catch it by, words
that say what to do, and the code where there is one. `message()` has the bindings' own words.
"""

import asyncio
import errno
import gc
import logging
import socket
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

import iroh
from iroh import (
    Connection,
    Endpoint,
    EndpointAddr,
    EndpointId,
    EndpointTicket,
    RelayConfig,
    RelayMode,
    SecretKey,
    TransportConfig,
    errors,
    load_secret_key,
    presets,
)
from iroh.protocols import Echo
from iroh_base import AddrParseError, KeyParsingError, RelayUrlError, TicketParsingError

from .conftest import ALPN, meet


@dataclass(frozen=True)
class Told:
    """What is raised, the built-in class that catches it, and what it says."""

    error: type[Exception]
    base: type[Exception]
    words: str
    code: int | None = None


def bind(**settings: Any) -> Any:
    return Endpoint.bind(presets.Minimal, **{"bind_addr": "127.0.0.1:0", **settings})


STRANGER = SecretKey(bytes(range(32))).public()
AT_REST: dict[str, tuple[Any, Told]] = {
    "a ticket of another program": (
        lambda: EndpointTicket.from_string("blobaafoo"),
        Told(TicketParsingError, ValueError, 'one word that begins with "endpoint"'),
    ),
    "half a ticket": (
        lambda: EndpointTicket.from_string(str(EndpointTicket(EndpointAddr(STRANGER)))[:-9]),
        Told(TicketParsingError, ValueError, "cut off or mistyped"),
    ),
    "a ticket as bytes": (
        lambda: EndpointTicket.from_string(b"endpoint"),  # type: ignore[arg-type]
        Told(TypeError, TypeError, "text, not bytes"),
    ),
    "an id that is none": (
        lambda: EndpointId.from_string("abc"),
        Told(KeyParsingError, ValueError, "64 hex or 52 base32 characters, this text has 3"),
    ),
    "an address without an id": (
        lambda: EndpointAddr("127.0.0.1:4433"),  # type: ignore[arg-type]
        Told(TypeError, TypeError, "expected an EndpointId.*EndpointId.from_string"),
    ),
    "one address instead of a list": (
        lambda: EndpointAddr(STRANGER, None, "127.0.0.1:4433"),
        Told(TypeError, TypeError, "a list, not a str"),
    ),
    "a name instead of an address": (
        lambda: EndpointAddr(STRANGER, None, ["localhost:4433"]),
        Told(AddrParseError, ValueError, 'it is "ip:port".*names are not looked up'),
    ),
    "a relay without a scheme": (
        lambda: RelayMode.custom_from_urls(["relay.example.org"]),
        Told(RelayUrlError, ValueError, "begins with https://"),
    ),
    "an address' relay without a scheme": (
        lambda: EndpointAddr(STRANGER, "relay.example.org"),
        Told(RelayUrlError, ValueError, "begins with https://"),
    ),
    "bind, and not awaited": (
        lambda: bind().id(),
        Told(AttributeError, AttributeError, "not bound yet: `await` it"),
    ),
}


@pytest.mark.filterwarnings("ignore:Endpoint.bind was never awaited:RuntimeWarning")
@pytest.mark.parametrize("name", AT_REST)
def test_told_at_once(name: str) -> None:
    act, told = AT_REST[name]
    with pytest.raises(told.error, match=told.words) as caught:
        act()
    assert isinstance(caught.value, told.base)
    gc.collect()


BINDING: dict[str, tuple[dict[str, Any], Told]] = {
    "an ALPN as text": (
        {"alpns": ["my/1"]},
        Told(TypeError, TypeError, "an ALPN is bytes, not str: 'my/1'"),
    ),
    "one ALPN instead of a list": (
        {"alpns": b"my/1"},
        Told(TypeError, TypeError, "alpns is a list of bytes"),
    ),
    "an ALPN of 256 bytes": (
        {"alpns": [b"x" * 256]},
        Told(iroh.IrohError, ValueError, "1 to 255 bytes long"),
    ),
    "the class of a handler": (
        {"protocols": {ALPN: Echo}},
        Told(TypeError, TypeError, r"did you mean Echo\(\)\?"),
    ),
    "no preset": ({"preset": "n0"}, Told(TypeError, TypeError, "presets.N0 is one")),
    "a key as text": (
        {"secret_key": "ab" * 32},
        Told(TypeError, TypeError, "SecretKey.from_string.*load_secret_key"),
    ),
    "a short key": ({"secret_key": b"ab"}, Told(iroh.IrohError, ValueError, "exactly 32 bytes")),
    "a relay mode as text": (
        {"relay_mode": "disabled"},
        Told(TypeError, TypeError, r"RelayMode.disabled\(\), RelayMode.custom_from_urls"),
    ),
    "no port": ({"bind_addr": "127.0.0.1"}, Told(AddrParseError, ValueError, 'it is "ip:port"')),
    "a port alone": ({"bind_addr": 4433}, Told(TypeError, TypeError, "an address is text")),
    "an address of another machine": (
        {"bind_addr": "192.0.2.1:0"},
        Told(iroh.BindError, OSError, "choose another address"),
    ),
    "an option that there is not": ({"alpn": [ALPN]}, Told(TypeError, TypeError, "'alpn'")),
    "a hook that is none": ({"hooks": [print]}, Told(TypeError, TypeError, "EndpointHooks")),
}


async def bound(settings: dict[str, Any]) -> Endpoint:
    preset = settings.pop("preset", presets.Minimal)
    return await Endpoint.bind(preset, **{"bind_addr": "127.0.0.1:0", **settings})


@pytest.mark.parametrize("name", BINDING)
async def test_told_when_binding(name: str) -> None:
    settings, told = BINDING[name]
    with pytest.raises(told.error, match=told.words) as caught:
        await bound(dict(settings))
    assert isinstance(caught.value, told.base)


async def test_a_port_in_use() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        addr = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match="port 0 takes any free one") as caught:
            await bound({"bind_addr": addr})
    assert isinstance(caught.value, iroh.BindError)
    assert caught.value.errno == errno.EADDRINUSE


def test_a_key_file_that_others_read(tmp_path) -> None:
    load_secret_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        load_secret_key(tmp_path / "key")


# -- dialling, and using what was dialled ----------------------------------------------------------

OFFLINE = EndpointAddr(STRANGER, None, ["127.0.0.1:9"])
IMPATIENT = TransportConfig(max_idle_timeout=0.2, initial_rtt=0.01)
DIALLING: dict[str, tuple[Any, Told]] = {
    "oneself": (
        lambda use: use.client.connect(use.client.addr(), ALPN),
        Told(iroh.ConnectError, ConnectionError, "ourself"),
    ),
    "an id of which nothing is known": (
        lambda use: use.client.connect(STRANGER, ALPN),
        Told(iroh.LookupFailedError, ConnectionError, "add_address.*presets.N0"),
    ),
    "an id as text": (
        lambda use: use.client.connect(str(STRANGER), ALPN),
        Told(TypeError, TypeError, "EndpointId.from_string"),
    ),
    "a ticket": (
        lambda use: use.client.connect(EndpointTicket(use.server.addr()), ALPN),
        Told(TypeError, TypeError, r"ticket.endpoint_addr\(\)"),
    ),
    "with the ALPN as text": (
        lambda use: use.client.connect(use.server.addr(), "my/1"),
        Told(TypeError, TypeError, "an ALPN is bytes"),
    ),
    "with an ALPN that the peer does not speak": (
        lambda use: use.client.connect(use.server.addr(), b"other/1"),
        Told(iroh.ConnectError, ConnectionError, r"does not speak b'other/1'", 0x178),
    ),
    "a peer that accepts nothing": (
        lambda use: use.server.connect(use.client.addr(), ALPN),
        Told(iroh.ConnectError, ConnectionError, "accepts no ALPN", 2),
    ),
    "a peer that is offline": (
        lambda use: use.client.connect(OFFLINE, ALPN, transport_config=IMPATIENT),
        Told(iroh.ConnectTimeoutError, TimeoutError, r"no answer.*tried 127.0.0.1:9"),
    ),
    "with a closed endpoint": (
        lambda use: use.closed.connect(use.server.addr(), ALPN),
        Told(iroh.EndpointClosedError, ConnectionError, "the endpoint is closed"),
    ),
    "a relay without a scheme, at run time": (
        lambda use: use.relayed.insert_relay(RelayConfig(url="relay.example.org")),
        Told(RelayUrlError, ValueError, "begins with https://"),
    ),
}


@pytest.mark.parametrize("name", DIALLING)
async def test_told_when_dialling(bind, name: str) -> None:
    act, told = DIALLING[name]
    server, client, closed = await bind(alpns=[ALPN]), await bind(), await bind()
    relayed = await bind(relay_mode=RelayMode.custom_from_urls([]))
    await closed.close()

    async def accept() -> None:
        async for incoming in server.incoming():
            try:
                await incoming
            except iroh.ConnectError as error:
                failed.append(str(error))

    failed: list[str] = []
    accepting = asyncio.create_task(accept())
    with pytest.raises(told.error, match=told.words) as caught:
        await act(SimpleNamespace(server=server, client=client, closed=closed, relayed=relayed))
    assert isinstance(caught.value, told.base)
    assert getattr(caught.value, "code", None) == told.code
    await server.close()
    await accepting
    assert all("none of our ALPNs" in text for text in failed)
    assert bool(failed) == (told.code == 0x178)


async def read_twice(conn: Connection, recv: Any) -> None:
    await recv.read_to_end(100)
    await recv.read_to_end(100)


async def write_after_finish(conn: Connection, recv: Any) -> None:
    send = await conn.open_uni()
    await send.finish()
    await send.write_all(b"more")


async def finish_twice(conn: Connection, recv: Any) -> None:
    send = await conn.open_uni()
    await send.finish()
    await send.finish()


async def write_text(conn: Connection, recv: Any) -> None:
    await (await conn.open_uni()).write_all("text")  # type: ignore[arg-type]


async def use_after_close(conn: Connection, recv: Any) -> None:
    conn.close(3, b"enough")
    await conn.open_bi()


async def datagram_after_close(conn: Connection, recv: Any) -> None:
    conn.close(3, b"enough")
    conn.send_datagram(b"x")


async def close_with_text(conn: Connection, recv: Any) -> None:
    conn.close(3, "enough")  # type: ignore[arg-type]


async def large_datagram(conn: Connection, recv: Any) -> None:
    conn.send_datagram(bytes(5000))


OVER = "it was finished, reset, stopped or read to its end before"
USING: dict[str, tuple[Any, Told]] = {
    "reading twice": (read_twice, Told(iroh.StreamError, Exception, OVER)),
    "reading more than is allowed": (
        lambda _conn, recv: recv.read_to_end(3),
        Told(
            iroh.ReadTooLongError, ValueError, "limit of 3 bytes; allow more, or read it in parts"
        ),
    ),
    "reading exactly too much": (
        lambda _conn, recv: recv.read_exact(50),
        Told(iroh.FinishedEarlyError, EOFError, "ended after 10 of 50 bytes"),
    ),
    "writing after finish": (write_after_finish, Told(iroh.StreamError, Exception, OVER)),
    "finishing twice": (finish_twice, Told(errors.ClosedError, Exception, OVER)),
    "writing text": (write_text, Told(TypeError, TypeError, r"text.encode\(\)")),
    "a reason as text": (close_with_text, Told(TypeError, TypeError, r"text.encode\(\)")),
    "a datagram that is too large": (
        large_datagram,
        Told(iroh.DatagramError, Exception, r"5000 bytes is too large: \d+ fit"),
    ),
    "a stream on what we closed": (
        use_after_close,
        Told(iroh.ConnectionLostError, ConnectionError, "closed on this side", 3),
    ),
    "a datagram on what we closed": (
        datagram_after_close,
        Told(errors.DatagramLostError, ConnectionError, "closed on this side", 3),
    ),
}


@pytest.mark.parametrize("name", USING)
async def test_told_when_using(bind, name: str) -> None:
    act, told = USING[name]
    server, client = await bind(alpns=[ALPN]), await bind()
    conn, accepted = await meet(client, server)
    async with await accepted.open_uni() as send:
        await send.write_all(b"0123456789")
    recv = await conn.accept_uni()
    with pytest.raises(told.error, match=told.words) as caught:
        await act(conn, recv)
    assert isinstance(caught.value, told.base)
    assert getattr(caught.value, "code", None) == told.code


async def test_a_peer_that_closes_says_code_and_reason(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    conn, accepted = await meet(client, server)
    send = await accepted.open_uni()
    await send.write_all(b"x")
    recv = await conn.accept_uni()
    conn.close(7, b"go away")
    await accepted.closed()
    for act in (accepted.open_bi, accepted.read_datagram, lambda: send.write_all(b"y")):
        with pytest.raises(ConnectionError, match=r"closed by peer: go away \(code 7\)") as caught:
            await act()
        error: Any = caught.value
        assert (error.code, error.reason.reason) == (7, b"go away")
    assert await recv.read(1) == b"x"


def test_a_bind_that_nobody_awaits_is_told() -> None:
    with pytest.warns(RuntimeWarning, match="Endpoint.bind was never awaited"):
        bind()


async def test_waiting_for_a_relay_where_there_is_none(bind, caplog) -> None:
    endpoint = await bind()
    with caplog.at_level(logging.WARNING):
        waiting = asyncio.create_task(endpoint.online())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
    assert "relays are disabled" in caplog.text


async def test_adding_a_relay_where_relays_are_disabled(bind, caplog) -> None:
    endpoint = await bind()
    await endpoint.insert_relay(RelayConfig(url="https://relay.example.org"))
    assert "RelayMode.custom(RelayMap.empty())" in caplog.text
    assert not await endpoint.remove_relay("https://relay.example.org")


async def test_hints_are_not_in_the_words_of_the_bindings(bind) -> None:
    client = await bind()
    with pytest.raises(iroh.LookupFailedError) as caught:
        await client.connect(STRANGER, ALPN)
    assert caught.value.message() == "No address lookup configured"
    assert str(caught.value) == f"{caught.value.message()}; {caught.value.hint}"
