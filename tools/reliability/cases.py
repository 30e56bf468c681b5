"""What the attacker does, case by case, and what the specification wants done about it.

    group      cases                                                         right is
    --------   -----------------------------------------------------------   ---------------------
    h3spec     the 34 transport and TLS cases of kazu-yamamoto/h3spec        the code it names
    frames     forged frames of an authentic peer, multipath and NAT too     the code of the RFC
    harmless   odd, but allowed                                              the connection goes on
    advisory   what CVEs and aioquic's gaps were about (reliability B3, B5)  1 s of CPU and 10 MB
                                                                             at most, and `wants`

The tables of frames are those of the tests against our own engine. An outcome is `0x..`, the code
that the victim closed with, or `open`, or `silent`.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from iroh.quic import errors as err
from iroh.quic import frames as f
from iroh.quic import packet as pk
from iroh.quic.frames import HANDSHAKE, INITIAL
from iroh.quic.keys import seal_packet
from iroh_base import SocketAddr
from reliability.attacker import Attacker, evil_kit, kit

Strike = Callable[[Attacker], str]
ROOM = 1150
"""Bytes of frames in one hostile packet."""
OPEN = "open"
UNEXPECTED_MESSAGE, MISSING_EXTENSION, NO_APPLICATION_PROTOCOL = 0x10A, 0x16D, 0x178


@dataclass(frozen=True, slots=True)
class Case:
    """One attack. wants: the outcomes that are right; empty for any that keeps the budget."""

    group: str
    name: str
    wants: tuple[str, ...]
    strike: Strike

    @property
    def specification(self) -> str:
        """What is right, in words."""
        return " or ".join(map(in_words, self.wants)) or "within the budget"


NAMES = {
    getattr(err, name): name
    for name in dir(err)
    if name.isupper() and isinstance(getattr(err, name), int) and name != "CRYPTO_ERROR_BASE"
}


def in_words(outcome: str) -> str:
    """Name an error code as the RFC does."""
    if not outcome.startswith("0x"):
        return outcome
    code = int(outcome, 16)
    if code >= err.CRYPTO_ERROR_BASE:
        return f"TLS alert {code - err.CRYPTO_ERROR_BASE}"
    return NAMES.get(code, outcome)


def met(act: Callable[[Attacker], object], **options: Any) -> Strike:
    """Connect, do something, and say what became of the connection."""

    def strike(attacker: Attacker) -> str:
        if attacker.meet(**options):
            act(attacker)
        return attacker.outcome()

    return strike


def sealed(*payloads: bytes, by_server: bool = False, **bits: int) -> Strike:
    """Throw payloads, each in a packet of the connection."""
    return met(
        lambda a: a.throw(*(a.seal(payload, **bits) for payload in payloads)), by_server=by_server
    )


def twisted(**twist: Any) -> Strike:
    """Connect with a twisted ClientHello or second flight."""

    def strike(attacker: Attacker) -> str:
        attacker.meet(twist=twist)
        return attacker.outcome()

    return strike


def in_handshake(payload: bytes, bits: int = 0) -> Strike:
    """Throw a Handshake packet before the client's Finished."""

    def strike(attacker: Attacker) -> str:
        wire = attacker.wire
        attacker.begin()
        wire.work()
        wire.mute = True
        levels = attacker.evil._p.levels  # noqa: SLF001
        wire.run(lambda: levels[HANDSHAKE].send_keys is not None, 3.0)
        attacker.throw(attacker.seal_long(HANDSHAKE, payload, bits=bits))
        wire.run(lambda: attacker.evil.close_reason is not None, 1.0)
        return attacker.outcome(0.1)

    return strike


def crypto_in_0rtt(attacker: Attacker) -> str:
    """Resume with early data, and put a CRYPTO frame there (RFC 9001 section 8.3)."""
    if not attacker.meet():
        return attacker.outcome()
    first = attacker.evil
    attacker.begin(early=True)
    p = attacker.evil._p  # noqa: SLF001
    if p.early.keys is None:
        return "no ticket"
    attacker.wire.work()
    cids = (p.mp.remote_cids.active(0) or b"", p.source_cid)
    payload = f.Crypto(0, b"x").encode().ljust(30, b"\0")
    header = pk.long_header(pk.ZERO_RTT, *cids, 40, 4, len(payload))
    attacker.throw(seal_packet(*p.early.keys, header, 40, payload))
    attacker.wire.run(lambda: attacker.evil.close_reason is not None, 1.0)
    outcome = attacker.outcome()
    first.close(0, b"", 0.0)
    return outcome


def h3spec() -> list[Case]:
    """The 34 cases."""
    spec = kit("test_h3spec")

    def case(name: str, code: int, strike: Strike) -> Case:
        return Case("h3spec", name, (f"{code:#x}",), strike)

    cases = [case(name, code, sealed(frame)) for name, (frame, code) in spec.IN_1RTT.items()]
    for name, values in spec.PARAMETERS.items():
        twist = twisted(params=spec.set_to(**values))
        cases.append(case(name, err.TRANSPORT_PARAMETER_ERROR, twist))
    ping, challenge = f.Ping().encode(), f.PathChallenge(b"01234567").encode()
    update, early_end = spec.KEY_UPDATE, spec.END_OF_EARLY_DATA
    violation = err.PROTOCOL_VIOLATION

    def tls(epoch: int, message: bytes) -> Strike:
        return twisted(tls=lambda at, data: message if at == epoch else data)

    def extension(change: Callable[[bytes], bytes]) -> Strike:
        return twisted(**evil_kit.with_parameters(change))

    return [
        *cases,
        case("reserved bits in Handshake (17.2)", violation, in_handshake(ping, bits=0x08)),
        case("PATH_CHALLENGE in Handshake (17.2.4)", violation, in_handshake(challenge)),
        case("reserved bits in short (17.3.1)", violation, sealed(ping, bits=0x08)),
        case("KeyUpdate in Handshake (TLS 6)", UNEXPECTED_MESSAGE, tls(HANDSHAKE, update)),
        case(
            "KeyUpdate in 1-RTT (TLS 6)",
            UNEXPECTED_MESSAGE,
            sealed(f.Crypto(0, update).encode()),
        ),
        case("no common ALPN (TLS 8.1)", NO_APPLICATION_PROTOCOL, twisted(alpns=[b"dummy"])),
        case("no transport parameters (TLS 8.2)", MISSING_EXTENSION, extension(lambda _: b"")),
        case(
            "the draft's number of the extension (TLS 8.2)",
            MISSING_EXTENSION,
            extension(lambda data: b"\xff\xa5" + data[2:]),
        ),
        case("EndOfEarlyData (TLS 8.3)", UNEXPECTED_MESSAGE, tls(HANDSHAKE, early_end)),
        case("CRYPTO in 0-RTT (TLS 8.3)", violation, crypto_in_0rtt),
    ]


ALSO_RIGHT: dict[str, int | None] = {
    # RFC 9000 sections 12.4 and 19.15 say MAY of these: None lets the connection go on.
    "a frame type in more bytes than needed": None,
    "two connection ids under one number": None,
    "one connection id under two numbers": None,
    "one connection id with two tokens": None,
    # Two errors that are both named, or both fit (sections 19.6, 19.7, 19.8; RFC 8446 section 6).
    "an empty NEW_TOKEN": err.PROTOCOL_VIOLATION,
    "STREAM data beyond 2**62": err.FLOW_CONTROL_ERROR,
    "STREAM data beyond 2**62, in a packet of its own kind": err.FLOW_CONTROL_ERROR,
    "CRYPTO data beyond 2**62": err.CRYPTO_BUFFER_EXCEEDED,
    "a TLS message of a client after the handshake": 0x132,
    "the beginning of a TLS message of 16 MB": err.PROTOCOL_VIOLATION,
}
"""Outcomes that the specification allows beside the one that ours is tested for."""


def also_right(name: str) -> tuple[str, ...]:
    """Give the other outcome that is right, if there is one."""
    if name not in ALSO_RIGHT:
        return ()
    code = ALSO_RIGHT[name]
    return (OPEN,) if code is None else (f"{code:#x}",)


def forged_frames() -> list[Case]:
    """Frames that a peer may not send, and some odd ones that it may."""
    tables = kit("test_frames")
    cases = []
    for by_server, table in ((False, tables.BY_CLIENT), (True, tables.BY_SERVER)):
        for name, (payload, code) in table.items():
            strike = sealed(payload, by_server=by_server)
            wants = (f"{code:#x}", *also_right(name))
            cases.append(Case("frames", name, wants, strike))
    for name, payload in tables.HARMLESS.items():
        cases.append(Case("harmless", name, (OPEN,), sealed(payload)))
    return cases


# -- advisories --------------------------------------------------------------------------------


def packed(frames: Iterable[bytes]) -> list[bytes]:
    """Fill payloads with frames."""
    payloads, payload = [], bytearray()
    for frame in frames:
        if len(payload) + len(frame) > ROOM:
            payloads.append(bytes(payload))
            payload.clear()
        payload += frame
    return [*payloads, bytes(payload)]


def flood(frames: Iterable[bytes], by_server: bool = False) -> Strike:
    """Throw packets full of frames."""
    return sealed(*packed(frames), by_server=by_server)


def stream(stream_id: int, offset: int, data: bytes = b"x") -> bytes:
    """Encode a STREAM frame."""
    return f.Stream(stream_id, offset, data, False).encode()


def new_cid(seq: int, retire_prior_to: int) -> bytes:
    """Encode a NEW_CONNECTION_ID frame."""
    return f.NewConnectionId(seq, retire_prior_to, b"%08d" % seq, bytes(16)).encode()


def host(n: int) -> SocketAddr:
    """Give one of many addresses where nobody is: loopback, so that nothing leaves."""
    return SocketAddr(f"127.9.{n >> 8 & 255}.{n & 255}", 9)


def retire_all(attacker: Attacker) -> None:
    """Give connection ids each of which retires all before it."""
    numbers = range(10, 20_000)
    ids = [(b"%08d" % n, 0) for n in numbers]
    attacker.wire.endpoint.routes.register(attacker.evil, ids)  # to read what comes there
    own: Any = attacker.evil._p.mp.local_cids  # noqa: SLF001
    own.on_retire = lambda *_: None
    attacker.throw(*map(attacker.seal, packed(new_cid(n, n) for n in numbers)))


def acks_ahead(attacker: Attacker) -> None:
    """Acknowledge without a gap, numbers included that the victim left out on purpose."""
    evil = attacker.evil
    evil.write(0, b"send 3000000")
    evil.finish(0)
    attacker.wire.pause(0.05)
    attacker.wire.mute = True
    path = evil._p.paths.get(0)  # noqa: SLF001
    assert path is not None
    acks = path.acks
    for _ in range(200):
        attacker.wire.pause(0.003)
        last = acks.ranges.largest()
        attacker.throw(attacker.seal(f.Ack([(0, last)], 0, 0).encode()))
        if evil.close_reason is not None:
            break
    attacker.wire.mute = False


def key_updates(attacker: Attacker) -> None:
    """Update keys with every packet."""
    keys = attacker.evil._p.keys  # noqa: SLF001
    assert keys is not None
    packets = []
    for _ in range(500):
        keys._rotate_send()  # noqa: SLF001
        packets.append(attacker.seal(b"\x01"))
    attacker.throw(*packets)


def noise(attacker: Attacker, packets: list[bytes]) -> str:
    """Throw packets without a connection, and see whether one can still be made."""
    attacker.throw(*packets)
    attacker.meet()
    return attacker.outcome()


def forged_resets(attacker: Attacker) -> None:
    """Guess stateless reset tokens."""
    rng = random.Random(5)
    attacker.throw(*(b"\x41" + rng.randbytes(46) for _ in range(1000)))


def replays(attacker: Attacker) -> None:
    """Send the same packets again and again."""
    packets = [attacker.seal(f.Datagram(b"once").encode()) for _ in range(100)]
    for _ in range(10):
        attacker.throw(*packets)


def retire_own(attacker: Attacker) -> None:
    """Move through all connection ids as fast as they come."""
    remote = attacker.evil._p.mp.remote_cids  # noqa: SLF001
    for _ in range(100):
        remote.advance(0)
        attacker.throw(attacker.seal(b"\x01"))
        attacker.wire.pause(0.002)


def amplification(attacker: Attacker) -> str:
    """Send one ClientHello from an address that never answers."""
    wire = attacker.wire
    attacker.begin()
    wire.work()
    wire.mute = True
    sent = wire.sent
    wire.pause(6.0)
    times = wire.received / max(sent, 1)
    return OPEN if times <= 3.0 else f"{times:.1f} times"


def coalesced(attacker: Attacker) -> str:
    """Initials without end in each datagram (LSQUIC CVE-2025-54939)."""
    packets = []
    for n in range(200):
        first = n.to_bytes(8, "big")
        small = evil_kit.initial(first, b"", f.Ping().encode(), size=0)
        size = 1200 - 10 * len(small)
        packets.append(evil_kit.initial(first, b"", f.Ping().encode(), size=size) + small * 10)
    return noise(attacker, packets)


def zero_length(attacker: Attacker) -> str:
    """Empty datagrams (curl CVE-2026-11352)."""
    return noise(attacker, [b""] * 10_000)


def long_noise(attacker: Attacker) -> str:
    """Long headers of our version, and noise behind them."""
    rng = random.Random(3)
    start = b"\x00\x00\x00\x01"
    return noise(
        attacker,
        [bytes([0xC0 | n & 63]) + start + rng.randbytes(40 + n % 1300) for n in range(5000)],
    )


def crypto_ahead(attacker: Attacker) -> str:
    """CRYPTO far ahead in Initial packets (quiche CVE-2024-1765)."""
    wire = attacker.wire
    attacker.begin()
    wire.work()
    payload = f.Crypto(100_000, bytes(1000)).encode()
    attacker.throw(attacker.seal_long(INITIAL, payload, size=1200))
    wire.run(lambda: attacker.evil.close_reason is not None, 0.5)
    return attacker.outcome()


def cut_parameters() -> Strike:
    """Transport parameters that end in the middle (quinn CVE-2026-31812)."""
    return twisted(raw_params=lambda raw: raw[:-1])


FRAGMENTS = 50_000
VIOLATION = f"{err.PROTOCOL_VIOLATION:#x}"


def frame_floods() -> dict[str, tuple[Strike, tuple[str, ...]]]:
    """Frames that are allowed once, very often."""
    many = range(20_000)
    challenges = (f.PathChallenge(n.to_bytes(8, "big")).encode() for n in range(30_000))
    cid_limit = f"{err.CONNECTION_ID_LIMIT_ERROR:#x}"
    reach_out = (f.ReachOut(n, host(n % 200)).encode() for n in range(10_000))
    return {
        "50 000 one-byte fragments with holes, ascending (aioquic B3.3)": (
            flood(stream(0, 2 * n + 1) for n in range(FRAGMENTS)),
            (),
        ),
        "50 000 one-byte fragments, descending": (
            flood(stream(0, n) for n in range(FRAGMENTS, 0, -1)),
            (),
        ),
        "50 000 one-byte frames in order": (flood(stream(0, n) for n in range(FRAGMENTS)), ()),
        "a byte at the end of 100 windows (aioquic #589)": (
            flood(stream(4 * n, 1_249_999) for n in range(100)),
            (),
        ),
        "empty STREAM frames": (flood([stream(0, 0, b"")] * 50_000), ()),
        "CRYPTO with holes after the handshake (aioquic #501)": (
            flood([f.Crypto(2 * n + 1, b"x").encode() for n in range(8000)] * 3),
            (),
        ),
        "NEW_CONNECTION_ID that retires all before it (CVE-2024-22189)": (
            met(retire_all),
            (OPEN, cid_limit),
        ),
        "PATH_CHALLENGE (CVE-2023-49295)": (flood(challenges), (OPEN,)),
        "ACK of the same packet": (flood([f.Ack([(0, 0)], 0).encode()] * 20_000), (OPEN,)),
        "PING in packets of their own": (sealed(*[b"\x01"] * 3000), (OPEN,)),
        "IMMEDIATE_ACK": (flood([f.ImmediateAck().encode()] * 20_000), (OPEN,)),
        "MAX_DATA": (flood(f.MaxData(n).encode() for n in many), (OPEN,)),
        "MAX_STREAMS": (flood(f.MaxStreams(True, n).encode() for n in many), (OPEN,)),
        "DATAGRAM": (sealed(*[f.Datagram(bytes(1100)).encode()] * 3000), (OPEN,)),
        "PATH_STATUS": (flood(f.PathStatus(0, n, bool(n & 1)).encode() for n in many), (OPEN,)),
        "MAX_PATH_ID": (flood(f.MaxPathId(8 + n).encode() for n in many), (OPEN,)),
        "REACH_OUT, round after round": (flood(reach_out), (OPEN,)),
    }


def advisories() -> list[Case]:
    """What advisories were about."""
    table: dict[str, tuple[Strike, tuple[str, ...]]] = {
        "ACK of a million packets never sent (aioquic B3.1)": (
            sealed(f.Ack([(0, 10**6)], 0).encode()),
            (VIOLATION,),
        ),
        "optimistic ACK of numbers left out (CVE-2025-4820)": (met(acks_ahead), (VIOLATION,)),
        "transport parameters cut short (CVE-2026-31812)": (
            cut_parameters(),
            (f"{err.TRANSPORT_PARAMETER_ERROR:#x}",),
        ),
        "CRYPTO far ahead in Initial (CVE-2024-1765)": (
            crypto_ahead,
            (f"{err.CRYPTO_BUFFER_EXCEEDED:#x}",),
        ),
        "coalesced Initials (CVE-2025-54939)": (coalesced, (OPEN,)),
        "datagrams of zero length (CVE-2026-11352)": (zero_length, (OPEN,)),
        "5000 long headers and noise": (long_noise, (OPEN,)),
        "one ClientHello, never answered: at most 3 times its bytes": (amplification, (OPEN,)),
        "1000 forged stateless resets": (met(forged_resets), (OPEN,)),
        "replayed packets": (met(replays), (OPEN,)),
        "key update with every packet": (met(key_updates), ()),
        "retiring every connection id": (met(retire_own), ()),
        "10 000 session tickets of a server": (
            tickets(),
            (OPEN, f"{err.CRYPTO_BUFFER_EXCEEDED:#x}"),
        ),
        **frame_floods(),
    }
    return [Case("advisory", name, wants, strike) for name, (strike, wants) in table.items()]


def tickets() -> Strike:
    """Let a server give tickets without end."""
    body = bytes(4) + bytes(4) + b"\x01n" + b"\x00\x20" + bytes(32) + b"\x00\x00"
    whole = (b"\x04" + len(body).to_bytes(3, "big") + body) * 10_000

    def act(attacker: Attacker) -> None:
        start = attacker.evil._p.data_crypto._next  # noqa: SLF001
        attacker.throw(
            *(
                attacker.seal(f.Crypto(start + at, whole[at : at + 1000]).encode())
                for at in range(0, len(whole), 1000)
            ),
            pace=0.001,
        )

    return met(act, by_server=True)


def all_cases() -> list[Case]:
    """Every case, in the order of the table."""
    return [*h3spec(), *forged_frames(), *advisories()]
