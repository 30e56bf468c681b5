"""One path of a connection: a path id, a packet-number space, and the addresses it runs over."""

from typing import TYPE_CHECKING

from iroh.quic.challenges import NEVER, Challenges, Responses
from iroh.quic.datagrams import Address
from iroh.quic.path_events import AbandonReason
from iroh.quic.path_state import ABANDONING, DISCARDED, OPENING, STATES
from iroh_base import SocketAddr

if TYPE_CHECKING:
    from iroh.quic.acks import AckTracker
    from iroh.quic.mtud import MtuDiscovery
    from iroh.quic.pacing import Pacer
    from iroh.quic.recovery import Recovery

IDLE_TIMEOUT = 15.0
"""Seconds (iroh `PATH_MAX_IDLE_TIMEOUT`); magicsock gives relay paths 30."""
KEEP_ALIVE = 5.0
"""Seconds (iroh `HEARTBEAT_INTERVAL`)."""
PADDED = 1200
"""UDP payload of a datagram that validates a path (RFC 9000 section 8.2.1)."""
AMPLIFICATION = 3
"""Bytes a server sends to an unproven address per byte received (RFC 9000 section 8)."""


class Totals:
    """Counters of a path, or of all that are gone; what was lost is counted in its recovery."""

    __slots__ = ("rx_bytes", "rx_datagrams", "tx_bytes", "tx_datagrams")

    def __init__(self) -> None:
        self.tx_datagrams: int = 0
        self.tx_bytes: int = 0
        self.rx_datagrams: int = 0
        self.rx_bytes: int = 0


class Previous:
    """The proven address that a path migrated away from, while the new one is unproven.

    cid: the peer's connection id that was used there; a challenge goes there once, with it, so
        that a peer which did not migrate at all shows up (RFC 9000 section 9.3.3).
    """

    __slots__ = ("challenge_due", "cid", "local", "remote")

    def __init__(self, remote: Address, local: Address | None, cid: bytes | None) -> None:
        self.remote: Address = remote
        self.local: Address | None = local
        self.cid: bytes | None = cid
        self.challenge_due: bool = cid is not None


class Path:
    """A path. The first block of attributes is ours, the second its owner's, who sets all of it in
    `PathOwner.path_created`, before anybody else sees the path.

    remote, local: the 4-tuple; local is None while unknown.
    state: see path_state. established: the peer answered us once; never taken back.
    validated: data may be sent to `remote`.
    available: our own status, which is what scheduling goes by; False is "backup".
    remote_available: the peer's status, None while it told none. *_status_seq: of the frames.
    bytes_received, bytes_sent: since the path has this address, for the 3x limit.
    generation: grows when the path migrates; tells packets to the old address apart.
    answered: when a PATH_CHALLENGE was answered last, -inf for never: it passes both ways.
    wants_ping: send PING or IMMEDIATE_ACK on this path (the connection clears it).
    idle_timeout, keep_alive: seconds, None for never.
    report_due, observed: see observed.py.

    recovery: of its 1-RTT packets; `recovery.path` has RTT and congestion window.
    mtud: that of `recovery.path`.
    """

    __slots__ = (
        "abandon_code",
        "abandon_reason",
        "acks",
        "answered",
        "available",
        "bytes_received",
        "bytes_sent",
        "challenges",
        "drain_deadline",
        "established",
        "generation",
        "idle_deadline",
        "idle_reset",
        "idle_timeout",
        "keep_alive",
        "keep_alive_deadline",
        "limited",
        "local",
        "migration_deadline",
        "mtud",
        "observed",
        "pacer",
        "path_id",
        "previous",
        "recovery",
        "remote",
        "remote_available",
        "remote_status_seq",
        "report_due",
        "responses",
        "state",
        "stats",
        "status_seq",
        "validated",
        "wants_ping",
    )
    recovery: "Recovery"
    acks: "AckTracker"
    mtud: "MtuDiscovery"
    pacer: "Pacer"
    stats: Totals

    def __init__(self, path_id: int, remote: Address, local: Address | None, limited: bool) -> None:
        self.path_id: int = path_id
        self.remote: Address = remote
        self.local = local
        self.state: int = OPENING
        self.established: bool = False
        self.validated: bool = False
        self.available: bool = True
        self.status_seq: int = 0
        self.remote_available: bool | None = None
        self.remote_status_seq: int = -1
        self.limited: bool = limited
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self.generation: int = 0
        self.answered: float = float("-inf")
        self.challenges: Challenges = Challenges()
        self.responses: Responses = Responses()
        self.previous: Previous | None = None
        self.wants_ping: bool = False
        self.report_due: bool = False
        self.observed: tuple[int, SocketAddr] | None = None
        self.abandon_code: int = 0
        self.abandon_reason: AbandonReason = AbandonReason.APPLICATION
        self.idle_timeout: float | None = None
        self.keep_alive: float | None = None
        self.idle_reset: bool = True
        self.idle_deadline: float = NEVER
        self.keep_alive_deadline: float = NEVER
        self.migration_deadline: float = NEVER
        self.drain_deadline: float = NEVER

    def is_live(self) -> bool:
        """Say whether the path is neither abandoned nor forgotten."""
        return self.state < ABANDONING

    def is_discarded(self) -> bool:
        """Say whether the path is forgotten."""
        return self.state == DISCARDED

    def relocate(self, remote: Address, local: Address | None) -> None:
        """Run over other addresses from now on."""
        self.remote, self.local = remote, local
        self.bytes_received = self.bytes_sent = 0
        self.generation += 1

    def can_send(self, nbytes: int) -> bool:
        """Say whether the anti-amplification limit lets so many more bytes go."""
        return (
            self.validated
            or not self.limited
            or self.bytes_sent + nbytes <= AMPLIFICATION * self.bytes_received
        )

    def runs_over(self, remote: Address, local: Address | None) -> bool:
        """Say whether a packet of these addresses would take the path's way.

        An unknown local address is taken for the same one (noq `is_probably_same_path`).
        """
        if remote != self.remote:
            return False
        return local is None or self.local is None or local == self.local

    def on_challenge(
        self, data: bytes, remote: Address, local: Address | None, nbytes: int
    ) -> None:
        """Owe a PATH_RESPONSE to where a PATH_CHALLENGE in a packet of this path came from.

        nbytes: of the datagram it came in; somebody else's address must not get more than 3x.
        """
        if not self.is_live():
            return
        self.responses.push(data, remote, local, AMPLIFICATION * nbytes >= PADDED)
        if self.runs_over(remote, local):
            # The sign of life for a peer whose packets somebody else forwards (RFC 9000 9.3.3).
            self.wants_ping = True

    def arm_idle(self, now: float, pto: float) -> None:
        """Start the idle timeout anew. It is never shorter than 3 PTO (RFC 9000 section 10.1)."""
        timeout = self.idle_timeout
        if timeout is None:
            self.idle_deadline = NEVER
        else:
            self.idle_deadline = now + (timeout if timeout > 3 * pto else 3 * pto)

    def arm_keep_alive(self, now: float) -> None:
        """Start the keep-alive interval anew."""
        interval = self.keep_alive
        self.keep_alive_deadline = NEVER if interval is None else now + interval

    def stop_timers(self) -> None:
        """The path is abandoned: nothing but draining is timed any more."""
        self.idle_deadline = self.keep_alive_deadline = self.migration_deadline = NEVER
        self.challenges.clear()

    def next_deadline(self) -> float:
        """The earliest of the path's deadlines; NEVER when there is none."""
        due = self.idle_deadline
        if self.keep_alive_deadline < due:
            due = self.keep_alive_deadline
        if self.challenges.deadline < due:
            due = self.challenges.deadline
        if self.migration_deadline < due:
            due = self.migration_deadline
        return self.drain_deadline if self.drain_deadline < due else due

    def __repr__(self) -> str:
        return f"Path({self.path_id}, {self.remote!r}, {STATES[self.state]})"
