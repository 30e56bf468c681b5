"""What the probes of one report have said so far, and when that is enough. No I/O.

    started(probe, relay)                    it is pending
    answered(probe, relay, latency, addr)    it counts
    failed(probe, relay)                     it is not waited for any more

Enough, after upstream's `have_enough_reports`, but with what is possible in place of what the
machine has: a family in which every probe has failed is not waited for.

    UDP, full report        each family that is possible has an answer, and one family has two
                            (fewer if fewer relays can answer): two tell what kind of NAT there is
    UDP, incremental        each family that is possible has an answer
    HTTPS                   every relay that was asked has answered
"""

from collections.abc import Mapping

from iroh_base import RelayUrl, SocketAddr

from .report import Probe, Report

__all__ = ["QAD_PROBES", "Draft"]

QAD_PROBES = (Probe.QAD_IPV4, Probe.QAD_IPV6)
_TWO_TELL_THE_NAT = 2


class Draft:
    """The state of one report."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self.captive_portal: bool | None = None
        self._udp_probed = False
        self._pending: dict[Probe, set[RelayUrl]] = {probe: set() for probe in Probe}
        self._latency: dict[RelayUrl, dict[Probe, float]] = {}
        self._global: dict[Probe, SocketAddr] = {}
        self._varies: dict[Probe, bool] = {}

    # -- what happened -------------------------------------------------------------------------

    def started(self, probe: Probe, relay: RelayUrl) -> None:
        """A probe is on its way."""
        self._udp_probed |= probe in QAD_PROBES
        self._pending[probe].add(relay)

    def answered(
        self, probe: Probe, relay: RelayUrl, latency: float, addr: SocketAddr | None = None
    ) -> None:
        """A relay answered; addr: how it sees us."""
        self._udp_probed |= probe in QAD_PROBES
        self._pending[probe].discard(relay)
        mine = self._latency.setdefault(relay, {})
        mine[probe] = min(latency, mine.get(probe, latency))
        if addr is None:
            return
        known = self._global.setdefault(probe, addr)
        if self.answers(probe) > 1:
            self._varies[probe] = self._varies.get(probe, False) or known != addr

    def failed(self, probe: Probe, relay: RelayUrl) -> None:
        """A probe ended without an answer."""
        self._pending[probe].discard(relay)

    # -- the rules -----------------------------------------------------------------------------

    def answers(self, probe: Probe) -> int:
        """How many relays have answered a kind of probe."""
        return sum(probe in probes for probes in self._latency.values())

    def pending(self, probe: Probe) -> set[RelayUrl]:
        """The relays whose answer is still waited for."""
        return set(self._pending[probe])

    @property
    def all_done(self) -> bool:
        """Whether no probe is pending."""
        return not any(self._pending.values())

    @property
    def has_udp(self) -> bool:
        """Whether a relay answered over UDP."""
        return any(self.answers(probe) for probe in QAD_PROBES)

    @property
    def anything(self) -> bool:
        """Whether any relay answered in any way."""
        return bool(self._latency)

    def udp_is_enough(self) -> bool:
        """Whether UDP has told all that we want to know."""
        possible = [probe for probe in QAD_PROBES if self._pending[probe] or self.answers(probe)]
        if not possible or not all(self.answers(probe) for probe in possible):
            return False
        return not self.full or any(
            self.answers(probe)
            >= min(_TWO_TELL_THE_NAT, self.answers(probe) + len(self._pending[probe]))
            for probe in possible
        )

    def https_is_enough(self) -> bool:
        """Whether every relay that was asked over HTTP has answered."""
        return not self._pending[Probe.HTTPS] and self.answers(Probe.HTTPS) > 0

    def covers(self, relays: set[RelayUrl]) -> bool:
        """Whether each of these relays has answered somehow."""
        return relays <= self._latency.keys()

    # -- the result ----------------------------------------------------------------------------

    @property
    def latencies(self) -> Mapping[RelayUrl, float]:
        """The best latency of each relay that answered, seconds."""
        return {url: min(probes.values()) for url, probes in self._latency.items()}

    def report(self, preferred: RelayUrl | None, last: Report | None) -> Report:
        """Make the report; what this one could not tell about the NAT is taken from the last."""
        v4, v6 = QAD_PROBES
        varies_v4, varies_v6 = self._varies.get(v4), self._varies.get(v6)
        if last is not None:
            if varies_v4 is None:
                varies_v4 = last.mapping_varies_by_dest_ipv4
            if varies_v6 is None:
                varies_v6 = last.mapping_varies_by_dest_ipv6
        return Report(
            udp_probed=self._udp_probed,
            udp_v4=self.answers(v4) > 0,
            udp_v6=self.answers(v6) > 0,
            global_v4=self._global.get(v4),
            global_v6=self._global.get(v6),
            mapping_varies_by_dest_ipv4=varies_v4,
            mapping_varies_by_dest_ipv6=varies_v6,
            preferred_relay=preferred,
            relay_latency={url: dict(probes) for url, probes in self._latency.items()},
            captive_portal=self.captive_portal,
        )
