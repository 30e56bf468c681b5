"""Packets from other addresses than the path's (RFC 9000 section 9, and where noq differs).

    side and time         from another remote address       moves the path there
    client, handshaking   if the server may still choose     at once, until a Handshake packet
    client, later         with NAT traversal (probes)        never
    server, handshaking   dropped                            never
    server, confirmed     taken                              the newest packet, if it is not
                                                             made of probing frames only

With multipath but without NAT traversal any packet moves the path, probing or not (noq
`migrate_on_any_packet`). "Probing" is RFC 9000 section 9.1's, `Frame.PROBING`.
"""

from iroh.quic import path_state
from iroh.quic.datagrams import Address
from iroh.quic.path import Path, Previous
from iroh.quic.path_events import PathMoved
from iroh.quic.paths import PathOwner, PathTable
from iroh.quic.remote_cids import RemoteCids

VALIDATION_PTOS = 3
"""RFC 9000 section 8.2.4; noq PathValidationFailed."""


class Migration:
    """Who may send from where. The connection sets the attributes.

    confirmed: the handshake is confirmed (RFC 9001 section 4.1.2).
    nat_traversal: n0's NAT traversal was negotiated.
    allowed: at a server, whether clients may migrate.
    server_may_move: at a client, whether the server may answer from another address than the one
        dialled (iroh `server_handshake_migration`); ends with the first Handshake packet.
    """

    def __init__(self, paths: PathTable, remote_cids: RemoteCids, owner: PathOwner) -> None:
        self.confirmed = False
        self.nat_traversal = False
        self.allowed = True
        self.server_may_move: bool = paths.is_client
        self._paths = paths
        self._remote_cids = remote_cids
        self._owner = owner

    def accepts(self, path_id: int, remote: Address, local: Address | None) -> bool:
        """Say, before decrypting, whether packets of this path may come over these addresses."""
        paths = self._paths
        if path_id and not paths.established:
            return False
        path = paths.get(path_id)
        if path is None:
            return not paths.is_client and paths.ids.is_open(path_id)
        if remote != path.remote and not self._peer_may_probe():
            return False
        same_local = local is None or path.local is None or local == path.local
        return same_local or self._local_may_move()

    def on_handshake_packet(
        self, path: Path, remote: Address, local: Address | None, is_handshake: bool
    ) -> bool:
        """Take an authenticated long-header packet; False: drop it, it comes from elsewhere.

        is_handshake: the packet is of the Handshake space, so only the real server can have made
        it (Initial keys are no secret).
        """
        if self._paths.established:
            return remote == path.remote
        if not path.runs_over(remote, local):
            if not (self._paths.is_client and self.server_may_move):
                return False
            path.remote, path.local = remote, local
        elif path.local is None:
            path.local = local
        if is_handshake:
            self.server_may_move = False
        return True

    def on_packet(
        self,
        path: Path,
        remote: Address,
        local: Address | None,
        probing: bool,
        is_largest: bool,
        now: float,
    ) -> None:
        """Take an authenticated 1-RTT packet, after its frames.

        probing: all its frames were. is_largest: no higher packet number was seen on the path. Of
        a batch from one address, the packet with the largest number decides.
        """
        any_packet = self._paths.ids.enabled and not self.nat_traversal
        if not is_largest or (probing and not any_packet) or not path.is_live():
            return
        if remote == path.remote:
            if local is not None and (path.local is None or self._local_may_move()):
                path.local = local
        elif not self._paths.is_client and self.allowed and self.confirmed:
            if path.previous is not None and remote == path.previous.remote:
                self._paths.feed(path, path_state.REVERTED, now)  # it is proven already
            else:
                self._migrate(path, remote, local, now)

    def _peer_may_probe(self) -> bool:
        if self._paths.is_client and not self._paths.established:
            return self.server_may_move
        if self._paths.is_client:
            return self.nat_traversal and self.confirmed
        return self.confirmed and (self.allowed or self.nat_traversal)

    def _local_may_move(self) -> bool:
        return (self._paths.is_client or self.nat_traversal) and self.confirmed

    def _migrate(self, path: Path, remote: Address, local: Address | None, now: float) -> None:
        if path.validated:
            cid = self._remote_cids.active(path.path_id)
            path.previous = Previous(path.remote, path.local, cid)
        same_host = _same_host(path.remote, remote)
        pto = self._paths.pto(path)
        path.relocate(remote, local)
        self._owner.path_moved(path, same_host)
        if path.previous is not None:
            # Not later than what runs already: moving on must not keep the proven address away.
            deadline = now + VALIDATION_PTOS * max(pto, self._paths.pto(path))
            path.migration_deadline = min(path.migration_deadline, deadline)
        self._paths.feed(path, path_state.MIGRATED, now)
        self._paths.events.append(PathMoved(path.path_id, remote))
        self._remote_cids.advance(path.path_id)  # so that observers cannot link the addresses


def _same_host(old: Address, new: Address) -> bool:
    """Whether only the port differs, as after a NAT rebinding (RFC 9000 section 9.4)."""
    return isinstance(old, tuple) and isinstance(new, tuple) and old[:1] == new[:1]
