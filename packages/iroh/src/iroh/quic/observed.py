"""OBSERVED_ADDRESS: what the peer's address looks like from here (spec/quic.md section 5).

    mine.send and theirs.receive    we report: once when the parameters are known, with every
                                    PATH_CHALLENGE and on-path PATH_RESPONSE, and again on loss
    mine.receive and theirs.send    the peer does; its frame is an error otherwise

Sequence numbers count over the whole connection from 0; of a path only the highest one holds. A
report is about the 4-tuple it travels over, so it has to travel on the path it is about.
"""

from typing import Any

from iroh.quic.datagrams import Address
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.events import Event
from iroh.quic.frames import Frame, ObservedAddress
from iroh.quic.nat import canonical
from iroh.quic.path import Path
from iroh.quic.path_events import ObservedAddressChanged
from iroh_base import SocketAddr


class ObservedAddresses:
    """Reports in both directions.

    reports, receives: whether we send them, and take them. Endpoints of iroh do neither; a relay's
        address discovery service reports, its clients receive.
    """

    def __init__(self, reports: bool, receives: bool) -> None:
        self._reports = reports
        self._receives = receives
        self._next_seq = 0
        self.events: list[Event] = []

    def want(self, path: Path) -> None:
        """Report on this path soon, if we report at all."""
        path.report_due = self._reports and path.is_live()

    def take_frames(self, path: Path, budget: int) -> list[tuple[Frame, Any]]:
        """Give the report that is due on a path, with its token; it must travel on that path."""
        if not path.report_due:
            return []
        addr = canonical(path.remote)
        if addr is None:  # a relay or so: there is no address to report
            path.report_due = False
            return []
        frame = ObservedAddress(self._next_seq, addr)
        if len(frame.encode()) > budget:
            return []
        self._next_seq += 1
        path.report_due = False
        return [(frame, (path, path.generation))]

    def on_acked(self, token: tuple[Path, int]) -> None:
        """A report arrived."""

    def on_lost(self, token: tuple[Path, int]) -> None:
        """A report is lost: report anew, unless the path moved."""
        path, generation = token
        if generation == path.generation:
            self.want(path)

    def on_frame(self, frame: ObservedAddress, path: Path, remote: Address) -> None:
        """Take a report that came on a path from `remote`. Raises PeerError if not negotiated.

        From another address than the path's it is ignored: there will be another, with the
        challenge that follows a migration.
        """
        if not self._receives:
            kind = frame.TYPES[not frame.addr.is_ipv4]
            raise PeerError(PROTOCOL_VIOLATION, "address discovery was not negotiated", kind)
        if remote != path.remote:
            return
        known = path.observed
        if known is not None and frame.number <= known[0]:
            return
        path.observed = (frame.number, frame.addr)
        if known is None or known[1] != frame.addr:
            self.events.append(ObservedAddressChanged(path.path_id, frame.addr))

    def latest(self, path: Path) -> SocketAddr | None:
        """Our address as the peer sees it over a path; None while it told nothing."""
        return path.observed[1] if path.observed is not None else None
