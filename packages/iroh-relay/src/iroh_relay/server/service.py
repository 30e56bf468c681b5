"""The relay itself, without a socket: handshake, access control, and the life of each client.

`RelayService.serve` takes an upgraded connection from whoever did the HTTP part, so a relay can
also be embedded in another server.

    serve -> handshake (bounded in time) -> access control -> ClientConnection.run -> on_disconnect

Source: iroh-relay `server/http_server.rs` (`accept`), `server.rs` (`OnDisconnectGuard`).
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from iroh_base.keys import PublicKey

from ..protos.errors import HandshakeError
from ..protos.frames import Restarting
from ..protos.handshake import Mechanism, ServerHandshake
from ..protos.http import CLIENT_AUTH_HEADER
from ..protos.keying import Exporter
from ..protos.versions import ProtocolVersion
from .access import DENY, Access, AccessControl, ClientRequest, Everyone
from .bucket import RxLimit
from .clients import Clients
from .config import RelayServerConfig
from .connection import ClientConnection
from .keepalive import default_jitter
from .metrics import RelayMetrics
from .stream import Stream
from .unique import UniquePerDay

__all__ = ["RelayService", "UpgradeInfo"]

logger: logging.Logger = logging.getLogger(__name__)

_connection_ids = itertools.count()


@dataclass(frozen=True, slots=True)
class UpgradeInfo:
    """What the HTTP part knows about a connection that it has upgraded."""

    version: ProtocolVersion
    auth_token: str | None = None
    remote: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    exporter: Exporter | None = field(default=None, repr=False)
    """Keying material of the TLS session that the client's request came over."""


class RelayService:
    """All clients of one relay."""

    def __init__(
        self,
        config: RelayServerConfig | None = None,
        access: AccessControl | None = None,
        metrics: RelayMetrics | None = None,
        jitter: Callable[[], float] = default_jitter,
    ) -> None:
        """jitter: seconds, drawn anew for each ping, by which it comes later than its interval."""
        self.config: RelayServerConfig = config or RelayServerConfig()
        self.metrics: RelayMetrics = metrics or RelayMetrics()
        self._access: AccessControl = access or Everyone()
        self._jitter = jitter
        self._unique = UniquePerDay()
        self._serving: set[Stream] = set()
        self._admitted: dict[int, tuple[ClientRequest, ClientConnection]] = {}
        self._rx_limit = self.config.rx_limit
        self.clients: Clients = Clients(
            self.metrics,
            max_inactive=self.config.max_inactive,
            max_sent_to=self.config.max_sent_to,
        )

    async def serve(self, stream: Stream, upgrade: UpgradeInfo) -> None:
        """Serve one upgraded connection until it ends; the stream is dropped then.

        Never raises for what a client does. Cancelling ends the connection.
        """
        self._serving.add(stream)
        try:
            admitted = await self._handshake(stream, upgrade)
            if admitted is not None:
                await self._run(stream, *admitted)
        except ConnectionError as error:
            logger.debug("connection lost: %s", error)
        finally:
            self._serving.discard(stream)
            stream.close()

    def disconnect(self, endpoint_id: PublicKey, connection_id: int | None = None) -> bool:
        """End one connection of an endpoint, or all of them; False if there is none such."""
        return self.clients.disconnect(endpoint_id, connection_id)

    def set_rx_limit(self, limit: RxLimit | None) -> None:
        """Limit what is read from each client, those connected included; None lifts the limit."""
        self._rx_limit = limit
        for _, connection in self._admitted.values():
            connection.set_rx_limit(limit)

    def set_access(self, access: AccessControl) -> None:
        """Let another object decide from now on. Who is in stays in: see `recheck_access`.

        The old object still hears of the end of the connections that it admitted.
        """
        self._access = access

    async def recheck_access(self) -> int:
        """Ask again for every connection, end those that are not wanted any more; how many.

        Connections are asked for one by one. Cancelling leaves the rest in.
        """
        ended = 0
        for request, connection in list(self._admitted.values()):
            if request.connection_id in self._admitted and not await self._ask(request):
                connection.start_shutdown()
                ended += 1
        return ended

    def shutdown(self, reconnect_in: int | None = None, try_for: int = 0) -> None:
        """Drop all clients, admitted or not, without a close frame: they reconnect at once.

        reconnect_in, try_for: milliseconds that clients are told of a restart; None tells nothing.
        """
        if reconnect_in is not None:
            frame = Restarting(reconnect_in, try_for).encode()
            for client in self.clients.connections():
                client.send_control(frame)
        self.clients.shutdown()
        for stream in list(self._serving):
            stream.close()

    async def _handshake(
        self, stream: Stream, upgrade: UpgradeInfo
    ) -> tuple[ClientRequest, bytes] | None:
        """Find out who it is and ask access control; the bytes are the confirmation to send."""
        try:
            async with asyncio.timeout(self.config.handshake_timeout):
                machine = ServerHandshake()
                endpoint_id = await self._authenticate(stream, machine, upgrade)
                request = self._request(endpoint_id, upgrade)
                access = await self._ask(request)
                if access.allowed:
                    return request, machine.confirm()
                self.metrics.handshakes_denied += 1
                await stream.write(machine.deny(access.reason))
        except TimeoutError:
            self.metrics.handshakes_timed_out += 1
            logger.debug("handshake with %s took too long", upgrade.remote)
            stream.abort()
        except HandshakeError as error:
            self.metrics.handshakes_errored += 1
            logger.debug("handshake with %s failed: %s", upgrade.remote, error)
        return None

    async def _authenticate(
        self, stream: Stream, machine: ServerHandshake, upgrade: UpgradeInfo
    ) -> PublicKey:
        """Take the proof of the header, or send a challenge and check the answer.

        Raises `HandshakeError`.
        """
        challenge = machine.start(upgrade.headers.get(CLIENT_AUTH_HEADER), upgrade.exporter)
        if challenge is not None:
            await stream.write(challenge)
        while machine.endpoint_id is None:
            frame = await stream.read()
            if frame is None:
                raise HandshakeError("the client left during the handshake")
            denial = machine.receive(frame)
            if denial is not None:
                await stream.write(denial)
                raise HandshakeError("the client's signature is invalid")
        if machine.mechanism is Mechanism.SIGNED_KEY_MATERIAL:
            self.metrics.handshakes_by_key_material += 1
        return machine.endpoint_id

    def _request(self, endpoint_id: PublicKey, upgrade: UpgradeInfo) -> ClientRequest:
        return ClientRequest(
            connection_id=next(_connection_ids),
            endpoint_id=endpoint_id,
            protocol_version=upgrade.version,
            auth_token=upgrade.auth_token,
            remote=upgrade.remote,
            headers=upgrade.headers,
        )

    async def _ask(self, request: ClientRequest) -> Access:
        try:
            answer = await self._access.on_connect(request)
        except (TimeoutError, asyncio.CancelledError):
            raise
        except Exception:  # foreign code: whatever it raises, its failure must not admit anybody
            logger.exception("access control failed, the client is denied")
            return DENY
        return answer if isinstance(answer, Access) else Access(answer)

    async def _run(self, stream: Stream, request: ClientRequest, confirmation: bytes) -> None:
        """Serve an admitted client; access control hears of its end exactly once."""
        endpoint_id, connection_id = request.endpoint_id, request.connection_id
        access = self._access
        logger.debug("%s connected as #%d", endpoint_id.fmt_short(), connection_id)
        if self._unique.add(endpoint_id):
            self.metrics.unique_client_keys += 1
        try:
            await stream.write(confirmation)
            connection = ClientConnection(
                stream,
                endpoint_id=endpoint_id,
                connection_id=connection_id,
                version=request.protocol_version,
                clients=self.clients,
                metrics=self.metrics,
                config=self.config,
                rx_limit=self._rx_limit,
                jitter=self._jitter,
            )
            self._admitted[connection_id] = request, connection
            await connection.run()
        finally:
            self._admitted.pop(connection_id, None)
            logger.debug("%s #%d is gone", endpoint_id.fmt_short(), connection_id)
            access.on_disconnect(endpoint_id, connection_id)
