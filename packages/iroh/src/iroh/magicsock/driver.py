"""Between the engine and the event loop: feeds packets in, sends packets out, keeps the time.

    transports --Datagrams--> EngineDriver (host.py) --> QuicEndpoint --> Connection
    Connection --Datagrams--> ConnectionDriver --> magic socket
    Connection --events-----> ConnectionDriver --> Inbox --> sleeping readers and writers

After anything touches a connection it is *pumped* once: events are dispatched, packets sent, the
timer looked at. What an application does within one turn of the loop (write, write, finish) is
pumped together at the end of that turn. An application that does one thing a turn (write, and then
wait for the answer) has nothing to gather: its data leaves at once, which spares a turn.

    it does                    then
    one thing in a turn        the next turn's first write is sent at once
    a second in such a turn    it waits for the turn's end, as do all until a turn has one again

Datagrams that wake somebody are followed by one pump as well, after those who woke have had their
turn; unless an ACK is due or data wait to be sent: that leaves before.

The engine does not raise; should a bug make it, the connection it happened to ends with
INTERNAL_ERROR, so that nobody waits for ever.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from iroh.magicsock.inbox import NOT_ENDED, Inbox
from iroh.quic.api import Connection
from iroh.quic.config import TransportConfig
from iroh.quic.errors import INTERNAL_ERROR, LocallyClosed, TransportError

if TYPE_CHECKING:
    from iroh.magicsock.host import EngineDriver

logger: logging.Logger = logging.getLogger(__name__)

_BUG = "a connection failed by a bug in its engine"


def _unexplained() -> None:
    """Know no reason: what `explain` is before the magic socket manages the paths, and after."""


class ConnectionDriver:
    """One connection of the engine on the event loop."""

    def __init__(
        self, connection: Connection, host: "EngineDriver", transport: TransportConfig
    ) -> None:
        self.connection = connection
        self.host = host
        self.datagram_room: int = connection.datagram_send_buffer_space()
        """Bytes of datagrams that can be queued when none is."""
        self.inbox: Inbox = Inbox(transport.datagram_receive_buffer_size, host.loop.create_future)
        self.explain: Callable[[], str | None] = _unexplained
        """Says why the connection is not direct; the magic socket knows."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._pump_due = False
        self._at_once = True  # so far the application did one thing a turn
        self._pushed = 0  # what it did in this turn
        self._retired = False

    # -- for the application --------------------------------------------------------------------

    async def open_stream(self, bidirectional: bool) -> int:
        """Open a stream, waiting for the peer to allow one more. Raises ConnectionGone."""
        inbox = self.inbox
        while True:
            if inbox.close_reason is not None:
                inbox.check()
            stream_id = self.connection.open_stream(bidirectional)
            if stream_id is not None:
                inbox.senders[stream_id] = NOT_ENDED
                return stream_id
            self.schedule()  # a STREAMS_BLOCKED frame may want to leave
            await inbox.waiters.wait(("streams", bidirectional))

    def release(self, sender_id: int | None, last_act: Callable[[], None] | None) -> None:
        """Let go of a stream's half. Called by the garbage collector, maybe from any thread."""
        if sender_id is not None:
            self.inbox.senders.pop(sender_id, None)  # one step, in whatever thread
        if last_act is not None:
            self.host.call_from_anywhere(self._released, last_act)

    def _released(self, last_act: Callable[[], None]) -> None:
        if self.inbox.close_reason is None:
            last_act()

    def close(self, code: int, reason: bytes) -> None:
        """Close, and send the close at once."""
        self.host.check_thread()
        try:
            self.connection.close(code, reason, self.host.now())
        except Exception:  # as in `pump`
            logger.exception(_BUG)
            self._crash()
        self.pump()

    def close_dropped(self) -> None:
        """Close because nobody holds the connection any more."""
        self.close(0, b"")

    # -- moving the engine ----------------------------------------------------------------------

    def schedule(self) -> None:
        """Pump at the end of this turn of the loop."""
        self.host.check_thread()
        if not self._pump_due:
            self._pump_due = True
            self.host.loop.call_soon(self._pump_scheduled)

    def push(self) -> None:
        """The application has something to send: now, or with what else comes in this turn."""
        self.host.check_thread()
        self._pushed += 1
        if self._pump_due:
            return
        if self._at_once:
            if self._pushed == 1:
                self.pump()
                self._pushed = 1  # until something arrives, this is the same turn
                return
            self._at_once = False
        self.schedule()

    def arrived(self, now: float) -> None:
        """Datagrams came: look what they brought.

        Unless something presses, whoever waits for it goes first, so that what he answers leaves
        with its acknowledgement.
        """
        connection, inbox = self.connection, self.inbox
        if self._retired or not inbox.connected:  # the end of a handshake waits for nobody
            self.pump()
            return
        inbox.waiters.woken = drained = False
        try:
            if not connection.is_pressing(now):
                events = connection.events()
                drained = bool(events) and inbox.take(events)
        except Exception:  # as in `pump`
            logger.exception(_BUG)
            self._crash()
        if drained:
            self._retire()
        elif inbox.waiters.woken:
            self._pushed = 0
            self.schedule()
        else:
            self.pump()

    def _pump_scheduled(self) -> None:
        if self._pump_due:
            if self._pushed:
                self._at_once = self._pushed == 1
            self.pump()

    def pump(self, timer_fired: bool = False) -> None:
        """Dispatch events, send what wants to leave, re-arm the timer."""
        alone = timer_fired and not self._pump_due
        self._pump_due = False
        self._pushed = 0
        if self._retired:
            return
        try:
            self._turn(timer_fired, alone)
        except Exception:  # the root of whatever moves a connection
            logger.exception(_BUG)
            self._crash()

    def _crash(self) -> None:
        self.inbox.close(TransportError(INTERNAL_ERROR, "internal error"))
        self._retire()

    def _turn(self, timer_fired: bool, alone: bool) -> None:
        now = self.host.now()
        connection, inbox = self.connection, self.inbox
        if timer_fired:
            due = connection.next_timeout()
            if due is not None and due <= now:
                connection.handle_timeout(now)
            elif alone:  # it was armed for something that has happened meanwhile
                self._arm()
                return
        events = connection.events()
        drained = inbox.take(events) if events else False
        batches = connection.transmit(now)
        if batches:
            self.host.send(batches)
            inbox.waiters.wake("sent")
        events = connection.events()
        if events:
            drained = inbox.take(events) or drained
        if drained:
            self._retire()
        else:
            self._arm()

    def _arm(self) -> None:
        """Re-arm lazily: a timer that fires early costs less than one cancelled per packet."""
        due = self.connection.next_timeout()
        if due is None:
            return
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self.host.loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.pump(timer_fired=True)

    def _retire(self) -> None:
        self._retired = True
        self.explain = _unexplained  # it holds what holds us
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.host.retire(self)

    def abandon(self) -> None:
        """Forget the connection without a word: the endpoint is gone."""
        self.inbox.close(LocallyClosed())
        self._retire()
