"""The counters of an endpoint, by the names of upstream's metrics: `Endpoint.stats()`.

    "socket:send_ipv4"  ->  CounterStats(value=1200, description="Bytes sent over IPv4.")

Groups: `socket` (iroh `socket/metrics.rs`), `net_report` and `address_lookup`. A counter of
upstream's that has no counterpart here is missing, not 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from iroh_base.openmetrics import Metric, document, openmetrics

__all__ = [
    "CounterStats",
    "Family",
    "LookupMetrics",
    "NetReportMetrics",
    "SocketMetrics",
    "page",
    "snapshot",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterStats:
    """One counter as it was when asked; it only ever grows."""

    value: int
    description: str


class Family(NamedTuple):
    """A counter for each of several things: each lookup service, as in Rust, each reason.

    label: what they are. Only `openmetrics` has it.
    """

    name: str
    values: Mapping[str, int]
    description: str
    label: str = "service"


def _counter(description: str) -> int:
    counter: int = field(default=0, metadata={"description": description})
    return counter


@dataclass(slots=True)
class SocketMetrics:
    """What passed the magic socket. The transports count; plain ints, for the packet path."""

    send_ipv4: int = _counter("Bytes sent over IPv4.")
    send_ipv6: int = _counter("Bytes sent over IPv6.")
    send_relay: int = _counter("Bytes sent over relays.")
    send_custom: int = _counter("Bytes sent over custom transports (not counted upstream).")
    recv_data_ipv4: int = _counter("Bytes received over IPv4.")
    recv_data_ipv6: int = _counter("Bytes received over IPv6.")
    recv_data_relay: int = _counter("Bytes received over relays.")
    recv_data_custom: int = _counter("Bytes received over custom transports.")
    recv_datagrams: int = _counter("QUIC datagrams received.")
    recv_gro_datagrams: int = _counter("Receptions that brought several datagrams at once.")
    custom_errors: int = _counter("Times that a custom transport raised (not counted upstream).")
    relay_home_change: int = _counter("Changes of the home relay to another one, the first too.")
    relay_conns_success: int = _counter("Connections to relays that came up.")
    relay_conns_failed: int = _counter("Attempts to connect to a relay that failed.")
    relay_conns_closed: int = _counter("Connections to relays that ended.")
    relay_conns_ratelimited: int = _counter("Times that a relay said it limits our rate.")
    holepunch_attempts: int = _counter("Rounds of hole punching that we started.")
    paths_direct: int = _counter("IP paths that connections had.")
    paths_relay: int = _counter("Relay paths that connections had.")
    paths_custom: int = _counter("Paths over custom transports that connections had.")
    transport_ip_paths_added: int = _counter("IP paths that came up.")
    transport_ip_paths_removed: int = _counter("IP addresses to which the last path ended.")
    transport_relay_paths_added: int = _counter("Relay paths that came up.")
    transport_relay_paths_removed: int = _counter("Relays over which the last path ended.")
    transport_custom_paths_added: int = _counter("Paths over custom transports that came up.")
    transport_custom_paths_removed: int = _counter("Custom addresses whose last path ended.")
    num_conns_direct: int = _counter("Connections that ever had an IP path.")
    num_conns_opened: int = _counter("Connections whose handshake completed.")
    num_conns_closed: int = _counter("Connections that ended, of those whose handshake completed.")
    actor_link_change: int = _counter("Changes of this machine's network.")
    datagrams_dropped: int = _counter("Datagrams dropped, of both ways (not counted upstream).")
    incoming_refused: int = _counter("Peers refused: too many waited (not counted upstream).")


@dataclass(slots=True)
class LookupMetrics:
    """What the address lookup did."""

    lookups: int = _counter("Lookups begun.")
    lookups_failed: int = _counter("Lookups that ended without a single result.")


@dataclass(slots=True)
class NetReportMetrics:
    """How often the network was looked at (iroh `net_report/metrics.rs`)."""

    reports: int = _counter("Net reports made, full ones included.")
    reports_full: int = _counter("Full net reports made.")
    portmap_attempts: int = _counter("Times that the home router was asked for a port.")
    portmap_external_address_updated: int = _counter("Changes of the router's address for us.")


def snapshot(
    group: str, counters: SocketMetrics | LookupMetrics | NetReportMetrics
) -> dict[str, CounterStats]:
    """Return a group's counters as they are now, by "group:name"."""
    return {
        f"{group}:{counter.name}": CounterStats(
            value=getattr(counters, counter.name), description=counter.metadata["description"]
        )
        for counter in fields(counters)
    }


def page(counters: Mapping[str, CounterStats], families: Sequence[Family] = ()) -> str:
    """Write counters as OpenMetrics text: `socket:send_ipv4` becomes `socket_send_ipv4_total`.

    A family is a counter for each of several: `..._total{service="dns"}`, absent while all are 0.
    """
    groups: dict[str, list[Metric]] = {}
    for name, counter in counters.items():
        group, _, rest = name.partition(":")
        groups.setdefault(group, []).append(Metric(rest, counter.value, counter.description))
    for family in families:
        group, _, rest = family.name.partition(":")
        groups.setdefault(group, []).extend(
            Metric(rest, value, family.description, labels=((family.label, thing),))
            for thing, value in sorted(family.values.items())
        )
    return document(*(openmetrics(group, metrics) for group, metrics in groups.items()))
