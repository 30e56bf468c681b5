"""An endpoint's address: its id and the ways to reach it.

    text      <hex id>[ relay=<url>][ addrs=[<socket>, <socket>]]
    postcard  id 32 | varint count | transport addresses, ascending, each once
    JSON      {"id": "<hex id>", "addrs": [<transport address>, ...]}

How a transport address is written, and which order is ascending: `iroh_base.transport_addr`.
"""

from collections.abc import Iterable
from typing import Any, Self

from .errors import AddrParseError, IrohError, PostcardError
from .keys import KEY_LENGTH, PublicKey
from .postcard import Reader, Writer
from .relay_url import RelayUrl
from .transport_addr import (
    CustomAddr,
    SocketAddr,
    TransportAddr,
    read_transport_addr,
    to_transport_addr,
    transport_addr_from_json,
    transport_addr_key,
    transport_addr_text,
    transport_addr_to_json,
    write_transport_addr,
)

__all__ = [
    "CustomAddr",
    "EndpointAddr",
    "SocketAddr",
    "TransportAddr",
    "transport_addr_key",
    "transport_addr_text",
]


class EndpointAddr:
    """An endpoint's id and the addresses where it may be reached. Immutable and hashable.

    `relay_url` and `addresses` are checked at once (`RelayUrlError`, `AddrParseError`). Equality
    looks at the id and the set of normalised addresses; `relay_url()` still gives back the text
    that was passed in, as the bindings do.
    """

    __slots__ = ("_addrs", "_given_relay", "_id", "_ordered")

    def __init__(
        self,
        id: PublicKey,
        relay_url: str | RelayUrl | None = None,
        addresses: Iterable[str | TransportAddr] = (),
    ) -> None:
        if not isinstance(id, PublicKey):
            raise TypeError(
                f"expected an EndpointId, got {type(id).__name__}: EndpointId.from_string reads one"
            )
        if isinstance(addresses, str):
            raise TypeError('addresses is a list, not a str: ["127.0.0.1:4433"]')
        relays = [] if relay_url is None else [RelayUrl(relay_url)]
        self._id = id
        self._given_relay = None if relay_url is None else str(relay_url)
        self._ordered = tuple(dict.fromkeys([*relays, *map(to_transport_addr, addresses)]))
        self._addrs = frozenset(self._ordered)

    @classmethod
    def from_parts(cls, id: PublicKey, addrs: Iterable[TransportAddr] = ()) -> Self:
        """An address of an id and any transport addresses, of which duplicates are dropped."""
        return cls(id, None, addrs)

    # -- reading ---------------------------------------------------------------------------

    def id(self) -> PublicKey:
        """The endpoint's id."""
        return self._id

    def relay_url(self) -> str | None:
        """The relay, in the text that was given; the last one in order if there are several."""
        relays = self.relay_urls
        if not relays:
            return None
        given = self._given_relay
        return given if given is not None and RelayUrl(given) == relays[-1] else str(relays[-1])

    def direct_addresses(self) -> list[str]:
        """The IP addresses as text, in the order given, each once."""
        return [str(addr) for addr in self._ordered if isinstance(addr, SocketAddr)]

    @property
    def addrs(self) -> frozenset[TransportAddr]:
        """All addresses."""
        return self._addrs

    def sorted_addrs(self) -> list[TransportAddr]:
        """All addresses in the order in which they are encoded."""
        return sorted(self._addrs, key=transport_addr_key)

    @property
    def relay_urls(self) -> tuple[RelayUrl, ...]:
        """The relays, ascending."""
        return tuple(sorted(a for a in self._ordered if isinstance(a, RelayUrl)))

    @property
    def ip_addrs(self) -> tuple[SocketAddr, ...]:
        """The socket addresses, ascending."""
        found = (a for a in self._ordered if isinstance(a, SocketAddr))
        return tuple(sorted(found, key=transport_addr_key))

    @property
    def custom_addrs(self) -> tuple[CustomAddr, ...]:
        """The addresses of custom transports, ascending."""
        found = (a for a in self._ordered if isinstance(a, CustomAddr))
        return tuple(sorted(found, key=transport_addr_key))

    def is_empty(self) -> bool:
        """Whether there is nothing but the id."""
        return not self._addrs

    # -- extending -------------------------------------------------------------------------

    def with_relay_url(self, url: str | RelayUrl) -> Self:
        """A copy with one more relay."""
        return self.with_addrs([RelayUrl(url)])

    def with_ip_addr(self, addr: str | SocketAddr) -> Self:
        """A copy with one more socket address. Raises AddrParseError."""
        return self.with_addrs([SocketAddr.parse(addr) if isinstance(addr, str) else addr])

    def with_custom_addr(self, addr: str | CustomAddr) -> Self:
        """A copy with one more address of a custom transport. Raises AddrParseError."""
        return self.with_addrs([CustomAddr.parse(addr) if isinstance(addr, str) else addr])

    def with_addrs(self, addrs: Iterable[TransportAddr]) -> Self:
        """A copy with these addresses added."""
        return type(self)(self._id, self._given_relay, [*self._ordered, *addrs])

    # -- encoding --------------------------------------------------------------------------

    def write_to(self, writer: Writer) -> None:
        """Append the postcard form."""
        writer.raw(self._id.to_bytes())
        addrs = self.sorted_addrs()
        writer.varint(len(addrs))
        for addr in addrs:
            write_transport_addr(writer, addr)

    @classmethod
    def read_from(cls, reader: Reader) -> Self:
        """Read the postcard form; `PostcardError` if it is malformed."""
        try:
            id = PublicKey(reader.take(KEY_LENGTH))
        except IrohError as error:
            raise PostcardError(str(error)) from error
        # The count may be a lie: nothing is reserved for it, and the data runs out first.
        addrs = [read_transport_addr(reader) for _ in range(reader.varint())]
        return cls.from_parts(id, sorted(addrs, key=transport_addr_key))

    def to_postcard(self) -> bytes:
        """The canonical postcard form."""
        writer = Writer()
        self.write_to(writer)
        return writer.finish()

    @classmethod
    def from_postcard(cls, data: bytes) -> Self:
        """The inverse of `to_postcard`; order and duplicates are normalised, a rest is ignored."""
        return cls.read_from(Reader(data))

    def to_json(self) -> dict[str, Any]:
        """The shape of Rust's serde, as plain Python objects ready for `json.dumps`."""
        return {
            "id": str(self._id),
            "addrs": [transport_addr_to_json(a) for a in self.sorted_addrs()],
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The inverse of `to_json`; `AddrParseError` for any other shape or value."""
        match value:
            case {"id": str(id_text), "addrs": [*items]}:
                try:
                    id = PublicKey.from_string(id_text)
                    return cls.from_parts(id, [transport_addr_from_json(item) for item in items])
                except AddrParseError:
                    raise
                except IrohError as error:
                    raise AddrParseError(str(error)) from error
        raise AddrParseError('expected {"id": …, "addrs": […]}')

    def __str__(self) -> str:
        relay, direct = self.relay_url(), self.direct_addresses()
        return (
            str(self._id)
            + (f" relay={relay}" if relay is not None else "")
            + (f" addrs=[{', '.join(direct)}]" if direct else "")
        )

    def __repr__(self) -> str:
        texts = ", ".join(transport_addr_text(a) for a in self.sorted_addrs())
        return f"EndpointAddr({self._id}, [{texts}])"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EndpointAddr):
            return NotImplemented
        return self._id == other._id and self._addrs == other._addrs

    def __hash__(self) -> int:
        return hash((self._id, self._addrs))
