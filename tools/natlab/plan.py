"""What a lab consists of: a description, as data.

    ix                the public network: 203.0.113.0/24 and 2001:db8:1::/64
    routers           each with a WAN side on `ix` or on another router, and a LAN
    hosts             each on `ix` or on a router's LAN

What the kinds of NAT do is in nat.py, what a link can do to packets in cable.py.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from natlab.cable import Link

IX: Final = "ix"
Six = Literal["none", "open", "firewall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A home or office router.

    - `nat`: a kind of nat.py, for IPv4;
    - `on`: the network of its WAN side, `ix` or another router (carrier-grade NAT);
    - `hairpin`: LAN hosts reach each other through their outside addresses;
    - `isolated`: LAN hosts do not see each other, as on guest Wi-Fi;
    - `udp`: whether UDP passes at all, except to port 53;
    - `allow_tcp`: the only TCP ports that pass, or None for all;
    - `v4`: whether the LAN has IPv4;
    - `v6`: none on the LAN; routed openly; or routed behind a stateful firewall;
    - `mapping_seconds`: how long an idle UDP mapping lives.
    """

    nat: str = "none"
    on: str = IX
    hairpin: bool = False
    isolated: bool = False
    udp: bool = True
    allow_tcp: tuple[int, ...] | None = None
    v4: bool = True
    v6: Six = "none"
    mapping_seconds: int = 120
    link: Link = field(default_factory=Link)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host with one interface, `eth0`; `also` adds interfaces that lead nowhere, by address."""

    on: str = IX
    link: Link = field(default_factory=Link)
    addresses: int = 1
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Routers and hosts by name; a router stands after the one that it is on."""

    routers: dict[str, Router]
    hosts: dict[str, Host]
