"""Which X.509 certificates are believed: those of servers that have a name, as relays do.

    a root vouches for the chain, and the name fits       believed (OpenSSL's rules)
    the very certificate is a root, and the name fits     believed: a self-signed one, pinned
    anything else                                         CertificateError says why

The rules are those that Python's `ssl` applies to the relay's HTTPS side, so that both sides of a
relay are believed or neither. Endpoints of iroh have no certificates at all; see context.py.
"""

import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto
from service_identity import CertificateError as BadNames
from service_identity import VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

_PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


class CertificateError(ValueError):
    """A certificate is not believed; the text says why."""


class WebTrust:
    """The roots of one endpoint. They are read once, which takes 6 ms or so, when first needed.

    roots: PEM, any number of certificates. cafile, capath: roots on disk, as OpenSSL wants them.
    verify: False believes everybody (upstream `insecure_skip_verify`): for tests, never for a real
    network.
    """

    def __init__(
        self,
        roots: bytes = b"",
        *,
        cafile: str | None = None,
        capath: str | None = None,
        verify: bool = True,
    ) -> None:
        self.verify = verify
        self._pem = roots
        self._files = cafile, capath
        self._store: crypto.X509Store | None = None

    def load(self) -> crypto.X509Store:
        """Read the roots. Raises ValueError for what is no PEM or has no certificate, OSError."""
        if self._store is None:
            store = crypto.X509Store()
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
            cafile, capath = self._files
            if cafile is not None or capath is not None:
                try:
                    store.load_locations(cafile, capath)
                except crypto.Error as error:
                    raise ValueError(f"no root certificates in {cafile or capath}") from error
            if self._pem:
                for root in x509.load_pem_x509_certificates(self._pem):
                    store.add_cert(crypto.X509.from_cryptography(root))
            self._store = store
        return self._store

    def check(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], name: str
    ) -> None:
        """Check a server's certificate against its name, a host name or an IP address.

        Whether it is still valid is asked of the machine's calendar. Raises CertificateError.
        """
        if not self.verify:
            return
        try:
            _check_name(certificate, name)
            _check_purpose(certificate)
            context = crypto.X509StoreContext(
                self.load(),
                crypto.X509.from_cryptography(certificate),
                [crypto.X509.from_cryptography(one) for one in chain],
            )
            context.verify_certificate()
        except (crypto.X509StoreContextError, ValueError, OSError) as error:
            raise CertificateError(f"the certificate for {name} is not trusted: {error}") from error


def server_name(host: str) -> str:
    """Give the name that a certificate for `host` of a URL has: no brackets, no final dot."""
    return host.removeprefix("[").removesuffix("]").removesuffix(".")


def is_ip(name: str) -> bool:
    """Whether a server's name is an IP address; such a name is never sent (RFC 6066 section 3)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_name(certificate: x509.Certificate, name: str) -> None:
    check = verify_certificate_ip_address if is_ip(name) else verify_certificate_hostname
    try:
        check(certificate, name)
    except (BadNames, VerificationError) as error:
        raise ValueError(f"it is for {_names(certificate)}") from error


def _names(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "no server"
    return ", ".join(str(name.value) for name in found)


def _check_purpose(certificate: x509.Certificate) -> None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if _PURPOSES.isdisjoint(found):
        raise ValueError("it is not for servers")
