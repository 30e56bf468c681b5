"""The one timer of a connection: the earliest of what its parts wait for."""

from typing import TYPE_CHECKING

from iroh.quic.frames import HANDSHAKE, INITIAL
from iroh.quic.path_events import PathSilent
from iroh.quic.stage import CLOSING
from iroh.quic.transmit import Transmitter

if TYPE_CHECKING:
    from iroh.quic.parts import Parts
    from iroh.quic.path import Path

NEVER = float("inf")
SILENT_AFTER = 2
"""Probe timeouts in a row after which PathSilent is told, and after each further one: a single one
is what any lost packet makes."""


class Timers:
    """Asks every part when it wants to be called, and calls those that are due."""

    def __init__(self, parts: "Parts", transmitter: Transmitter) -> None:
        self._p = parts
        self._transmitter = transmitter

    def next_timeout(self) -> float | None:
        """Give the time at which `handle_timeout` is due, None for never."""
        p = self._p
        due = p.ending.next_timeout()
        if p.stage < CLOSING:
            sender = self._transmitter
            asked = sender.asked
            if sender.next_send and sender.next_send < due:
                due = sender.next_send
            for path in p.paths.known:
                at = path.recovery.path.next_timeout()
                if at < due:
                    due = at
                if asked < path.acks.deadline < due:
                    due = path.acks.deadline
                at = path.next_deadline()
                if at < due:
                    due = at
            for level in p.levels.values():
                if asked < level.acks.deadline < due:
                    due = level.acks.deadline
            at = p.mp.next_common_timeout()
            if at < due:
                due = at
        return None if due == NEVER else due

    def handle_timeout(self, now: float) -> None:
        """Do what is due. Raises PeerError when no path is left."""
        p = self._p
        p.ending.handle_timeout(now)
        if p.is_over:
            return
        for path in p.paths.known:
            shared = path.recovery.path
            if shared.next_timeout() <= now:
                fired = shared.on_timeout(now)
                if fired is not None and fired[0] == "pto" and shared.pto_count >= SILENT_AFTER:
                    self._tell_silent(path)
        self._spread_probes()
        p.mp.handle_timeout(now)

    def _tell_silent(self, path: "Path") -> None:
        if path.established and path.is_live() and self._p.paths.established:
            timeouts = path.recovery.path.pto_count
            self._p.paths.events.append(PathSilent(path.path_id, timeouts))

    def _spread_probes(self) -> None:
        """Let probes of the handshake use what keys there are (RFC 9002 section 6.2.4).

        A client without Handshake keys probes with Initials. Who probes in Initial has the rest of
        its flight ride along, as its datagrams are padded anyway.
        """
        levels = self._p.levels
        initial, handshake = levels.get(INITIAL), levels.get(HANDSHAKE)
        if initial is None or handshake is None:
            return
        if handshake.send_keys is None:
            initial.recovery.probes += handshake.recovery.probes
            handshake.recovery.probes = 0
        elif initial.recovery.probes and not handshake.crypto.is_acked:
            handshake.recovery.probes = max(handshake.recovery.probes, 1)
