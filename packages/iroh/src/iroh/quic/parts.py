"""Everything one connection consists of, in one place; the parts know each other through it.

establish   TLS, keys, parameters         streams, datagrams   what the application moves
levels      Initial and Handshake         handlers             frames -> parts
keys, early 1-RTT, 0-RTT                  mp                   paths, connection ids, NAT traversal
receiver    datagrams -> frames           transmitter          frames -> datagrams
ending      close, drain, idle            timers               the one deadline
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from iroh.quic import stage
from iroh.quic.acks import AckTracker
from iroh.quic.api import ConnectionStats, Rng
from iroh.quic.config import TransportConfig
from iroh.quic.congestion import Controller, make_controller
from iroh.quic.datagram_queue import DatagramQueue
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.early import EarlyData
from iroh.quic.events import Event, PathChanged
from iroh.quic.frames import HANDSHAKE, INITIAL, ONE_RTT
from iroh.quic.key_phase import UPDATE_AFTER, DataKeys
from iroh.quic.levels import Level
from iroh.quic.mtud import MtuDiscovery
from iroh.quic.multipath import Multipath
from iroh.quic.pacing import Pacer
from iroh.quic.packet import HANDSHAKE as HANDSHAKE_PACKET
from iroh.quic.packet import LongHeader
from iroh.quic.params import TransportParameters
from iroh.quic.path import Path, Totals
from iroh.quic.path_choice import PathChoice
from iroh.quic.path_recovery import PathRecovery
from iroh.quic.paths import PathTable
from iroh.quic.recovery import Recovery
from iroh.quic.rtt import RttEstimator
from iroh.quic.streams import Streams
from iroh.quic.tls.crypto_stream import CryptoStream
from iroh.quic.tls.handshake import Handshake

if TYPE_CHECKING:
    from iroh.quic.ending import Ending
    from iroh.quic.establish import Establisher
    from iroh.quic.qlog import Qlog
    from iroh.quic.tls.web import WebHandshake

MAX_EARLY = 16
"""Batches of 1-RTT datagrams kept that overtook the end of the handshake."""
MAX_EARLY_BYTES = 32_768
"""And their bytes: more than a peer's first window of 12000 (RFC 9002 section 7.2)."""


class Parts:
    """The parts of one connection and the few facts they share."""

    establish: "Establisher"
    ending: "Ending"
    own_handshake_cids: set[bytes]
    """What long headers for us may be addressed to."""
    paths: PathTable
    choice: PathChoice
    last_received: float
    last_ping: float
    idle_restart: float

    def __init__(
        self,
        *,
        is_client: bool,
        config: TransportConfig,
        rng: Rng,
        now: float,
        remote: Address,
        local: Address | None,
        source_cid: bytes,
        dest_cid: bytes,
        reset_tokens: Callable[[Sequence[bytes]], list[bytes]],
        tls: "Handshake | WebHandshake",
        params: TransportParameters,
        dropped: Counter[str],
        original_dcid: bytes,
        validated: bool = False,
        qlog: "Qlog | None" = None,
    ) -> None:
        self.is_client = is_client
        self.config = config
        self.rng = rng
        self.dropped = dropped
        self.qlog = qlog
        self.stage: int = stage.HANDSHAKING
        self.confirmed = False
        self.alpn: bytes | None = None
        self.peer: bytes | None = None
        self.peer_params: TransportParameters | None = None
        self.events: list[Event] = []
        self.tls = tls
        self.params = params
        self.keys: DataKeys | None = None
        self.early: EarlyData = EarlyData(self)
        self.update_after = UPDATE_AFTER  # packets that we send with one 1-RTT key
        self.data_crypto: CryptoStream = CryptoStream(config.crypto_buffer_size)
        self.streams: Streams = Streams(is_client, config, self.events)
        self.datagrams: DatagramQueue = DatagramQueue(config, self.events)
        self.source_cid = source_cid
        self.own_handshake_cids = {source_cid} if is_client else {source_cid, original_dcid}
        self.peer_source_cid: bytes = b""
        self.original_dcid = original_dcid
        self.retry_source_cid: bytes | None = None
        self.token = b""
        self.on_new_token: Callable[[bytes], None] | None = None
        self.idle_timeout: float | None = config.max_idle_timeout or None
        self.last_received = self.last_ping = self.idle_restart = now
        self._early: deque[tuple[int, Datagrams]] = deque()
        self._gone = Totals()
        self._lost_packets = self._lost_bytes = 0  # on paths that are gone
        self.mp: Multipath = Multipath(
            *(is_client, Keeper(self), source_cid, dest_cid, reset_tokens, rng),
            *(config.initial_rtt, config.ack_frequency),
        )
        self.paths, self.choice = self.mp.paths, self.mp.choice
        self._start_path(remote, local, validated)
        if qlog is not None:
            qlog.started(remote, local, source_cid, dest_cid)
            for level in self.levels.values():
                level.recovery.log = qlog.space(level.epoch)

    def _start_path(self, remote: Address, local: Address | None, validated: bool) -> None:
        """Make path 0 and the packet-number spaces of the handshake, which share its recovery."""
        self.paths.idle_timeout = self.config.default_path_max_idle_timeout
        self.paths.keep_alive = self.config.default_path_keep_alive_interval
        path = self.paths.start(remote, local, validated)
        path.recovery.pto_allowed = False
        self.recovery: PathRecovery = path.recovery.path
        self.recovery.peer_validated = not self.is_client
        self.levels: dict[int, Level] = {
            epoch: Level(epoch, self.recovery, self.config.crypto_buffer_size)
            for epoch in (INITIAL, HANDSHAKE)
        }
        self.recovery.spaces.sort(key=lambda space: space.data)

    # -- looking things up -----------------------------------------------------------------------

    def crypto(self, epoch: int) -> CryptoStream:
        """The CRYPTO stream of a level; of one that is gone, one that nobody reads."""
        if epoch == ONE_RTT:
            return self.data_crypto
        level = self.levels.get(epoch)
        return level.crypto if level is not None else CryptoStream()

    @property
    def is_over(self) -> bool:
        """Whether the connection is closing, draining or drained."""
        return self.stage >= stage.CLOSING

    @property
    def reads_data(self) -> bool:
        """Whether 1-RTT packets may be opened: not before Finished (RFC 9001 section 5.7)."""
        return self.keys is not None and self.stage != stage.HANDSHAKING

    # -- the handshake ---------------------------------------------------------------------------

    def on_handshake_packet(
        self, header: LongHeader, remote: Address, local: Address | None, now: float
    ) -> bool:
        """An Initial or Handshake packet authenticated; False: it comes from elsewhere, drop it."""
        path = self.paths.get(0)
        assert path is not None
        before = path.remote
        is_handshake = header.kind == HANDSHAKE_PACKET
        if not self.mp.migration.on_handshake_packet(path, remote, local, is_handshake):
            return False
        if not self.peer_source_cid:
            self.peer_source_cid = header.scid
            self.mp.remote_cids.set_initial(header.scid)
        if path.remote != before:
            self.events.append(PathChanged(path.remote))
        if not self.is_client and is_handshake:
            if not path.validated:
                self.paths.prove(path, now)
            self.drop_level(INITIAL)
        return True

    def on_level_acked(self, level: Level) -> None:
        """An ACK came in a handshake packet: in a Handshake packet it proves our address."""
        if level.epoch == HANDSHAKE:
            self.recovery.peer_validated = True

    def drop_level(self, epoch: int) -> None:
        """Forget a level's keys and packets (RFC 9001 section 4.9)."""
        level = self.levels.pop(epoch, None)
        if level is not None:
            level.recovery.discard()

    def keep_early(self, path_id: int, datagrams: Datagrams) -> None:
        """Keep 1-RTT packets that came before their keys, within bounds: anybody can send them."""
        held = sum(len(batch.data) for _, batch in self._early)
        if len(self._early) < MAX_EARLY and held + len(datagrams.data) <= MAX_EARLY_BYTES:
            self._early.append((path_id, datagrams))
        else:
            self.drop("too early", len(datagrams))

    def take_early(self) -> Sequence[tuple[int, Datagrams]]:
        """Give and forget them."""
        early, self._early = list(self._early), deque()
        return early

    def on_sent(self, eliciting: bool, now: float) -> None:
        """Packets left: the first that wants an answer restarts the idle timer (RFC 9000 10.1)."""
        if eliciting:
            self.last_ping = now
            if self.idle_restart < self.last_received:
                self.idle_restart = now

    def totals(self) -> ConnectionStats:
        """Add up the counters of all paths, those that are gone too."""
        everything = [self._gone, *(path.stats for path in self.paths.all())]
        lost = [path.recovery.path for path in self.paths.all()]
        return ConnectionStats(
            udp_tx_datagrams=sum(t.tx_datagrams for t in everything),
            udp_tx_bytes=sum(t.tx_bytes for t in everything),
            udp_rx_datagrams=sum(t.rx_datagrams for t in everything),
            udp_rx_bytes=sum(t.rx_bytes for t in everything),
            lost_packets=self._lost_packets + sum(r.lost_packets for r in lost),
            lost_bytes=self._lost_bytes + sum(r.lost_bytes for r in lost),
        )

    def keep_totals(self, path: Path) -> None:
        """A path is gone: keep its counters in the connection's."""
        gone, t, shared = self._gone, path.stats, path.recovery.path
        gone.tx_datagrams += t.tx_datagrams
        gone.tx_bytes += t.tx_bytes
        gone.rx_datagrams += t.rx_datagrams
        gone.rx_bytes += t.rx_bytes
        self._lost_packets += shared.lost_packets
        self._lost_bytes += shared.lost_bytes

    def take_apart(self) -> None:
        """Nobody holds the connection any more: let go of the parts, which hold each other.

        Else they would wait for the garbage collector, which searches the whole program for them.
        """
        for path in self.paths.all():
            path.recovery.path.spaces.clear()
        for part in (self.streams, self.paths, self.mp, self):
            vars(part).clear()

    def drop(self, why: str, count: int = 1) -> None:
        """Count packets that were dropped."""
        self.dropped[why] += count
        if self.qlog is not None:
            self.qlog.dropped(why, count)


class Keeper:
    """Fills the free slots of paths: see paths.PathOwner."""

    def __init__(self, parts: Parts) -> None:
        self._p = parts

    def _mtud(self) -> MtuDiscovery:
        config = self._p.config
        return MtuDiscovery(
            *(config.initial_mtu, config.mtu_upper_bound),
            minimum=config.min_mtu,
            step=config.mtu_minimum_change,
            interval=config.mtu_interval,
            cooldown=config.mtu_black_hole_cooldown,
        )

    def _rtt(self) -> RttEstimator:
        config = self._p.config
        return RttEstimator(config.initial_rtt, config.time_threshold)

    def _controller(self, mtu: int) -> Controller:
        return make_controller(self._p.config.congestion, mtu)

    def path_pto(self, path: Path) -> float:
        """The path's probe timeout, seconds."""
        return path.recovery.path.rtt.timeout

    def path_created(self, path: Path, sibling: Path | None) -> None:
        """Give a new path its packet-number space, congestion window, pacer, MTU."""
        p = self._p
        rtt = self._rtt()
        if sibling is not None:
            rtt.set_initial(sibling.recovery.path.rtt.smoothed)
        mtud = self._mtud()
        shared = PathRecovery(
            *(self._controller(mtud.mtu), rtt, mtud),
            packet_threshold=p.config.packet_threshold,
            persistent_periods=p.config.persistent_congestion_threshold,
        )
        if p.peer_params is not None:
            mtud.limit(p.peer_params.max_udp_payload_size)
            shared.peer_max_ack_delay = p.mp.ack_frequency.peer_delay
        shared.idle_timeout = p.mp.paths.idle_timeout  # path 0's own starts after the handshake
        path.recovery = Recovery(shared, data=True, rng=p.rng)
        if p.qlog is not None:
            path.recovery.log = p.qlog.space(ONE_RTT, path.path_id)
        path.acks = AckTracker()
        p.mp.ack_frequency.apply(path.acks)
        path.mtud = mtud
        path.pacer = Pacer()
        path.stats = Totals()

    def path_answered(self, path: Path, rtt: float) -> None:
        """Take a first guess of the RTT from a challenge."""
        path.recovery.path.rtt.set_initial(rtt)

    def path_moved(self, path: Path, same_host: bool) -> None:
        """The peer's address on a path changed."""
        if path.path_id == 0 or path.established:
            self._p.events.append(PathChanged(path.remote))
        if not same_host:
            shared, params = path.recovery.path, self._p.peer_params
            shared.mtud = path.mtud = self._mtud()
            if params is not None:
                path.mtud.limit(params.max_udp_payload_size)
            shared.congestion = self._controller(shared.mtud.mtu)
            shared.rtt = self._rtt()
            path.pacer = Pacer()
        if self._p.keys is not None:
            self._p.keys.reset_spin()

    def path_abandoned(self, path: Path) -> None:
        """Data in flight there is sent again elsewhere."""
        path.recovery.requeue_all()

    def path_discarded(self, path: Path) -> None:
        """Forget the path's packets."""
        self._p.keep_totals(path)
        path.recovery.requeue_all()
        path.recovery.discard()
        if self._p.keys is not None:
            self._p.keys.forget(path.path_id)
