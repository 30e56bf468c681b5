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
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from multidict import MultiMapping

from iroh_dns_server.config import RateLimit

__all__ = ["BURST", "MAX_CLIENTS", "PERIOD", "RateLimiter", "client_address", "reported_addresses"]

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


def client_address(
    mode: RateLimit,
    peer: str | None,
    headers: MultiMapping[str],
    trusted: Sequence[IPv4Network | IPv6Network] = (),
) -> str:
    """The address that a request counts for.

    SMART without `trusted` believes the headers of whoever connects, as upstream, so it is only for
    servers that nobody reaches but through a proxy that sets them anew. With it, headers count only
    from a proxy in these networks; the client is then the last address that is no such proxy, since
    what stands before it may have been sent by the client itself.
    """
    direct = _address(peer or "") or "unknown"
    if mode is not RateLimit.SMART or (trusted and not _among(direct, trusted)):
        return direct
    chain = reported_addresses(headers)
    if not trusted:
        return next(iter(chain), direct)
    return next((each for each in reversed(chain) if not _among(each, trusted)), direct)


def reported_addresses(headers: MultiMapping[str]) -> list[str]:
    """What proxies report, the client first and the proxies it came through after it.

    That of `X-Forwarded-For`, else of `X-Real-IP`, else each `for=` of `Forwarded` (the order of
    tower_governor's SmartIpKeyExtractor); what is no address is left out.
    """
    names = [name for line in headers.getall("X-Forwarded-For", ()) for name in line.split(",")]
    if chain := [address for name in names if (address := _address(name))]:
        return chain
    if address := _address(headers.get("X-Real-IP", "")):
        return [address]
    for line in headers.getall("Forwarded", ()):
        for pair in line.replace(",", ";").split(";"):
            name, _, value = pair.strip().partition("=")
            if name.lower() == "for" and (address := _address_and_port(value.strip('" '))):
                chain.append(address)
    return chain


def _among(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether an address is in one of the networks; "unknown" is in none."""
    if address == "unknown":
        return False
    parsed = ip_address(address)
    return any(parsed in network for network in networks)


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
