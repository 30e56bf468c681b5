"""Absolute URLs parsed and normalised as browsers and Rust's crate `url` do it.

Implements the basic URL parser of https://url.spec.whatwg.org (without a base URL), not as the
standard's state machine but as the cuts it amounts to:

    scheme ":" "//" [ username [":" password] "@" ] host [":" port] path ["?" query] ["#" fragment]

Special schemes (http, https, ws, wss, ftp, file) forgive slashes and backslashes, need a host and
have `/` as their shortest path. Any other scheme may have an opaque path instead (`foo:bar`).
"""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from .idna import to_ascii
from .ip_text import ipv4_text, ipv6_text

__all__ = ["DEFAULT_PORTS", "Url", "parse_url"]

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
"""The special schemes but `file`, with the ports that are not written out."""

_MAX_PORT = 0xFFFF
_MAX_IPV4 = 0xFFFF_FFFF
_C0_AND_SPACE = "".join(map(chr, range(0x21)))
_DROPPED = str.maketrans("", "", "\t\n\r")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
# Rust ends a port at a backslash in every scheme, the standard only in special ones.
_PORT_BACKSLASH = re.compile(r"((?:\[[^\]]*\]|[^:\[])*:[0-9]*)(\\.*)", re.DOTALL)
_DRIVE = re.compile(r"[a-zA-Z][:|]")

# Percent-encode sets, section 1.3; everything outside printable ASCII is in all of them.
_C0 = ""
_FRAGMENT = ' "<>`'
_QUERY = ' "#<>'
_SPECIAL_QUERY = _QUERY + "'"
_PATH = ' "#<>`?{}'
_USERINFO = _PATH + "/:;=@[\\]^|"
# Forbidden code points, section 3.1; opaque hosts may have "%", domains may not.
_BAD_OPAQUE = re.compile(r"[\0\t\n\r #/:<>?@\[\\\]^|]")
_BAD_DOMAIN = re.compile(r"[\x00-\x20\x7f#%/:<>?@\[\\\]^|]")
_NUMBERS = (
    (re.compile(r"0[xX]([0-9a-fA-F]*)"), 16),
    (re.compile(r"0([0-7]+)"), 8),
    (re.compile(r"(0|[1-9][0-9]*)"), 10),
)


class Url(NamedTuple):
    """The parts of a URL, each in normalised form; `None` is absent, which differs from empty."""

    scheme: str
    userinfo: str
    host: str | None
    port: int | None
    path: str
    query: str | None
    fragment: str | None

    def __str__(self) -> str:
        authority = ""
        if self.host is not None:
            port = "" if self.port is None else f":{self.port}"
            authority = f"//{self.userinfo}{self.host}{port}"
        elif self.path.startswith("//"):
            authority = "/."  # or else the path would read as a host
        query = "" if self.query is None else f"?{self.query}"
        fragment = "" if self.fragment is None else f"#{self.fragment}"
        return f"{self.scheme}:{authority}{self.path}{query}{fragment}"


def parse_url(text: str) -> Url:
    """The parts of the absolute URL `text`; `ValueError` if it is none."""
    text = text.strip(_C0_AND_SPACE).translate(_DROPPED)
    match = _SCHEME.match(text)
    if match is None:
        raise ValueError("relative URL without a base")
    scheme = match[1].lower()
    rest, hash_mark, fragment = text[match.end() :].partition("#")
    rest, question_mark, query = rest.partition("?")
    special = scheme in DEFAULT_PORTS or scheme == "file"
    if scheme == "file":
        parts = _file(rest)
    elif special:
        parts = _authority(scheme, rest.lstrip("/\\"), special=True)
    elif rest.startswith("//"):
        parts = _authority(scheme, rest[2:], special=False)
    elif rest.startswith("/"):
        parts = ("", None, None, _path(rest, special=False))
    else:
        parts = ("", None, None, _encode(rest, _C0))
    return Url(
        scheme,
        *parts,
        _encode(query, _SPECIAL_QUERY if special else _QUERY) if question_mark else None,
        _encode(fragment, _FRAGMENT) if hash_mark else None,
    )


_Parts = tuple[str, str | None, int | None, str]
"""userinfo with its "@", host, port, path"""


def _encode(text: str, reserved: str) -> str:
    """UTF-8 percent-encode what is reserved or not printable ASCII."""
    if text.isascii() and text.isprintable() and not any(char in text for char in reserved):
        return text
    data = text.encode()
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in reserved else f"%{byte:02X}"
        for byte in data
    )


def _authority(scheme: str, rest: str, *, special: bool) -> _Parts:
    """Cut what follows the slashes into userinfo, host, port and path."""
    end = re.search(r"[/\\]" if special else "/", rest)
    authority, path = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    userinfo, at, host_port = authority.rpartition("@")
    if not special and (odd := _PORT_BACKSLASH.fullmatch(host_port)):
        host_port, path = odd[1], f"/{odd[2]}{path}"
    host, port = _split_port(scheme, host_port)
    if not host and (special or port is not None or at):
        raise ValueError("empty host")
    parsed_host = _domain_host(host) if special else _opaque_host(host)
    parsed_path = _path(path, special=special) if path or special else ""
    return _userinfo(userinfo), parsed_host, port, parsed_path


def _userinfo(text: str) -> str:
    """`user:password@`, without the parts that are empty."""
    username, _, password = text.partition(":")
    if not username and not password:
        return ""
    secret = f":{_encode(password, _USERINFO)}" if password else ""
    return f"{_encode(username, _USERINFO)}{secret}@"


def _split_port(scheme: str, text: str) -> tuple[str, int | None]:
    """Cut at the first colon outside of brackets; a default port becomes `None`."""
    match = re.match(r"((?:\[[^\]]*\]?|[^:\[])*)(?::(.*))?$", text, re.DOTALL)
    host, digits = (match[1], match[2]) if match else (text, None)
    if digits is None:
        return host, None
    if not host:
        raise ValueError("empty host")
    if not digits:
        return host, None
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError("invalid port number")
    port = int(digits.lstrip("0")[:6] or "0")
    if port > _MAX_PORT:
        raise ValueError("invalid port number")
    return host, None if port == DEFAULT_PORTS.get(scheme) else port


def _file(rest: str) -> _Parts:
    """`file:` URLs: the host may be missing, and drive letters are no hosts."""
    rest = rest.replace("\\", "/")
    host = ""
    if rest.startswith("//"):
        name, slash, path = rest[2:].partition("/")
        if _DRIVE.fullmatch(name):
            rest = "/" + rest[2:]
        else:
            host = _domain_host(name) if name else ""
            rest = slash + path
    host = "" if host == "localhost" else host
    path = _path(rest, special=True, drives=True)
    if re.match(r"/[a-zA-Z]:(/|$)", path):
        host = ""
    return "", host, None, "/" + path.lstrip("/")


def _path(text: str, *, special: bool, drives: bool = False) -> str:
    """Resolve the dot segments of a path and percent-encode the rest."""
    pieces = re.split(r"[/\\]", text) if special else text.split("/")
    if not pieces[0]:
        del pieces[0]
    done: list[str] = []
    for piece in pieces:
        dots = piece.lower().replace("%2e", ".")
        if dots == "..":
            # Rust never climbs above a drive letter, in whatever scheme.
            if done and not _DRIVE.fullmatch(done[-1]):
                done.pop()
        elif drives and not done and _DRIVE.fullmatch(piece):
            done.append(piece[0] + ":")
        elif dots != ".":
            done.append(_encode(piece, _PATH))
    if not pieces or pieces[-1].lower().replace("%2e", ".") in (".", ".."):
        done.append("")
    return "/" + "/".join(done)


def _opaque_host(text: str) -> str:
    if text.startswith("["):
        return _ipv6_host(text)
    if _BAD_OPAQUE.search(text):
        raise ValueError("invalid character in the host")
    return _encode(text, _C0)


def _domain_host(text: str) -> str:
    """A domain, IPv4 or bracketed IPv6 address in normalised text."""
    if text.startswith("["):
        return _ipv6_host(text)
    # What is not UTF-8 becomes U+FFFD, which no domain name may have.
    domain = to_ascii(unquote_to_bytes(text).decode(errors="replace"))
    if not domain or _BAD_DOMAIN.search(domain):
        raise ValueError("invalid domain name")
    return _ipv4_host(domain) if _ends_in_number(domain) else domain


def _ipv6_host(text: str) -> str:
    if not text.endswith("]") or "%" in text:
        raise ValueError("invalid IPv6 address")
    packed = ipaddress.IPv6Address(text[1:-1]).packed
    return f"[{ipv6_text(packed, dotted_mapped=False)}]"


def _ends_in_number(domain: str) -> bool:
    labels = domain.split(".")
    if not labels[-1]:
        labels.pop()
    last = labels[-1] if labels else ""
    return last.isdigit() or _number(last) is not None


def _number(text: str) -> int | None:
    """A hex, octal or decimal number of the IPv4 parser, `None` if it is none."""
    for form, base in _NUMBERS:
        if match := form.fullmatch(text):
            # 33 digits already overflow in base 10 and need not be counted exactly.
            return int(match[1].lstrip("0")[:33] or "0", base)
    return None


def _ipv4_host(domain: str) -> str:
    """The IPv4 parser, section 3.5: one to four numbers, the last one fills what is left."""
    labels = domain.split(".")
    if not labels[-1]:
        labels.pop()
    numbers = [_number(label) for label in labels]
    *front, last = (-1 if number is None else number for number in numbers)
    if len(front) > 3 or not all(0 <= n <= 0xFF for n in front):
        raise ValueError("invalid IPv4 address")
    if not 0 <= last <= _MAX_IPV4 >> (8 * len(front)):
        raise ValueError("invalid IPv4 address")
    value = last + sum(n << (8 * (3 - i)) for i, n in enumerate(front))
    return ipv4_text(value.to_bytes(4, "big"))
