"""Mutated bytes against every decoder and the engine: nothing but our own errors may come out.

    PYTHONPATH=tools python -m reliability.hostile_bytes [--count 1000000] [--seed N] [--write]

    target       share  what is mutated                            may raise
    ---------    -----  -----------------------------------------  --------------------------
    frames        32 %  QUIC frames of every type                  PeerError
    headers       18 %  long headers, Retry, version negotiation   PacketError
    parameters    15 %  transport parameters of both sides         PeerError, code 0x8
    relay         18 %  relay frames both ways, handshake          RelayProtocolError
    datagrams      4 %  datagrams of an honest connection          nothing
    payloads       2 %  sealed payloads of an authentic peer       nothing: it closes
    tls            1 %  TLS messages of both sides                 PeerError
    home           2 %  netlink, NAT-PMP, PCP, UPnP                NetlinkError, PortmapError
    tickets, pkarr, dns: 8 %, see hostile_formats.py

Each target prints inputs, foreign exceptions, time and the slowest input. The exit code is 1 when
a foreign exception came out; the input that did it is printed.
"""

import argparse
import contextlib
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from iroh.quic import frames as f
from iroh.quic import packet as pk
from iroh.quic import varint
from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.connection import Connection
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.errors import TRANSPORT_PARAMETER_ERROR, PeerError
from iroh.quic.events import Drained
from iroh.quic.keys import seal_packet
from iroh.quic.make import make_connection
from iroh.quic.own_params import own_params
from iroh.quic.params import TransportParameters
from iroh.quic.strangers import parse_first
from iroh.quic.tls import HANDSHAKE, INITIAL, ONE_RTT, Handshake
from iroh_base import SecretKey, SocketAddr
from iroh_relay.protos import frames as rf
from iroh_relay.protos.errors import RelayProtocolError
from iroh_relay.protos.forward import inspect
from iroh_relay.protos.handshake import ClientHandshake, ServerHandshake
from iroh_relay.protos.versions import ProtocolVersion
from reliability import hostile_formats as formats
from reliability.hostile_home import decode_home, home_seeds
from reliability.hostile_web import decode_web, web_seeds

ALPN = b"fuzz/1"
KEYS = [SecretKey.from_bytes(bytes([n]) * 32) for n in (1, 2)]
ADDRESSES = [SocketAddr("192.0.2.1", 1), SocketAddr("192.0.2.2", 2)]
ADDRESS, ADDRESS_6 = SocketAddr("203.0.113.5", 5), SocketAddr("2001:db8::5", 5)
EDGES = [0, 1, 63, 64, 2**14 - 1, 2**14, 2**30, 2**32, 2**60 + 1, 2**62 - 1]
"""Numbers where varints, limits and bit widths turn over."""

Target = Callable[[bytes, random.Random], None]


# -- mutations ---------------------------------------------------------------------------------


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Change bytes once or a few times. Now and then they are all noise."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(100))
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        MUTATIONS[rng.randrange(len(MUTATIONS))](out, at, others, rng)
    return bytes(out)


def _flip(out: bytearray, at: int, _others: list[bytes], rng: random.Random) -> None:
    if at < len(out):
        out[at] ^= 1 << rng.randrange(8)


def _set(out: bytearray, at: int, _others: list[bytes], rng: random.Random) -> None:
    out[at : at + 1] = bytes((rng.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xFF)),))


def _cut(out: bytearray, at: int, _others: list[bytes], rng: random.Random) -> None:
    del out[at:]


def _remove(out: bytearray, at: int, _others: list[bytes], rng: random.Random) -> None:
    del out[at : at + rng.randrange(1, 9)]


def _insert(out: bytearray, at: int, _others: list[bytes], rng: random.Random) -> None:
    out[at:at] = rng.randbytes(rng.randrange(1, 9))


def _number(out: bytearray, at: int, _others: list[bytes], rng: random.Random) -> None:
    value = varint.encode(rng.choice(EDGES))
    out[at : at + rng.choice((0, 1, len(value)))] = value


def _double(out: bytearray, at: int, _others: list[bytes], rng: random.Random) -> None:
    out[at:at] = out[at : at + rng.randrange(1, 40)]


def _splice(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:
    out[at:] = rng.choice(others)


MUTATIONS = (_flip, _set, _cut, _remove, _insert, _number, _double, _splice)


# -- seeds and targets -------------------------------------------------------------------------


def frame_seeds() -> list[bytes]:
    """One of every QUIC frame, and then some."""
    cid, token = b"12345678", bytes(16)
    made: list[f.Frame] = [
        *(f.Padding(3), f.Ping(), f.HandshakeDone(), f.ImmediateAck(), f.NewToken(b"token")),
        *(f.Ack([(90, 99), (5, 7)], 8), f.Ack([(9, 9)], 0, 3, (1, 2, 3))),
        *(f.ResetStream(4, 7, 100), f.StopSending(4, 7), f.Crypto(5, b"crypto")),
        *(f.Stream(0, 0, b"data", True), f.Stream(8, 2**40, b"more", False)),
        *(f.MaxData(10**6), f.MaxStreamData(0, 10**6), f.MaxStreams(True, 200)),
        *(f.DataBlocked(9), f.StreamDataBlocked(0, 9), f.StreamsBlocked(False, 9)),
        *(f.NewConnectionId(2, 1, cid, token), f.NewConnectionId(2, 1, cid, token, 3)),
        *(f.RetireConnectionId(0), f.RetireConnectionId(0, 3)),
        *(f.PathChallenge(cid), f.PathResponse(cid), f.Datagram(b"datagram")),
        *(f.ConnectionClose(7, b"bye", None), f.ConnectionClose(10, b"bye", 6)),
        *(f.AckFrequency(1, 10, 25_000, 1), f.PathAbandon(1, 0), f.PathStatus(1, 2, True)),
        *(f.MaxPathId(9), f.PathsBlocked(7), f.PathCidsBlocked(1, 2)),
        *(f.AddAddress(1, ADDRESS), f.AddAddress(2, ADDRESS_6), f.RemoveAddress(1)),
        *(f.ReachOut(1, ADDRESS), f.ObservedAddress(1, ADDRESS_6)),
    ]
    single = [frame.encode() for frame in made]
    rng = random.Random(4)
    return single + [b"".join(rng.choices(single, k=rng.randrange(2, 12))) for _ in single]


def decode_frames(data: bytes, rng: random.Random) -> None:
    """Decode a payload; what was understood can be said again and means the same."""
    try:
        frames = f.decode_payload(data, rng.randrange(4))
    except PeerError:
        return
    for frame in frames:
        (again,) = f.decode_payload(frame.encode(), f.ONE_RTT)
        if again != frame and not isinstance(frame, f.Ack):  # an ACK tells 64 ranges at most
            raise AssertionError(f"{frame} became {again}")


def header_seeds() -> list[bytes]:
    """Long headers of every kind."""
    ids = (b"12345678", b"87654321")
    return [
        *(pk.long_header(kind, *ids, 5, 4, 40) + bytes(56) for kind in range(3)),
        pk.long_header(pk.INITIAL, *ids, 5, 2, 40, b"token") + bytes(56),
        pk.retry_packet(b"original", *ids, b"token"),
        pk.version_negotiation(*ids, 0x15),
        b"\xc0\x0a\x0a\x0a\x0a\x08" + bytes(8) + b"\x08" + bytes(1200),
    ]


def decode_headers(data: bytes, rng: random.Random) -> None:
    """Read all headers of a datagram."""
    at = 0
    with contextlib.suppress(pk.PacketError):
        parse_first(data)
    try:
        while at < len(data) and data[at] & pk.LONG:
            header = pk.parse_long(data, at)
            if header.kind == pk.VERSION_NEGOTIATION:
                pk.offered_versions(data, header.pn_at)
            if header.end <= at:
                raise AssertionError("a header that does not move on")
            at = header.end
    except pk.PacketError:
        return


def parameter_seeds() -> list[bytes]:
    """What both sides send."""
    ours = own_params(TransportConfig(), b"12345678")
    client = ours.encode(random.Random(1).randbytes)
    ours.original_destination_connection_id = b"original"
    ours.stateless_reset_token = bytes(16)
    ours.preferred_address = bytes(24) + b"\x08" + bytes(24)
    return [client, ours.encode(random.Random(2).randbytes)]


def decode_parameters(data: bytes, rng: random.Random) -> None:
    """Decode them as of either side."""
    try:
        TransportParameters.decode(data, from_client=rng.random() < 0.5)
    except PeerError as error:
        if error.code != TRANSPORT_PARAMETER_ERROR:
            raise AssertionError(f"code {error.code:#x}") from error


def relay_seeds() -> list[bytes]:
    """Relay frames both ways, and the messages of the handshake."""
    peer = KEYS[0].public()
    batch = rf.Datagrams(bytes(300), 1, 100)
    server, client = ServerHandshake(random.Random(3).randbytes), ClientHandshake(KEYS[0])
    challenge = server.start() or b""
    answer = client.receive(challenge) or b""
    server.receive(answer)
    return [
        *(challenge, answer, server.confirm()),
        rf.ClientToRelayDatagrams(peer, batch).encode(),
        rf.ClientToRelayDatagrams(peer, rf.Datagrams(b"one")).encode(),
        rf.RelayToClientDatagrams(peer, batch).encode(),
        *(rf.Ping(bytes(8)).encode(), rf.Pong(bytes(8)).encode()),
        *(rf.EndpointGone(peer).encode(), rf.Health("unwell").encode()),
    ]


def decode_relay(data: bytes, rng: random.Random) -> None:
    """Let every reader of relay messages have it."""
    readers: tuple[Callable[[bytes], object], ...] = (
        rf.decode_client_to_relay,
        lambda frame: rf.decode_relay_to_client(frame, ProtocolVersion(rng.choice(VERSIONS))),
        inspect,
        lambda frame: _started_server().receive(frame),
        lambda frame: ClientHandshake(KEYS[0]).receive(frame),
    )
    try:
        rng.choice(readers)(data)
    except RelayProtocolError:
        return


VERSIONS = [int(version) for version in ProtocolVersion]


def _started_server() -> ServerHandshake:
    server = ServerHandshake(bytes)
    server.start()
    return server


# -- TLS ---------------------------------------------------------------------------------------


def handshakes() -> tuple[Handshake, Handshake]:
    """A client that has begun, and a server."""
    peer = KEYS[1].public().to_bytes()
    params = parameter_seeds()
    client = Handshake(True, KEYS[0], [ALPN], params[0], bytes, peer)
    server = Handshake(False, KEYS[1], [ALPN], params[1], bytes)
    client.start()
    return client, server


def tls_seeds() -> list[bytes]:
    """Both sides' messages. The first byte says whose and when: see `decode_tls`."""
    client, server = handshakes()
    hello = client.take(INITIAL)
    server.receive(INITIAL, hello)
    answer, flight = server.take(INITIAL), server.take(HANDSHAKE)
    client.receive(INITIAL, answer)
    client.receive(HANDSHAKE, flight)
    last = client.take(HANDSHAKE)
    return [b"\x00" + hello, b"\x01" + answer, b"\x02" + flight, b"\x03" + last]


def decode_tls(data: bytes, rng: random.Random) -> None:
    """Give messages to an end that expects something like them."""
    kind = data[0] & 3 if data else 0
    client, server = handshakes()
    try:
        if kind == 0:
            server.receive(INITIAL, data[1:])
            return
        if kind == 1:
            client.receive(INITIAL, data[1:])
            return
        server.receive(INITIAL, client.take(INITIAL))
        if kind == 3:
            server.receive(HANDSHAKE, data[1:])
            return
        client.receive(INITIAL, server.take(INITIAL))
        client.receive(rng.choice((HANDSHAKE, ONE_RTT)), data[1:])
    except PeerError:
        return


# -- the engine --------------------------------------------------------------------------------


@dataclass
class Engines:
    """Two endpoints and a connection between them; made anew whenever it has ended."""

    now: float = 1000.0
    tap: list[bytes] = field(default_factory=list)
    dials: int = 0

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        rng = random.Random(7).randbytes  # the same ids each time, so that the tap still fits
        self.dials += 1
        config = ServerConfig([ALPN])
        self.ends = [Endpoint(make_connection, key, config, rng=rng) for key in KEYS]
        peer = KEYS[1].public().to_bytes()
        dialled = self.ends[0].connect(ADDRESSES[1], peer, [ALPN], self.now)
        assert isinstance(dialled, Connection)
        self.client, self.server = dialled, dialled
        self.connections: list[list[Connection]] = [[dialled], []]
        self.settle(tap=self.dials == 1)
        self.server = self.connections[1][0]

    def settle(self, tap: bool = False) -> None:
        """Let both talk until nobody has anything to say."""
        for _ in range(200):
            self.now += 0.001
            moved = [self._send(side, tap) for side in (0, 1)]
            if not any(moved):
                return
        raise AssertionError("they never stop talking")

    def _send(self, side: int, tap: bool) -> bool:
        out: list[Datagrams] = []
        for connection in list(self.connections[side]):
            due = connection.next_timeout()
            if due is not None and due <= self.now:
                connection.handle_timeout(self.now)
            out += connection.transmit(self.now)
            if any(isinstance(event, Drained) for event in connection.events()):
                self.connections[side].remove(connection)
                self.ends[side].forget(connection)
        out += self.ends[side].transmit()
        for batch in out:
            if tap and side == 0:
                self.tap += list(batch)
            if batch.remote == ADDRESSES[1 - side]:
                self.give(1 - side, batch.data, batch.segment_size)
        return bool(out)

    def give(self, side: int, data: bytes, segment: int = 0) -> None:
        """Let datagrams arrive at one side."""
        batch = Datagrams(ADDRESSES[1 - side], data, segment)
        received = self.ends[side].receive([batch], self.now)
        for incoming in received.incoming:
            accepted = incoming.accept(ServerConfig([ALPN]), self.now)
            assert isinstance(accepted, Connection)
            self.connections[side].append(accepted)

    def on_datagram(self, data: bytes, rng: random.Random) -> None:
        """A datagram of an honest handshake, mutated, arrives: the connection lives."""
        self.give(1, data, rng.choice((0, 0, 1, 40, 1200)))
        if rng.random() < 0.02:
            self.settle()
            if self.client.close_reason is not None or self.server.close_reason is not None:
                raise AssertionError(f"closed by noise: {self.server.close_reason}")
        if len(self.connections[1]) > 100:
            self._start()

    def on_payload(self, data: bytes, rng: random.Random) -> None:
        """A payload that the peer sealed arrives; the connection may well end by it."""
        p = self.client._p  # noqa: SLF001 -- an evil peer needs the honest one's keys
        path, cid, keys = p.paths.get(0), p.mp.remote_cids.active(0), p.keys
        assert path is not None
        assert cid is not None
        assert keys is not None
        pn = path.recovery.next_pn()
        header = pk.short_header(keys.send_bit, cid, pn, 4)
        self.give(1, seal_packet(keys.send, keys.send_hp, header, pn, data))
        self.settle()
        if self.client.close_reason is not None or self.server.close_reason is not None:
            self._start()


# -- running -----------------------------------------------------------------------------------


@dataclass
class Score:
    """What a target did."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    foreign: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        each = 1e6 * self.seconds / max(1, self.inputs)
        return (
            f"{self.name:10} {self.inputs:8} inputs, {len(self.foreign)} foreign exceptions, "
            f"{self.seconds:6.1f} s, {each:7.1f} us each, slowest {1e3 * self.slowest:.1f} ms"
        )


def run(name: str, target: Target, seeds: list[bytes], count: int, seed: int) -> Score:
    """Give a target so many mutated inputs."""
    rng = random.Random(f"{seed} {name}")
    score = Score(name)
    clock = time.perf_counter
    for _ in range(count):
        data = mutate(rng.choice(seeds), seeds, rng)
        start = clock()
        try:
            target(data, rng)
        except Exception as error:  # noqa: BLE001 -- to find them is what this is for
            score.foreign.append(f"{error!r} for {data.hex()}")
        used = clock() - start
        score.seconds += used
        score.slowest = max(score.slowest, used)
        score.inputs += 1
    return score


def all_targets(count: int, seed: int, only: str | None = None) -> list[Score]:
    """Run every target with its share of `count` inputs, or one with all of them."""
    noise, evil = Engines(), Engines()
    targets: list[tuple[str, int, Target, list[bytes]]] = [
        ("frames", 32, decode_frames, frame_seeds()),
        ("headers", 18, decode_headers, header_seeds()),
        ("parameters", 15, decode_parameters, parameter_seeds()),
        ("relay", 17, decode_relay, relay_seeds()),
        ("datagrams", 4, noise.on_datagram, noise.tap),
        ("payloads", 2, evil.on_payload, frame_seeds()),
        ("tls", 1, decode_tls, tls_seeds()),
        ("web tls", 1, decode_web, web_seeds()),
        ("home", 2, decode_home, home_seeds()),
        ("tickets", 2, formats.decode_ticket, formats.ticket_seeds()),
        ("pkarr", 3, formats.decode_packet, formats.packet_seeds()),
        ("dns", 3, formats.answer_query, formats.query_seeds()),
    ]
    scores = []
    if only is not None:
        targets = [(name, 100, target, seeds) for name, _, target, seeds in targets if name == only]
    for name, share, target, seeds in targets:
        scores.append(run(name, target, seeds, count * share // 100, seed))
        print(scores[-1], flush=True)
        for line in scores[-1].foreign[:5]:
            print("   ", line)
    return scores


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and say whether anything foreign came out."""
    parser = argparse.ArgumentParser(description="Mutated bytes against all decoders.")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", metavar="TARGET", help="all of them for one target")
    parser.add_argument("--write", action="store_true", help="renew docs/reliability.md")
    options = parser.parse_args(arguments)
    scores = all_targets(options.count, options.seed, options.only)
    foreign = sum(len(score.foreign) for score in scores)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    total = (
        f"hostile bytes: {sum(score.inputs for score in scores)} inputs, {foreign} foreign "
        f"exceptions, {sum(score.seconds for score in scores):.0f} s, peak {peak} MB, "
        f"seed {options.seed}"
    )
    print(total)
    if options.write and options.only is None:
        from reliability import report  # late: a program of its own must not need the others

        report.write("bytes", "\n".join(f"- {line}" for line in (*scores, total)))
    return 1 if foreign else 0


if __name__ == "__main__":
    sys.exit(main())
