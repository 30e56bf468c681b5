"""An evil peer: an honest engine up to some point, and then whatever its keys can seal.

              evil ------ frames, packets, parameters, TLS messages ------> victim
    friend (another peer of the same victim, which must not notice) ------> victim

All in virtual time, without sockets. Nothing here decides what is right: the tests do.
"""

import gc
import random
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from iroh.quic import make as make_module
from iroh.quic import packet as pk
from iroh.quic import varint
from iroh.quic.api import Incoming, ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.connection import Connection
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.errors import ConnectionClosed, TransportError
from iroh.quic.events import Drained
from iroh.quic.frames import HANDSHAKE, INITIAL
from iroh.quic.keys import (
    AES_128_GCM_SHA256,
    HeaderKey,
    PacketKey,
    initial_secrets,
    seal_packet,
)
from iroh.quic.limits import Limits
from iroh.quic.params import TransportParameters
from iroh_base import SecretKey, SocketAddr

ALPN = b"hostile/1"
VICTIM, EVIL, FRIEND = (SocketAddr(f"192.0.2.{n}", 4000 + n) for n in (1, 2, 3))
ELSEWHERE = SocketAddr("198.51.100.9", 9)
"""An address where nobody listens: what goes there is only counted."""
STEP = 0.001
"""Seconds that pass while datagrams are on their way."""
MAX_CPU = 1.0
"""Seconds of processor time that one hostile case may cost (reliability.md D 8)."""
MAX_MEMORY = 10 << 20
"""Bytes that one hostile case may hold (the same)."""
EPOCH_KIND = {INITIAL: pk.INITIAL, HANDSHAKE: pk.HANDSHAKE}


def vi(*values: int) -> bytes:
    """Varints, one behind the other."""
    return b"".join(map(varint.encode, values))


def key_of(address: SocketAddr) -> SecretKey:
    return SecretKey.from_bytes(bytes([address.port & 0xFF]) * 32)


class Node:
    """One endpoint of the network and its connections.

    holds: attempts are left to the test instead of being accepted.
    """

    def __init__(
        self, net: "Net", address: SocketAddr, transport: TransportConfig, limits: Limits | None
    ) -> None:
        self.net, self.address = net, address
        self.config = ServerConfig([ALPN], transport)
        rng = random.Random(address.port).randbytes
        self.endpoint = Endpoint(
            *(make_module.make_connection, key_of(address), self.config, transport),
            rng=rng,
            limits=limits,
        )
        self.connections: list[Connection] = []
        self.incoming: list[Incoming] = []
        self.holds = False
        self.told: Counter[type] = Counter()

    @property
    def dropped(self) -> Counter[str]:
        return self.endpoint.dropped

    def dial(self, other: "Node") -> Connection:
        peer = key_of(other.address).public().to_bytes()
        connection: Any = self.endpoint.connect(other.address, peer, [ALPN], self.net.now)
        self.connections.append(connection)
        return connection

    def take(self, batches: Iterable[Datagrams]) -> None:
        received = self.endpoint.receive(list(batches), self.net.now)
        for incoming in received.incoming:
            if self.holds:
                self.incoming.append(incoming)
            else:
                self.accept(incoming)

    def accept(self, incoming: Incoming) -> Connection:
        connection: Any = incoming.accept(self.config, self.net.now)
        self.connections.append(connection)
        return connection

    def work(self) -> list[Datagrams]:
        """Do what is due; give what is to be sent."""
        now, out = self.net.now, []
        for connection in list(self.connections):
            due = connection.next_timeout()
            if due is not None and due <= now:
                connection.handle_timeout(now)
            out += connection.transmit(now)
            events = connection.events()
            self.told.update(map(type, events))
            if any(isinstance(event, Drained) for event in events):
                self.connections.remove(connection)
                self.endpoint.forget(connection)
        return out + self.endpoint.transmit()

    def next_timeout(self) -> float:
        due = [connection.next_timeout() for connection in self.connections]
        return min((at for at in due if at is not None), default=float("inf"))


class Net:
    """The nodes, and the bytes that went to each address."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.nodes: dict[Any, Node] = {}
        self.bytes_to: Counter[Any] = Counter()
        self.mute: set[Any] = set()

    def add(
        self,
        address: SocketAddr,
        transport: TransportConfig | None = None,
        limits: Limits | None = None,
    ) -> Node:
        node = self.nodes[address] = Node(self, address, transport or TransportConfig(), limits)
        return node

    def settle(self, rounds: int = 1000) -> None:
        """Let everybody talk until nobody has anything to say."""
        for _ in range(rounds):
            self.now += STEP
            moved = False
            for address, node in self.nodes.items():
                if address not in self.mute:
                    moved = self.carry(address, node.work()) or moved
            if not moved:
                return
        raise AssertionError("they never stop talking")

    def carry(self, source: SocketAddr, batches: list[Datagrams]) -> bool:
        for batch in batches:
            self.bytes_to[batch.remote] += len(batch.data)
            target = self.nodes.get(batch.remote)
            if target is not None:
                target.take([Datagrams(source, batch.data, batch.segment_size, batch.ecn)])
        return bool(batches)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.settle()
        while self.now < end:
            live = [node for at, node in self.nodes.items() if at not in self.mute]
            following = min(node.next_timeout() for node in live)
            if following >= end:
                self.now = end
                return
            self.now = max(self.now, following)
            self.settle()


class Sealer:
    """Makes packets with the keys of the evil peer, whatever they say."""

    evil: Connection

    def seal(
        self,
        payload: bytes,
        *,
        path_id: int = 0,
        bits: int = 0,
        pn: int | None = None,
        cid: bytes | None = None,
    ) -> bytes:
        """A 1-RTT packet of the evil peer's. bits: set in its first byte."""
        p = self.evil._p
        path = p.paths.get(path_id) or p.paths.get(0)
        if pn is None:
            pn = path.recovery.next_pn()
        cid = cid or p.mp.remote_cids.active(path_id) or p.mp.remote_cids.active(0)
        header = pk.short_header(p.keys.send_bit | bits, cid, pn, 4)
        return seal_packet(p.keys.send, p.keys.send_hp, header, pn, payload, path_id)

    def seal_long(self, epoch: int, payload: bytes, *, bits: int = 0, size: int = 0) -> bytes:
        """An Initial or Handshake packet of the evil peer's, padded to `size` bytes."""
        p = self.evil._p
        level = p.levels[epoch]
        pn = level.recovery.next_pn()
        cids = (p.mp.remote_cids.active(0), p.source_cid)
        overhead = pk.long_overhead(EPOCH_KIND[epoch], *cids)
        payload += bytes(max(0, size - overhead - len(payload)))
        header = pk.long_header(EPOCH_KIND[epoch], *cids, pn, 4, len(payload))
        header = bytes((header[0] | bits,)) + header[1:]
        return seal_packet(*level.send_keys, header, pn, payload)


class Arena(Sealer, Net):
    """A victim, an evil peer and a friend of the victim's, connected or about to be.

    by_server: the evil peer is the server and the victim dials it.
    meet: wait until both have confirmed the handshake; else stop before the first answer.
    multipath: False: the evil client offers none.
    twist: see `twisted`; only for the evil peer.
    """

    victim: Connection

    def __init__(
        self,
        *,
        by_server: bool = False,
        meet: bool = True,
        transport: TransportConfig | None = None,
        limits: Limits | None = None,
        multipath: bool = True,
        twist: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.by_server, self.multipath = by_server, multipath
        self.victim_node = self.add(VICTIM, transport, limits)
        self.evil_node = self.add(EVIL)
        self.friend_node = self.add(FRIEND)
        self.friend = self.friend_node.dial(self.victim_node)
        self.settle()
        (self.friends_peer,) = self.victim_node.connections
        self.twist = twist or {}
        if not multipath:
            self.twist = {"params": offer_no_multipath}
        self.dial()
        if not by_server:
            self.accept()
        if meet:
            self.settle()
            self.sleep(1.0)
            assert self.evil._p.confirmed
            assert self.victim._p.confirmed

    def dial(self) -> None:
        """Let the client of the two send its first packet; nothing else yet."""
        if self.by_server:
            self.victim = self.victim_node.dial(self.evil_node)
            with twisted(**self.twist):
                self.carry(VICTIM, self.victim_node.work())
            self.evil = self.evil_node.connections[-1]
        else:
            with twisted(**self.twist):
                self.evil = self.evil_node.dial(self.victim_node)
        if not self.multipath:
            paths: Any = self.evil._p.paths
            paths.enable_multipath = lambda *_: None

    def accept(self) -> None:
        """Deliver the evil client's first flight: the victim has a connection then."""
        self.carry(EVIL, self.evil_node.work())
        self.victim = self.victim_node.connections[-1]

    # -- striking ------------------------------------------------------------------------------

    def throw(self, *packets: bytes, source: Any = EVIL, ecn: int = 0) -> None:
        """Let datagrams arrive at the victim."""
        self.victim_node.take([Datagrams(source, packet, 0, ecn) for packet in packets])
        self.adopt()

    def adopt(self) -> None:
        """Let packets to connection ids that we made up reach the evil peer too."""
        active = self.victim._p.mp.remote_cids.active(0)
        if active is not None and self.evil._p.confirmed:
            self.evil_node.endpoint.routes.register(self.evil, [(active, 0)])

    def closes(self, code: int, *payloads: bytes, **options: Any) -> None:
        """The payloads, each in a packet, end the connection with `code`, and the peer is told."""
        self.throw(*(self.seal(payload, **options) for payload in payloads))
        self.must_close(code)

    def must_close(self, code: int) -> None:
        reason = self.victim.close_reason
        assert isinstance(reason, TransportError), reason
        assert reason.code == code, reason
        self.settle()
        told = self.evil.close_reason
        assert isinstance(told, ConnectionClosed), told
        assert told.code == code, told
        self.must_serve_friend()

    def survives(self, *payloads: bytes, **options: Any) -> None:
        """The payloads do no harm: the connection goes on to work."""
        self.throw(*(self.seal(payload, **options) for payload in payloads))
        self.must_live()

    def must_live(self) -> None:
        self.settle()
        assert self.victim.close_reason is None, self.victim.close_reason
        assert self.evil.close_reason is None, self.evil.close_reason
        self.echo(self.evil, self.victim)
        self.must_serve_friend()

    def must_serve_friend(self) -> None:
        assert not self.victim_node.dropped["internal error"]
        self.echo(self.friend, self.friends_peer)

    def echo(self, one: Connection, other: Connection) -> None:
        stream_id = one.open_stream(True)
        assert stream_id is not None
        one.write(stream_id, b"ping")
        one.finish(stream_id)
        self.settle()
        assert other.read(stream_id, 100) == b"ping"
        assert other.read(stream_id, 100) is None
        other.write(stream_id, b"pong")
        other.finish(stream_id)
        self.settle()
        assert one.read(stream_id, 100) == b"pong"
        assert one.read(stream_id, 100) is None


# -- evil handshakes ---------------------------------------------------------------------------


def offer_no_multipath(params: TransportParameters) -> None:
    params.initial_max_path_id = None


def twisted(
    params: Callable[[TransportParameters], None] | None = None,
    raw_params: Callable[[bytes], bytes] | None = None,
    tls: Callable[[int, bytes], bytes] | None = None,
    alpns: list[bytes] | None = None,
) -> Any:
    """While it lasts, connections are made with twisted transport parameters or TLS messages.

    params: changes them. raw_params: changes them encoded. tls: (epoch, CRYPTO bytes) -> others.
    """
    own_params, handshake = make_module.own_params, make_module.Handshake

    class Twisted(TransportParameters):
        def encode(self, rng: Any, grease: bool = True) -> bytes:
            if params is not None:
                params(self)
            data = super().encode(rng, grease)
            return raw_params(data) if raw_params is not None else data

    def own_twisted(*arguments: Any, **options: Any) -> TransportParameters:
        honest = own_params(*arguments, **options)
        return Twisted(**{name: getattr(honest, name) for name in honest.NAMES})

    class Liar(handshake):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            if alpns is not None:
                arguments = (*arguments[:2], alpns, *arguments[3:])
            super().__init__(*arguments, **options)

        def take(self, epoch: int) -> bytes:
            data = super().take(epoch)
            return tls(epoch, data) if tls is not None and data else data

    return mock.patch.multiple(make_module, own_params=own_twisted, Handshake=Liar)


def messages(data: bytes) -> list[bytes]:
    """Cut TLS handshake messages apart."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[1:4], "big")
        found.append(data[:end])
        data = data[end:]
    return found


def with_parameters(change: Callable[[bytes], bytes]) -> dict[str, Any]:
    """Twist: the quic_transport_parameters extension of the ClientHello, whole, is changed."""

    def twist(epoch: int, data: bytes) -> bytes:
        if epoch != INITIAL:
            return data
        (hello,) = messages(data)
        at = 4 + 2 + 32 + 1
        at += 2 + int.from_bytes(hello[at : at + 2], "big")
        at += 1 + hello[at]
        body, kept = hello[at + 2 :], b""
        while body:
            end = 4 + int.from_bytes(body[2:4], "big")
            extension, body = body[:end], body[end:]
            kept += change(extension) if extension[:2] == b"\x00\x39" else extension
        whole = hello[4:at] + len(kept).to_bytes(2, "big") + kept
        return hello[:1] + len(whole).to_bytes(3, "big") + whole

    return {"tls": twist}


def initial(
    dcid: bytes, scid: bytes, payload: bytes, *, pn: int = 0, size: int = 1200, token: bytes = b""
) -> bytes:
    """A client's Initial that belongs to no connection."""
    secret, _ = initial_secrets(dcid)
    overhead = pk.long_overhead(pk.INITIAL, dcid, scid, token)
    payload += bytes(max(0, size - overhead - len(payload)))
    header = pk.long_header(pk.INITIAL, dcid, scid, pn, 4, len(payload), token)
    key, hp = PacketKey(AES_128_GCM_SHA256, secret), HeaderKey(AES_128_GCM_SHA256, secret)
    return seal_packet(key, hp, header, pn, payload)


def client_hello(seed: int = 1) -> bytes:
    """The first Initial of a client that nobody hears of again."""
    net = Net()
    node = net.add(ELSEWHERE)
    node.dial(net.add(VICTIM))
    (batch,) = node.work()
    return batch.data


# -- budgets -----------------------------------------------------------------------------------

_NO_PART = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)


def held_bytes(*roots: Any) -> int:
    """Bytes of everything that can be reached from some objects, code and classes aside."""
    seen: set[int] = set()
    total, layer = 0, list(roots)
    while layer:
        fresh = {id(item): item for item in layer if id(item) not in seen}
        seen.update(fresh)
        parts = [item for item in fresh.values() if not isinstance(item, _NO_PART)]
        total += sum(map(sys.getsizeof, parts))
        layer = gc.get_referents(*parts)
    return total


@contextmanager
def budget(node: Node, seconds: float = MAX_CPU, memory: int = MAX_MEMORY) -> Iterator[None]:
    """Fail when this costs too much processor time, or if the node holds too much more after it."""
    held = held_bytes(node.endpoint, node.connections)
    gc.collect()
    before = time.process_time()
    yield
    used = time.process_time() - before
    held = held_bytes(node.endpoint, node.connections) - held
    assert used <= seconds, f"{used:.2f} s of processor time"
    assert held <= memory, f"{held / 1e6:.1f} MB more held"
