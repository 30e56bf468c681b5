"""The trio front of `iroh.incoming`. Written by tools/fronts.py."""

from __future__ import annotations

from collections.abc import Sequence

from iroh import incoming as aio
from iroh.incoming import IncomingAddr, IncomingLocalAddr
from iroh.quic.config import TransportConfig
from iroh.trio.beside import HandshakeBeside
from iroh.trio.connection import Connection
from iroh.trio.front import optional
from iroh.trio.zero_rtt import IncomingZeroRttConnection, OutgoingZeroRttConnection
from iroh_base import PublicKey

__all__ = ["Accepting", "Connecting", "Incoming"]


class Incoming(HandshakeBeside):
    """A connection attempt. Exactly one of accept, refuse, retry and ignore ends it.

    An attempt that is dropped undecided is refused."""

    _aio: aio.Incoming

    async def accept(self) -> Accepting:
        """Answer the handshake, for the ALPNs the endpoint has now.

        Raises ConsumedError when it was decided on before, EndpointClosedError. Never waits.
        """
        return Accepting(self._portal, await self._portal.wait(self._aio.accept))

    async def accept_with(
        self,
        *,
        alpns: Sequence[bytes] | None = None,
        transport_config: TransportConfig | None = None,
    ) -> Accepting:
        """Answer the handshake with other settings than the endpoint's, for this one connection.

        alpns: in order of preference. Never waits. Raises as `accept`, and InvalidInputError.
        """
        return Accepting(
            self._portal,
            await self._portal.wait(
                self._aio.accept_with, alpns=alpns, transport_config=transport_config
            ),
        )

    async def refuse(self) -> None:
        """Turn it down: the dialler's connect fails with CONNECTION_REFUSED.

        Never waits. Raises ConsumedError when it was decided on before. Nothing happens once the
        endpoint is closed, which refuses what is undecided.
        """
        await self._portal.wait(self._aio.refuse)

    async def retry(self) -> None:
        """Make the dialler prove its address first: it comes again, as another Incoming.

        Never waits. Raises ConsumedError if it has proven it already (then this is still to be
        decided on), or when it was decided on before. Nothing happens once the endpoint is closed.
        """
        await self._portal.wait(self._aio.retry)

    async def ignore(self) -> None:
        """Forget it without an answer: the dialler times out.

        Never waits. Raises ConsumedError when it was decided on before.
        """
        await self._portal.wait(self._aio.ignore)

    async def remote_addr(self) -> IncomingAddr:
        """Return where it comes from. Never waits."""
        return await self._portal.wait(self._aio.remote_addr)

    async def local_addr(self) -> IncomingLocalAddr:
        """Return where it arrived. Never waits."""
        return await self._portal.wait(self._aio.local_addr)

    async def remote_addr_validated(self) -> bool:
        """Say whether the dialler has proven its address by answering a Retry. Never waits."""
        return await self._portal.wait(self._aio.remote_addr_validated)

    def offered_alpns(self) -> list[bytes] | None:
        """Return the ALPNs that the dialler offers, in its order, before anything is answered.

        None as long as its hello is not whole, which takes several packets for a long one, and
        when there is none that can be read. Raises ConsumedError when it was decided on before.
        (iroh `Incoming::decrypt`.)
        """
        return self._portal.call(self._aio.offered_alpns)


class Accepting(HandshakeBeside):
    """The server's side of a handshake under way."""

    _aio: aio.Accepting

    async def alpn(self) -> bytes:
        """Wait for the application protocol to be settled. Raises ConnectError.

        Cancelling it is harmless.
        """
        return await self._portal.wait(self._aio.alpn)

    async def connect(self) -> Connection:
        """Wait for the handshake. Raises ConnectError; cancelling it closes the attempt.

        LocallyRejectedError: one of our hooks did not let it pass.
        """
        return Connection(self._portal, await self._portal.wait(self._aio.connect))

    def abandon(self) -> None:
        """Give up at once, as dropping it does: the peer's handshake fails. Idempotent."""
        self._portal.call(self._aio.abandon)

    async def remote_addr(self) -> IncomingAddr:
        """Return where the attempt came from, as `Incoming.remote_addr`. Never waits."""
        return await self._portal.wait(self._aio.remote_addr)

    async def into_0rtt(self) -> IncomingZeroRttConnection:
        """Use the connection before the dialler has proven who it is: see `iroh.zero_rtt`.

        Also when it sent no 0-RTT data: then we may write before its handshake is complete. Waits
        for the dialler's hello. Raises ConnectError, ConsumedError. Cancelling it is harmless.
        """
        return IncomingZeroRttConnection(self._portal, await self._portal.wait(self._aio.into_0rtt))


class Connecting(HandshakeBeside):
    """The client's side of a handshake under way, from `Endpoint.connect_pending`."""

    _aio: aio.Connecting

    async def alpn(self) -> bytes:
        """Wait for the application protocol to be settled. Raises ConnectError.

        Cancelling it is harmless.
        """
        return await self._portal.wait(self._aio.alpn)

    async def connect(self) -> Connection:
        """Wait for the handshake. Raises ConnectError; cancelling it closes the attempt.

        LocallyRejectedError: one of our hooks did not let it pass.
        """
        return Connection(self._portal, await self._portal.wait(self._aio.connect))

    def abandon(self) -> None:
        """Give up at once, as dropping it does: the peer's handshake fails. Idempotent."""
        self._portal.call(self._aio.abandon)

    async def remote_id(self) -> PublicKey:
        """Return the EndpointId that is being dialled. Never waits."""
        return await self._portal.wait(self._aio.remote_id)

    def into_0rtt(self) -> OutgoingZeroRttConnection | None:
        """Send data at once, before the server has answered: see `iroh.zero_rtt`.

        None when no earlier connection to it left a ticket, or its answer is there: then this can
        still be awaited. Raises ConsumedError.
        """
        return optional(
            OutgoingZeroRttConnection, self._portal, self._portal.call(self._aio.into_0rtt)
        )
