"""Finds out in time that a relay is gone, and never because our own event loop was busy.

Timers (iroh `actor.rs`, iroh-relay `ping_tracker.rs`):

    first ping          right after the connection came up
    further pings       after 15 s in which no frame was received        PING_INTERVAL
                        after 5 s, at most 10, in which none was sent    SEND_INTERVAL
    deadline of a pong  5 s, or 3 x RTT within [0.5 s, 5 s]              protos.PingTracker

When a deadline passes, the relay is not dead yet: a callback of the user may have blocked the loop
while the pong lay in the socket's buffer. So we let the loop read first, turn by turn, and give up
when several turns in a row brought no frame.

The relay has a rule of its own: who sends nothing for 16 s must answer a ping, a Rust relay waits
half a second for it, and a blocked loop answers nothing. Rust's client, in threads of its own, may
say nothing for 15 s; we never do for more than 10, so a loop blocked for up to 6 s loses nothing.
"""

import asyncio
from collections.abc import Callable

from ..protos.ping import PingTracker
from .clock import Clock, TimerHandle

__all__ = ["PING_INTERVAL", "Keepalive"]

#: Seconds without a received frame after which we ask.
PING_INTERVAL = 15.0
#: Seconds without a frame sent after which we ask, too. Ours: see above.
SEND_INTERVAL = 5.0
#: Loop turns without a frame after which nothing more is readable. From the socket to us a frame
#: takes at most three: readable, parsed and task woken, reading resumed after back-pressure.
QUIET_TURNS = 5
#: Seconds for which a pong that is due is looked for among frames that keep coming in.
PATIENCE = 5.0


class Keepalive:
    """The pings of one connection. `ping(data)` must send one; `dead(reason)` is called once.

    `sent()` counts the frames that were sent, of any kind.
    """

    __slots__ = (
        "_clock", "_dead", "_deadline_timer", "_interval_timer", "_ping", "_seen", "_send_timer",
        "_sent", "_sent_before", "_stopped", "_tracker", "last_received",
    )  # fmt: skip

    def __init__(
        self,
        clock: Clock,
        tracker: PingTracker,
        ping: Callable[[bytes], object],
        dead: Callable[[str], object],
        sent: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._tracker = tracker
        self._ping = ping
        self._dead = dead
        self._sent = sent
        self._sent_before = -1
        self._deadline_timer: TimerHandle | None = None
        self._interval_timer: TimerHandle | None = None
        self._send_timer: TimerHandle | None = None
        self._seen = 0
        self._stopped = False
        #: When the last frame came in, in the clock's seconds.
        self.last_received: float = clock.now()

    def start(self) -> None:
        """Send the first ping and keep watch from now on."""
        self._interval_timer = self._clock.call_later(PING_INTERVAL, self._interval)
        self._send_timer = self._clock.call_later(SEND_INTERVAL, self._send_interval)
        self.check()

    def stop(self) -> None:
        """Nothing will be called any more."""
        self._stopped = True
        for timer in (self._deadline_timer, self._interval_timer, self._send_timer):
            if timer is not None:
                timer.cancel()

    def check(self) -> None:
        """Ask the relay now, unless an answer is being waited for already."""
        if self._stopped or self._tracker.deadline is not None:
            return
        self._deadline_timer = self._clock.call_later(self._tracker.timeout, self._overdue)
        self._ping(self._tracker.new_ping(self._clock.now()))

    def frame_received(self) -> None:
        """Note that some frame came in."""
        self._seen += 1
        self.last_received = self._clock.now()

    def pong_received(self, data: bytes) -> float | None:
        """Take a pong; the round-trip time in seconds if it answers our latest ping."""
        rtt = self._tracker.pong_received(data, self._clock.now())
        if rtt is not None and self._deadline_timer is not None:
            self._deadline_timer.cancel()
        return rtt

    def _interval(self) -> None:
        quiet = self._clock.now() - self.last_received
        if quiet >= PING_INTERVAL:
            self.check()
            quiet = 0.0
        self._interval_timer = self._clock.call_later(PING_INTERVAL - quiet, self._interval)

    def _send_interval(self) -> None:
        sent = self._sent()
        if sent == self._sent_before:
            self.check()
        self._sent_before = sent
        self._send_timer = self._clock.call_later(SEND_INTERVAL, self._send_interval)

    def _overdue(self) -> None:
        self._look_for_pong(self._seen, 0, self._clock.now() + PATIENCE)

    def _look_for_pong(self, seen: int, quiet_turns: int, until: float) -> None:
        """Run in each turn of the loop after a deadline, until the pong came or nothing does."""
        if self._stopped or self._tracker.deadline is None:
            return
        quiet_turns = quiet_turns + 1 if seen == self._seen else 0
        if quiet_turns > QUIET_TURNS or self._clock.now() > until:
            self.stop()
            self._dead("ping timeout")
            return
        loop = asyncio.get_running_loop()
        loop.call_soon(self._look_for_pong, self._seen, quiet_turns, until)
