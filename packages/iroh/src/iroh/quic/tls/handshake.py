"""One end of a TLS handshake as a QUIC connection drives it (RFC 9001 section 4).

    CRYPTO bytes in order --> receive(epoch, data) ---.
                                                      +--> take(epoch)   CRYPTO bytes to send
    client: start() ----------------------------------'    take_keys()   secrets, in order

Epochs are numbered like the spaces of `frames`:

    INITIAL 0    HANDSHAKE 1    ZERO_RTT 2 (keys only, no CRYPTO)    ONE_RTT 3

What is known when, on the client / on the server:

    alpn, peer_params   EncryptedExtensions / ClientHello     the peer is not proven yet
    peer                CertificateVerify, both
    complete            server's Finished / client's Finished
"""

import os
from collections.abc import Sequence
from typing import Final

from aioquic import tls
from aioquic._buffer import Buffer

from iroh.quic.api import Rng
from iroh.quic.errors import CRYPTO_ERROR_BASE, PROTOCOL_VIOLATION, PeerError, QuicError
from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT
from iroh.quic.tls.context import MAX_MESSAGE, RawKeyContext, check_alpns
from iroh.quic.tls.crypto_stream import CRYPTO
from iroh_base import SecretKey

Secret = tuple[int, bool, int, bytes]
"""(epoch, is_send, cipher suite of RFC 8446 B.4, traffic secret)."""

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
    from the system. peer: the 32-byte key that a client dials, None on the server.

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
    ) -> None:
        if is_client != (peer is not None):
            raise ValueError("a client knows whom it dials, a server does not")
        self.is_client = is_client
        self.peer_params: bytes | None = None
        """The peer's transport parameters, encoded."""
        self._context = RawKeyContext(
            is_client=is_client,
            secret_key=secret_key,
            alpns=check_alpns(alpns),
            transport_parameters=params,
            expected_peer=peer,
        )
        if is_client:
            self._context.client_random = rng(32)
        self._context.alpn_cb = self._on_extensions
        self._context.update_traffic_key_cb = self._on_key
        self._out = {INITIAL: bytearray(), HANDSHAKE: bytearray(), ONE_RTT: bytearray()}
        self._keys: list[Secret] = []
        self._error: PeerError | None = None
        self._partial: int | None = None

    # -- driving -------------------------------------------------------------------------------

    def start(self) -> None:
        """Client: make the ClientHello."""
        self._run(b"")

    def receive(self, epoch: int, data: bytes) -> None:
        """Take CRYPTO bytes in order. Raises PeerError, the same one again after a failure.

        Keys and bytes from before the failure can still be taken, to close the connection with.
        """
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
    def complete(self) -> bool:
        """Whether the handshake is complete (RFC 9001 section 4.1.1)."""
        return self._context.state in _COMPLETE

    def export_keying_material(self, length: int, label: bytes, context: bytes) -> bytes:
        """Derive exporter bytes (RFC 8446 section 7.5).

        Raises QuicError before the handshake is complete, ValueError for a bad length.
        """
        if not self.complete:
            raise QuicError("keying material can be exported once the handshake is complete")
        return self._context.export_keying_material(length, label, context)

    # -- inside --------------------------------------------------------------------------------

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
        self._keys.append((_NUMBERS[epoch], is_send, int(suite), secret))
