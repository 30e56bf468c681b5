"""Targets of hostile_bytes.py outside of QUIC and relays: what strangers publish, paste and ask.

target    what is mutated                                    may raise
-------   ------------------------------------------------   ---------------------------------
tickets   tickets, as bytes and as text                      TicketParsingError
pkarr     signed packets, verified or as if they were, and   PkarrError, EndpointInfoError
          the addresses in them
dns       queries to the DNS server, up to its answer        IgnoredQueryError, BadQueryError
"""

import contextlib
import random

import dns.flags
import dns.message

from iroh_base import EndpointAddr, EndpointInfo, EndpointTicket, SecretKey, SignedPacket
from iroh_base.errors import EndpointInfoError, PkarrError, TicketParsingError
from iroh_dns_server.config import DnsConfig
from iroh_dns_server.dns.authority import Authority
from iroh_dns_server.dns.wire import (
    Answer,
    BadQueryError,
    IgnoredQueryError,
    parse_query,
    render,
    render_error,
)

KEY = SecretKey.from_bytes(bytes([3]) * 32)
ADDRESSES = ("192.0.2.1:1", "[2001:db8::1]:2")
AUTHORITY = Authority(DnsConfig(origins=("dns.example.",)))


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


def answer_query(data: bytes, rng: random.Random) -> None:
    """Read a query and answer it as far as no zone is needed."""
    try:
        query = parse_query(data)
    except IgnoredQueryError:
        return
    except BadQueryError as error:
        render_error(error)
        return
    decided = AUTHORITY.decide(query)
    answer = decided if isinstance(decided, Answer) else AUTHORITY.from_zone(query, decided, None)
    for udp in (True, False):
        render(query, answer, udp=udp)
