"""Certificates from Let's Encrypt, or any ACME server (RFC 8555), by the challenge HTTP-01.

    start      a certificate in cert_dir that still has a third of its life is used as it is
    else       account key -> order -> /.well-known/acme-challenge/<token> on port 80 -> certificate
    then       looked at every 12 hours, renewed in its last third; a failure is tried again later,
               and the old certificate stays as long as it lasts

    cert_dir/  account.pem   <first hostname>.crt   <first hostname>.key     0600

Rust's relay proves itself by TLS-ALPN-01, for which Python's ssl cannot choose certificates; the
plain-HTTP listener is there anyway. The package `acme` (certbot's own) speaks to the server, in
threads of its own. Source of keys and names: iroh-relay `main.rs`, `server.rs`.
"""

import asyncio
import datetime
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .certs import CertificateError, Certificates

if TYPE_CHECKING:
    from acme.client import ClientV2
    from acme.messages import OrderResource

__all__ = ["AcmeCertificates"]

logger: logging.Logger = logging.getLogger(__name__)

PRODUCTION: Final = "https://acme-v02.api.letsencrypt.org/directory"
STAGING: Final = "https://acme-staging-v02.api.letsencrypt.org/directory"
ORDER_TIMEOUT: Final = 120.0
"""Seconds that the server may take to check our names and to issue."""
CHECK_INTERVAL: Final = 12 * 3600.0
_RETRY: Final = 3600.0
"""Seconds until the next try after a failure: Let's Encrypt allows five failures an hour."""
_RENEW_AT: Final = 1 / 3
"""Of a certificate's life: when only this much is left it is renewed (Let's Encrypt's advice)."""
_KEY_BITS: Final = 2048
_MISSING: Final = (
    "certificates from Let's Encrypt need the package `acme`: "
    "pip install 'iroh-relay[acme]', or use cert_mode = \"Reloading\" with certbot"
)


class AcmeCertificates(Certificates):
    """A certificate for these names that is got, kept and renewed.

    directory: the server's directory URL. ca_file: PEM with the CAs trusted for that server, when
    it is one's own. `prepare` needs the plain-HTTP listener to be up.
    """

    def __init__(
        self,
        hostnames: Sequence[str],
        contact: str,
        cert_dir: Path,
        *,
        directory: str = PRODUCTION,
        ca_file: str | None = None,
    ) -> None:
        """Raises CertificateError when the package is missing or the folder cannot be used."""
        super().__init__()
        try:
            import acme.client  # noqa: F401 - slow to load, and an extra
        except ImportError as error:
            raise CertificateError(_MISSING) from error
        self._hostnames = list(hostnames)
        self._contact = contact
        self._directory = directory
        self._ca_file = ca_file
        name = self._hostnames[0].replace("*", "_")
        self._folder = cert_dir
        self._cert_path, self._key_path = cert_dir / f"{name}.crt", cert_dir / f"{name}.key"
        self._renewing: asyncio.Task[None] | None = None
        try:
            cert_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CertificateError(f"cannot use {cert_dir}: {error.strerror}") from error

    async def prepare(self) -> None:
        """Have a certificate, and keep it fresh from now on. Raises CertificateError."""
        self._use_what_there_is()
        if not self.chain_pem or self._fraction_left() <= 0:
            await self._obtain()
        self._renewing = asyncio.create_task(self._keep_fresh(), name="iroh-relay-acme")

    async def close(self) -> None:
        """Stop renewing. An order that is under way ends by itself. Idempotent."""
        task, self._renewing = self._renewing, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    def _use_what_there_is(self) -> None:
        try:
            chain, key = self._cert_path.read_bytes(), self._key_path.read_bytes()
            self._take(chain, key)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:  # of ssl, too
            logger.warning("%s cannot be used, getting a new one: %s", self._cert_path, error)

    def _fraction_left(self) -> float:
        """How much of the certificate's life is left; 0 or less when it is over, or of others."""
        from cryptography import x509

        certificate = x509.load_pem_x509_certificates(self.chain_pem)[0]
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if not set(self._hostnames) <= set(names.get_values_for_type(x509.DNSName)):
            return 0.0
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return (end - datetime.datetime.now(datetime.UTC)) / (end - begin)

    async def _keep_fresh(self) -> None:
        while True:
            wait = CHECK_INTERVAL
            if self._fraction_left() < _RENEW_AT:
                try:
                    await self._obtain()
                except CertificateError as error:
                    logger.warning("%s; trying again in an hour", error)
                    wait = _RETRY
            await asyncio.sleep(wait)

    async def _obtain(self) -> None:
        logger.info("getting a certificate for %s", ", ".join(self._hostnames))
        try:
            chain, key = await asyncio.to_thread(self._order)
            self._take(chain, key)
            _write(self._key_path, key)
            _write(self._cert_path, chain)
        except Exception as error:  # whatever acme, requests and the server come up with
            raise CertificateError(
                f"no certificate for {', '.join(self._hostnames)} from {self._directory}: {error}; "
                "the names must lead to this machine, and port 80 to the relay"
            ) from error
        finally:
            self.challenges.clear()
        logger.info("certificate SHA-256 %s", self.fingerprint())

    # -- in a thread ----------------------------------------------------------------------------

    def _order(self) -> tuple[bytes, bytes]:
        from acme import crypto_util
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        client = self._client()
        key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        order = client.new_order(crypto_util.make_csr(key, self._hostnames))
        self._answer(client, order)
        deadline = datetime.datetime.now() + datetime.timedelta(seconds=ORDER_TIMEOUT)
        chain: str = client.poll_and_finalize(order, deadline).fullchain_pem
        return chain.encode(), key

    def _client(self) -> "ClientV2":
        from acme import client, errors, messages
        from josepy.jwk import JWKRSA

        verify: Any = self._ca_file or True  # what requests takes: a file, or the usual CAs
        key = JWKRSA(key=self._account_key())
        net = client.ClientNetwork(key, user_agent="iroh-relay", verify_ssl=verify)
        acme = client.ClientV2(client.ClientV2.get_directory(self._directory, net), net)
        terms = messages.NewRegistration.from_data(
            email=self._contact.removeprefix("mailto:"), terms_of_service_agreed=True
        )
        try:
            account = acme.new_account(terms)
        except errors.ConflictError as known:  # this key has one: its address is in the answer
            body = messages.Registration()
            account = acme.query_registration(
                messages.RegistrationResource(uri=known.location, body=body)
            )
        net.account = account
        return acme

    def _account_key(self) -> Any:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        path = self._folder / "account.pem"
        if path.exists():
            return serialization.load_pem_private_key(path.read_bytes(), None)
        key = rsa.generate_private_key(65537, _KEY_BITS)
        _write(
            path,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
        return key

    def _answer(self, client: "ClientV2", order: "OrderResource") -> None:
        """Put every name's challenge where the server will look, and say so."""
        from acme import challenges

        for authorization in order.authorizations:
            if authorization.body.status.name == "valid":  # proven not long ago
                continue
            offers = authorization.body.challenges
            offer = next((one for one in offers if isinstance(one.chall, challenges.HTTP01)), None)
            if offer is None:
                name = authorization.body.identifier.value
                raise CertificateError(f"the server does not offer HTTP-01 for {name}")
            response, validation = offer.response_and_validation(client.net.key)
            self.challenges[offer.chall.encode("token")] = validation
            client.answer_challenge(offer, response)


def _write(path: Path, data: bytes) -> None:
    """Replace a file at once, readable for nobody else."""
    fresh = path.with_suffix(path.suffix + ".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    fresh.replace(path)
