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
from typing import Final

from iroh.quic.api import Rng
from iroh.quic.errors import CRYPTO_ERROR_BASE, PeerError, QuicError
from iroh.quic.frames.base import HANDSHAKE, ONE_RTT, ZERO_RTT
from iroh.quic.tls.alerts import UNEXPECTED_MESSAGE, Alert
from iroh.quic.tls.client import ClientContext
from iroh.quic.tls.context import Secret, Settings, check_alpns
from iroh.quic.tls.crypto_stream import CRYPTO
from iroh.quic.tls.groups import X25519, X25519MLKEM768
from iroh.quic.tls.server import ServerContext
from iroh.quic.tls.tickets import Ticket, TicketStore
from iroh_base import SecretKey

KeyLog = Callable[[str], None]
"""Takes one line, without its end, of a key log (draft-ietf-tls-keylogfile)."""

# (epoch, whether the client sends with it) -> label, draft-ietf-tls-keylogfile section 2.2
_LABELS: Final = {
    (ZERO_RTT, True): "CLIENT_EARLY_TRAFFIC_SECRET",
    (HANDSHAKE, True): "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    (HANDSHAKE, False): "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    (ONE_RTT, True): "CLIENT_TRAFFIC_SECRET_0",
    (ONE_RTT, False): "SERVER_TRAFFIC_SECRET_0",
}


class Handshake:
    """One end of a handshake.

    secret_key: our identity. alpns: in order of preference. params: our transport parameters,
    encoded. rng: for the client's random and for tickets; key shares and the server's random come
    from the system. peer: the 32-byte key that a client dials, None on the server. ticket_store:
    the endpoint's store for this role; None for no resumption. keylog: told every secret.
    early_data: whether a client offers 0-RTT when it has a ticket for it. post_quantum: whether
    X25519MLKEM768 is preferred to x25519.

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
        post_quantum: bool = False,
    ) -> None:
        if is_client != (peer is not None):
            raise ValueError("a client knows whom it dials, a server does not")
        self.is_client = is_client
        settings = Settings(
            secret_key,
            check_alpns(alpns),
            params,
            (X25519MLKEM768, X25519) if post_quantum else (X25519,),
            self._on_key if keylog is not None else None,
        )
        self._context: ClientContext | ServerContext
        if peer is not None:
            self._context = ClientContext(settings, peer, ticket_store, rng(32), early_data)
        else:
            self._context = ServerContext(settings, ticket_store, rng)
        self._has_store = ticket_store is not None
        self._keylog = keylog
        self._error: PeerError | None = None
        self._partial: int | None = None

    # -- driving -------------------------------------------------------------------------------

    def start(self, now: float | None = None) -> None:
        """Client: make the ClientHello. now: seconds, needed with a ticket store."""
        self._set_time(now)
        assert isinstance(self._context, ClientContext)
        self._context.start()

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
        try:
            if self._partial not in (None, epoch):
                raise Alert(UNEXPECTED_MESSAGE, "TLS message over a change of keys")
            self._context.receive(epoch, data)
        except Alert as alert:
            self._error = PeerError(CRYPTO_ERROR_BASE + alert.code, str(alert), CRYPTO)
            raise self._error from alert
        except PeerError as error:
            self._error = error
            raise
        self._partial = epoch if self._context.holds_partial_message else None

    def take(self, epoch: int) -> bytes:
        """Give and forget the CRYPTO bytes to send in packets of `epoch`."""
        return self._context.out.pop(epoch, b"")

    def take_keys(self) -> list[Secret]:
        """Give and forget the traffic secrets that became known, oldest first."""
        keys, self._context.keys = self._context.keys, []
        return keys

    # -- results -------------------------------------------------------------------------------

    @property
    def alpn(self) -> bytes | None:
        """The settled ALPN."""
        return self._context.alpn

    @property
    def peer_params(self) -> bytes | None:
        """The peer's transport parameters, encoded."""
        return self._context.peer_params

    @property
    def peer(self) -> bytes | None:
        """The peer's proven Ed25519 key, 32 bytes."""
        return self._context.peer_key

    @property
    def resumed(self) -> bool:
        """Whether a ticket stood for the certificates."""
        return self._context.resumed

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
        return self._context.complete

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

    def _on_key(self, epoch: int, is_send: bool, secret: bytes) -> None:
        self._log(_LABELS[epoch, is_send == self.is_client], secret)
        exporter = self._context.exporter_secret()
        if exporter is not None and epoch == ONE_RTT and is_send != self.is_client:
            self._log("EXPORTER_SECRET", exporter)

    def _log(self, label: str, secret: bytes) -> None:
        if self._keylog is not None:
            self._keylog(f"{label} {self._context.client_random.hex()} {secret.hex()}")
