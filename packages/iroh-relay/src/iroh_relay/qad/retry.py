"""Retry tokens: whoever shows one has read what we sent to its address (RFC 9000 section 8.1.2).

    | time, ms 8 | id of the Retry 8 | length 1 | id of the first Initial | HMAC-SHA256, half 16 |

The HMAC covers the client's address and what stands before it. Nothing is stored.
"""

import hmac
import os
from typing import Final, NamedTuple

__all__ = ["RetryTokens", "Token"]

LIFETIME: Final = 15.0
"""Seconds (noq `retry_token_lifetime`)."""
CID_LENGTH: Final = 8
_TAG: Final = 16
_FIXED: Final = 8 + CID_LENGTH + 1


class Token(NamedTuple):
    """What a token proves."""

    original_destination: bytes
    retry_source: bytes


class RetryTokens:
    """Makes tokens and takes them back. Times are seconds, of any clock that only goes forward."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def make(self, addr: object, token: Token, now: float) -> bytes:
        """Make the token that `addr` has to show."""
        head = round(now * 1000).to_bytes(8, "big") + token.retry_source
        head += bytes((len(token.original_destination),)) + token.original_destination
        return head + self._tag(addr, head)

    def open(self, addr: object, data: bytes, now: float) -> Token | None:
        """Take a token back; None when it is not ours, not of this address, or too old."""
        head, tag = data[:-_TAG], data[-_TAG:]
        if len(head) < _FIXED or not hmac.compare_digest(tag, self._tag(addr, head)):
            return None
        age = now - int.from_bytes(head[:8], "big") / 1000
        if not -1.0 <= age <= LIFETIME:
            return None
        return Token(head[_FIXED:], head[8 : 8 + CID_LENGTH])

    def _tag(self, addr: object, head: bytes) -> bytes:
        return hmac.digest(self._key, repr(addr).encode() + b"\0" + head, "sha256")[:_TAG]
