"""Misuse whatever `iroh` this interpreter imports, and write as JSON what it says to it.

    {"bad address": {"raises": ["IrohError", "Exception"], "kind": "INTERNAL", "message": "..."},
     "stats as text": {"gives": "ConnectionStats(...)"}}

`raises` names the exception and its bases: all that an `except` may name. Runs on its own, in the
environment of the bindings and in ours. No network is needed, and nothing waits for a timeout.
"""

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import iroh
from iroh import (
    ConnectionStats,
    Endpoint,
    EndpointAddr,
    EndpointBuilder,
    EndpointId,
    EndpointOptions,
    EndpointTicket,
    IncomingAddr,
    IncomingLocalAddr,
    IrohErrorKind,
    PathEvent,
    RelayConfig,
    RelayMap,
    RelayMode,
    SecretKey,
    Signature,
    preset_minimal,
)

ALPN = b"surface/0"
KEY = SecretKey.from_bytes(bytes([7]) * 32)
STATS = {"udp_tx_datagrams": 1, "udp_tx_bytes": 2, "udp_rx_datagrams": 3, "udp_rx_bytes": 4} | {
    "lost_packets": 5,
    "lost_bytes": 6,
}
MISUSED: Any = iroh
"""The same without types: much of this is wrong on purpose."""


def values() -> dict[str, Callable[[], object]]:
    """What needs no endpoint."""
    key, addr = KEY.public(), EndpointAddr(KEY.public(), None, ["127.0.0.1:1"])
    anything: Any = object()
    return {
        "id of 3 bytes": lambda: EndpointId.from_bytes(b"abc"),
        "id that is no point": lambda: EndpointId.from_bytes(bytes([2]) + bytes(31)),
        "id of bad text": lambda: EndpointId.from_string("nonsense"),
        "id of a number": lambda: EndpointId.from_string(anything),
        "id by keyword": lambda: str(EndpointId.from_string(s=str(key))),
        "secret of 3 bytes": lambda: SecretKey.from_bytes(b"abc"),
        "secret by keyword": lambda: SecretKey.from_bytes(bytes=bytes(32)).to_bytes().hex(),
        "signature of 3 bytes": lambda: Signature.from_bytes(b"abc"),
        "a wrong signature": lambda: key.verify(b"x", KEY.sign(b"y")),
        "ticket of bad text": lambda: EndpointTicket.from_string("nonsense"),
        "ticket of bad base32": lambda: EndpointTicket.from_string("endpoint!!"),
        "ticket": lambda: str(EndpointTicket.from_addr(addr)),
        "address as text": lambda: str(addr),
        "relay URL": lambda: RelayMap.from_urls(["no url"]),
        "relay of a number": lambda: RelayMap.empty().contains(anything),
        "relay port": lambda: RelayMap.empty().insert(
            RelayConfig(url="https://r.example", quic_port=70000)
        ),
        "relay map as text": lambda: str(RelayMap.from_urls(["https://r.example"])),
        "relay mode as text": lambda: str(RelayMode.custom_from_urls(["https://r.example"])),
        "relay config as text": lambda: str(RelayConfig(url="https://r.example")),
        "equal configs": lambda: RelayConfig(url="u") == RelayConfig(url="u"),
        "hash of a config": lambda: hash(RelayConfig(url="u")),
        "positional record": lambda: MISUSED.ConnectionStats(1, 2, 3, 4, 5, 6),
        "stats as text": lambda: str(ConnectionStats(**STATS)),
        "stats": lambda: ConnectionStats(**STATS) == ConnectionStats(**STATS),
        "a bare event": lambda: PathEvent(),
        "event as text": lambda: str(PathEvent.LAGGED(3)),
        "event": lambda: PathEvent.LAGGED(3) == PathEvent.LAGGED(missed=3),
        "event is": lambda: [
            PathEvent.LAGGED(3).is_lagged(),
            MISUSED.PathEvent.LAGGED(3).is_OPENED(),
        ],
        "an incoming address": lambda: str(IncomingAddr.IP("1.2.3.4:5")),
        "a local address": lambda: str(IncomingLocalAddr.IP(None)),
        "a bare address": lambda: IncomingAddr(),
        "builder: bad address": lambda: EndpointBuilder().bind_addr("nonsense"),
        "builder: bad key": lambda: EndpointBuilder().secret_key(b"abc"),
        "builder: alpns of a number": lambda: EndpointBuilder().alpns(anything),
        "options": lambda: EndpointOptions().preset,
        "positional options": lambda: MISUSED.EndpointOptions(anything),
        "callback error": lambda: issubclass(iroh.CallbackError.Error, iroh.CallbackError),
        "raised callback error": lambda: _raise(iroh.CallbackError.Error()),
        "error kinds": lambda: [kind.name for kind in IrohErrorKind],
        "a level": lambda: iroh.set_log_level(anything),
    }


def _raise(error: Exception) -> None:
    raise error


async def bound(**settings: Any) -> Endpoint:
    """Bind an endpoint on loopback."""
    settings.setdefault("preset", preset_minimal())
    settings.setdefault("bind_addr", "127.0.0.1:0")
    return await Endpoint.bind(EndpointOptions(**settings))


class BadPreset(iroh.Preset):
    """A preset that raises."""

    def apply(self, builder: EndpointBuilder) -> None:
        """Raise."""
        builder.bind_addr("nonsense")


async def binding(note: Callable[..., Any]) -> None:
    """What can be wrong with an endpoint before it is one."""
    await note("bind: bad address", bound(bind_addr="nonsense"))
    await note("bind: bad key", bound(secret_key=b"abc"))
    first = await bound()
    await note("bind: address in use", bound(bind_addr=first.bound_sockets()[0]))
    await first.close()
    builder = EndpointBuilder()
    builder.apply_minimal()
    await (await builder.bind()).close()
    await note("bind: builder twice", builder.bind())
    await note("bind as a task", asyncio.create_task(_bind_as_task()))


async def _bind_as_task() -> str:
    task = asyncio.create_task(Endpoint.bind(EndpointOptions(preset=preset_minimal())))
    await (await task).close()
    return "bound"


async def endpoints(note: Callable[..., Any]) -> None:
    """What can be asked of an endpoint in vain, and of a closed one."""
    endpoint = await bound(alpns=[ALPN])
    anything: Any = object()
    await note("connect to itself", endpoint.connect(endpoint.addr(), ALPN))
    await note("connect without ALPN", endpoint.connect(EndpointAddr(KEY.public(), None, []), b""))
    await note("connect nowhere", endpoint.connect(EndpointAddr(KEY.public(), None, []), ALPN))
    await note("pending to itself", endpoint.connect_pending(endpoint.addr(), ALPN))
    await note("connect to a number", endpoint.connect(anything, ALPN))
    await note("bad external address", endpoint.add_external_addr("nonsense"))
    await note("bad external removal", endpoint.remove_external_addr("nonsense"))
    await note("unknown external removal", endpoint.remove_external_addr("1.2.3.4:5"))
    await note("unknown remote", endpoint.remote_addr(SecretKey.generate().public()))
    await note("relay removal", endpoint.remove_relay("https://r.example"))
    await note("bad relay removal", endpoint.remove_relay("no url"))
    await note("callback of a number", lambda: endpoint.watch_addr(anything))
    await endpoint.close()
    await note("closed", lambda: endpoint.is_closed())
    await note("closed again", endpoint.close())
    await note("closed: accept", endpoint.accept_next())
    await note("closed: connect", endpoint.connect(EndpointAddr(KEY.public(), None, []), ALPN))
    await note("closed: alpns", lambda: endpoint.set_alpns([ALPN]))
    await note("closed: sockets", lambda: len(endpoint.bound_sockets()) > 0)


async def connections(note: Callable[..., Any]) -> None:
    """What can be asked of a connection and its streams in vain."""
    server, client = await bound(alpns=[ALPN]), await bound()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    incoming = await server.accept_next()
    assert incoming is not None
    accepting = await incoming.accept()
    await note("incoming twice", incoming.accept())
    await note("incoming refused late", incoming.refuse())
    await note("incoming retried late", incoming.retry())
    theirs, ours = await accepting.connect(), await dial
    await note("accepting twice", accepting.connect())
    await note("negative code", lambda: ours.close(-1, b""))
    await note("datagram too large", lambda: ours.send_datagram(bytes(100_000)))
    await note("datagram too large, waiting", ours.send_datagram_wait(bytes(100_000)))
    await note("datagram of a number", lambda: ours.send_datagram(MISUSED))
    await note("negative streams", lambda: ours.set_max_concurrent_bi_streams(-1))
    bi = await ours.open_bi()
    send, recv = bi.send(), bi.recv()
    await note("stream name", send.id())
    await note("priority", send.priority())
    await note("huge priority", send.set_priority(2**31))
    await note("negative reset", send.reset(-1))
    await note("negative read", recv.read(-1))
    await send.write_all(b"12345")
    await send.finish()
    await note("write after finish", send.write(b"x"))
    await note("finish twice", send.finish())
    answer = await theirs.accept_bi()
    await note("read too long", answer.recv().read_to_end(3))
    await answer.send().write_all(b"12")
    await answer.send().reset(9)
    await note("read of a reset stream", recv.read_exact(100))
    await note("stop of a reset stream", recv.stop(1))
    ours.close(3, b"bye")
    await note("closed connection", ours.open_bi())
    await note("reason", ours.closed())
    await note("reason at once", lambda: ours.close_reason())
    await note("peer's reason", theirs.closed())
    await note("peer's stream", theirs.open_uni())
    await note("peer's datagram", theirs.read_datagram())
    await note("write on a closed connection", answer.send().write(b"x"))
    await note("paths of a closed connection", lambda: len(ours.paths()))
    await client.close()
    await server.close()


async def main() -> dict[str, Any]:
    """Try everything."""
    MISUSED.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())
    told: dict[str, Any] = {}

    async def note(name: str, what: Any) -> None:
        try:
            got = what() if callable(what) else what
            if inspect.isawaitable(got):
                got = await asyncio.wait_for(got, 20)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what is looked for)
            told[name] = raised(error)
        else:
            plain = got is None or isinstance(got, bool | int | str | list)
            told[name] = {"gives": str(got) if isinstance(got, str) else got if plain else "?"}

    for name, what in values().items():
        await note(name, what)
    for group in binding, endpoints, connections:
        await group(note)
    return told


def raised(error: Exception) -> dict[str, Any]:
    """Tell an exception."""
    told: dict[str, Any] = {"raises": [base.__name__ for base in type(error).__mro__][:-1]}
    if isinstance(error, iroh.IrohError):
        told |= {"kind": error.kind().name, "message": error.message()}
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
