"""What an endpoint publishes about itself, and the TXT strings that carry it.

    relay=<url>          one string per relay
    addr=<address>       one string per socket or custom address
    user-data=<text>     at most one, at most 245 bytes of UTF-8

Strings are sorted by attribute in that order, and within one attribute in the order of the
addresses. Reading is strict about attributes and lenient about values, as Rust's iroh-dns is: an
unknown attribute or a string without "=" spoils the whole, a bad value is skipped, and a value ends
at the second "=".
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self, final

from .addr import EndpointAddr
from .errors import EndpointInfoError, IrohError
from .keys import PublicKey, SecretKey
from .pkarr import DEFAULT_TTL, IROH_TXT_NAME, SignedPacket
from .relay_url import RelayUrl
from .transport_addr import CustomAddr, SocketAddr, TransportAddr

__all__ = ["IROH_TXT_NAME", "AddrFilter", "EndpointData", "EndpointInfo", "UserData"]

_log = logging.getLogger(__name__)

_RELAY, _ADDR, _USER_DATA = "relay", "addr", "user-data"
_ATTRIBUTES = (_RELAY, _ADDR, _USER_DATA)


class UserData(str):
    """Text of the application's own, published with the addresses; at most 245 bytes of UTF-8."""

    __slots__ = ()
    # What is left of a 255-byte string after "user-data="; upstream: UserData::MAX_LENGTH
    MAX_LENGTH = 245

    def __new__(cls, text: str) -> Self:
        """Check the length of `text`; `EndpointInfoError` if it is too long or not encodable."""
        try:
            length = len(text.encode())
        except UnicodeEncodeError as error:
            raise EndpointInfoError("user data must be valid Unicode") from error
        if length > cls.MAX_LENGTH:
            raise EndpointInfoError(f"max length exceeded: {length} of {cls.MAX_LENGTH} bytes")
        return super().__new__(cls, text)


_FilterFunction = Callable[[list[TransportAddr]], list[TransportAddr]]


def _unfiltered(addrs: list[TransportAddr]) -> list[TransportAddr]:
    return addrs


def _relay_only(addrs: list[TransportAddr]) -> list[TransportAddr]:
    return [addr for addr in addrs if isinstance(addr, RelayUrl)]


def _ip_only(addrs: list[TransportAddr]) -> list[TransportAddr]:
    return [addr for addr in addrs if not isinstance(addr, RelayUrl)]


@final
class AddrFilter:
    """Chooses and orders the addresses that are published; a wrapped function from list to list."""

    __slots__ = ("_function",)

    def __init__(self, function: _FilterFunction) -> None:
        self._function = function

    @classmethod
    def unfiltered(cls) -> Self:
        """Everything, as it is."""
        return cls(_unfiltered)

    @classmethod
    def relay_only(cls) -> Self:
        """Only relays."""
        return cls(_relay_only)

    @classmethod
    def ip_only(cls) -> Self:
        """Everything but relays: custom addresses stay, as upstream."""
        return cls(_ip_only)

    def apply(self, addrs: Iterable[TransportAddr]) -> list[TransportAddr]:
        """The chosen addresses, in the order to publish them."""
        return self._function(list(addrs))

    def __repr__(self) -> str:
        name = getattr(self._function, "__name__", repr(self._function))
        return f"AddrFilter({name.removeprefix('_')})"


@dataclass(frozen=True)
class EndpointData:
    """Addresses in order of preference, each once, and optional user data."""

    addrs: Sequence[TransportAddr] = ()
    user_data: UserData | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "addrs", tuple(dict.fromkeys(self.addrs)))
        if self.user_data is not None:
            object.__setattr__(self, "user_data", UserData(self.user_data))

    def filtered(self, addr_filter: AddrFilter) -> "EndpointData":
        """The same with only the addresses that the filter lets through; user data stays."""
        return EndpointData(addr_filter.apply(self.addrs), self.user_data)

    @property
    def relay_urls(self) -> tuple[RelayUrl, ...]:
        """The relays, in order."""
        return tuple(addr for addr in self.addrs if isinstance(addr, RelayUrl))

    @property
    def ip_addrs(self) -> tuple[SocketAddr, ...]:
        """The socket addresses, in order."""
        return tuple(addr for addr in self.addrs if isinstance(addr, SocketAddr))


@dataclass(frozen=True)
class EndpointInfo:
    """An endpoint's id and what is published about it."""

    endpoint_id: PublicKey
    data: EndpointData = field(default_factory=EndpointData)

    def to_txt_strings(self) -> list[str]:
        """The `attribute=value` strings, sorted by attribute."""
        relays = [f"{_RELAY}={addr}" for addr in self.data.relay_urls]
        others = [f"{_ADDR}={addr}" for addr in self.data.addrs if not isinstance(addr, RelayUrl)]
        user_data = self.data.user_data
        return relays + others + ([] if user_data is None else [f"{_USER_DATA}={user_data}"])

    @classmethod
    def from_txt_strings(cls, endpoint_id: PublicKey, strings: Iterable[str]) -> Self:
        """Read the strings; `EndpointInfoError` for an unknown attribute or one without value."""
        values: dict[str, list[str]] = {attribute: [] for attribute in _ATTRIBUTES}
        for text in strings:
            attribute, equals, rest = text.partition("=")
            if not equals:
                raise EndpointInfoError(f"Expected format `key=value`, received `{text[:80]}`")
            if attribute not in values:
                raise EndpointInfoError(f"Could not convert key to Attr: `{attribute[:80]}`")
            values[attribute].append(rest.partition("=")[0])
        addrs = [*_parse_each(RelayUrl, values[_RELAY]), *_parse_each(_parse_addr, values[_ADDR])]
        return cls(endpoint_id, EndpointData(addrs, _parse_user_data(values[_USER_DATA])))

    @classmethod
    def from_txt_lookup(cls, name: str, strings: Iterable[str]) -> Self:
        """Read the answer to a TXT query for `_iroh.<z32 id>.<origin>`; raises EndpointInfoError.

        The id is the one that was asked for; what follows it in the name is not looked at.
        """
        label, _, rest = name.partition(".")
        if label != IROH_TXT_NAME:
            raise EndpointInfoError(f"Record is not an `iroh` record, got `{label[:80]}`")
        try:
            endpoint_id = PublicKey.from_z32(rest.partition(".")[0])
        except IrohError as error:
            raise EndpointInfoError(f"the name holds no endpoint id: {error}") from error
        return cls.from_txt_strings(endpoint_id, strings)

    def to_signed_packet(
        self, secret_key: SecretKey, timestamp_us: int, ttl: int = DEFAULT_TTL
    ) -> SignedPacket:
        """The pkarr packet that publishes this, signed by the endpoint's key; `PkarrError`."""
        return SignedPacket.sign(secret_key, self.to_txt_strings(), timestamp_us, ttl)

    @classmethod
    def from_signed_packet(cls, packet: SignedPacket) -> Self:
        """Read a pkarr packet; `EndpointInfoError` as in `from_txt_strings`."""
        return cls.from_txt_strings(packet.public_key, packet.txt_records())

    @classmethod
    def from_endpoint_addr(cls, addr: EndpointAddr) -> Self:
        """The addresses of `addr` in their canonical order, without user data."""
        return cls(addr.id(), EndpointData(addr.sorted_addrs()))

    def to_endpoint_addr(self) -> EndpointAddr:
        """The id and addresses, to dial."""
        return EndpointAddr.from_parts(self.endpoint_id, self.data.addrs)


def _parse_addr(text: str) -> SocketAddr | CustomAddr:
    """A socket address, else a custom one."""
    try:
        return SocketAddr.parse(text)
    except IrohError:
        return CustomAddr.parse(text)


def _parse_each(
    parse: Callable[[str], TransportAddr], texts: Iterable[str]
) -> Iterable[TransportAddr]:
    """Parse what can be parsed."""
    for text in texts:
        try:
            yield parse(text)
        except IrohError as error:
            _log.debug("skipping a published address: %s", error)


def _parse_user_data(texts: Sequence[str]) -> UserData | None:
    """The first user data, or none if there is none or it is too long."""
    try:
        return UserData(texts[0]) if texts else None
    except EndpointInfoError as error:
        _log.debug("skipping published user data: %s", error)
        return None
