"""What the receiving halves of a connection share: the connection's receive window.

    0 ....... consumed ........ received ........... announced
      read, or         arrived,         may still come
      given up         not read
              |----------------- window ---------------|

The window follows what the application has read, never what the peer claims.
"""

from iroh.quic.varint import MAX

WINDOW_SHARE = 4
"""A limit is announced again once this part of the window, a quarter, was consumed since the last
time: rare enough to cost nothing, early enough that a sender with a window of 4/3 of what the path
holds never waits. (noq does it at an eighth.)"""


class Intake:
    """Sums over all streams of a connection, in bytes.

    announced: the limit the peer knows (initial_max_data, MAX_DATA).
    received: the sum of the highest offsets that the peer has used.
    consumed: how many of these bytes are out of the way: read, or given up.
    """

    __slots__ = ("announced", "consumed", "received", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.announced = min(window, MAX)
        self.received = 0
        self.consumed = 0

    def limit(self) -> int:
        """Give the limit that could be announced now; what was granted is never taken back."""
        return max(self.announced, min(self.consumed + self.window, MAX))

    def is_due(self) -> bool:
        """Whether MAX_DATA has to be sent."""
        return self.limit() - self.announced >= max(1, self.window // WINDOW_SHARE)
