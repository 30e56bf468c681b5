"""What of a net report can be switched off."""

from dataclasses import dataclass

__all__ = ["NetReportConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetReportConfig:
    """Which optional probes are made (upstream `NetReportConfig`)."""

    https_probes: bool = True
    """Measure relays by HTTP requests too: where UDP is blocked, nothing else finds a home among
    several relays."""
    captive_portal_check: bool = True
    """Where no relay answers, look whether a captive portal does instead."""

    @classmethod
    def minimal(cls) -> "NetReportConfig":
        """Neither of the two."""
        return cls(https_probes=False, captive_portal_check=False)
