"""The names and the SOA record of a configuration, from text to what DNS sends."""

from collections.abc import Sequence

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from iroh_dns_server.errors import ConfigError

__all__ = ["origin_names", "origin_soa", "server_name"]


def origin_names(texts: Sequence[str]) -> list[dns.name.Name]:
    """The zones of `dns.origins`. Raises `ConfigError`."""
    if not texts:
        raise ConfigError("dns.origins: at least one origin is needed")
    return [_name(text, f"dns.origins[{index}]") for index, text in enumerate(texts)]


def server_name(text: str) -> dns.name.Name:
    """The name of `dns.rr_ns`. Raises `ConfigError`."""
    return _name(text, "dns.rr_ns")


def origin_soa(text: str) -> bytes:
    """The data of the SOA record, from zone-file text; names are absolute, dot or not.

    Raises `ConfigError`.
    """
    try:
        rdata = dns.rdata.from_text(
            dns.rdataclass.IN, dns.rdatatype.SOA, text, origin=dns.name.root, relativize=False
        )
    except dns.exception.DNSException as error:
        raise ConfigError(
            f"dns.default_soa: {error}: write it as "
            '"ns1.example. hostmaster.example. 0 10800 3600 604800 3600"'
        ) from None
    return rdata.to_wire() or b""


def _name(text: str, path: str) -> dns.name.Name:
    """An absolute name, with or without the dot at its end."""
    try:
        return dns.name.from_text(text, origin=dns.name.root)
    except dns.exception.DNSException as error:
        raise ConfigError(f"{path}: {text!r} is no domain name ({error})") from None
