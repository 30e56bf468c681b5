"""Certificates of the server: from files, read again when they change, or made for development.

    CertFiles     chain and key, PEM files of somebody else's (certbot, a CA of one's own)
    SelfSigned    made at start; clients must be told to trust its fingerprint

Both give an `ssl.SSLContext` that stays the same object: what is loaded anew counts for new
connections. A file that cannot be used is refused as a whole, and the old certificate stays.
"""

import contextlib
import datetime
import hashlib
import ipaddress
import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .errors import RelayServerError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["CertFiles", "CertificateError", "Certificates", "SelfSigned"]

logger: logging.Logger = logging.getLogger(__name__)

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"
_SELF_SIGNED_DAYS: Final = 14
"""A development certificate is made anew at every start; nobody should come to rely on one."""
_CLOCK_SKEW: Final = datetime.timedelta(hours=1)


class CertificateError(RelayServerError):
    """A certificate or its key cannot be used; the message says which file, and why."""


class Certificates:
    """What the two kinds share: the context, the bytes, and who wants to hear of new ones."""

    def __init__(self) -> None:
        self.chain_pem: bytes = b""
        """The chain, the server's own certificate first."""
        self.key_pem: bytes = b""
        self.challenges: dict[str, str] = {}
        """Token -> answer, for /.well-known/acme-challenge/ of the plain-HTTP listener."""
        self.context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Endpoints never resume a session (Rust's forget it for each dial): spare both the tickets.
        self.context.num_tickets = 0
        self.context.options |= ssl.OP_NO_TICKET
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call back whenever `chain_pem` and `key_pem` have changed: QUIC needs them itself."""
        self._listeners.append(listener)

    async def prepare(self) -> None:
        """Have a certificate, now that the plain-HTTP listener is up. Raises CertificateError.

        Cancelling it is harmless.
        """

    async def close(self) -> None:
        """Let go of what `prepare` started. Idempotent. Cancelling the wait does not stop it."""

    def reload(self) -> bool:
        """Look for new ones, where they come from outside; say whether there were any."""
        return False

    def fingerprint(self) -> str:
        """SHA-256 of the server's certificate, as browsers and `openssl x509` show it."""
        end = self.chain_pem.index(_END) + len(_END)
        first = self.chain_pem[self.chain_pem.index(_BEGIN) : end].decode()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).digest().hex(":").upper()

    def _take(self, chain: bytes, key: bytes) -> None:
        """Use these from now on. Raises ssl.SSLError, OSError, and then nothing has changed."""
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain, key)
        _load(self.context, chain, key)
        self.chain_pem, self.key_pem = chain, key
        for listener in self._listeners:
            listener()


class CertFiles(Certificates):
    """A chain and its key in two PEM files. Raises CertificateError."""

    def __init__(self, cert_path: Path, key_path: Path) -> None:
        super().__init__()
        self.cert_path: Path = cert_path
        self.key_path: Path = key_path
        self._load()

    def reload(self) -> bool:
        """Read the files again; say whether there is something new. What is bad is refused."""
        before = self.chain_pem, self.key_pem
        try:
            self._load()
        except CertificateError as error:
            logger.warning("%s; the old certificate stays in use", error)
            return False
        if (self.chain_pem, self.key_pem) == before:
            return False
        logger.info("new certificate from %s, SHA-256 %s", self.cert_path, self.fingerprint())
        return True

    def _load(self) -> None:
        chain, key = _read(self.cert_path), _read(self.key_path)
        if (chain, key) == (self.chain_pem, self.key_pem):
            return
        try:
            self._take(chain, key)
        except (ssl.SSLError, ValueError) as error:
            why = getattr(error, "reason", None) or error
            raise CertificateError(
                f"{self.cert_path} and {self.key_path} are no certificate with its key: {why}; "
                "both must be PEM, the key without a password"
            ) from error


class SelfSigned(Certificates):
    """A certificate for these names and IP addresses, made now."""

    def __init__(self, names: Sequence[str] = ("localhost", "127.0.0.1", "::1")) -> None:
        super().__init__()
        self._take(*_make(names))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error


def _load(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Load PEM bytes: the ssl module takes files only, so they are in files for a moment."""
    with tempfile.TemporaryDirectory(prefix="iroh-relay-") as folder:  # of mode 0700
        cert_file, key_file = Path(folder, "crt"), Path(folder, "key")
        cert_file.write_bytes(chain)
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600)
        with contextlib.closing(os.fdopen(descriptor, "wb")) as file:
            file.write(key)
        context.load_cert_chain(cert_file, key_file, password=_no_password)


def _no_password() -> str:
    """Keep OpenSSL from asking for a password on the terminal."""
    raise ValueError("the key has a password")


def _make(names: Sequence[str]) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "iroh-relay self-signed")])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=_SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([_san(text) for text in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _san(text: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
