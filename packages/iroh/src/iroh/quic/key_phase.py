"""1-RTT keys of both directions and their phases (RFC 9001 section 6).

    phase of a received packet   | packet number                 | key
    -----------------------------+-------------------------------+------------------------------
    the current one              | any                           | current
    the other                    | below the phase's first one   | previous, while it is kept
    the other                    | anything else                 | next: opens it -> key update

We start an update after UPDATE_AFTER packets; it is complete once the peer has followed and has
acknowledged a packet of the new phase, and only then can the next one start.

All paths share keys and phases, each has its own packet numbers: the phase's first packet number is
kept per path. Rust peers update after a random 10 to 999 packets (noq), so this runs on every
connection of some length.
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag

from iroh.quic.errors import AEAD_LIMIT_REACHED, KEY_UPDATE_ERROR, PeerError
from iroh.quic.keys import CHACHA20_POLY1305_SHA256, HeaderKey, PacketKey, next_secret
from iroh.quic.packet import KEY_PHASE, SPIN

UPDATE_AFTER = 1 << 22
"""Packets sent with one key: half of what AES-GCM allows (RFC 9001 section 6.6)."""
SEND_LIMIT = (1 << 23) - (1 << 16)
"""Packets that may be sent with one key (RFC 9001 section 6.6), less those of a last batch."""
_INTEGRITY_LIMIT = {CHACHA20_POLY1305_SHA256: 1 << 36}  # RFC 9001 section 6.6
_INTEGRITY_LIMIT_GCM = 1 << 52


class DataKeys:
    """send_bit, recv_bit: the key phase bit (KEY_PHASE or 0) of the current phases."""

    __slots__ = (
        "_failed",
        "_limit",
        "_next",
        "_phase_first",
        "_previous",
        "_previous_until",
        "_recv_phase",
        "_recv_secret",
        "_send_acked",
        "_send_first",
        "_send_phase",
        "_send_secret",
        "_suite",
        "on_update",
        "recv",
        "recv_bit",
        "recv_hp",
        "send",
        "send_bit",
        "send_hp",
        "sent",
        "spin",
        "spins",
    )

    def __init__(self, suite: int, send_secret: bytes, recv_secret: bytes) -> None:
        self._suite = suite
        self.send: PacketKey = PacketKey(suite, send_secret)
        self.recv: PacketKey = PacketKey(suite, recv_secret)
        self.send_hp: HeaderKey = HeaderKey(suite, send_secret)
        self.recv_hp: HeaderKey = HeaderKey(suite, recv_secret)
        self.send_bit: int = 0
        self.recv_bit: int = 0
        self.sent: int = 0
        """Packets sent with the current key."""
        self.spins: int | None = None
        """What the spin bit of the peer's is turned by: SPIN at a client, 0 at a server."""
        self.spin: int = 0
        """The spin bit that we send: SPIN or 0."""
        self._send_phase = self._recv_phase = 0
        self._send_secret = send_secret
        self._recv_secret = recv_secret
        self._next: PacketKey | None = None
        self._previous: PacketKey | None = None
        self._previous_until = 0.0
        self._phase_first: dict[int, int] = {}  # path id -> first packet number of recv's phase
        self._send_first: dict[int, int] = {}  # path id -> first packet number of send's phase
        self._send_acked = True  # the peer acknowledged a packet of send's phase
        self.on_update: Callable[[int, str], None] | None = None
        """Told of updates: (phase, "local_update" or "remote_update")."""
        self._failed = 0
        self._limit = _INTEGRITY_LIMIT.get(suite, _INTEGRITY_LIMIT_GCM)

    def begin_spin(self, is_client: bool, random: int) -> None:
        """Show observers the RTT, but for one in eight connections (RFC 9000 section 17.4).

        Those that do not spin have a bit without meaning. As in noq, all paths share it.
        """
        if random & 7:
            self.spins = SPIN if is_client else 0
        else:
            self.spin = random >> 2 & SPIN

    def on_spin(self, first_byte: int) -> None:
        """Take the bit of the newest packet: a client turns it, a server sends it back."""
        if self.spins is not None:
            self.spin = (first_byte & SPIN) ^ self.spins

    def reset_spin(self) -> None:
        """A path has changed: begin anew."""
        if self.spins is not None:
            self.spin = 0

    def open_other_phase(
        self,
        path_id: int,
        pn: int,
        sealed: bytes | memoryview,
        header: bytes,
        now: float,
        pto: float,
    ) -> bytes:
        """Open a packet whose phase bit is not `recv_bit`. Raises InvalidTag, PeerError."""
        first = self._phase_first.get(path_id)
        previous = self._previous
        if previous is not None and now > self._previous_until:
            previous = self._previous = None
        if previous is not None and first is not None and pn < first:
            return previous.decrypt(previous.nonce(path_id, pn), sealed, header)
        following = self._following()
        try:
            plain = following.decrypt(following.nonce(path_id, pn), sealed, header)
        except InvalidTag:
            if previous is None:
                raise
            return previous.decrypt(previous.nonce(path_id, pn), sealed, header)
        if previous is not None and self._send_phase > self._recv_phase + 1:
            raise PeerError(KEY_UPDATE_ERROR, "a second key update before the first was confirmed")
        self._rotate_recv(path_id, pn, now, pto)
        return plain

    def _rotate_recv(self, path_id: int, pn: int, now: float, pto: float) -> None:
        self._previous, self._previous_until = self.recv, now + 3 * pto
        self.recv, self._next = self._following(), None
        self._recv_secret = next_secret(self._suite, self._recv_secret)
        self._recv_phase += 1
        self.recv_bit ^= KEY_PHASE
        self._phase_first = {path_id: pn}
        if self._send_phase < self._recv_phase:
            self._rotate_send()
            if self.on_update is not None:
                self.on_update(self._send_phase, "remote_update")

    def _following(self) -> PacketKey:
        """Give the key of the peer's next phase, made when it is first asked for.

        Most connections end before. A packet whose phase bit somebody has turned takes longer then,
        but only the first one of a phase: from that on timing tells nothing (RFC 9001 section 9.5).
        """
        following = self._next
        if following is None:
            secret = next_secret(self._suite, self._recv_secret)
            following = self._next = PacketKey(self._suite, secret)
        return following

    def note_first(self, path_id: int, pn: int) -> None:
        """Remember the smallest packet number of the current phase on a path."""
        first = self._phase_first.get(path_id)
        if first is None or pn < first:
            self._phase_first[path_id] = pn

    def _rotate_send(self) -> None:
        self._send_secret = next_secret(self._suite, self._send_secret)
        self.send = PacketKey(self._suite, self._send_secret)
        self._send_phase += 1
        self.send_bit ^= KEY_PHASE
        self.sent = 0
        self._send_first = {}
        self._send_acked = False

    def update(self) -> bool:
        """Start a key update if the last one is confirmed (RFC 9001 section 6.1)."""
        if self._send_phase != self._recv_phase or not self._send_acked:
            return False
        self._rotate_send()
        if self.on_update is not None:
            self.on_update(self._send_phase, "local_update")
        return True

    def check_limit(self) -> None:
        """Raise PeerError if a peer that never follows has let one key wear out."""
        if self.sent >= SEND_LIMIT:
            raise PeerError(AEAD_LIMIT_REACHED, "the peer takes part in no key update")

    @property
    def phase(self) -> int:
        """How many updates the key that we send with has had."""
        return self._send_phase

    def on_sent(self, path_id: int, first_pn: int, count: int) -> None:
        """Count packets sealed with `send`."""
        self.sent += count
        if not self._send_acked:
            self._send_first.setdefault(path_id, first_pn)

    def on_acked(self, path_id: int, largest: int) -> None:
        """The peer acknowledged packets of a path up to `largest`."""
        if not self._send_acked:
            first = self._send_first.get(path_id)
            if first is not None and largest >= first:
                self._send_acked = True

    def forget(self, path_id: int) -> None:
        """A path is gone for good."""
        self._phase_first.pop(path_id, None)
        self._send_first.pop(path_id, None)

    def on_failed(self, count: int = 1) -> None:
        """Packets did not authenticate. Raises PeerError at the limit (RFC 9001 section 6.6)."""
        self._failed += count
        if self._failed >= self._limit:
            raise PeerError(AEAD_LIMIT_REACHED, "too many packets that do not authenticate")
