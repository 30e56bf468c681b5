"""The certificate for HTTPS: from files, read again when they change, or made for development.

    CertFiles     <cert_cache>/<domain>.crt and .key, PEM, of somebody else's making (certbot, a CA)
    SelfSigned    made at start; clients must be told to trust it
    AcmeCertificates (acme.py)    got from Let's Encrypt, and renewed

All give an `ssl.SSLContext` that stays the same object: what is loaded anew counts for new
connections. Files that cannot be used are refused as a whole, and the old certificate stays.
"""

import datetime
import hashlib
import ipaddress
import logging
import os
import re
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iroh_dns_server.errors import CertificateError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["ALPN", "CertFiles", "Certificates", "SelfSigned", "file_name"]

logger: logging.Logger = logging.getLogger(__name__)

ALPN: Final = ("h2", "http/1.1")
"""What we offer, the preferred one first (RFC 7301); hickory's DoH clients speak h2 only."""
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9.-]")
"""What the Rust server leaves out of a domain to get a file's name."""
_SELF_SIGNED_DAYS: Final = 14
"""A development certificate is made anew at every start; nobody should come to rely on one."""
_CLOCK_SKEW: Final = datetime.timedelta(hours=1)


class Certificates:
    """What all kinds share: the context, and the bytes in it."""

    def __init__(self) -> None:
        self.chain_pem: bytes = b""
        self.key_pem: bytes = b""
        self.challenges: dict[str, str] = {}
        """Token -> answer, for /.well-known/acme-challenge/."""
        self.context: ssl.SSLContext = _context()

    async def prepare(self) -> None:
        """Have a certificate, now that plain HTTP is served. Raises `CertificateError`."""

    async def close(self) -> None:
        """Let go of what `prepare` started. Idempotent."""

    def reload(self) -> bool:
        """Look for new ones, where they come from outside; say whether there were any."""
        return False

    def fingerprint(self) -> str:
        """SHA-256 of the server's certificate, as browsers and `openssl x509` show it."""
        end = b"-----END CERTIFICATE-----"
        first = self.chain_pem[: self.chain_pem.index(end) + len(end)].decode()
        first = first[first.index("-----BEGIN CERTIFICATE-----") :]
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).digest().hex(":").upper()

    def _take(self, chain: bytes, key: bytes) -> None:
        """Use these from now on. Raises ssl.SSLError, ValueError, and then nothing has changed."""
        _load(_context(), chain, key)
        _load(self.context, chain, key)
        self.chain_pem, self.key_pem = chain, key


class CertFiles(Certificates):
    """A chain and its key in the folder `cert_cache`. Raises `CertificateError`."""

    def __init__(self, cert_cache: Path, domain: str) -> None:
        super().__init__()
        name = file_name(domain)
        self.cert_path: Path = cert_cache / f"{name}.crt"
        self.key_path: Path = cert_cache / f"{name}.key"
        self._load()

    def reload(self) -> bool:
        """Read the files again; say whether there is something new. What is bad is refused."""
        before = self.chain_pem, self.key_pem
        try:
            self._load()
        except CertificateError as error:
            logger.warning("%s; the old certificate stays in use", error.message())
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
            ) from None


class SelfSigned(Certificates):
    """A certificate for these names and IP addresses, made now."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._take(*_make(names))


def file_name(domain: str) -> str:
    """What a domain's files are called, without their ending."""
    return _UNSAFE.sub("", domain)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(ALPN))
    return context


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from None


def _load(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Load PEM bytes: the ssl module takes files only, so they are in files for a moment."""
    with tempfile.TemporaryDirectory(prefix="iroh-dns-tls-") as folder:  # of mode 0700
        cert_file, key_file = Path(folder, "crt"), Path(folder, "key")
        cert_file.write_bytes(chain)
        with open(os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
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
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "iroh-dns-server self-signed")])
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
    pem = serialization.Encoding.PEM
    form, unlocked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return certificate.public_bytes(pem), key.private_bytes(pem, form, unlocked)


def _san(text: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
