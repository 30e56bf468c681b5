"""The table `[tls]` of the file.

    cert_mode               "Manual", "Reloading" or "LetsEncrypt"      required
    https_bind_addr         "ip:port"               the IP of http_bind_addr, port 443
    quic_bind_addr          "ip:port"               the IP of https_bind_addr, port 7842
    hostname                string or array         LetsEncrypt: at least one
    cert_dir                path                    "."
    manual_cert_path        path                    <cert_dir>/default.crt
    manual_key_path         path                    <cert_dir>/default.key
    prod_tls                boolean                 true; false asks Let's Encrypt's staging server
    contact                 string                  LetsEncrypt: an e-mail address

Source: iroh-relay `main.rs` (`TlsConfig`).
"""

from pathlib import Path
from typing import Final

from .model import CertMode, TlsChoice
from .read import Table

__all__ = ["read_tls"]

_KEYS: Final = {
    "cert_mode",
    "https_bind_addr",
    "quic_bind_addr",
    "hostname",
    "cert_dir",
    "manual_cert_path",
    "manual_key_path",
    "prod_tls",
    "contact",
    "dangerous_http_only",
}


def read_tls(tls: Table | None) -> TlsChoice | None:
    """The table; None when there is none, or no way to get certificates is named."""
    if tls is None:
        return None
    for key in tls.values.keys() - _KEYS:
        tls.problem(key, "is no key of [tls] and has no effect", is_warning=True)
    mode = tls.made("cert_mode", _cert_mode)
    hostnames = tuple(_hostnames(tls))
    contact = tls.typed("contact", str)
    if mode is None and "cert_mode" not in tls.values:
        tls.problem("cert_mode", f"is missing: one of {_MODES}")
    if mode is CertMode.LETS_ENCRYPT:
        if not hostnames and "hostname" not in tls.values:
            tls.problem("hostname", "is missing: whom the certificate is for")
        if contact is None and "contact" not in tls.values:
            tls.problem("contact", "is missing: the e-mail address that Let's Encrypt wants")
    cert_path, key_path = tls.made("manual_cert_path", Path), tls.made("manual_key_path", Path)
    choice = TlsChoice(
        cert_mode=mode or CertMode.MANUAL,
        https_bind_addr=tls.addr("https_bind_addr"),
        quic_bind_addr=tls.addr("quic_bind_addr"),
        hostnames=hostnames,
        cert_dir=tls.made("cert_dir", Path) or Path(),
        manual_cert_path=cert_path,
        manual_key_path=key_path,
        prod_tls=tls.value("prod_tls", bool, True),
        contact=contact,
        dangerous_http_only=tls.value("dangerous_http_only", bool, False),
    )
    return None if mode is None else choice


_MODES: Final = ", ".join(f'"{mode.value}"' for mode in CertMode)


def _cert_mode(text: str) -> CertMode:
    try:
        return CertMode(text)
    except ValueError:
        raise ValueError(f"must be one of {_MODES}, not {text!r}") from None


def _hostnames(tls: Table) -> list[str]:
    if isinstance(tls.values.get("hostname"), str):
        return [tls.values["hostname"]]
    return tls.strings("hostname")
