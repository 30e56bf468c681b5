"""TLS 1.3 with raw public keys on both ends (RFC 8446, RFC 7250), as iroh wants it: what is common.

Both ends prove an Ed25519 key; neither sends X.509 or SNI. The client's side is in client.py, the
server's in server.py.

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

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from iroh.quic.frames.base import HANDSHAKE, ONE_RTT
from iroh.quic.hkdf import expand_label, expand_label_long
from iroh.quic.tls import alerts as al
from iroh.quic.tls import messages as ms
from iroh.quic.tls.alerts import Alert, Malformed
from iroh.quic.tls.certificate import decode_spki, encode_spki
from iroh.quic.tls.schedule import Schedule
from iroh_base import IrohError, PublicKey, SecretKey, Signature

MAX_MESSAGE = 16384
"""Largest TLS message taken: 16 KiB, as rustls and noq's crypto buffer have it."""
MAX_ALPN_BYTES = 8192
"""All ALPNs of one ClientHello; they have to fit into the peer's 16 KiB CRYPTO buffer."""
MAX_ALPN = 255  # RFC 7301 section 3.1
MAX_EXPORT_BLOCKS = 255  # RFC 5869 section 2.3

WRONG_KIND = "peer is incompatible: IncorrectCertificateTypeExtension"
NO_ALPN = "peer doesn't support any known protocol"
NO_KEY = "peer sent no certificates"
WRONG_KEY = "invalid peer certificate: UnknownIssuer"
BAD_SIGNATURE = "invalid peer certificate: BadSignature"
"""The reasons as rustls words them: both ends show them to users, who compare them."""

# RFC 8446 section 4.4.3
_SIGNED_BY_SERVER = b" " * 64 + b"TLS 1.3, server CertificateVerify\x00"
_SIGNED_BY_CLIENT = b" " * 64 + b"TLS 1.3, client CertificateVerify\x00"

_CHANGES_KEYS = (ms.CLIENT_HELLO, ms.SERVER_HELLO, ms.FINISHED)
"""Messages that are the last ones under the present keys."""

Secret = tuple[int, bool, int, bytes]
"""(epoch, is_send, cipher suite of RFC 8446 B.4, traffic secret)."""
State = tuple[int, dict[int, str]]
"""What is taken: the packets in which it has to come, and message type -> method."""
DONE: State = (ONE_RTT, {})


def check_alpns(alpns: Sequence[bytes]) -> list[bytes]:
    """Give them back as a list. Raises ValueError when they cannot be sent."""
    names = [bytes(name) for name in alpns]
    if any(not 0 < len(name) <= MAX_ALPN for name in names):
        raise ValueError(f"an ALPN has 1 to {MAX_ALPN} bytes")
    if sum(map(len, names)) > MAX_ALPN_BYTES:
        raise ValueError(f"all ALPNs together have at most {MAX_ALPN_BYTES} bytes")
    return names


@dataclass(frozen=True, slots=True)
class Settings:
    """What both ends are made with.

    alpns: in order of preference. params: our transport parameters, encoded. groups: for the key
    agreement, in order of preference. on_key: told every secret as it becomes known, for a key log.
    """

    secret_key: SecretKey
    alpns: Sequence[bytes]
    params: bytes
    groups: Sequence[int]
    on_key: Callable[[int, bool, bytes], None] | None = None


class Context:
    """One end of a handshake.

    state: what is taken next. out: epoch -> bytes to send. keys: secrets, oldest first; both are
    taken and forgotten by the caller. now: set by the caller before every call.
    peer_key: the proven key. entries: the certificates that we show. extensions: what we send in
    the ClientHello or in EncryptedExtensions.
    """

    is_client: ClassVar[bool]
    schedule: Schedule
    """Set by the ServerHello; at a client that sends early data by the ClientHello, for that."""
    complete: bool = False
    """Whether the handshake is complete (RFC 9001 section 4.1.1)."""
    resumed: bool = False
    """Whether a ticket stands for the certificates."""
    early_data_offered: bool = False
    early_data_accepted: bool = False

    def __init__(self, settings: Settings, state: State) -> None:
        self.settings: Settings = settings
        self.state: State = state
        self.out: dict[int, bytes] = {}
        self.keys: list[Secret] = []
        self.now: float = 0.0
        self.alpn: bytes | None = None
        self.peer_key: bytes | None = None
        self.peer_params: bytes | None = None
        self.client_random: bytes = b""
        self.entries: list[bytes] = [encode_spki(settings.secret_key.public().to_bytes())]
        kind = bytes((1, ms.RAW_PUBLIC_KEY)) if self.is_client else bytes((ms.RAW_PUBLIC_KEY,))
        self.extensions: dict[int, bytes] = {
            ms.TRANSPORT_PARAMETERS: settings.params,
            ms.CLIENT_CERTIFICATE_TYPE: kind,
            ms.SERVER_CERTIFICATE_TYPE: kind,
        }
        self._held = b""
        self._shown_key = b""
        self._send_secret = self._recv_secret = b""  # of the handshake
        self._exporter_hash = self._resumption_hash = self._resumption_master = b""

    # -- messages ------------------------------------------------------------------------------

    @property
    def holds_partial_message(self) -> bool:
        """Whether a message began whose end has not come."""
        return bool(self._held)

    def receive(self, epoch: int, data: bytes) -> None:
        """Take handshake bytes. Raises Alert; never holds more than one message of 16 KiB."""
        data = self._held + data if self._held else data
        at = 0
        while len(data) - at >= 4:
            size = int.from_bytes(data[at + 1 : at + 4], "big")
            end = at + 4 + size
            if size > MAX_MESSAGE:
                raise Alert(al.DECODE_ERROR, "TLS message is too long")
            if end > len(data):
                break
            if end < len(data) and data[at] in _CHANGES_KEYS:  # RFC 8446 section 5.1
                raise Alert(al.UNEXPECTED_MESSAGE, "TLS message over a change of keys")
            self._take(epoch, data[at], data[at:end])
            at = end
        self._held = data[at:]

    def _take(self, epoch: int, kind: int, message: bytes) -> None:
        wanted, methods = self.state
        if epoch != wanted:
            raise Alert(al.UNEXPECTED_MESSAGE, "TLS message in the wrong packet type")
        method = methods.get(kind)
        if method is None:
            raise Alert(al.UNEXPECTED_MESSAGE)
        try:
            getattr(self, method)(message)
        except Malformed:
            raise Alert(al.DECODE_ERROR, f"{ms.NAMES[kind]} could not be parsed") from None

    def _send(self, epoch: int, messages: bytes) -> None:
        self.out[epoch] = self.out.get(epoch, b"") + messages

    def _add(self, message: bytes) -> bytes:
        """Add one of our messages to the transcript."""
        self.schedule.update(message)
        return message

    # -- keys ----------------------------------------------------------------------------------

    def _give_key(self, epoch: int, is_send: bool, secret: bytes) -> None:
        self.keys.append((epoch, is_send, self.schedule.suite, secret))
        if self.settings.on_key is not None:
            self.settings.on_key(epoch, is_send, secret)

    def _start_handshake_keys(self, shared: bytes) -> None:
        """Both hellos are in the transcript: protect what follows."""
        schedule = self.schedule
        schedule.agree(shared)
        hellos = schedule.transcript()
        server = schedule.derive(b"s hs traffic", hellos)
        client = schedule.derive(b"c hs traffic", hellos)
        if self.is_client:
            self._send_secret, self._recv_secret = client, server
        else:
            self._send_secret, self._recv_secret = server, client
        # The server's keys first: it is who sends with them.
        self._give_key(HANDSHAKE, not self.is_client, server)
        self._give_key(HANDSHAKE, self.is_client, client)

    def _conclude(self) -> tuple[bytes, bytes]:
        """The server's Finished is in the transcript: the client's and the server's 1-RTT secret.

        It is also the transcript of the exporter secret (RFC 8446 section 7.1).
        """
        schedule = self.schedule
        schedule.conclude()
        at_finished = self._exporter_hash = schedule.transcript()
        client = schedule.derive(b"c ap traffic", at_finished)
        return client, schedule.derive(b"s ap traffic", at_finished)

    def _end(self) -> None:
        """Both Finished are in the transcript: keep what tickets and exporters need, no more."""
        self._resumption_hash = self.schedule.end_transcript()
        self.complete = True
        self.extensions = {}
        self._send_secret = self._recv_secret = self._shown_key = b""

    # -- proofs --------------------------------------------------------------------------------

    def _check_certificate(self, message: bytes, expected: bytes | None) -> None:
        """Take the peer's Certificate: exactly one entry, an Ed25519 key, the one we dialled."""
        entries = ms.decode_certificate(message)
        if not entries:
            self._on_no_certificate()
        if len(entries) != 1:
            raise Alert(al.UNKNOWN_CA, WRONG_KEY)
        try:
            key = decode_spki(entries[0])
        except ValueError as error:
            raise Alert(al.BAD_CERTIFICATE, str(error)) from error
        if expected is not None and key != expected:
            raise Alert(al.UNKNOWN_CA, WRONG_KEY)
        self._shown_key = key
        self._add(message)

    def _on_no_certificate(self) -> None:
        raise NotImplementedError

    def _check_verify(self, message: bytes) -> None:
        """Take the peer's CertificateVerify: the key that was shown signed the transcript."""
        scheme, signature = ms.decode_verify(message)
        if scheme != ms.ED25519:
            raise Alert(al.ILLEGAL_PARAMETER, "CertificateVerify is not ed25519")
        context = _SIGNED_BY_SERVER if self.is_client else _SIGNED_BY_CLIENT
        signed = context + self.schedule.transcript()
        try:
            PublicKey.from_bytes(self._shown_key).verify(signed, Signature(signature))
        except IrohError as error:
            raise Alert(al.DECRYPT_ERROR, BAD_SIGNATURE) from error
        self.peer_key = self._shown_key
        self._add(message)

    def _prove(self, certificate: bytes) -> bytes:
        """Write Certificate and CertificateVerify."""
        self._add(certificate)
        context = _SIGNED_BY_CLIENT if self.is_client else _SIGNED_BY_SERVER
        signature = self._sign(context + self.schedule.transcript())
        return certificate + self._add(ms.encode_verify(signature))

    def _sign(self, data: bytes) -> bytes:
        return self.settings.secret_key.sign(data).to_bytes()

    def _check_finished(self, message: bytes) -> None:
        schedule = self.schedule
        expected = schedule.finished(self._recv_secret, schedule.transcript())
        if not hmac.compare_digest(message[4:], expected):
            raise Alert(al.DECRYPT_ERROR)
        self._add(message)

    def _finish(self) -> bytes:
        """Write Finished."""
        schedule = self.schedule
        verify_data = schedule.finished(self._send_secret, schedule.transcript())
        return self._add(ms.message(ms.FINISHED, verify_data))

    # -- afterwards ----------------------------------------------------------------------------

    def exporter_secret(self) -> bytes | None:
        """Give the exporter master secret; None before the first application secret."""
        if not self._exporter_hash:
            return None
        return self.schedule.derive(b"exp master", self._exporter_hash)

    def resumption_secret(self, nonce: bytes) -> bytes:
        """Derive the secret of a ticket (RFC 8446 section 4.6.1), after both Finished."""
        schedule = self.schedule
        if not self._resumption_master:
            self._resumption_master = schedule.derive(b"res master", self._resumption_hash)
        master, size = self._resumption_master, schedule.size
        return expand_label(master, b"resumption", size, schedule.digest, nonce)

    def export_keying_material(self, length: int, label: bytes, context: bytes) -> bytes:
        """Derive exporter bytes (RFC 8446 section 7.5). Raises ValueError for a bad length."""
        secret = self.exporter_secret()
        assert secret is not None
        schedule = self.schedule
        if not 0 < length <= MAX_EXPORT_BLOCKS * schedule.size:
            raise ValueError("the length of exported keying material is out of range")
        digest, size = schedule.digest, schedule.size
        empty = hashlib.new(digest).digest()
        hashed = hashlib.new(digest, context).digest()
        derived = expand_label(secret, label, size, digest, empty)
        return expand_label_long(derived, b"exporter", length, digest, hashed)
