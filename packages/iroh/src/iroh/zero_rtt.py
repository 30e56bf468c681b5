"""0-RTT: data in the first flight, to a peer that was dialled before.

    connecting = await endpoint.connect_pending(addr, alpn)
    early = connecting.into_0rtt()             None: no ticket of an earlier connection
    send, recv = await early.open_bi()         leaves with the first packets
    ...
    status = await early.handshake_completed()
    status.is_accepted()                       False: the server did not take it; see REJECTED

    accepting = await incoming.accept()
    early = await accepting.into_0rtt()        streams come before the client has proven its key
    ...
    conn = await early.handshake_completed()   now it has

Who records 0-RTT packets can send them again to a server that does not remember its tickets: ask
for nothing that must not happen twice. Ours redeems a ticket once.

Upstream: iroh `OutgoingZeroRttConnection`, `IncomingZeroRttConnection`, `ZeroRttStatus`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from iroh.connection import Connection
from iroh.errors import HandshakePendingError
from iroh.magicsock.driver import ConnectionDriver
from iroh.variants import Variant
from iroh_base import PublicKey

__all__ = ["IncomingZeroRttConnection", "OutgoingZeroRttConnection", "ZeroRttStatus"]

Complete = Callable[[Connection], Awaitable[Connection]]
"""Waits for the handshake, and registers the connection."""


class ZeroRttStatus(Variant):
    """What became of 0-RTT data: ZeroRttStatus.ACCEPTED or REJECTED. `connection` goes on."""

    ACCEPTED: "type[_Accepted]"
    REJECTED: "type[_Rejected]"
    is_accepted: Callable[[], bool]
    is_rejected: Callable[[], bool]
    connection: Connection


@ZeroRttStatus.variant("ACCEPTED")
@dataclass(frozen=True, slots=True)
class _Accepted(ZeroRttStatus):
    """The server took it."""

    connection: Connection


@ZeroRttStatus.variant("REJECTED")
@dataclass(frozen=True, slots=True)
class _Rejected(ZeroRttStatus):
    """The server did not take it: what was written to streams is sent again, datagrams are lost.

    (In Rust the streams are gone, too, and have to be opened again.)
    """

    connection: Connection


class _ZeroRttConnection(Connection):
    """A connection whose handshake goes on. It becomes an ordinary one, the same object."""

    def __init__(
        self,
        driver: ConnectionDriver,
        alpn: bytes,
        remote_id: PublicKey | None,
        complete: Complete,
    ) -> None:
        super().__init__(driver, alpn, remote_id)
        self._complete = complete
        self._completing = asyncio.Lock()
        self._completed = False

    async def _wait_completed(self) -> None:
        async with self._completing:
            if not self._completed:
                await self._complete(self)
                self._completed = True


class OutgoingZeroRttConnection(_ZeroRttConnection):
    """The dialler's side. Create it with `Connecting.into_0rtt`."""

    async def handshake_completed(self) -> ZeroRttStatus:
        """Wait for the server, and say whether it took the 0-RTT data.

        Raises ConnectError. May be called again. Cancelling it is harmless, unless a hook is just
        asked: that closes the connection.
        """
        await self._wait_completed()
        status = ZeroRttStatus.ACCEPTED if self._quic.early_data_accepted else None
        return (status or ZeroRttStatus.REJECTED)(self)


class IncomingZeroRttConnection(_ZeroRttConnection):
    """The listener's side. Create it with `Accepting.into_0rtt`.

    Until `handshake_completed` nobody has proven who dials: what it reads may be a replay.
    """

    def remote_id(self) -> PublicKey:
        """Return the peer's proven EndpointId. Raises HandshakePendingError before it is."""
        if self._remote_id is None and self._quic.peer is not None and self._completed:
            self._remote_id = PublicKey(self._quic.peer)
        if self._remote_id is None:
            raise HandshakePendingError("who dials is known when the handshake is complete")
        return self._remote_id

    async def handshake_completed(self) -> Connection:
        """Wait for the dialler's proof; gives this connection. Errors and cancelling as above.

        Raises ConnectError. May be called again. Cancelling it is harmless, unless a hook is just
        asked: that closes the connection.
        """
        await self._wait_completed()
        return self
