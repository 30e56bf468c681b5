"""One PUT every four seconds per client, two at once: GCRA, the generic cell rate algorithm.

For each client one number, the theoretical arrival time TAT. A request at `now` is allowed iff
`now >= TAT - PERIOD * (BURST - 1)`; then TAT becomes `max(TAT, now) + PERIOD`. The figures are
those the Rust server really has (http/rate_limiting.rs: `per_second(4)` of tower_governor is an
interval; its comment says otherwise).

The clients are kept in the order of their last allowed request. A TAT is never further ahead than
PERIOD * BURST, so whoever is at the front has soon nothing to remember and is dropped: two looks at
the front per request keep the table as small as the traffic of the last seconds. It is bounded too.
"""

import time
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address

from iroh_dns_server.config import RateLimit

__all__ = ["BURST", "MAX_CLIENTS", "PERIOD", "RateLimiter", "client_address", "reported_address"]

PERIOD = 4.0
"""Seconds until one more request is allowed."""
BURST = 2
"""Requests that a client which was quiet may make at once."""
MAX_CLIENTS = 65536
"""Clients remembered; beyond, the one seen longest ago is forgotten (and may start anew)."""


class RateLimiter:
    """GCRA over client addresses. `clock` gives monotonic seconds."""

    def __init__(
        self,
        *,
        period: float = PERIOD,
        burst: int = BURST,
        max_clients: int = MAX_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._period = period
        self._tolerance = period * (burst - 1)
        self._max_clients = max_clients
        self._clock = clock
        self._arrivals: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def check(self, client: str) -> float:
        """0.0 if the client may go on (and it is counted), else the seconds it has to wait."""
        now = self._clock()
        self._forget(now)
        arrival = self._arrivals.get(client, now)
        wait = arrival - self._tolerance - now
        if wait > 0:
            return wait
        self._arrivals.pop(client, None)  # so that it goes to the end of the order
        self._arrivals[client] = max(arrival, now) + self._period
        if len(self._arrivals) > self._max_clients:
            del self._arrivals[next(iter(self._arrivals))]
        return 0.0

    def _forget(self, now: float) -> None:
        for _ in range(2):
            oldest = next(iter(self._arrivals), None)
            if oldest is None or self._arrivals[oldest] > now:
                return
            del self._arrivals[oldest]


def client_address(mode: RateLimit, peer: str | None, headers: Mapping[str, str]) -> str:
    """The address that a request counts for.

    SMART believes the headers of the request, so it is only for servers that nobody reaches but
    through a proxy that sets them.
    """
    reported = reported_address(headers) if mode is RateLimit.SMART else None
    return reported or _address(peer or "") or "unknown"


def reported_address(headers: Mapping[str, str]) -> str | None:
    """The client that proxies report: the first address in `X-Forwarded-For`, else `X-Real-IP`,
    else the first `for=` of `Forwarded` (the order of tower_governor's SmartIpKeyExtractor)."""
    for text in headers.get("X-Forwarded-For", "").split(","):
        if address := _address(text):
            return address
    if address := _address(headers.get("X-Real-IP", "")):
        return address
    for element in headers.get("Forwarded", "").split(","):
        for pair in element.split(";"):
            name, _, value = pair.strip().partition("=")
            if name.lower() == "for" and (address := _address_and_port(value.strip('" '))):
                return address
    return None


def _address_and_port(text: str) -> str | None:
    """An address with or without port: `192.0.2.1:80`, `[2001:db8::1]:80` (RFC 7239 section 6)."""
    if text.startswith("["):
        return _address(text[1:].partition("]")[0])
    return _address(text) or _address(text.rpartition(":")[0])


def _address(text: str) -> str | None:
    """The one way to write an address: IPv4 inside IPv6 counts as IPv4; None if it is none."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
