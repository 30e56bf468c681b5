"""pkarr packets: DNS records signed by the key that they are about (https://pkarr.org).

     0 .. 32     public key
    32 .. 96     Ed25519 signature
    96 .. 104    timestamp, microseconds since 1970, big endian
    104 ..       DNS message of at most 1000 bytes, see `iroh_base.dns_wire`

    signed       "3:seqi" timestamp "e1:v" length ":" message        (BEP 44, without a salt)
    relay        everything but the key, which is in the path of the HTTP request

Records lie below the zone that is the key in z-base-32: `_iroh.<z32>`.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Self, final

from .dns_wire import DnsRecord, build_txt_answers, parse_answers, txt_value
from .errors import (
    IrohError,
    PacketDnsError,
    PacketSignatureError,
    PacketTooLargeError,
    PacketTooShortError,
    PkarrError,
    SignatureError,
)
from .keys import PublicKey, SecretKey, Signature

__all__ = ["DEFAULT_TTL", "IROH_TXT_NAME", "DnsRecord", "MonotonicTimestamp", "SignedPacket"]

IROH_TXT_NAME = "_iroh"
"""The name, relative to the key's zone, of iroh's TXT records; upstream: IROH_TXT_NAME."""
DEFAULT_TTL = 30
"""Seconds that records may be cached; upstream: DEFAULT_PKARR_TTL."""

_KEY_END = 32
_SIGNATURE_END = 96
_HEADER = 104  # upstream: HEADER_SIZE
_MAX_MESSAGE = 1000  # upstream: MAX_DNS_PACKET_SIZE, from BEP 44
_MAX_U32 = 0xFFFF_FFFF
_MAX_U64 = 0xFFFF_FFFF_FFFF_FFFF


class MonotonicTimestamp:
    """Timestamps for packets: the clock's, but never the same or an earlier one twice.

    `clock_us` gives microseconds since 1970, for instance `lambda: time.time_ns() // 1000`. A
    publisher whose clock was set back would otherwise not be heard. Share one object per process;
    it may be called from any thread.
    """

    __slots__ = ("_clock_us", "_last", "_lock")

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        """The next timestamp."""
        with self._lock:
            self._last = max(self._clock_us(), self._last + 1)
            return self._last


def _signable(timestamp_us: int, message: bytes) -> bytes:
    return b"3:seqi%de1:v%d:%b" % (timestamp_us, len(message), message)


def _full_name(name: str, zone: str) -> str:
    """A dotted name with the zone at its end; the empty name and `@` are the zone itself."""
    name = name.removesuffix(".")
    last = name.rpartition(".")[2]
    if last == zone:
        return name
    return zone if last in ("", "@") else f"{name}.{zone}"


@final
class SignedPacket:
    """A pkarr packet whose signature and DNS message are good. Immutable, equal by its bytes."""

    __slots__ = ("_bytes", "_public_key", "_records")
    MAX_BYTES = _HEADER + _MAX_MESSAGE

    def __init__(self, data: bytes, *, verify: bool = True) -> None:
        data = bytes(data)
        if len(data) < _HEADER:
            raise PacketTooShortError(f"Signed packet too short: {len(data)} bytes (min {_HEADER})")
        if len(data) > self.MAX_BYTES:
            raise PacketTooLargeError(
                f"Signed packet too large: {len(data)} bytes (max {self.MAX_BYTES})"
            )
        self._bytes = data
        try:
            self._public_key = PublicKey(data[:_KEY_END])
        except IrohError as error:
            raise PkarrError("Invalid public key in a signed packet") from error
        if verify:
            self._verify()
        self._records = parse_answers(data[_HEADER:])

    def _verify(self) -> None:
        message = _signable(self.timestamp_us, self.dns_packet)
        try:
            self._public_key.verify(message, self.signature)
        except SignatureError as error:
            raise PacketSignatureError("Invalid signature") from error

    @classmethod
    def sign(
        cls,
        secret_key: SecretKey,
        txt: Sequence[str],
        timestamp_us: int,
        ttl: int = DEFAULT_TTL,
        name: str = IROH_TXT_NAME,
    ) -> Self:
        """Build and sign a packet with one TXT record per value, all under `name`.

        `PacketTooLargeError` if the message would pass 1000 bytes: nothing is left out silently.
        `PacketDnsError` for a value over 255 bytes, a bad name, a TTL or timestamp out of range.
        """
        if not (0 <= ttl <= _MAX_U32 and 0 <= timestamp_us <= _MAX_U64):
            raise PacketDnsError("the TTL must fit in 32 bits and the timestamp in 64")
        public_key = secret_key.public()
        message = build_txt_answers(_full_name(name, public_key.to_z32()), txt, ttl)
        if len(message) > _MAX_MESSAGE:
            raise PacketTooLargeError(
                f"DNS packet too large: {len(message)} bytes (max {_MAX_MESSAGE})"
            )
        signature = secret_key.sign(_signable(timestamp_us, message))
        header = public_key.to_bytes() + signature.to_bytes() + timestamp_us.to_bytes(8, "big")
        return cls(header + message, verify=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse and verify a whole packet; a subclass of `PkarrError` says what is wrong."""
        return cls(data)

    @classmethod
    def from_bytes_unchecked(cls, data: bytes) -> Self:
        """Parse a packet that was verified before, for instance one from a store."""
        return cls(data, verify=False)

    @classmethod
    def from_relay_payload(cls, public_key: PublicKey, payload: bytes) -> Self:
        """Parse and verify what a pkarr relay holds for a key."""
        return cls(public_key.to_bytes() + payload)

    def to_bytes(self) -> bytes:
        """The whole packet."""
        return self._bytes

    def to_relay_payload(self) -> bytes:
        """The packet without its key, as it is sent to a relay."""
        return self._bytes[_KEY_END:]

    @property
    def public_key(self) -> PublicKey:
        """The key that signed the packet."""
        return self._public_key

    @property
    def signature(self) -> Signature:
        """The signature."""
        return Signature(self._bytes[_KEY_END:_SIGNATURE_END])

    @property
    def timestamp_us(self) -> int:
        """When the packet was made, in microseconds since 1970; its sequence number as well."""
        return int.from_bytes(self._bytes[_SIGNATURE_END:_HEADER], "big")

    @property
    def dns_packet(self) -> bytes:
        """The DNS message."""
        return self._bytes[_HEADER:]

    def records(self) -> tuple[DnsRecord, ...]:
        """All records of the answer section, whatever their names and types."""
        return self._records

    def txt_records(self, name: str = IROH_TXT_NAME) -> list[str]:
        """The values of the TXT records under `name`, each record's strings put together.

        Names are compared case by case; values that are not UTF-8 are skipped. Class and TTL do
        not matter.
        """
        zone = self._public_key.to_z32()
        names = (_full_name(name, zone), f"{name}.{zone}")
        values = []
        for record in self._records:
            value = txt_value(record) if record.owner in names else None
            if value is not None:
                try:
                    values.append(value.decode())
                except UnicodeDecodeError:
                    continue
        return values

    def more_recent_than(self, other: "SignedPacket") -> bool:
        """Whether this packet replaces `other`: later, or as late with the greater message."""
        mine = (self.timestamp_us, self.dns_packet)
        return mine > (other.timestamp_us, other.dns_packet)

    def __repr__(self) -> str:
        return f"SignedPacket({self._public_key.to_z32()}, timestamp_us={self.timestamp_us})"

    def __eq__(self, other: object) -> bool:
        return self._bytes == other._bytes if isinstance(other, SignedPacket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._bytes)
