"""aioquic's TLS 1.3 with raw public keys on both ends (RFC 7250), as iroh wants it.

Both ends prove an Ed25519 key; neither sends X.509 or SNI. No tickets, no 0-RTT. It knows nothing
of the project's own TLS, which it is a check of.

    client                                              server
    ClientHello  ext 19, 20 = 01 02        ---------->
                 ext 13 = ed25519 only
                                           <----------  ServerHello
                                                        EncryptedExtensions  ext 19, 20 = 02
                                                        CertificateRequest   ed25519 only
                                                        Certificate          one 44-byte SPKI
                                                        CertificateVerify    ed25519
                                                        Finished
    Certificate, CertificateVerify,
    Finished                               ---------->

Refusals and their alerts follow rustls 0.23, which is what the Rust peer runs:

    ext 19 or 20 missing or without raw keys    handshake_failure 40
    not exactly one certificate, or the wrong key    unknown_ca 48
    no client certificate                       certificate_required 116
    bytes that are no Ed25519 SPKI              bad_certificate 42
    a scheme other than ed25519                 illegal_parameter 47
    a signature that is not strictly valid      decrypt_error 51
    no common ALPN                              no_application_protocol 120
    a message in the wrong packet type          unexpected_message 10
"""

from collections.abc import Sequence
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer
from cryptography.hazmat.primitives import hashes

from aioquic_engine import hello
from iroh.quic.tls.certificate import decode_spki, encode_spki
from iroh.quic.tls.opaque import OpaqueText
from iroh_base import IrohError, PublicKey, SecretKey, Signature

MAX_MESSAGE = 16384
"""Largest TLS message taken: 16 KiB, as rustls and noq's crypto buffer have it."""

WRONG_KIND = "peer is incompatible: IncorrectCertificateTypeExtension"
NO_ALPN = "peer doesn't support any known protocol"
NO_KEY = "peer sent no certificates"
WRONG_KEY = "invalid peer certificate: UnknownIssuer"
BAD_SIGNATURE = "invalid peer certificate: BadSignature"
"""The reasons as rustls words them: both ends show them to users, who compare them."""

_CERT_NONE = 0  # ssl.CERT_NONE; aioquic's own X.509 checks stay off, ours replace them

_EPOCH_OF_STATE = {
    tls.State.CLIENT_EXPECT_SERVER_HELLO: tls.Epoch.INITIAL,
    tls.State.CLIENT_EXPECT_ENCRYPTED_EXTENSIONS: tls.Epoch.HANDSHAKE,
    tls.State.CLIENT_EXPECT_CERTIFICATE_REQUEST_OR_CERTIFICATE: tls.Epoch.HANDSHAKE,
    tls.State.CLIENT_EXPECT_CERTIFICATE: tls.Epoch.HANDSHAKE,
    tls.State.CLIENT_EXPECT_CERTIFICATE_VERIFY: tls.Epoch.HANDSHAKE,
    tls.State.CLIENT_EXPECT_FINISHED: tls.Epoch.HANDSHAKE,
    tls.State.CLIENT_POST_HANDSHAKE: tls.Epoch.ONE_RTT,
    tls.State.SERVER_EXPECT_CLIENT_HELLO: tls.Epoch.INITIAL,
    tls.State.SERVER_EXPECT_CERTIFICATE: tls.Epoch.HANDSHAKE,
    tls.State.SERVER_EXPECT_CERTIFICATE_VERIFY: tls.Epoch.HANDSHAKE,
    tls.State.SERVER_EXPECT_FINISHED: tls.Epoch.HANDSHAKE,
    tls.State.SERVER_POST_HANDSHAKE: tls.Epoch.ONE_RTT,
}
"""The packets in which each state's message has to come (RFC 9001 section 4.1.3)."""

_MAY_ANSWER = (
    tls.ExtensionType.ALPN,
    tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS,
    tls.ExtensionType.SUPPORTED_GROUPS,
    hello.CLIENT_CERTIFICATE_TYPE,
    hello.SERVER_CERTIFICATE_TYPE,
)
"""What a server may put into EncryptedExtensions: only what we sent (RFC 8446 section 4.2)."""


class AlertUnknownCa(tls.Alert):
    """The peer's key is not the one we dialled, or it showed several."""

    description = tls.AlertDescription.unknown_ca


class AlertCertificateRequired(tls.Alert):
    """The client did not show a key."""

    description = tls.AlertDescription.certificate_required


class AlertUnsupportedExtension(tls.Alert):
    """The server answered an extension that we did not send."""

    description = tls.AlertDescription.unsupported_extension


class RawKeyCertificate:
    """Our key in the shape in which aioquic asks for a certificate."""

    def __init__(self, secret_key: SecretKey) -> None:
        self._spki = encode_spki(bytes(secret_key.public()))

    def public_bytes(self, encoding: object) -> bytes:
        """Give the certificate entry; `encoding` is always DER."""
        return self._spki


class RawKeySigner:
    """Our secret key in the shape in which aioquic asks for a private key."""

    def __init__(self, secret_key: SecretKey) -> None:
        self._secret_key = secret_key

    def sign(self, data: bytes, *parameters: object) -> bytes:
        """Sign with PyNaCl; Ed25519 has no parameters."""
        return self._secret_key.sign(data).to_bytes()


class RawKeyContext(tls.Context):
    """One end of a handshake.

    alpns: in order of preference. expected_peer: the 32-byte key that a client dials.
    transport_parameters: our own, encoded. After the handshake `peer_key` is the proven key.
    """

    def __init__(
        self,
        *,
        is_client: bool,
        secret_key: SecretKey,
        alpns: Sequence[bytes],
        transport_parameters: bytes,
        expected_peer: bytes | None = None,
        logger: Any = None,
    ) -> None:
        super().__init__(
            is_client=is_client,
            # A server's ALPN is settled here, in bytes; None keeps aioquic from doing it in text.
            alpn_protocols=[OpaqueText(name) for name in alpns] if is_client else None,
            cipher_suites=[
                tls.CipherSuite.AES_256_GCM_SHA384,
                tls.CipherSuite.AES_128_GCM_SHA256,
                tls.CipherSuite.CHACHA20_POLY1305_SHA256,
            ],
            logger=logger,
            verify_mode=_CERT_NONE,
        )
        certificate: Any = RawKeyCertificate(secret_key)
        signer: Any = RawKeySigner(secret_key)
        self.certificate = certificate
        self.certificate_private_key = signer
        self.epoch = tls.Epoch.INITIAL
        """The packet type that carries what is passed to `handle_message`; the caller sets it."""
        self.peer_key: bytes | None = None
        self._alpns = list(alpns)
        self._expected_peer = expected_peer
        self._exporter_secret: bytes | None = None
        self._may_answer: set[int] = set(_MAY_ANSWER)
        self._request_client_certificate = True
        self._shown_key: bytes | None = None
        self._signature_algorithms = [tls.SignatureAlgorithm.ED25519]
        self._supported_groups = [tls.Group.X25519]
        kind = bytes([1, hello.RAW_PUBLIC_KEY]) if is_client else bytes([hello.RAW_PUBLIC_KEY])
        self.handshake_extensions = [
            (tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, transport_parameters),
            (hello.CLIENT_CERTIFICATE_TYPE, kind),
            (hello.SERVER_CERTIFICATE_TYPE, kind),
        ]

    # -- messages ------------------------------------------------------------------------------

    @property
    def holds_partial_message(self) -> bool:
        """Whether a message began whose end has not come."""
        return bool(self._receive_buffer)

    def handle_message(self, input_data: bytes, output_buf: dict[tls.Epoch, Buffer]) -> None:
        """Take handshake bytes. Raises Alert; never holds more than one message of 16 KiB."""
        super().handle_message(input_data, output_buf)
        held = self._receive_buffer
        if len(held) >= 4 and int.from_bytes(held[1:4], "big") > MAX_MESSAGE:
            raise tls.AlertDecodeError("TLS message is too long")

    def _handle_reassembled_message(
        self, message_type: int, input_buf: Buffer, output_buf: dict[tls.Epoch, Buffer]
    ) -> None:
        if self.epoch != _EPOCH_OF_STATE[self.state]:
            raise tls.AlertUnexpectedMessage("TLS message in the wrong packet type")
        super()._handle_reassembled_message(message_type, input_buf, output_buf)

    def _server_handle_hello(
        self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer
    ) -> None:
        extensions = hello.client_hello_extensions(whole_message(input_buf))
        if not hello.offers_raw_keys(extensions):
            raise tls.AlertHandshakeFailure(WRONG_KIND)
        offered = hello.alpn_names(extensions)
        chosen = next((name for name in self._alpns if name in offered), None)
        if chosen is None:
            raise tls.AlertNoApplicationProtocol(NO_ALPN)
        self.alpn_negotiated = OpaqueText(chosen)
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)

    def _client_handle_encrypted_extensions(self, input_buf: Buffer) -> None:
        message = whole_message(input_buf)
        extensions = hello.encrypted_extensions(message)
        if not self._may_answer.issuperset(extensions):
            raise AlertUnsupportedExtension("EncryptedExtensions answer what was not asked")
        if not hello.selects_raw_keys(extensions):
            raise tls.AlertHandshakeFailure(WRONG_KIND)
        chosen = hello.alpn_names(extensions)
        if len(chosen) != 1 or chosen[0] not in self._alpns:
            raise tls.AlertNoApplicationProtocol(NO_ALPN)
        self.alpn_negotiated = OpaqueText(chosen[0])
        self.received_extensions = list(extensions.items())
        if self.alpn_cb:
            self.alpn_cb(self.alpn_negotiated)
        input_buf.seek(len(message))
        assert self.key_schedule is not None
        self.key_schedule.update_hash(message)
        self._set_state(tls.State.CLIENT_EXPECT_CERTIFICATE_REQUEST_OR_CERTIFICATE)

    def _client_handle_certificate_request(self, input_buf: Buffer) -> None:
        super()._client_handle_certificate_request(input_buf)
        request = self._certificate_request
        if request is None or tls.SignatureAlgorithm.ED25519 not in (
            request.signature_algorithms or ()
        ):
            raise tls.AlertHandshakeFailure("CertificateRequest does not offer ed25519")

    # -- keys ----------------------------------------------------------------------------------

    def _server_handle_certificate(self, input_buf: Buffer) -> None:
        super()._server_handle_certificate(input_buf)
        # aioquic lets a client in that sends an empty Certificate.
        if self._shown_key is None:
            raise AlertCertificateRequired(NO_KEY)

    def _set_peer_certificate(self, certificate: tls.Certificate) -> None:
        if len(certificate.certificates) != 1:
            raise AlertUnknownCa(WRONG_KEY)
        try:
            key = decode_spki(certificate.certificates[0][0])
        except ValueError as error:
            raise tls.AlertBadCertificate(str(error)) from error
        if self._expected_peer is not None and key != self._expected_peer:
            raise AlertUnknownCa(WRONG_KEY)
        self._shown_key = key

    def _check_certificate_verify_signature(self, verify: tls.CertificateVerify) -> None:
        if verify.algorithm != tls.SignatureAlgorithm.ED25519:
            raise tls.AlertIllegalParameter("CertificateVerify is not ed25519")
        assert self._shown_key is not None
        assert self.key_schedule is not None
        signer = tls.SERVER_CONTEXT_STRING if self._is_client else tls.CLIENT_CONTEXT_STRING
        signed = self.key_schedule.certificate_verify_data(signer)
        try:
            PublicKey.from_bytes(self._shown_key).verify(signed, Signature(verify.signature))
        except IrohError as error:
            raise tls.AlertDecryptError(BAD_SIGNATURE) from error
        self.peer_key = self._shown_key

    def _signature_algorithms_for_private_key(self) -> list[tls.SignatureAlgorithm]:
        return [tls.SignatureAlgorithm.ED25519]

    # -- exporter ------------------------------------------------------------------------------

    def _setup_traffic_protection(
        self, direction: tls.Direction, epoch: tls.Epoch, label: bytes
    ) -> None:
        # On both ends the first application secret is derived over ClientHello...server Finished,
        # which is also the transcript of the exporter secret (RFC 8446 section 7.1).
        if epoch == tls.Epoch.ONE_RTT and self._exporter_secret is None:
            assert self.key_schedule is not None
            self._exporter_secret = self.key_schedule.derive_secret(b"exp master")
        super()._setup_traffic_protection(direction, epoch, label)

    def export_keying_material(self, length: int, label: bytes, context: bytes) -> bytes:
        """Derive exporter bytes (RFC 8446 section 7.5). Raises ValueError for a bad length."""
        assert self._exporter_secret is not None
        assert self.key_schedule is not None
        algorithm = self.key_schedule.algorithm
        if not 0 < length <= 255 * algorithm.digest_size:
            raise ValueError("the length of exported keying material is out of range")
        empty, hashed = hashes.Hash(algorithm), hashes.Hash(algorithm)
        hashed.update(context)
        secret = tls.hkdf_expand_label(
            algorithm, self._exporter_secret, label, empty.finalize(), algorithm.digest_size
        )
        return tls.hkdf_expand_label(algorithm, secret, b"exporter", hashed.finalize(), length)


def whole_message(buf: Buffer) -> bytes:
    """The whole message, wherever `buf` stands."""
    return buf.data_slice(0, buf.capacity)
