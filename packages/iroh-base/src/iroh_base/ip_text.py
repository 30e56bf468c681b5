"""IP addresses as text: RFC 5952, in the forms that Rust's std and URLs print.

Python's `ipaddress` parses exactly what both accept, but how it prints IPv4-mapped addresses
depends on its version, so printing is done here.
"""

import re

__all__ = ["ip_text", "ipv4_text", "ipv6_text"]

_MAPPED_PREFIX = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
_ZERO_RUN = re.compile(r"\b0(?::0\b)+")


def ipv4_text(packed: bytes) -> str:
    """The dotted form of 4 bytes."""
    return ".".join(map(str, packed))


def ipv6_text(packed: bytes, *, dotted_mapped: bool) -> str:
    """RFC 5952 text of 16 bytes; with `dotted_mapped`, `::ffff:0:0/96` ends in dotted IPv4."""
    if dotted_mapped and packed.startswith(_MAPPED_PREFIX):
        return f"::ffff:{ipv4_text(packed[12:])}"
    text = ":".join(f"{packed[i] << 8 | packed[i + 1]:x}" for i in range(0, 16, 2))
    # The longest run of two or more zero groups, the first one of equals (section 4.2.3).
    runs = _ZERO_RUN.finditer(text)
    longest = max(runs, key=lambda run: run.end() - run.start(), default=None)
    if longest is None:
        return text
    return f"{text[: longest.start()].rstrip(':')}::{text[longest.end() :].lstrip(':')}"


def ip_text(packed: bytes) -> str:
    """The text of 4 or 16 bytes as Rust's `IpAddr` prints it."""
    return ipv4_text(packed) if len(packed) == 4 else ipv6_text(packed, dotted_mapped=True)
