"""A QUIC connection of the multipath engine: verbs and commands, routed to the parts.

Nothing is decided here. What the parts are and what each owns: parts.py.
"""

from iroh.quic import stage as st
from iroh.quic.api import ConnectionStats, PathInfo, PathStats
from iroh.quic.commands import Commands
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.ending import Ending
from iroh.quic.errors import CloseReason, PeerError
from iroh.quic.establish import Establisher
from iroh.quic.events import Event
from iroh.quic.handlers import FrameHandlers
from iroh.quic.local_cids import CidChange
from iroh.quic.parts import Parts
from iroh.quic.path import Path
from iroh.quic.path_commands import PathCommands
from iroh.quic.receive import Receiver
from iroh.quic.remote_cids import TokenChange
from iroh.quic.timers import Timers
from iroh.quic.transmit import Transmitter


class Connection(Commands):
    """One connection. Made by the endpoint."""

    def __init__(self, parts: Parts, now: float) -> None:
        self._p = parts
        self.is_client: bool = parts.is_client
        parts.establish = Establisher(parts)
        parts.ending = Ending(parts)
        self._receiver = Receiver(parts, FrameHandlers(parts))
        self._transmitter = Transmitter(parts)
        self._timers = Timers(parts, self._transmitter)
        self.path_commands: PathCommands = PathCommands(parts)
        parts.establish.start(parts.original_dcid)
        if parts.is_client:
            parts.tls.start(now)
            parts.establish.pump(now)

    def __del__(self) -> None:
        parts = getattr(self, "_p", None)
        if parts is not None:
            parts.take_apart()

    @property
    def alpn(self) -> bytes | None:  # type: ignore[override]
        """The settled ALPN."""
        return self._p.alpn

    @property
    def peer(self) -> bytes | None:  # type: ignore[override]
        """The peer's proven key."""
        return self._p.peer

    @property
    def close_reason(self) -> CloseReason | None:  # type: ignore[override]
        """Why it ended."""
        return self._p.ending.reason

    @property
    def is_early(self) -> bool:  # type: ignore[override]
        """Whether 0-RTT is going on."""
        return self._p.stage == st.HANDSHAKING and self._p.early.keys is not None

    @property
    def early_data_accepted(self) -> bool | None:  # type: ignore[override]
        """Whether the server took 0-RTT."""
        return self._p.early.accepted

    # -- the five verbs ------------------------------------------------------------------------

    def receive(self, datagrams: Datagrams, now: float) -> None:
        """Take datagrams of this connection, of whatever kind; the endpoint sorts them itself."""
        if datagrams.data[0] & 0x80:
            for data in datagrams:
                self.receive_long(data, datagrams.remote, datagrams.local, datagrams.ecn, now)
        else:
            self.receive_run(0, datagrams, now)

    def receive_run(self, path_id: int, datagrams: Datagrams, now: float) -> None:
        """Take short-header packets whose connection ids belong to one path."""
        p = self._p
        if p.is_over:
            p.ending.on_late_datagram(datagrams.remote, len(datagrams.data), now)
            return
        try:
            self._receiver.receive_run(path_id, datagrams, now)
        except PeerError as error:
            p.ending.fail(error, now)

    def receive_long(
        self, data: bytes, remote: Address, local: Address | None, ecn: int, now: float
    ) -> None:
        """Take a datagram that starts with a long header."""
        p = self._p
        if p.is_over:
            p.ending.on_late_datagram(remote, len(data), now)
            return
        try:
            self._receiver.receive_long(data, remote, local, ecn, now)
            for held in p.early.take_held():
                self._receiver.receive_held(held, now)
            if p.reads_data:
                for path_id, early in p.take_early():
                    if not p.is_over:
                        self._receiver.receive_run(path_id, early, now)
        except PeerError as error:
            p.ending.fail(error, now)

    def transmit(self, now: float) -> list[Datagrams]:
        """Give what wants to be sent now."""
        if self._p.is_over:
            return self._p.ending.transmit(now)
        try:
            return self._transmitter.transmit(now)
        except PeerError as error:
            self._p.ending.fail(error, now)
            return self._p.ending.transmit(now)

    def is_pressing(self, now: float) -> bool:
        """Whether something should leave before the application has its turn: data, a due ACK."""
        p = self._p
        if p.stage != st.ESTABLISHED or p.datagrams.outgoing or p.streams.outlet.peek() is not None:
            return True
        for path in p.paths.known:  # noqa: SIM110 (asked for each datagram that comes alone)
            if path.acks.deadline <= now:
                return True
        return False

    def next_timeout(self) -> float | None:
        """Give the time at which handle_timeout is due."""
        return self._timers.next_timeout()

    def handle_timeout(self, now: float) -> None:
        """Do what time demands."""
        try:
            self._timers.handle_timeout(now)
        except PeerError as error:
            self._p.ending.fail(error, now)

    def events(self) -> list[Event]:
        """Give and forget what happened since the last call."""
        p = self._p
        mp, nat = p.mp, p.mp.nat
        told = p.events or mp.paths.events or mp.observed.events
        if not (told or p.qlog or (nat is not None and nat.events)):
            return []
        taken = p.events.copy()
        p.events.clear()
        if not p.is_over:  # else Closed was the last but Drained
            taken += p.mp.take_events()
        if p.qlog is not None:
            p.qlog.on_events(taken)
        return taken

    # -- the connection ------------------------------------------------------------------------

    def close(self, code: int, reason: bytes, now: float) -> None:
        """Close with an application code and reason. Later calls do nothing."""
        self._p.ending.close(code, bytes(reason), now)

    def ping(self) -> None:
        """Make the peer answer soon, on every path."""
        for path in self._p.paths:
            path.wants_ping = True

    def stats(self) -> ConnectionStats:
        """Totals since the start."""
        return self._p.totals()

    def paths(self) -> list[PathInfo]:
        """The open paths; not those whose peer has not answered yet."""
        if self._p.stage == st.DRAINED:
            return []
        best = self._p.choice.best()
        return [
            PathInfo(path.path_id, path.remote, path is best, path_stats(path), path.local)
            for path in self._p.paths
            if path.established
        ]

    def path_stats(self, path_id: int) -> PathStats | None:
        """Totals of a path, given up or not."""
        path = self._p.paths.get(path_id)
        return None if path is None else path_stats(path)

    def export_keying_material(self, length: int, label: bytes, context: bytes) -> bytes:
        """Bytes both ends can derive and nobody else."""
        return self._p.tls.export_keying_material(length, label, context)

    # -- for the endpoint ----------------------------------------------------------------------

    def take_cid_changes(self) -> list[CidChange]:
        """Give and forget which of our connection ids came and went."""
        return self._p.mp.local_cids.take_changes()

    def take_token_changes(self) -> list[TokenChange]:
        """Give and forget which stateless reset tokens of the peer came and went."""
        return self._p.mp.remote_cids.take_token_changes()

    def vanish(self, reason: CloseReason, now: float) -> None:
        """The peer has lost the connection (stateless reset)."""
        self._p.ending.vanish(reason, now)


def path_stats(path: Path) -> PathStats:
    """Totals and present state of a path."""
    shared, totals = path.recovery.path, path.stats
    return PathStats(
        udp_tx_datagrams=totals.tx_datagrams,
        udp_tx_bytes=totals.tx_bytes,
        udp_rx_datagrams=totals.rx_datagrams,
        udp_rx_bytes=totals.rx_bytes,
        lost_packets=shared.lost_packets,
        lost_bytes=shared.lost_bytes,
        rtt=shared.rtt.smoothed,
        cwnd=shared.congestion.window,
        congestion_events=shared.congestion_events,
        current_mtu=path.mtud.mtu,
    )
