"""The sending half of a stream (RFC 9000 section 3.1).

    0 ........ _start ............. next ............ _buffer.stop
      arrived         in flight or       written,
                      lost (_lost)       not sent yet
               |------- held, counted in Outlet.held -------|

           finish              fin sent             all acknowledged
    OPEN ----------> FINISHING ---------> DATA_SENT ----------------> DATA_RECVD
      |                  |                    |
      +------------------+--------------------+--- reset ---> RESET_SENT ---> RESET_RECVD
                                                              RESET_STREAM acknowledged

The RFC's Ready and Send are one state here (OPEN): they differ only in whether a frame was sent.
"""

from typing import TYPE_CHECKING

from iroh.quic.streams.buffer import Piece, SendBuffer
from iroh.quic.streams.ranges import Ranges

if TYPE_CHECKING:
    from iroh.quic.streams.outlet import Outlet

HIGH_WATER = 1_048_576
"""Bytes that one stream holds, written and not acknowledged; `write` takes no more."""
LOW_WATER = HIGH_WATER * 3 // 4
"""A writer that met the mark is woken at this, not for every packet."""

OPEN, FINISHING, DATA_SENT, DATA_RECVD, RESET_SENT, RESET_RECVD = range(6)
STATES = ("OPEN", "FINISHING", "DATA_SENT", "DATA_RECVD", "RESET_SENT", "RESET_RECVD")
FINISH, FIN_SENT, ALL_ACKED, RESET, RESET_ACKED, REWIND = range(6)

FREE, BY_STREAM, BY_CONNECTION = range(3)

TRANSITIONS = {
    (OPEN, FINISH): FINISHING,
    (OPEN, RESET): RESET_SENT,
    (FINISHING, FIN_SENT): DATA_SENT,
    (FINISHING, RESET): RESET_SENT,
    (DATA_SENT, FIN_SENT): DATA_SENT,  # once more
    (DATA_SENT, ALL_ACKED): DATA_RECVD,
    (DATA_SENT, RESET): RESET_SENT,
    (DATA_SENT, REWIND): FINISHING,  # 0-RTT was rejected: nothing was ever sent
    (RESET_SENT, RESET_ACKED): RESET_RECVD,
}
"""What is not here does nothing, or is refused."""

_NONE = Ranges()
"""For all halves that have no gaps, as hardly any ever has; never added to."""


class SendHalf:
    """Holds written bytes until they are acknowledged.

    max_data: how far the peer lets us send (MAX_STREAM_DATA); -1 while its limit of streams does
        not even allow the stream (only after a rejected 0-RTT).
    next: the offset of the first byte that was never sent.
    blocked_at: the limit for which STREAM_DATA_BLOCKED was sent, -1 for none.
    priority, in_fresh, in_lost: belong to the Outlet. lingers: to the table of streams.
    """

    __slots__ = (
        "_acked",
        "_buffer",
        "_fin",
        "_fin_acked",
        "_fin_pending",
        "_lost",
        "_outlet",
        "_start",
        "blocked_at",
        "in_fresh",
        "in_lost",
        "lingers",
        "max_data",
        "next",
        "priority",
        "reset_code",
        "state",
        "stream_id",
    )

    def __init__(self, stream_id: int, outlet: "Outlet", max_data: int) -> None:
        self.stream_id: int = stream_id
        self.state: int = OPEN
        self.max_data: int = max_data
        self.next: int = 0
        self.reset_code: int = 0
        self.blocked_at: int = -1
        self.priority: int = 0
        self.in_fresh: bool = False
        self.in_lost: bool = False
        self.lingers: bool = False
        self._outlet = outlet
        self._buffer = SendBuffer()
        self._start = 0
        self._acked = _NONE  # behind _start; a set of its own once there is something in it
        self._lost = _NONE
        self._fin = -1  # the final size, once finished
        self._fin_pending = False
        self._fin_acked = False

    def __repr__(self) -> str:
        return f"SendHalf({self.stream_id}, {STATES[self.state]}, {self._start}..{self.next})"

    # -- from the writer -------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """Queue bytes, and say how many were taken; StreamWritable follows when not all."""
        outlet = self._outlet
        size = len(data)
        room = min(outlet.window - outlet.held, HIGH_WATER - self.held())
        if size > room:
            outlet.writers[self.stream_id] = self
            if room <= 0:
                return 0
            self._buffer.append(memoryview(data)[:room])
            size = room
        elif size:
            self._buffer.append(data)
        else:
            return 0
        outlet.held += size
        if not self.in_fresh:
            outlet.schedule(self)
        return size

    def finish(self) -> None:
        """Send the end behind what was written. The caller has checked that the state is OPEN."""
        self._move(FINISH)
        self._outlet.writers.pop(self.stream_id, None)
        self._fin = self._buffer.stop
        self._fin_pending = True
        if not self.in_fresh:
            self._outlet.schedule(self)

    def reset(self, code: int) -> bool:
        """Abandon what is not acknowledged. False when there is nothing to abandon any more."""
        if not self._move(RESET):
            return False
        self.reset_code = code
        outlet = self._outlet
        outlet.writers.pop(self.stream_id, None)
        outlet.held -= self.held()
        self._buffer.clear()
        self._buffer.stop = self._start = self.next
        self._lost = self._acked = _NONE
        self._fin = -1
        self._fin_pending = False
        outlet.wake_writers()
        return True

    def held(self) -> int:
        """Bytes written and not yet given free by acknowledgements."""
        return self._buffer.stop - self._start

    def is_over(self) -> bool:
        """Whether everything, or its reset, is acknowledged."""
        return self.state in (DATA_RECVD, RESET_RECVD)

    # -- to the packets --------------------------------------------------------------------------

    def has_lost(self) -> bool:
        """Whether lost bytes wait; `take_run` gives them first."""
        return bool(self._lost)

    def has_fresh(self) -> bool:
        """Whether bytes that were never sent, or the end alone, may be sent now."""
        following = self.next
        if following < self._buffer.stop:
            outlet = self._outlet
            return following < self.max_data and outlet.used < outlet.limit
        return self._fin_pending and self.max_data >= 0

    def held_back(self) -> int:
        """Say which limit holds written bytes back: FREE, BY_STREAM or BY_CONNECTION."""
        if self.next >= self._buffer.stop or self.max_data < 0:
            return FREE
        if self.next >= self.max_data:
            return BY_STREAM
        return BY_CONNECTION if self._outlet.used >= self._outlet.limit else FREE

    def pending(self) -> int:
        """Bytes that were never sent and that both limits allow to send."""
        outlet = self._outlet
        stop = min(self._buffer.stop, self.max_data, self.next + outlet.limit - outlet.used)
        return max(0, stop - self.next)

    def take_run(self, count: int, size: int) -> tuple[int, list[Piece], bool]:
        """Take up to `count` pieces of `size` bytes: the first offset, the pieces, the end.

        The bytes are of one range, what was lost first; only the last piece may be shorter. fin
        says that the last piece ends the stream. No pieces: nothing to send, or no credit. An end
        without bytes is one empty piece.
        """
        if self._lost:
            return self._take_lost(count * size, size)
        start = self.next
        stop = start + count * size
        outlet = self._outlet
        credit = start + outlet.limit - outlet.used
        if credit < stop:
            stop = credit
        if self.max_data < stop:
            stop = self.max_data
        if self._buffer.stop < stop:
            stop = self._buffer.stop
        if stop > start:
            self.next = stop
            outlet.used += stop - start
            pieces = self._buffer.cut(start, stop, size)
        elif self._fin_pending and start == self._fin and self.max_data >= 0:
            pieces = [b""]
        else:
            return start, [], False
        fin = self.next == self._fin
        if fin:
            self._fin_pending = False
            self._move(FIN_SENT)
        return start, pieces, fin

    def take(self, limit: int) -> tuple[int, Piece, bool] | None:
        """Take one piece of at most `limit` bytes: offset, bytes, end. None when there is none."""
        if limit <= 0 and (self._lost or self.next < self._buffer.stop):
            return None
        offset, pieces, fin = self.take_run(1, limit)
        return (offset, pieces[0], fin) if pieces else None

    def _take_lost(self, limit: int, size: int) -> tuple[int, list[Piece], bool]:
        start, stop = self._lost.first()
        stop = min(stop, start + limit)
        self._lost.subtract(start, stop)
        fin = stop == self._fin and not self._fin_acked
        if fin:
            self._fin_pending = False
            self._move(FIN_SENT)
        return start, self._buffer.cut(start, stop, size), fin

    # -- from recovery ---------------------------------------------------------------------------

    def on_acked(self, offset: int, length: int, fin: bool) -> None:
        """Bytes arrived. Said twice, or after they were thought lost, is harmless."""
        if self.state > DATA_SENT:
            return
        if fin and offset == self._start and not self._acked and not self._lost:
            self._end()  # all that there was, as with any small stream
            return
        if length:
            stop = offset + length
            if self._lost:
                self._lost.subtract(offset, stop)
            if offset > self._start:
                self._acked = self._acked or Ranges()
                self._acked.add(offset, stop)
            elif stop > self._start:
                self._advance(stop)
        if fin:
            self._fin_acked = True
            self._fin_pending = False
        if self._fin_acked and self._start == self._fin:
            self._end()

    def on_lost(self, offset: int, length: int, fin: bool) -> None:
        """Bytes did not arrive: what of them was not acknowledged otherwise is sent again."""
        if self.state > DATA_SENT:
            return
        start = max(offset, self._start)
        stop = min(offset + length, self.next)
        if start < stop:
            self._lost = self._lost or Ranges()
            if self._acked:
                for gap in self._acked.gaps(start, stop):
                    self._lost.add(*gap)
            else:
                self._lost.add(start, stop)
        outlet = self._outlet
        if self._lost and not self.in_lost:
            outlet.schedule_lost(self)
        if fin and not self._fin_acked:
            self._fin_pending = True
            if not self.in_fresh:
                outlet.schedule(self)

    def on_reset_acked(self) -> None:
        """RESET_STREAM arrived."""
        if self._move(RESET_ACKED):
            self._outlet.on_end(self)

    def rewind(self) -> None:
        """Send everything again from the start: the peer has thrown all of it away."""
        self.next = self._start
        self._lost = self._acked = _NONE
        self.blocked_at = -1
        self._fin_pending = self._fin >= 0
        self._fin_acked = False
        self._move(REWIND)
        if self.state == RESET_SENT:  # nothing is left to send: the final size is 0
            self.next = self._start = self._buffer.stop = 0

    # -- inside ----------------------------------------------------------------------------------

    def _end(self) -> None:
        """Everything arrived."""
        outlet = self._outlet
        outlet.held -= self._fin - self._start
        self._start = self._fin
        self._fin_acked = True
        self._fin_pending = False
        self._buffer.clear()
        if outlet.writers:
            outlet.wake_writers()
        if self._move(ALL_ACKED):
            outlet.on_end(self)

    def _advance(self, stop: int) -> None:
        acked = self._acked
        while acked:
            first, last = acked.first()
            if first > stop:
                break
            stop = max(stop, last)
            acked.subtract(first, last)
        outlet = self._outlet
        outlet.held -= stop - self._start
        self._start = stop
        self._buffer.release(stop)
        if outlet.writers:
            outlet.wake_writers()

    def _move(self, what: int) -> bool:
        state = TRANSITIONS.get((self.state, what))
        if state is None:
            return False
        self.state = state
        return True
