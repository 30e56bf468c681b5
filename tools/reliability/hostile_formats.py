"""Targets of hostile_bytes.py outside of QUIC and relays: what strangers publish, paste and ask.

target    what is mutated                                    may raise
-------   ------------------------------------------------   ---------------------------------
tickets   tickets, as bytes and as text                      TicketParsingError
pkarr     signed packets, verified or as if they were, and   PkarrError, EndpointInfoError
          the addresses in them
dns       queries to the DNS server, up to its answer; what   nothing
          it refuses must not be answered with more than three
          times as many bytes, nothing over UDP with more than
          1232, and with and without a packet of the key
"""

import contextlib
import random

import dns.flags
import dns.message

from iroh_base import EndpointAddr, EndpointInfo, EndpointTicket, SecretKey, SignedPacket
from iroh_base.errors import EndpointInfoError, PkarrError, TicketParsingError
from iroh_dns_server.config import DnsConfig
from iroh_dns_server.dns.authority import Authority
from iroh_dns_server.dns.service import DnsService, Pending
from iroh_dns_server.dns.wire import FORMERR, NOTIMP, REFUSED, UDP_PAYLOAD
from iroh_dns_server.dns.zones import ZoneCache
from iroh_dns_server.metrics import Metrics
from iroh_dns_server.store import Expired, PutOutcome

KEY = SecretKey.from_bytes(bytes([3]) * 32)
ADDRESSES = ("192.0.2.1:1", "[2001:db8::1]:2")


def ticket_seeds() -> list[bytes]:
    """Tickets with and without addresses, behind their prefix."""
    addrs = (
        EndpointAddr(KEY.public()),
        EndpointAddr(KEY.public(), "https://relay.example/"),
        EndpointAddr(KEY.public(), "https://relay.example/", ADDRESSES),
    )
    return [EndpointTicket.from_addr(addr).to_bytes() for addr in addrs]


def decode_ticket(data: bytes, rng: random.Random) -> None:
    """Read a ticket; what can be read can be written, and is the same again."""
    with contextlib.suppress(TicketParsingError):
        EndpointTicket.from_string("endpoint" + data.decode("latin-1"))
    with contextlib.suppress(TicketParsingError):
        ticket = EndpointTicket.from_bytes(data)
        if EndpointTicket.from_string(str(ticket)) != ticket:
            raise AssertionError("a ticket is another one when it is read again")


def packet_seeds() -> list[bytes]:
    """Packets with addresses, with other texts, with none."""
    texts: tuple[list[str], ...] = (
        [],
        ["relay=https://relay.example/", "addr=192.0.2.1:1"],
        ["x" * 200, "user-data=é"],
    )
    return [SignedPacket.sign(KEY, list(text), 1_000_000).to_bytes() for text in texts]


def decode_packet(data: bytes, rng: random.Random) -> None:
    """Read a packet, and the addresses in it. A packet whose bytes were changed is no good one."""
    with contextlib.suppress(PkarrError):
        packet = SignedPacket.from_bytes(data)
        if packet.to_bytes() not in PACKETS:
            raise AssertionError("a forged packet was taken")
    with contextlib.suppress(PkarrError, EndpointInfoError):
        packet = SignedPacket.from_bytes_unchecked(data)
        packet.txt_records()
        EndpointInfo.from_signed_packet(packet)


PACKETS = frozenset(packet_seeds())


def query_seeds() -> list[bytes]:
    """Queries of usual and unusual forms."""
    name = f"_iroh.{KEY.public().to_z32()}.dns.example."
    return [
        dns.message.make_query(name, "TXT").to_wire(),
        dns.message.make_query(name, "ANY", use_edns=0, ednsflags=dns.flags.DO).to_wire(),
        dns.message.make_query("dns.example.", "SOA").to_wire(),
        dns.message.make_query("a.b.c.elsewhere.", "AAAA").to_wire(),
    ]


class OnePacket:
    """A packet store with one packet in it, that nobody writes to."""

    def read(self, public_key: bytes) -> bytes | None:
        """Give the packet to whoever asks for its key."""
        if public_key != KEY.public().to_bytes():
            return None
        return SignedPacket.from_bytes(packet_seeds()[1]).to_relay_payload()

    async def get(self, public_key: bytes) -> bytes | None:
        """As `read`."""
        return self.read(public_key)

    async def put(self, public_key: bytes, payload: bytes) -> PutOutcome:
        """Store nothing."""
        return PutOutcome.STALE

    async def expire(self, before_us: int, limit: int) -> Expired:
        """Remove nothing."""
        return Expired((), False)

    async def count(self) -> int:
        """Give the one."""
        return 1

    async def close(self) -> None:
        """Do nothing."""


METRICS = Metrics()
SERVICE = DnsService(
    Authority(DnsConfig(origins=("dns.example.",))), ZoneCache(OnePacket(), METRICS), METRICS
)
SMALL_ERRORS = (FORMERR, NOTIMP, REFUSED)


def answer_query(data: bytes, rng: random.Random) -> None:
    """Have the server answer, over UDP and over what is not, and look at the size of it."""
    for udp in (True, False):
        reply = SERVICE.respond(data, udp=udp)
        if reply is None:
            continue
        if isinstance(reply, Pending):
            raise AssertionError("a store that can be read at once was waited for")
        if reply[:2] != data[:2] or not reply[2] & 0x80:
            raise AssertionError("no answer to this question")
        if udp and len(reply) > UDP_PAYLOAD:
            raise AssertionError(f"{len(reply)} bytes over UDP")
        if reply[3] & 0x0F in SMALL_ERRORS and len(reply) > 3 * len(data):
            raise AssertionError(f"{len(data)} bytes were answered with {len(reply)}")
