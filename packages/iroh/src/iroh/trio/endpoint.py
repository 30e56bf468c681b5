"""The trio front of `iroh.endpoint`. Written by tools/fronts.py."""

from __future__ import annotations

from collections.abc import Sequence

from iroh import endpoint as aio
from iroh.address_lookup import AddressLookup
from iroh.quic.config import TransportConfig
from iroh.trio.beside import EndpointBeside
from iroh.trio.connection import Connection
from iroh.trio.endpoint_state import EndpointState
from iroh.trio.front import optional
from iroh.trio.incoming import Connecting, Incoming
from iroh_base import EndpointAddr, PublicKey, UserData
from iroh_relay.relay_map import RelayConfig

__all__ = ["Endpoint"]


class Endpoint(EndpointBeside, EndpointState):
    """Bind it with `Endpoint.bind`. Close it with `close`, or use `async with`."""

    _aio: aio.Endpoint

    async def add_external_addr(self, addr: str) -> None:
        """Announce "ip:port", where others reach us and we cannot know it.

        Never waits. Raises AddrParseError. Nothing happens once the endpoint is closed.
        """
        await self._portal.wait(self._aio.add_external_addr, addr)

    async def remove_external_addr(self, addr: str) -> bool:
        """Take it back; say whether it was there. Never waits. Raises AddrParseError."""
        return await self._portal.wait(self._aio.remove_external_addr, addr)

    async def insert_relay(self, config: RelayConfig) -> None:
        """Use one more relay from now on.

        Never waits: a net report is asked for, which may choose it. Does nothing where relays are
        disabled (RelayMode.disabled), and once the endpoint is closed. RelayConfig checks the URL.
        """
        await self._portal.wait(self._aio.insert_relay, config)

    async def remove_relay(self, url: str) -> bool:
        """Stop using a relay; say whether it was in use.

        Never waits: if it is home, another becomes home with the next net report. Raises
        RelayUrlError.
        """
        return await self._portal.wait(self._aio.remove_relay, url)

    def add_address(self, addr: EndpointAddr) -> None:
        """Remember a peer's address: `connect` with its id alone finds it.

        Raises EndpointClosedError.
        """
        self._portal.call(self._aio.add_address, addr)

    def add_address_lookup(self, service: AddressLookup) -> None:
        """Add a lookup service; it is told our address at once. Raises EndpointClosedError."""
        self._portal.call(self._aio.add_address_lookup, service)

    def remove_address_lookup(self, service: AddressLookup) -> bool:
        """Take a lookup service out and begin to close it; say whether it was in.

        Lookups under way go on with it until it is closed. What it published stays as it is.
        """
        return self._portal.call(self._aio.remove_address_lookup, service)

    def set_user_data(self, text: str | UserData | None) -> None:
        """Publish this text beside our addresses, at most 245 bytes; None takes it back.

        Raises EndpointInfoError for more.
        """
        self._portal.call(self._aio.set_user_data, text)

    async def connect(
        self,
        addr: EndpointAddr | PublicKey,
        alpn: bytes,
        *,
        additional_alpns: Sequence[bytes] = (),
        transport_config: TransportConfig | None = None,
    ) -> Connection:
        """Dial an endpoint by its id, or by an address, and agree on the ALPN.

        additional_alpns: others that we can speak, too; the server chooses, see
        `Connection.alpn`. transport_config: QUIC settings for this connection alone.

        Every known address is tried at once, and those that a lookup finds meanwhile; the first
        answer wins. Raises ConnectError (LookupFailedError, ConnectTimeoutError after 30 s of
        silence, EndpointClosedError, LocallyRejectedError). Cancelling it abandons the dial.
        """
        return Connection(
            self._portal,
            await self._portal.wait(
                self._aio.connect,
                addr,
                alpn,
                additional_alpns=additional_alpns,
                transport_config=transport_config,
            ),
        )

    async def connect_pending(
        self,
        addr: EndpointAddr | PublicKey,
        alpn: bytes,
        *,
        additional_alpns: Sequence[bytes] = (),
        transport_config: TransportConfig | None = None,
    ) -> Connecting:
        """Start dialling: find an address and send the first packet. See `connect`.

        `Connecting.into_0rtt` sends data before the server has answered. Cancelling this call
        abandons the dial.
        """
        return Connecting(
            self._portal,
            await self._portal.wait(
                self._aio.connect_pending,
                addr,
                alpn,
                additional_alpns=additional_alpns,
                transport_config=transport_config,
            ),
        )

    def set_alpns(self, alpns: Sequence[bytes]) -> None:
        """Accept these application protocols from now on, the preferred first; none refuses.

        Raises InvalidInputError for one that is empty or longer than 255 bytes.
        """
        self._portal.call(self._aio.set_alpns, alpns)

    async def accept_next(self) -> Incoming | None:
        """Take the next connection attempt; None once the endpoint is closed.

        Cancelling it loses no attempt.
        """
        return optional(Incoming, self._portal, await self._portal.wait(self._aio.accept_next))

    def is_closed(self) -> bool:
        """Say whether close has finished."""
        return self._portal.call(self._aio.is_closed)

    async def closed(self) -> None:
        """Wait until the endpoint begins to close: no more dials, no more attempts.

        What belongs to the endpoint can end with it. Cancelling it is harmless.
        """
        await self._portal.wait(self._aio.closed)
