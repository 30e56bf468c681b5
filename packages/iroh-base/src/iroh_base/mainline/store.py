"""What a node that answers keeps for others: signed items, and the tokens that allow to put them.

An item is kept for 2 hours after the last put (BEP 44), at most 1000 of them; the one that was put
longest ago goes first. A token is given with each answer to a get, and is good for 5 to 10 minutes
from the same IP address: so nobody puts under another's address.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from .items import MAX_SALT, MAX_VALUE, MutableItem
from .krpc import Addr, Dict

__all__ = ["ITEM_LIFETIME", "MAX_ITEMS", "ItemStore", "Refusal", "Tokens"]

MAX_ITEMS: Final = 1000
"""Upstream n0-mainline `MAX_VALUES`."""
ITEM_LIFETIME: Final = 2 * 3600.0
TOKEN_ROTATION: Final = 300.0
"""Seconds; BEP 5, upstream `TOKEN_ROTATE_INTERVAL`."""
_TOKEN_LENGTH = 8


class Refusal(Exception):
    """Why a query is answered with an error: a code of BEP 5 or BEP 44, and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Tokens:
    """Gives tokens and knows them again, without keeping any."""

    def __init__(self, random_bytes: Callable[[int], bytes], now: float) -> None:
        self._random_bytes = random_bytes
        self._secrets = [random_bytes(16), random_bytes(16)]
        self._rotated = now

    def give(self, addr: Addr, now: float) -> bytes:
        """A token for an address."""
        self._rotate(now)
        return _token(self._secrets[0], addr)

    def good(self, token: object, addr: Addr, now: float) -> bool:
        """Whether it was given to this address lately."""
        self._rotate(now)
        return token in [_token(secret, addr) for secret in self._secrets]

    def _rotate(self, now: float) -> None:
        if now >= self._rotated + TOKEN_ROTATION:
            fresh = now < self._rotated + 2 * TOKEN_ROTATION
            last = self._secrets[0] if fresh else self._random_bytes(16)
            self._secrets = [self._random_bytes(16), last]
            self._rotated = now


class ItemStore:
    """Items by target, those put last at the end."""

    def __init__(self) -> None:
        self._items: dict[bytes, tuple[MutableItem, float]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def get(self, target: bytes, now: float) -> MutableItem | None:
        """The item, unless it is too old."""
        kept = self._items.get(target)
        if kept is None or kept[1] <= now - ITEM_LIFETIME:
            return None
        return kept[0]

    def put(self, args: Dict, now: float) -> None:
        """Keep the item of a put whose token is good. Raises `Refusal`."""
        salt, cas = args.get(b"salt", b""), args.get(b"cas")
        value = args.get(b"v")
        if not isinstance(salt, bytes) or len(salt) > MAX_SALT:
            raise Refusal(207, "salt (salt field) too big.")
        if isinstance(value, bytes) and len(value) > MAX_VALUE:
            raise Refusal(205, "message (v field) too big.")
        item = MutableItem.read(args, salt)
        if item is None:
            raise Refusal(203, "only mutable items with a byte string are stored")
        kept = self.get(item.target, now)
        if kept is not None:
            if isinstance(cas, int) and cas != kept.seq:
                raise Refusal(301, "the CAS hash mismatched, re-read value and try again.")
            if item.order < kept.order:
                raise Refusal(302, "sequence number less than current.")
        if item != kept and not item.is_verified():
            raise Refusal(206, "invalid signature")
        self._items.pop(item.target, None)
        self._items[item.target] = item, now
        if len(self._items) > MAX_ITEMS:
            del self._items[next(iter(self._items))]


def _token(secret: bytes, addr: Addr) -> bytes:
    return hashlib.blake2s(addr[0].encode(), key=secret, digest_size=_TOKEN_LENGTH).digest()
