"""Has the gateway forgotten its mappings? Its epoch, in seconds, says so by going back."""

__all__ = ["Epoch"]


class Epoch:
    """The last epoch heard, and when. RFC 6887 section 8.5; RFC 6886 section 3.6 asks for less."""

    __slots__ = ("_heard", "_value")

    def __init__(self) -> None:
        self._value: int | None = None
        self._heard = 0.0

    def hear(self, value: int, now: float) -> bool:
        """Take an epoch, heard at `now` seconds; False: the gateway began anew since the last."""
        before, self._value = self._value, value
        elapsed, self._heard = now - self._heard, now
        if before is None:
            return True
        grown = value - before
        if grown < -1:
            return False
        # Both clocks may be off by 1/16 and by 2 s of delays.
        return grown - grown / 16 <= elapsed + 2 and elapsed - elapsed / 16 <= grown + 2
