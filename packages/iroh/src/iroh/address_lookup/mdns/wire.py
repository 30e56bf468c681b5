"""The two multicast DNS messages that endpoints exchange (the wire format of swarm-discovery).

    service = _irohv1._udp.local.        instance = <id>.service        target = <id>-<port>.local.

    query   id 0, flags 0    question     service   PTR, class IN
    reply   id 0, QR, AA     answers      service   PTR   instance
                                          instance  SRV   target             one for each port
                                          instance  TXT   "relay=<url>" "user-data=<text>"
                             additionals  target    A, AAAA                  one for each address

<id> is base32 in lower case without padding. A reply of swarm-discovery before 0.6.5 has no PTR
record and a TTL of 0; readers look at neither. Its answers of more than 1472 bytes are not read by
anybody, so the last addresses are left out of a message that would be longer.

dnspython is slow to import: `CODEC_MODULES` should be there before the first message.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from iroh_base import (
    EndpointData,
    IrohError,
    PublicKey,
    RelayUrl,
    SocketAddr,
    UserData,
)
from iroh_base.encoding import base32_encode

if TYPE_CHECKING:
    import dns.message
    import dns.name
    import dns.rrset

__all__ = ["CODEC_MODULES", "MAX_MESSAGE", "Announcement", "Heard", "MdnsWire"]

MAX_MESSAGE: Final = 1472
"""Bytes of an Ethernet frame that are left for UDP over IPv4; swarm-discovery's read buffer."""

ANNOUNCE_TTL: Final = 120
"""Seconds; swarm-discovery `ANNOUNCE_TTL_SECS`. 0 until 0.6.4."""

MAX_TXT: Final = 254
"""Bytes of a key and its value together; swarm-discovery `validate_txt_attribute`."""

_RELAY, _USER_DATA = "relay", "user-data"
_A, _PTR, _TXT, _AAAA, _SRV, _IN = 1, 12, 16, 28, 33, 1  # RFC 1035, 3596, 2782

_RDATA = ("ANY.PTR", "ANY.TXT", "IN.A", "IN.AAAA", "IN.SRV")
CODEC_MODULES = ("dns.message", *(f"dns.rdtypes.{name}" for name in _RDATA))


class Announcement(NamedTuple):
    """What one reply says about one endpoint: where it is, and its TXT attributes, if any."""

    addrs: tuple[SocketAddr, ...]
    txt: tuple[tuple[str, str], ...] = ()

    def data(self) -> EndpointData:
        """Return the addresses, the relay behind them, and the user data; bad values left out."""
        texts = dict(self.txt)
        relay: list[RelayUrl] = []
        user_data = None
        try:
            relay += [RelayUrl(texts[_RELAY])] if _RELAY in texts else []
            user_data = UserData(texts[_USER_DATA]) if _USER_DATA in texts else None
        except IrohError:
            pass  # the address is good all the same
        return EndpointData([*self.addrs, *relay], user_data)


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that concerns us: a query, or a reply about some endpoints."""

    is_query: bool
    peers: Mapping[PublicKey, Announcement]


class MdnsWire:
    """Writes and reads the messages of one service, `irohv1` by default.

    Raises `ValueError` for a service name that is no DNS label.
    """

    def __init__(self, service: str) -> None:
        label = f"_{service}".encode()
        if not 1 < len(label) <= 63:  # RFC 1035 section 2.3.4
            raise ValueError(f"the service name must have 1 to 62 bytes: {service!r}")
        self._labels = (label, b"_udp", b"local", b"")
        self._mark = bytes((len(label),)) + label.lower()

    def query(self) -> bytes:
        """The question for everybody of the service."""
        import dns.message

        message = dns.message.make_query(self._service(), "PTR", id=0, flags=0)
        return message.to_wire()

    def reply(self, endpoint_id: PublicKey, data: EndpointData) -> bytes | None:
        """The answer that tells of one endpoint; None if it has no address to tell.

        Of several relays the first is told, if it is short enough, and addresses as long as
        there is room.
        """
        import dns.exception

        addrs = sorted(set(data.ip_addrs), key=lambda addr: (addr.port, addr.packed))
        while addrs:
            try:
                return self._reply(endpoint_id, addrs, data).to_wire(max_size=MAX_MESSAGE)
            except dns.exception.TooBig:
                addrs.pop()
        return None

    def concerns(self, data: bytes) -> bool:
        """Whether a datagram names this service: others' are not worth reading."""
        return self._mark in data.lower()  # a label is never split

    def read(self, data: bytes) -> Heard | None:
        """Take a datagram apart; None for what is no message of this service. Never raises."""
        if not self.concerns(data):
            return None
        import dns.exception
        import dns.message

        try:
            message = dns.message.from_wire(data, ignore_trailing=True, one_rr_per_rrset=True)
            service = self._service()
            for question in message.question:
                if (question.rdclass, question.rdtype, question.name) == (_IN, _PTR, service):
                    return Heard(True, {})
            return Heard(False, self._peers(message, service))
        except (dns.exception.DNSException, ValueError):
            return None

    # -- inside ---------------------------------------------------------------------------------

    def _service(self) -> "dns.name.Name":
        import dns.name

        return dns.name.Name(self._labels)

    def _reply(
        self, endpoint_id: PublicKey, addrs: list[SocketAddr], data: EndpointData
    ) -> "dns.message.Message":
        import dns.flags
        import dns.message
        import dns.name

        message = dns.message.Message(id=0)
        message.flags = dns.flags.Flag.QR | dns.flags.Flag.AA
        label = base32_encode(bytes(endpoint_id)).lower()
        name = dns.name.Name((label.encode(), *self._labels))
        _add(message.answer, self._service(), _PTR, name.to_wire())
        targets: dict[int, dns.name.Name] = {}
        for addr in addrs:
            if addr.port not in targets:
                target = dns.name.Name((f"{label}-{addr.port}".encode(), b"local", b""))
                targets[addr.port] = target
                where = struct.pack("!HHH", 0, 0, addr.port)  # priority, weight: RFC 2782
                _add(message.answer, name, _SRV, where + (target.to_wire() or b""))
            kind = _A if addr.is_ipv4 else _AAAA
            _add(message.additional, targets[addr.port], kind, addr.packed)
        if strings := _txt_strings(data):
            _add(message.answer, name, _TXT, b"".join(bytes((len(s),)) + s for s in strings))
        return message

    def _peers(
        self, message: "dns.message.Message", service: "dns.name.Name"
    ) -> dict[PublicKey, Announcement]:
        ports: dict[dns.name.Name, list[tuple[int, bytes]]] = {}
        texts: dict[bytes, dict[str, str]] = {}
        addrs: dict[bytes, set[SocketAddr]] = {}
        for rrset in message.answer:
            name = rrset.name
            if rrset.rdclass != _IN or len(name) != len(service) + 1 or name.parent() != service:
                continue
            label = name[0].lower()
            for rdata in rrset:
                if rrset.rdtype == _SRV:
                    ports.setdefault(rdata.target, []).append((rdata.port, label))
                elif rrset.rdtype == _TXT:
                    _read_txt(texts.setdefault(label, {}), rdata.strings)
        for rrset in message.additional:
            if rrset.rdclass == _IN and rrset.rdtype in (_A, _AAAA):
                for port, label in ports.get(rrset.name, ()):
                    for rdata in rrset:
                        addrs.setdefault(label, set()).add(
                            SocketAddr.from_parts(rdata.address, port)
                        )
        peers = {}
        for label, found in addrs.items():
            try:
                endpoint_id = PublicKey.from_string(label.decode("ascii"))
            except (IrohError, UnicodeDecodeError):
                continue
            ordered = sorted(found, key=lambda addr: (not addr.is_ipv4, addr.packed, addr.port))
            txt = tuple(sorted(texts.get(label, {}).items()))
            peers[endpoint_id] = Announcement(tuple(ordered), txt)
        return peers


def _add(
    section: "list[dns.rrset.RRset]", name: "dns.name.Name", kind: int, wire: bytes | None
) -> None:
    import dns.rdata
    import dns.rdatatype
    import dns.rrset

    its = dns.rdatatype.RdataType.make(kind)
    rdata = dns.rdata.from_wire("IN", its, wire or b"", 0, len(wire or b""))
    section.append(dns.rrset.from_rdata(name, ANNOUNCE_TTL, rdata))


def _txt_strings(data: EndpointData) -> list[bytes]:
    values = {_RELAY: data.relay_urls[0] if data.relay_urls else None, _USER_DATA: data.user_data}
    strings = []
    for key, value in values.items():
        encoded = f"{value}".encode()
        if value is not None and len(key) + len(encoded) <= MAX_TXT:
            strings.append(key.encode() + b"=" + encoded)
    return strings


def _read_txt(attributes: dict[str, str], strings: Iterable[bytes]) -> None:
    """The first value of a key counts; a flag, a key without value, says nothing to us."""
    for string in strings:
        try:
            key, equals, value = string.decode().partition("=")
        except UnicodeDecodeError:
            continue
        if equals:
            attributes.setdefault(key, value)
