"""What the receiving halves of a connection share: the connection's receive window.

    0 ....... consumed ........ received ........... announced
      read, or         arrived,         may still come
      given up         not read
              |----------------- window ---------------|

The window follows what the application has read, never what the peer claims.
"""

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.varint import MAX

WINDOW_SHARE = 4
"""A limit is announced again once this part of the window, a quarter, was consumed since the last
time: rare enough to cost nothing, early enough that a sender with a window of 4/3 of what the path
holds never waits. (noq does it at an eighth.)"""

MAX_PIECES = 16_384
"""Pieces behind holes in all streams together, about 2 MB of bookkeeping; fragments.py bounds those
of one stream, which 200 streams would multiply. Frames in order make no new piece, so an honest
peer has about one per lost packet."""


class Intake:
    """Sums over all streams of a connection, in bytes.

    announced: the limit the peer knows (initial_max_data, MAX_DATA).
    received: the sum of the highest offsets that the peer has used.
    consumed: how many of these bytes are out of the way: read, or given up.
    pieces: how many pieces of data wait behind holes.
    """

    __slots__ = ("announced", "consumed", "pieces", "received", "window")

    def __init__(self, window: int) -> None:
        self.window: int = window
        self.announced: int = min(window, MAX)
        self.received: int = 0
        self.consumed: int = 0
        self.pieces: int = 0

    def count_pieces(self, change: int) -> None:
        """Count pieces behind holes. Raises PeerError beyond MAX_PIECES."""
        self.pieces += change
        if self.pieces > MAX_PIECES:
            raise PeerError(PROTOCOL_VIOLATION, "too many stream fragments out of order", 0x08)

    def limit(self) -> int:
        """Give the limit that could be announced now; what was granted is never taken back."""
        return max(self.announced, min(self.consumed + self.window, MAX))

    def is_due(self) -> bool:
        """Whether MAX_DATA has to be sent."""
        # Most often asked, and most often not: so much of the window was not read since.
        ahead = self.consumed + self.window - self.announced
        if ahead <= 0 or ahead < self.window // WINDOW_SHARE:
            return False
        return self.limit() - self.announced >= max(1, self.window // WINDOW_SHARE)
