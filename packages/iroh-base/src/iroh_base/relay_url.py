"""The URL of a relay server.

Two texts name the same relay if they are the same URL after normalisation (`iroh_base.whatwg`).
The dot at the end of a fully qualified host is significant and kept: `https://h./` is not
`https://h/`. Any absolute URL is accepted, as in Rust; what can be dialled is decided on dialling.
"""

from functools import lru_cache, total_ordering
from typing import final

from .errors import RelayUrlError
from .whatwg import DEFAULT_PORTS, Url, parse_url

__all__ = ["RelayUrl"]

_PARSED_URLS = 512  # a program meets a handful of relays, each again and again
_MAX_REMEMBERED = 1024  # characters; a longer text is parsed every time, which bounds the memory


def _parse(text: str) -> tuple[Url, str]:
    try:
        url = parse_url(text)
    except ValueError as error:
        hint = "" if "://" in text else "a relay URL begins with https:// (or http:// in tests)"
        raise RelayUrlError(f"Failed to parse relay URL: {error}", hint=hint) from error
    return url, str(url)


_parse_remembered = lru_cache(maxsize=_PARSED_URLS)(_parse)


@final
@total_ordering
class RelayUrl:
    """An absolute URL in normalised form. Immutable, hashable, ordered by its text.

    Takes text or another `RelayUrl`; raises `RelayUrlError` for text that is no absolute URL.
    """

    __slots__ = ("_text", "_url")

    def __init__(self, url: "str | RelayUrl") -> None:
        if not isinstance(url, str | RelayUrl):
            raise TypeError(f"expected str or RelayUrl, got {type(url).__name__}")
        text = str(url)
        parse = _parse_remembered if len(text) <= _MAX_REMEMBERED else _parse
        self._url, self._text = parse(text)

    @property
    def scheme(self) -> str:
        """The scheme in lower case, such as `https`."""
        return self._url.scheme

    @property
    def host(self) -> str:
        """The host as it stands in the URL: IPv6 in brackets, a trailing dot kept, or empty."""
        return self._url.host or ""

    @property
    def hostname(self) -> str:
        """The host to resolve and connect to: without brackets, a trailing dot kept."""
        return self.host.strip("[]")

    @property
    def port(self) -> int | None:
        """The port that was given, else the scheme's default, else `None`."""
        return DEFAULT_PORTS.get(self._url.scheme) if self._url.port is None else self._url.port

    @property
    def path(self) -> str:
        """The path, percent-encoded; at least `/` for the usual schemes."""
        return self._url.path

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f'RelayUrl("{self._text}")'

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, RelayUrl) else NotImplemented

    def __lt__(self, other: "RelayUrl") -> bool:
        return self._text < other._text if isinstance(other, RelayUrl) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)
