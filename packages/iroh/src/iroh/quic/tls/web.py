"""A client's handshake with a server that has a name and an X.509 certificate: a relay's QAD.

    client                                     server
    ClientHello  server_name (unless an IP)  -->
                 ALPN, transport parameters
                 x25519 and P-256 shares     <--  ServerHello, EncryptedExtensions, Certificate,
                                                  CertificateVerify, Finished
    Finished                                 -->

No client certificate, no tickets, no 0-RTT. aioquic's TLS does the work: this kind of handshake
is rare, a few in half an hour. `WebHandshake` shows a connection what `handshake.Handshake` shows.
"""

import os
from collections.abc import Callable, Sequence
from typing import Final

from aioquic import tls
from aioquic._buffer import Buffer

from iroh.quic.api import Rng
from iroh.quic.errors import CRYPTO_ERROR_BASE, PeerError, QuicError
from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT
from iroh.quic.tls.opaque import OpaqueText
from iroh.quic.tls.tickets import Ticket
from iroh.quic.tls.web_trust import CertificateError, WebTrust, is_ip

Secret = tuple[int, bool, int, bytes]
"""(epoch, is_send, cipher suite of RFC 8446 B.4, traffic secret)."""

MAX_MESSAGE = 32_768
"""Largest TLS message taken: a certificate chain of a public server has 3 to 8 KiB."""
NO_KEY = b""
"""`peer` of a server that is known by its name."""
_CRYPTO = 0x06  # the frame type that errors name, RFC 9000 section 19.6
_CERT_NONE = 0  # ssl.CERT_NONE: WebTrust checks certificates, not aioquic
_EPOCHS: Final = {
    INITIAL: tls.Epoch.INITIAL,
    HANDSHAKE: tls.Epoch.HANDSHAKE,
    ONE_RTT: tls.Epoch.ONE_RTT,
}
_NUMBERS: Final = {epoch: number for number, epoch in _EPOCHS.items()}
_EARLY_STATES = (tls.State.CLIENT_HANDSHAKE_START, tls.State.CLIENT_EXPECT_SERVER_HELLO)
# (epoch, is_send) -> label, draft-ietf-tls-keylogfile section 2.2
_LABELS: Final = {
    (HANDSHAKE, True): "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    (HANDSHAKE, False): "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    (ONE_RTT, True): "CLIENT_TRAFFIC_SECRET_0",
    (ONE_RTT, False): "SERVER_TRAFFIC_SECRET_0",
}


class WebContext(tls.Context):
    """aioquic's client, with our own idea of which certificate is good."""

    def __init__(
        self,
        server_name: str,
        alpns: Sequence[bytes],
        params: bytes,
        trust: WebTrust,
        random: bytes,
    ) -> None:
        super().__init__(
            is_client=True,
            alpn_protocols=[OpaqueText(name) for name in alpns],
            server_name=server_name if not is_ip(server_name) else None,
            verify_mode=_CERT_NONE,
        )
        self.client_random = random
        self._supported_groups = [tls.Group.X25519, tls.Group.SECP256R1]
        self.handshake_extensions: list[tls.Extension] = [
            (tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, params)
        ]
        self.epoch = tls.Epoch.INITIAL
        """The packet type that carries what is passed to `handle_message`; the caller sets it."""
        self.trusted: bool = False
        self._name = server_name
        self._trust = trust

    def handle_message(self, input_data: bytes, output_buf: dict[tls.Epoch, Buffer]) -> None:
        """Take handshake bytes. Raises Alert; never holds more than one message."""
        super().handle_message(input_data, output_buf)
        held = self._receive_buffer
        if len(held) >= 4 and int.from_bytes(held[1:4], "big") > MAX_MESSAGE:
            raise tls.AlertDecodeError("TLS message is too long")

    @property
    def holds_partial_message(self) -> bool:
        """Whether a message began whose end has not come."""
        return bool(self._receive_buffer)

    def _handle_reassembled_message(
        self, message_type: int, input_buf: Buffer, output_buf: dict[tls.Epoch, Buffer]
    ) -> None:
        if self.state in _EARLY_STATES:
            wanted = tls.Epoch.INITIAL
        elif self.state == tls.State.CLIENT_POST_HANDSHAKE:
            wanted = tls.Epoch.ONE_RTT
        else:
            wanted = tls.Epoch.HANDSHAKE
        if self.epoch != wanted:  # RFC 9001 section 4.1.3
            raise tls.AlertUnexpectedMessage("TLS message in the wrong packet type")
        super()._handle_reassembled_message(message_type, input_buf, output_buf)

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        super()._client_handle_certificate_verify(input_buf)
        assert self._peer_certificate is not None
        try:
            self._trust.check(self._peer_certificate, self._peer_certificate_chain, self._name)
        except CertificateError as error:
            raise tls.AlertBadCertificate(str(error)) from error
        self.trusted = True


class WebHandshake:
    """The client's end of one handshake; driven like `handshake.Handshake`.

    server_name: what the certificate must be for, a host name or an IP address. alpns: in order
    of preference. params: our transport parameters, encoded. keylog: told every secret, a line
    each.
    """

    is_client = True
    remembered: Ticket | None = None
    resumed = early_data_offered = early_data_accepted = False

    def __init__(
        self,
        server_name: str,
        alpns: Sequence[bytes],
        params: bytes,
        trust: WebTrust,
        rng: Rng = os.urandom,
        keylog: Callable[[str], None] | None = None,
    ) -> None:
        self.peer_params: bytes | None = None
        """The peer's transport parameters, encoded."""
        self._context = WebContext(server_name, alpns, params, trust, rng(32))
        self._context.alpn_cb = self._on_extensions
        self._context.update_traffic_key_cb = self._on_key
        self._keylog = keylog
        self._out = {number: bytearray() for number in _EPOCHS}
        self._keys: list[Secret] = []
        self._error: PeerError | None = None
        self._partial: int | None = None

    # -- driving -------------------------------------------------------------------------------

    def start(self, now: float | None = None) -> None:
        """Make the ClientHello."""
        self._run(b"")

    def receive(self, epoch: int, data: bytes, now: float | None = None) -> None:
        """Take CRYPTO bytes in order. Raises PeerError, the same one again after a failure."""
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
        return None if chosen is None else chosen.encode("latin-1")

    @property
    def peer(self) -> bytes | None:
        """NO_KEY once the server has proven its name; None before."""
        return NO_KEY if self._context.trusted else None

    @property
    def complete(self) -> bool:
        """Whether the handshake is complete (RFC 9001 section 4.1.1)."""
        return self._context.state == tls.State.CLIENT_POST_HANDSHAKE

    def following_secret(self) -> bytes | None:
        """Give nothing: that is for servers."""
        return None

    def export_keying_material(self, length: int, label: bytes, context: bytes) -> bytes:
        """Raise QuicError: nobody needs it of a named server."""
        raise QuicError("keying material is exported by connections between endpoints only")

    # -- inside --------------------------------------------------------------------------------

    def _run(self, data: bytes) -> None:
        buffers = {epoch: Buffer(capacity=MAX_MESSAGE) for epoch in _NUMBERS}
        try:
            self._context.handle_message(data, buffers)
        except tls.Alert as alert:
            self._fail(alert)
        except PeerError as error:
            self._error = error
            raise
        # What aioquic and cryptography raise on hostile bytes beside alerts has no common root.
        except Exception as error:  # noqa: BLE001
            self._fail(tls.AlertDecodeError("TLS message could not be parsed"), error)
        for epoch, buffer in buffers.items():
            self._out[_NUMBERS[epoch]] += buffer.data

    def _fail(self, alert: tls.Alert, cause: Exception | None = None) -> None:
        reason = str(alert) or alert.description.name.replace("_", " ")
        self._error = PeerError(CRYPTO_ERROR_BASE + int(alert.description), reason, _CRYPTO)
        raise self._error from (cause or alert)

    def _on_extensions(self, _alpn: object) -> None:
        """EncryptedExtensions were read."""
        found = dict(self._context.received_extensions or ())
        self.peer_params = found.get(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS)
        if self.peer_params is None:
            raise tls.AlertMissingExtension("transport parameters missing")

    def _on_key(
        self, direction: tls.Direction, epoch: tls.Epoch, suite: tls.CipherSuite, secret: bytes
    ) -> None:
        number, is_send = _NUMBERS[epoch], direction == tls.Direction.ENCRYPT
        self._keys.append((number, is_send, int(suite), secret))
        random = self._context.client_random
        if self._keylog is not None and random is not None:
            self._keylog(f"{_LABELS[number, is_send]} {random.hex()} {secret.hex()}")
