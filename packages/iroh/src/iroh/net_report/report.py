"""The result of a net report, for users and for the endpoint itself."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from iroh_base import RelayUrl, SocketAddr

__all__ = ["Probe", "Report"]


class Probe(enum.Enum):
    """How a relay was measured (upstream `Probe`); the value is how to say it."""

    HTTPS = "HTTPS"
    QAD_IPV4 = "UDP IPv4"
    QAD_IPV6 = "UDP IPv6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the last look at the network found (upstream `Report`). Do not change the mappings."""

    udp_probed: bool = False
    """Whether any relay was asked over UDP; if not, the fields about UDP mean nothing (ours)."""
    udp_v4: bool = False
    """A relay answered over UDP and IPv4."""
    udp_v6: bool = False
    """A relay answered over UDP and IPv6."""
    global_v4: SocketAddr | None = None
    """Where relays see our IPv4 packets come from."""
    global_v6: SocketAddr | None = None
    """Where relays see our IPv6 packets come from."""
    mapping_varies_by_dest_ipv4: bool | None = None
    """Whether different relays see different IPv4 addresses or ports of us (a symmetric NAT); None
    while fewer than two have answered."""
    mapping_varies_by_dest_ipv6: bool | None = None
    """The same for IPv6."""
    preferred_relay: RelayUrl | None = None
    """The relay that is home, or is to become it."""
    relay_latency: Mapping[RelayUrl, Mapping[Probe, float]] = field(default_factory=dict)
    """Seconds until each relay answered, by probe: UDP probes take one round trip, HTTPS about
    three, with the lookup of the name. Relays that did not answer are missing."""
    captive_portal: bool | None = None
    """Whether something else answers in place of a relay; None if that was not looked at, which is
    the rule where relays answer."""

    def has_udp(self) -> bool:
        """Whether UDP works, over either family."""
        return self.udp_v4 or self.udp_v6

    def mapping_varies_by_dest(self) -> bool | None:
        """Whether the NAT of either family is symmetric; None if nobody knows."""
        known = {self.mapping_varies_by_dest_ipv4, self.mapping_varies_by_dest_ipv6} - {None}
        return any(known) if known else None

    def latency(self, url: RelayUrl) -> float | None:
        """The best latency of a relay, seconds; None if it did not answer."""
        return min(self.relay_latency.get(url, {}).values(), default=None)

    def to_text(self) -> str:
        """Say it in words, one fact a line."""
        lines = [
            _udp_line(self),
        ]
        if self.udp_probed:
            lines += [
                _family_line("IPv4", self.udp_v4, self.global_v4, self.mapping_varies_by_dest_ipv4),
                _family_line("IPv6", self.udp_v6, self.global_v6, self.mapping_varies_by_dest_ipv6),
            ]
        home = self.preferred_relay
        lines.append("home relay: " + ("none" if home is None else str(home)))
        lines += [_relay_line(url, probes) for url, probes in sorted(self.relay_latency.items())]
        if not self.relay_latency:
            lines.append("no relay answered")
        if self.captive_portal is not None:
            found = "yes: log in with a browser first" if self.captive_portal else "no"
            lines.append(f"captive portal: {found}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()


def _udp_line(report: Report) -> str:
    if not report.udp_probed:
        return "UDP: not tried; no relay offers address discovery"
    if not report.has_udp():
        return "UDP: no answer from any relay; it may be blocked"
    match report.mapping_varies_by_dest():
        case True:
            return "UDP: works; the NAT gives every destination another port (symmetric)"
        case False:
            return "UDP: works; our address looks the same from everywhere (no NAT, or a mild one)"
    return "UDP: works; one relay alone cannot tell what kind of NAT there is"


def _family_line(name: str, works: bool, addr: SocketAddr | None, varies: bool | None) -> str:
    if not works:
        return f"{name}: no answer"
    kind = {True: ", another one for every destination", False: ", the same for all", None: ""}
    return f"{name}: public address {addr}{kind[varies]}"


def _relay_line(url: RelayUrl, probes: Mapping[Probe, float]) -> str:
    figures = ", ".join(
        f"{probes[probe] * 1000:.1f} ms by {probe.value}" for probe in Probe if probe in probes
    )
    return f"relay {url}: {figures}"
