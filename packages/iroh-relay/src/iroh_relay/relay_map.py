"""Which relays an endpoint may use: `RelayConfig` for one of them, `RelayMap` for all.

The surface and its errors are those of the PyPI bindings `iroh` 1.2.0. A map can be changed while
endpoints use it; they learn of it through `RelayMap.subscribe`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from iroh_base.errors import InvalidInputError, RelayUrlError
from iroh_base.relay_url import RelayUrl

__all__ = ["DEFAULT_RELAY_QUIC_PORT", "RelayConfig", "RelayMap"]

#: UDP port of QUIC address discovery (iroh-relay `defaults.rs`: "QUIC" typed on a phone keypad).
DEFAULT_RELAY_QUIC_PORT = 7842


@dataclass(kw_only=True, eq=True)
class RelayConfig:
    """One relay: its URL, the UDP port for address discovery, and the token it asks for.

    `quic_port` None means that the relay is not used for address discovery, 0 means the default
    port. The object is mutable and therefore unhashable; a `RelayMap` keeps a copy of its own.
    """

    url: str
    quic_port: int | None = None
    auth_token: str | None = None

    def __str__(self) -> str:
        return (
            f"RelayConfig(url={self.url}, quic_port={self.quic_port}, auth_token={self.auth_token})"
        )

    def __repr__(self) -> str:
        # Unlike str(), which is the text of the bindings, this one ends up in logs: no secret.
        token = None if self.auth_token is None else "..."
        return f"RelayConfig(url={self.url!r}, quic_port={self.quic_port}, auth_token={token!r})"


def _parse(url: str | RelayUrl) -> RelayUrl:
    if isinstance(url, RelayUrl):
        return url
    if not isinstance(url, str):
        raise TypeError(f"argument must be str, not {type(url).__name__}")
    try:
        return RelayUrl(url)
    except RelayUrlError as error:
        message = "Failed to parse relay URL"
        debug = f"{message}: {error.message()}"
        raise RelayUrlError(message, debug_message=debug, hint=error.hint) from error


def _normalised(config: RelayConfig) -> tuple[RelayUrl, RelayConfig]:
    port = config.quic_port
    if port is not None and not 0 <= port < 65536:
        raise InvalidInputError("u16 requires 0 <= value < 65536")
    url = _parse(config.url)
    return url, replace(config, url=str(url))


class RelayMap:
    """The relays in use, one configuration per normalised URL, in the order of the URLs.

    Two maps are equal only if they are the same object (as in the bindings). Not thread-safe:
    change a map in the thread of the loop whose endpoints watch it.
    """

    __slots__ = ("_relays", "_subscribers", "_version")

    def __init__(self, configs: Iterable[RelayConfig] = ()) -> None:
        self._relays: dict[RelayUrl, RelayConfig] = {}
        self._subscribers: dict[object, Callable[[], object]] = {}
        self._version = 0
        for config in configs:
            self.insert(config)

    @classmethod
    def empty(cls) -> "RelayMap":
        """A map without relays."""
        return cls()

    @classmethod
    def from_urls(cls, urls: Iterable[str]) -> "RelayMap":
        """A map of `urls`, each with address discovery on the default port.

        Raises `RelayUrlError` if one of them is no URL.
        """
        return cls(RelayConfig(url=url, quic_port=DEFAULT_RELAY_QUIC_PORT) for url in urls)

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._version

    def subscribe(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` after every change, until the returned function is called.

        The callback runs inside `insert` or `remove` and must not raise.
        """
        key = object()
        self._subscribers[key] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def insert(self, config: RelayConfig) -> None:
        """Add a relay, or replace the one with the same URL. The map keeps a copy.

        Raises `RelayUrlError` for a bad URL, `InvalidInputError` for a bad port.
        """
        url, copy = _normalised(config)
        if self._relays.get(url) != copy:
            self._relays[url] = copy
            self._changed()

    def remove(self, url: str | RelayUrl) -> bool:
        """Take a relay out; whether it was there. Raises `RelayUrlError` for a bad URL."""
        if self._relays.pop(_parse(url), None) is None:
            return False
        self._changed()
        return True

    def contains(self, url: str | RelayUrl) -> bool:
        """Whether this relay is in the map. Raises `RelayUrlError` for a bad URL."""
        return _parse(url) in self._relays

    def get(self, url: str | RelayUrl) -> RelayConfig | None:
        """A copy of a relay's configuration. Raises `RelayUrlError` for a bad URL."""
        config = self._relays.get(_parse(url))
        return None if config is None else replace(config)

    def urls(self) -> list[str]:
        """The normalised URLs, sorted."""
        return [str(url) for url in sorted(self._relays)]

    def len(self) -> int:
        """The number of relays."""
        return len(self._relays)

    def is_empty(self) -> bool:
        """Whether there is no relay."""
        return not self._relays

    def _changed(self) -> None:
        self._version += 1
        for callback in list(self._subscribers.values()):
            callback()

    def __len__(self) -> int:
        return len(self._relays)

    def __bool__(self) -> bool:
        # A map is a thing, not a number: `if relay_map` asks whether there is one.
        return True

    def __contains__(self, url: object) -> bool:
        return isinstance(url, str | RelayUrl) and self.contains(url)

    def __iter__(self) -> Iterator[RelayConfig]:
        """Copies of the configurations, in the order of the URLs."""
        return iter([replace(self._relays[url]) for url in sorted(self._relays)])

    def __str__(self) -> str:
        return f"RelayMap([{', '.join(self.urls())}])"

    def __repr__(self) -> str:
        return f"<{self}>"
