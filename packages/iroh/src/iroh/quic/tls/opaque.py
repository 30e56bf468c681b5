"""Bytes where aioquic wants text.

aioquic types ALPNs and close reasons as `str` and calls `.encode(...)` on them when it writes them.
In QUIC both are opaque bytes. `OpaqueText` is a `str` whose characters are the bytes (Latin-1) and
which encodes to exactly these bytes whatever encoding is asked for; nothing of aioquic is patched.
"""

from typing import Self


class OpaqueText(str):
    """A `str` that stands for bytes: `OpaqueText(raw).encode() == raw` for every `raw`."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Wrap bytes."""
        return super().__new__(cls, raw.decode("latin-1"))

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Give the bytes; both arguments are ignored on purpose."""
        return super().encode("latin-1")
