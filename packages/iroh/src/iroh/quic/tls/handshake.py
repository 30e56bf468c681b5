"""One end of a TLS handshake as a QUIC connection drives it (RFC 9001 section 4).

    CRYPTO bytes in order --> receive(epoch, data) ---.
                                                      +--> take(epoch)   CRYPTO bytes to send
    client: start() ----------------------------------'    take_keys()   secrets, in order

Epochs are numbered like the spaces of `frames`:

    INITIAL 0    HANDSHAKE 1    ZERO_RTT 2 (keys only, no CRYPTO)    ONE_RTT 3

What is known when, on the client / on the server:

    alpn, peer_params   EncryptedExtensions / ClientHello     the peer is not proven yet
    peer                CertificateVerify / the same          at once with them when resumed
    complete            server's Finished / client's Finished

0-RTT (RFC 9001 section 4.6). With a ticket store, a client that has a fitting ticket gets ZERO_RTT
keys from `start` and finds in `remembered` what it may rely on; a server gets them from `receive`
when it takes early data. The client learns from `early_data_accepted`, once `alpn` is known,
whether it was taken; if not, it sends everything again. Whether a server that took it still allows
what it once allowed is checked here.

Key log lines are those of NSS, which Wireshark reads: | label | client random, hex | secret, hex |
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from aioquic import tls
from aioquic._buffer import Buffer

from iroh.quic.api import Rng
from iroh.quic.errors import CRYPTO_ERROR_BASE, PROTOCOL_VIOLATION, PeerError, QuicError
from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT
from iroh.quic.tls.client import ClientContext
from iroh.quic.tls.context import MAX_MESSAGE, check_alpns
from iroh.quic.tls.crypto_stream import CRYPTO
from iroh.quic.tls.server import ServerContext
from iroh.quic.tls.tickets import Ticket, TicketStore
from iroh_base import SecretKey

Secret = tuple[int, bool, int, bytes]
"""(epoch, is_send, cipher suite of RFC 8446 B.4, traffic secret)."""
KeyLog = Callable[[str], None]
"""Takes one line, without its end, of a key log (draft-ietf-tls-keylogfile)."""

_OUT_CAPACITY = MAX_MESSAGE
_EPOCHS: Final = {
    INITIAL: tls.Epoch.INITIAL,
    HANDSHAKE: tls.Epoch.HANDSHAKE,
    ONE_RTT: tls.Epoch.ONE_RTT,
}
_NUMBERS: Final = {
    tls.Epoch.INITIAL: INITIAL,
    tls.Epoch.ZERO_RTT: ZERO_RTT,
    tls.Epoch.HANDSHAKE: HANDSHAKE,
    tls.Epoch.ONE_RTT: ONE_RTT,
}
# (epoch, whether the client sends with it) -> label, draft-ietf-tls-keylogfile section 2.2
_LABELS: Final = {
    (ZERO_RTT, True): "CLIENT_EARLY_TRAFFIC_SECRET",
    (HANDSHAKE, True): "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    (HANDSHAKE, False): "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    (ONE_RTT, True): "CLIENT_TRAFFIC_SECRET_0",
    (ONE_RTT, False): "SERVER_TRAFFIC_SECRET_0",
}
_COMPLETE = (tls.State.CLIENT_POST_HANDSHAKE, tls.State.SERVER_POST_HANDSHAKE)
_BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What aioquic may raise on hostile bytes beside its alerts; BufferReadError is a ValueError."""


class Handshake:
    """One end of a handshake.

    secret_key: our identity. alpns: in order of preference. params: our transport parameters,
    encoded. rng: for the client's random and for tickets; key shares and the server's random come
    from the system. peer: the 32-byte key that a client dials, None on the server. ticket_store:
    the endpoint's store for this role; None for no resumption. keylog: told every secret.
    early_data: whether a client offers 0-RTT when it has a ticket for it.

    Raises ValueError for ALPNs that cannot be sent.
    """

    def __init__(
        self,
        is_client: bool,
        secret_key: SecretKey,
        alpns: Sequence[bytes],
        params: bytes,
        rng: Rng = os.urandom,
        peer: bytes | None = None,
        ticket_store: TicketStore | None = None,
        keylog: KeyLog | None = None,
        early_data: bool = True,
    ) -> None:
        if is_client != (peer is not None):
            raise ValueError("a client knows whom it dials, a server does not")
        self.is_client = is_client
        self.peer_params: bytes | None = None
        """The peer's transport parameters, encoded."""
        options: Any = {
            "secret_key": secret_key,
            "alpns": check_alpns(alpns),
            "transport_parameters": params,
            "store": ticket_store,
        }
        self._context: ClientContext | ServerContext
        if is_client:
            self._context = ClientContext(
                expected_peer=peer, client_random=rng(32), early_data=early_data, **options
            )
        else:
            self._context = ServerContext(rng=rng, **options)
        self._context.alpn_cb = self._on_extensions
        self._context.update_traffic_key_cb = self._on_key
        self._has_store = ticket_store is not None
        self._keylog = keylog
        self._out = {INITIAL: bytearray(), HANDSHAKE: bytearray(), ONE_RTT: bytearray()}
        self._keys: list[Secret] = []
        self._error: PeerError | None = None
        self._partial: int | None = None

    # -- driving -------------------------------------------------------------------------------

    def start(self, now: float | None = None) -> None:
        """Client: make the ClientHello. now: seconds, needed with a ticket store."""
        self._set_time(now)
        self._run(b"")

    def receive(self, epoch: int, data: bytes, now: float | None = None) -> None:
        """Take CRYPTO bytes in order. Raises PeerError, the same one again after a failure.

        Keys and bytes from before the failure can still be taken, to close the connection with.
        now: seconds, needed with a ticket store (ValueError without).
        """
        self._set_time(now)
        if self._error is not None:
            raise self._error
        if not data:
            return
        if self._partial not in (None, epoch):
            self._fail(tls.AlertUnexpectedMessage("TLS message over a change of keys"))
        self._context.epoch = _EPOCHS[epoch]
        self._run(data)
        self._partial = epoch if self._context.holds_partial_message else None

    def take(self, epoch: int) -> bytes:
        """Give and forget the CRYPTO bytes to send in packets of `epoch`."""
        out = self._out[epoch]
        data = bytes(out)
        out.clear()
        return data

    def take_keys(self) -> list[Secret]:
        """Give and forget the traffic secrets that became known, oldest first."""
        keys, self._keys = self._keys, []
        return keys

    # -- results -------------------------------------------------------------------------------

    @property
    def alpn(self) -> bytes | None:
        """The settled ALPN."""
        chosen = self._context.alpn_negotiated
        return None if chosen is None else chosen.encode()

    @property
    def peer(self) -> bytes | None:
        """The peer's proven Ed25519 key, 32 bytes."""
        return self._context.peer_key

    @property
    def resumed(self) -> bool:
        """Whether a ticket stood for the certificates."""
        return self._context.session_resumed

    @property
    def remembered(self) -> Ticket | None:
        """Client: the ticket of the connection on whose ALPN and limits our 0-RTT relies.

        None when no 0-RTT was offered.
        """
        context = self._context
        return context.early_ticket if isinstance(context, ClientContext) else None

    @property
    def early_data_offered(self) -> bool:
        """Whether the client offers 0-RTT; on the server False until the ClientHello was read."""
        return self._context.early_data_offered

    @property
    def early_data_accepted(self) -> bool:
        """Whether the server takes 0-RTT; False until it said so."""
        return self._context.early_data_accepted

    @property
    def complete(self) -> bool:
        """Whether the handshake is complete (RFC 9001 section 4.1.1)."""
        return self._context.state in _COMPLETE

    def following_secret(self) -> bytes | None:
        """Server: the client's 1-RTT secret, which `take_keys` gives when Finished has come.

        To be ready for what may not be read before (RFC 9001 section 5.7).
        """
        context = self._context
        return context.following_secret() if isinstance(context, ServerContext) else None

    def export_keying_material(self, length: int, label: bytes, context: bytes) -> bytes:
        """Derive exporter bytes (RFC 8446 section 7.5).

        Raises QuicError before the handshake is complete, ValueError for a bad length.
        """
        if not self.complete:
            raise QuicError("keying material can be exported once the handshake is complete")
        return self._context.export_keying_material(length, label, context)

    # -- inside --------------------------------------------------------------------------------

    def _set_time(self, now: float | None) -> None:
        if now is not None:
            self._context.now = now
        elif self._has_store:
            raise ValueError("with a ticket store a handshake needs the time")

    def _run(self, data: bytes) -> None:
        buffers = {
            epoch: Buffer(capacity=_OUT_CAPACITY)
            for epoch in (tls.Epoch.INITIAL, tls.Epoch.HANDSHAKE, tls.Epoch.ONE_RTT)
        }
        try:
            self._context.handle_message(data, buffers)
        except tls.Alert as alert:
            self._fail(alert)
        except PeerError as error:
            self._error = error
            raise
        except _BUGS as error:
            self._fail(tls.AlertDecodeError("TLS message could not be parsed"), error)
        for epoch, buffer in buffers.items():
            self._out[_NUMBERS[epoch]] += buffer.data

    def _fail(self, alert: tls.Alert, cause: Exception | None = None) -> None:
        reason = str(alert) or alert.description.name.replace("_", " ")
        self._error = PeerError(CRYPTO_ERROR_BASE + int(alert.description), reason, CRYPTO)
        raise self._error from (cause or alert)

    def _on_extensions(self, alpn: str) -> None:
        """The peer's extensions were read, and nothing was answered yet."""
        if not self.is_client and self._context.legacy_session_id:
            # RFC 9001 section 8.4
            raise PeerError(PROTOCOL_VIOLATION, "ClientHello has a session id", CRYPTO)
        found = dict(self._context.received_extensions or ())
        self.peer_params = found.get(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS)
        if self.peer_params is None:
            raise tls.AlertMissingExtension("transport parameters missing")

    def _on_key(
        self, direction: tls.Direction, epoch: tls.Epoch, suite: tls.CipherSuite, secret: bytes
    ) -> None:
        is_send = direction == tls.Direction.ENCRYPT
        number = _NUMBERS[epoch]
        self._keys.append((number, is_send, int(suite), secret))
        if self._keylog is None:
            return
        self._log(_LABELS[number, is_send == self.is_client], secret)
        exporter = self._context.exporter_secret
        if exporter is not None and number == ONE_RTT and is_send != self.is_client:
            self._log("EXPORTER_SECRET", exporter)

    def _log(self, label: str, secret: bytes) -> None:
        random = self._context.client_random
        if self._keylog is not None and random is not None:
            self._keylog(f"{label} {random.hex()} {secret.hex()}")
