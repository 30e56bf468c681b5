"""The servers of number 0 (n0.computer): where presets publish and look up by default.

Names and values are upstream's (iroh `address_lookup/pkarr.rs`, iroh-dns `dns.rs`).
"""

import os

__all__ = [
    "ENV_FORCE_STAGING_RELAYS",
    "N0_DNS_ENDPOINT_ORIGIN_PROD",
    "N0_DNS_ENDPOINT_ORIGIN_STAGING",
    "N0_DNS_PKARR_RELAY_PROD",
    "N0_DNS_PKARR_RELAY_STAGING",
    "force_staging_infra",
    "n0_dns_endpoint_origin",
    "n0_dns_pkarr_relay",
]

N0_DNS_PKARR_RELAY_PROD = "https://dns.iroh.link/pkarr"
N0_DNS_PKARR_RELAY_STAGING = "https://staging-dns.iroh.link/pkarr"
N0_DNS_ENDPOINT_ORIGIN_PROD = "dns.iroh.link."
N0_DNS_ENDPOINT_ORIGIN_STAGING = "staging-dns.iroh.link."

ENV_FORCE_STAGING_RELAYS = "IROH_FORCE_STAGING_RELAYS"
"""Set to anything but nothing, this variable means the staging servers."""


def force_staging_infra() -> bool:
    """Whether the environment asks for the staging servers."""
    return bool(os.environ.get(ENV_FORCE_STAGING_RELAYS))


def n0_dns_pkarr_relay() -> str:
    """The URL of the pkarr relay that the environment asks for."""
    return N0_DNS_PKARR_RELAY_STAGING if force_staging_infra() else N0_DNS_PKARR_RELAY_PROD


def n0_dns_endpoint_origin() -> str:
    """The DNS origin of endpoint records that the environment asks for."""
    return N0_DNS_ENDPOINT_ORIGIN_STAGING if force_staging_infra() else N0_DNS_ENDPOINT_ORIGIN_PROD
