"""OBSERVED_ADDRESS (draft-ietf-quic-address-discovery, in noq's numbering).

0x9f81a6 v4, 0x9f81a7 v6 | seq | ip | port
"""

from typing import ClassVar

from iroh.quic.frames.nat import _NumberedAddr


class ObservedAddress(_NumberedAddr):
    """What the peer's address looks like from here. number: a sequence number."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x9F81A6, 0x9F81A7)
    PROBING: ClassVar[bool] = True
