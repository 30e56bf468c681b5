"""Whom the endpoint believes when it talks to relays and other servers that have certificates.

Connections between endpoints have no certificates: their keys are their names. This is about the
HTTPS side of relays and of pkarr servers, and about QUIC address discovery.
"""

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from iroh_base import InvalidInputError

if TYPE_CHECKING:
    from iroh.quic.tls.web_trust import WebTrust

__all__ = ["CaTlsConfig"]


class CaTlsConfig:
    """Which certificate authorities are believed (upstream `CaTlsConfig`).

    Use `system`, `custom_roots` or `insecure_skip_verify`; `with_extra_roots` adds to any.
    """

    def __init__(self, *, system: bool, roots: bytes = b"", verify: bool = True) -> None:
        """roots: PEM, beside those of the system if there are."""
        self._system = system
        self._roots = roots
        self._verify = verify
        self._context: ssl.SSLContext | None = None
        self._trust: WebTrust | None = None

    @classmethod
    def system(cls) -> "CaTlsConfig":
        """Believe whom the operating system believes. This is the default."""
        return cls(system=True)

    @classmethod
    def custom_roots(cls, pem: bytes) -> "CaTlsConfig":
        """Believe these authorities only: PEM certificates, self-signed server ones included.

        Raises InvalidInputError for what is no PEM.
        """
        return cls(system=False, roots=_checked(pem))

    @classmethod
    def insecure_skip_verify(cls) -> "CaTlsConfig":
        """Believe everybody. For tests: who can answer for a relay can then be one."""
        return cls(system=False, verify=False)

    def with_extra_roots(self, pem: bytes) -> "CaTlsConfig":
        """Believe these authorities too. Raises InvalidInputError for what is no PEM."""
        roots = self._roots + b"\n" + _checked(pem)
        return CaTlsConfig(system=self._system, roots=roots, verify=self._verify)

    @property
    def is_default(self) -> bool:
        """Whether only the system's authorities are believed."""
        return self._system and not self._roots and self._verify

    def ssl_context(self) -> ssl.SSLContext | None:
        """Give a context for HTTPS, always the same; None stands for the usual one."""
        if self.is_default:
            return None
        if self._context is None:
            context = (
                ssl.create_default_context()
                if self._system
                else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            )
            if self._roots:
                context.load_verify_locations(cadata=self._roots.decode("ascii"))
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            if not self._verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._context = context
        return self._context

    async def web_trust(self) -> "WebTrust":
        """Give the same for QUIC; the roots are read in a thread the first time.

        Cancelling it is harmless: they are read again the next time.
        """
        if self._trust is None:
            self._trust = await asyncio.to_thread(self._make_trust)
        return self._trust

    def _make_trust(self) -> "WebTrust":
        from iroh.quic.tls.web_trust import WebTrust

        if not self._verify:
            return WebTrust(verify=False)
        files: dict[str, Any] = _system_files() if self._system else {}
        trust = WebTrust(self._roots, **files)
        trust.load()
        return trust

    def __repr__(self) -> str:
        kind = "system" if self._system else "custom" if self._verify else "insecure"
        return f"<CaTlsConfig {kind}{' and more' if self._system and self._roots else ''}>"


def _checked(pem: bytes) -> bytes:
    try:
        text = pem.decode("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ValueError, OSError) as error:
        raise InvalidInputError(f"these are no PEM certificates: {error}") from error
    return pem


def _system_files() -> dict[str, str | None]:
    """Where the system keeps its roots, for OpenSSL; certifi's where it keeps none."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        import certifi

        return {"cafile": certifi.where()}
    return {"cafile": paths.cafile, "capath": paths.capath}
