"""The kinds of NAT, as nftables rules. RFC 4787 has the words.

    kind                  mapping               filtering             made by
    none                  -                     -                     routing
    firewall              -                     address and port      routing + conntrack
    full-cone             endpoint-independent  endpoint-independent  a learnt map
    address-restricted    endpoint-independent  address               a learnt map + a learnt set
    port-restricted       endpoint-independent  address and port      a learnt map + conntrack
    symmetric             address and port      address and port      masquerade fully-random
    linux                 what Linux does       address and port      masquerade

The map, for endpoint-independent mapping: external port -> inside address and port, learnt from
what leaves (postrouting), asked for what arrives (prerouting). Its key is the inside port, since
`snat` keeps ports: two hosts of one LAN with the same port would share an entry.

Two things learnt the hard way:
- A stray probe must leave no trace on the WAN side. Were it answered by ICMP or entered into
  conntrack as a flow to the router itself, a later mapping from inside to that peer would clash
  with it and get another port. Hence the silent drop in `input`.
- `iifname` does not match in postrouting: hairpin traffic is known by its LAN source address.

nft 1.0.6 (Debian 12) wants every rule and brace on a line of its own.
"""

from collections.abc import Sequence
from typing import Final

from natlab.plan import Router

WAN: Final = "wan"
LAN: Final = "br0"

INDEPENDENT = {"full-cone", "address-restricted", "port-restricted"}
"""External address = WAN address and the inside port, the same for every destination."""
TRANSLATING = {*INDEPENDENT, "symmetric", "linux"}
KINDS = ("none", "firewall", *sorted(TRANSLATING))

MAP = """map outside {
type inet_service : ipv4_addr . inet_service
flags dynamic,timeout
timeout 300s
}
set contacted {
type ipv4_addr . inet_service . ipv4_addr
flags dynamic,timeout
timeout 120s
size 65535
}"""
STATEFUL = (f"iifname {WAN} ct state established,related accept", f"iifname {WAN} drop")


def chain(name: str, kind: str, priority: int, rules: Sequence[str]) -> str:
    """Write one base chain; `name` is also its hook."""
    head = f"chain {name} {{\ntype {kind} hook {name} priority {priority}"
    return "\n".join((head, *rules, "}"))


def ruleset(router: Router, wan: str, lan: str) -> str:
    """Write all rules of a router whose WAN address is `wan`, and whose LAN's network is `lan`."""
    tables = [f"table ip lab {{\n{four(router, wan, lan)}\n}}"]
    if router.v6 != "none":
        tables.append(f"table ip6 lab {{\n{six(router)}\n}}")
    return "\n".join(tables) + "\n"


def blocked(router: Router) -> list[str]:
    """Write what is not let out, of either family."""
    rules = []
    if not router.udp:
        rules.append(f"iifname {LAN} udp dport != 53 drop")
    if router.allow_tcp is not None:
        ports = ", ".join(map(str, router.allow_tcp))
        rules.append(f"iifname {LAN} tcp dport != {{ {ports} }} reject with tcp reset")
    return rules


def four(router: Router, wan: str, lan: str) -> str:
    """Write the IPv4 side."""
    forward = blocked(router)
    if router.nat == "none":
        return chain("forward", "filter", 0, forward)
    if router.nat == "address-restricted":
        known = "ip daddr . udp dport . ip saddr @contacted"
        forward.append(
            f"oifname {WAN} meta l4proto udp update @contacted "
            "{ ip saddr . udp sport . ip daddr }"
        )
        forward.append(f"iifname {WAN} meta l4proto udp {known} accept")
    if router.nat != "full-cone":
        forward += STATEFUL
    strays = (STATEFUL[0], f"iifname {WAN} meta l4proto {{ udp, tcp }} drop")
    chains = [chain("forward", "filter", 0, forward), chain("input", "filter", 0, strays)]
    if router.nat in INDEPENDENT:
        chains = [MAP, *independent(router, wan, lan), *chains]
    elif router.nat in TRANSLATING:
        how = "masquerade fully-random" if router.nat == "symmetric" else "masquerade"
        chains.append(chain("postrouting", "nat", 100, [f"oifname {WAN} {how}"]))
    return "\n".join(chains)


def independent(router: Router, wan: str, lan: str) -> list[str]:
    """Write the chains of endpoint-independent mapping."""
    learn = "meta l4proto udp update @outside { udp sport : ip saddr . udp sport }"
    where = "" if router.hairpin else f"iifname {WAN} "
    after = [f"oifname {WAN} {learn}", f"oifname {WAN} snat ip to {wan}"]
    if router.hairpin:
        # The sender keeps its outside face, so that the answers come back through here.
        turned = f"oifname {LAN} ip saddr {lan} ct status dnat"
        after = [f"{turned} {learn}", f"{turned} snat ip to {wan}", *after]
    arrives = f"{where}ip daddr {wan} meta l4proto udp dnat ip to udp dport map @outside"
    return [
        chain("prerouting", "nat", -100, [arrives]),
        chain("postrouting", "nat", 100, after),
    ]


def six(router: Router) -> str:
    """Write the IPv6 side, which never translates."""
    forward = blocked(router)
    if router.v6 == "firewall":
        errors = "{ packet-too-big, destination-unreachable, time-exceeded }"
        forward += [f"iifname {WAN} icmpv6 type {errors} accept", *STATEFUL]
    return chain("forward", "filter", 0, forward)


def hole(size: int) -> str:
    """Write a black hole for UDP in IP packets longer than `size` bytes: dropped, nobody told.

    Only for links that are wired: packets that the kernel sends in one piece for a device to
    segment (GSO) would count as long.
    """
    rule = f"meta l4proto udp meta length > {size} drop"
    return f"table inet hole {{\n{chain('forward', 'filter', -10, [rule])}\n}}\n"
