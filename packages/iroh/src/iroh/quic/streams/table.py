"""Which streams of a connection are alive: opening, admitting the peer's frames, letting go.

                       StreamTable
                          |  _senders: id -> SendHalf  ---> Outlet (credit, memory, turns)
                          |  _receivers: id -> RecvHalf --> Intake (the connection's window)
                          |  LocalIds, RemoteIds (how many)
                          |  Control (frames other than STREAM) <--> recovery

A half leaves its dict when it is over. Nothing is remembered of streams that have ended but the
counters of their ids.
"""

from iroh.quic.config import TransportConfig
from iroh.quic.errors import STREAM_LIMIT_ERROR, STREAM_STATE_ERROR, PeerError
from iroh.quic.events import Event, StreamFinished, StreamOpened, StreamsAvailable
from iroh.quic.streams import control
from iroh.quic.streams.control import Control
from iroh.quic.streams.ids import UNI, LocalIds, RemoteIds
from iroh.quic.streams.intake import Intake
from iroh.quic.streams.outlet import Outlet
from iroh.quic.streams.recv import RecvHalf
from iroh.quic.streams.send import DATA_RECVD, OPEN, SendHalf


class StreamTable:
    """The living streams of one connection, and their limits.

    config: windows and limits, as the transport parameters of our side announce them.
    events: where events are appended; the connection hands them out.
    """

    def __init__(self, is_client: bool, config: TransportConfig, events: list[Event]) -> None:
        side = self._side = 0 if is_client else 1
        self._config = config
        self._events = events
        self._initial = (0, 0, 0)
        self._has_params = False
        self._has_waiting = False  # streams of a rejected 0-RTT that wait for MAX_STREAMS
        self._senders: dict[int, SendHalf] = {}
        self._receivers: dict[int, RecvHalf] = {}
        self._local = (LocalIds(side), LocalIds(side | UNI))
        self._remote = (
            RemoteIds(side ^ 1, config.max_concurrent_bidi_streams),
            RemoteIds(side ^ 1 | UNI, config.max_concurrent_uni_streams),
        )
        self._intake = Intake(config.receive_window)
        self.outlet: Outlet = Outlet(
            *(config.send_window, events, self._on_blocked, self._on_sender_end),
            is_fair=config.send_fairness,
        )
        self.control: Control = Control(
            *(self._senders, self._receivers, self.outlet, self._intake),
            *(self._local, self._remote),
        )

    def __len__(self) -> int:
        """How many halves are alive."""
        return len(self._senders) + len(self._receivers)

    # -- the handshake ---------------------------------------------------------------------------

    def set_peer_params(
        self,
        initial_max_data: int,
        initial_max_stream_data_bidi_local: int,
        initial_max_stream_data_bidi_remote: int,
        initial_max_stream_data_uni: int,
        initial_max_streams_bidi: int,
        initial_max_streams_uni: int,
    ) -> None:
        """Take the peer's limits: those remembered for 0-RTT, then the real ones.

        A limit that is lower than before changes nothing; after a rejection call `reset_for_retry`
        first. Until the first call no stream can be opened.
        """
        self._initial = (
            initial_max_stream_data_bidi_local,
            initial_max_stream_data_bidi_remote,
            initial_max_stream_data_uni,
        )
        self._has_params = True
        self.outlet.raise_limit(initial_max_data)
        for half in self._senders.values():
            if half.stream_id & 1 != self._side:
                self._raise_stream(half, initial_max_stream_data_bidi_local)
        for which, count in enumerate((initial_max_streams_bidi, initial_max_streams_uni)):
            self._local[which].limit = max(self._local[which].limit, count)
            self._allow(which, True)

    def reset_for_retry(self) -> None:
        """Send everything again from the start: the server has rejected our 0-RTT packets.

        Call it before `set_peer_params` with the server's real limits, and tell nothing more about
        the packets of before. Streams beyond the new limits wait for MAX_STREAMS.
        """
        self.outlet.rewind()
        for ids in self._local:
            ids.limit = 0
            ids.blocked_at = -1
        self._has_waiting = True
        for half in self._senders.values():
            half.rewind()
            half.max_data = -1
        config = self._config
        self.control.repeat(
            config.receive_window,
            (config.max_concurrent_bidi_streams, config.max_concurrent_uni_streams),
        )

    # -- for the commands and the frames ------------------------------------------------------

    def _make_receiver(self, stream_id: int) -> RecvHalf:
        return RecvHalf(stream_id, self._intake, self._config.stream_receive_window)

    def _admit_receiver(self, stream_id: int, frame_type: int) -> RecvHalf | None:
        """Give the half a frame is for, None when it has ended. Raises PeerError."""
        half = self._receivers.get(stream_id)
        if half is not None:
            return half
        if stream_id & 1 != self._side:
            self._open_remote(stream_id, frame_type)
            return self._receivers.get(stream_id)
        if stream_id & UNI or stream_id >> 2 >= self._local[0].opened:
            raise PeerError(STREAM_STATE_ERROR, "nothing comes on this stream", frame_type)
        return None

    def _admit_sender(self, stream_id: int, frame_type: int) -> SendHalf | None:
        """Give the half a frame is for, None when it has ended. Raises PeerError."""
        half = self._senders.get(stream_id)
        if half is not None:
            return half
        uni = stream_id & UNI
        if stream_id & 1 != self._side:
            if uni:
                raise PeerError(STREAM_STATE_ERROR, "nothing goes on this stream", frame_type)
            self._open_remote(stream_id, frame_type)
            return self._senders.get(stream_id)
        if stream_id >> 2 >= self._local[1 if uni else 0].opened:
            raise PeerError(STREAM_STATE_ERROR, "the stream was not opened", frame_type)
        return None

    def _check_window(self) -> None:
        if self._intake.is_due():
            self.control.want(control.MAX_DATA)

    def _check_streams(self, which: int) -> None:
        if self._remote[which].is_due():
            self.control.want(control.MAX_STREAMS, which)

    def _forget_receiver(self, stream_id: int) -> None:
        del self._receivers[stream_id]
        half = self._senders.get(stream_id)
        if half is None:
            self._close(stream_id)
        elif half.state != OPEN:
            self._let_linger(half)

    # -- inside ----------------------------------------------------------------------------------

    def _open_remote(self, stream_id: int, frame_type: int) -> None:
        """Open a stream of the peer's with those below it, unless that was done before."""
        uni = stream_id & UNI
        ids = self._remote[1 if uni else 0]
        count = (stream_id >> 2) + 1
        if count <= ids.opened:
            return
        if count > ids.announced:
            raise PeerError(STREAM_LIMIT_ERROR, "more streams than the limit", frame_type)
        for new_id in range(ids.opened << 2 | ids.base, stream_id + 1, 4):
            self._receivers[new_id] = self._make_receiver(new_id)
            if not uni:
                self._senders[new_id] = SendHalf(new_id, self.outlet, self._initial[0])
            self._events.append(StreamOpened(new_id))
        ids.opened = count
        self._check_streams(1 if uni else 0)

    def _allow(self, which: int, has_initial: bool = False) -> None:
        """A limit of streams has moved: let those go on that waited for it."""
        ids = self._local[which]
        if ids.asked and ids.opened < ids.limit:
            # Told at every move, not at the first alone: the next may come before those who were
            # woken have opened a stream, and then nobody would be refused and ask again.
            ids.wanted = False
            self._events.append(StreamsAvailable(not which, ids.limit - ids.opened))
        if not (has_initial or self._has_waiting):
            return
        initial = self._initial[1 + which]
        for half in self._senders.values():
            stream_id = half.stream_id
            if stream_id & 3 == ids.base and stream_id >> 2 < ids.limit:
                self._raise_stream(half, initial)
        self._has_waiting = any(ids.opened > ids.limit for ids in self._local)

    def _raise_stream(self, half: SendHalf, limit: int) -> None:
        if limit <= half.max_data:
            return
        waited = half.max_data < 0
        half.max_data = limit
        self.outlet.schedule(half)
        if waited:
            self.control.want(control.RESET, half.stream_id)
            self.control.want(control.STOP, half.stream_id)

    def _on_blocked(self, half: SendHalf | None) -> None:
        outlet = self.outlet
        if half is None:
            if outlet.blocked_at != outlet.limit:
                outlet.blocked_at = outlet.limit
                self.control.want(control.DATA_BLOCKED)
        elif half.blocked_at != half.max_data:
            half.blocked_at = half.max_data
            self.control.want(control.STREAM_DATA_BLOCKED, half.stream_id)

    def _let_linger(self, half: SendHalf) -> None:
        """Both sides' application is done with a stream: count it as ended, if it is the peer's."""
        ids = self._remote[0]
        if half.stream_id & 1 != self._side and ids.lingering < ids.count:
            ids.lingering += 1
            half.lingers = True
            self._close(half.stream_id)

    def _on_sender_end(self, half: SendHalf) -> None:
        stream_id = half.stream_id
        del self._senders[stream_id]
        self.outlet.forget(half)
        if half.state == DATA_RECVD:
            self._events.append(StreamFinished(stream_id))
        if half.lingers:
            self._remote[0].lingering -= 1
        elif stream_id not in self._receivers:
            self._close(stream_id)

    def _close(self, stream_id: int) -> None:
        """Both halves have ended: the peer may open one more, if it was the peer's."""
        if stream_id & 1 != self._side:
            which = 1 if stream_id & UNI else 0
            self._remote[which].close_one()
            self._check_streams(which)
