"""The sync front of `iroh.zero_rtt`. Written by tools/fronts.py."""

from __future__ import annotations

from iroh import zero_rtt as aio
from iroh.sync.beside import IncomingBeside, OutgoingBeside
from iroh.sync.connection import Connection
from iroh_base import PublicKey

__all__ = ["IncomingZeroRttConnection", "OutgoingZeroRttConnection"]


class OutgoingZeroRttConnection(OutgoingBeside, Connection):
    """The dialler's side. Create it with `Connecting.into_0rtt`."""

    _aio: aio.OutgoingZeroRttConnection


class IncomingZeroRttConnection(IncomingBeside, Connection):
    """The listener's side. Create it with `Accepting.into_0rtt`.

    Until `handshake_completed` nobody has proven who dials: what it reads may be a replay."""

    _aio: aio.IncomingZeroRttConnection

    def remote_id(self) -> PublicKey:
        """Return the peer's proven EndpointId. Raises HandshakePendingError before it is."""
        return self._portal.call(self._aio.remote_id)
