"""What a bad cable does to the frames in one direction, in whatever time it is told.

No I/O: wire.py moves the frames. Everything random comes from a seed.

    frame -> loss -> bottleneck (rate, queue) -> delay, jitter | reorder -> corruption -> copy

Jitter keeps the order on purpose: reordering is a knob of its own. ARP and neighbour discovery are
never lost or corrupted, because a test of a transport should not wait for their retries.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

ARP = b"\x08\x06"
IPV6 = b"\x86\xdd"
UDP, ICMPV6 = 17, 58
ETHERNET = 14
"""Bytes before the IP header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A cable, the same in both directions. The default is a perfect one, made by the kernel alone.

    - `delay_ms`, `jitter_ms`: one way; jitter is uniform in delay +- jitter;
    - `loss`, `duplicate`, `corrupt`, `reorder`: shares of the packets, 0 to 1;
    - `burst`: mean length of a run of losses, in packets; 0 means independent losses;
    - `rate_kbit`, `queue`: the bottleneck and the packets of 1500 bytes that may wait for it;
    - `mtu`: of the devices at both ends.
    """

    delay_ms: float = 0
    jitter_ms: float = 0
    loss: float = 0
    burst: float = 0
    reorder: float = 0
    duplicate: float = 0
    corrupt: float = 0
    rate_kbit: int = 0
    queue: int = 200
    mtu: int = 1500
    seed: int = 1
    wired: bool = False
    """Go through user space although nothing is impaired yet: it can be, later."""

    def needs_wire(self) -> bool:
        """Say whether the kernel alone cannot do this."""
        plain = ("queue", "mtu", "seed")
        return any(getattr(self, f.name) for f in fields(self) if f.name not in plain)


class Direction:
    """One direction of a cable."""

    def __init__(self, link: Link, seed: int) -> None:
        self.link = link
        self.rng = random.Random(seed)
        self.free = 0.0  # when the bottleneck has sent what waits for it
        self.bad = False  # inside a run of losses (Gilbert and Elliott's model)
        self.last = 0.0  # the latest departure
        self.counts = {"seen": 0, "lost": 0, "overflow": 0, "corrupted": 0, "copied": 0, "early": 0}

    def put(self, frame: bytes, now: float) -> Iterator[tuple[float, bytes]]:
        """Take a frame; give (departure, frame) for each that comes out. Times are in seconds."""
        link, chance, counts = self.link, self.rng.random, self.counts
        counts["seen"] += 1
        spared = is_local(frame)
        if not spared and self.loses():
            counts["lost"] += 1
            return
        at = now
        if link.rate_kbit:
            per_second = link.rate_kbit * 125
            at = max(self.free, now)
            if (at - now) * per_second > link.queue * 1500:
                counts["overflow"] += 1
                return
            at = self.free = at + len(frame) / per_second
        if link.reorder and chance() < link.reorder:
            counts["early"] += 1
        else:
            jitter = link.jitter_ms * (2 * chance() - 1) if link.jitter_ms else 0.0
            at = self.last = max(at + (link.delay_ms + jitter) / 1000, self.last)
        if link.corrupt and not spared and chance() < link.corrupt:
            counts["corrupted"] += 1
            frame = flip(frame, self.rng)
        yield at, frame
        if link.duplicate and chance() < link.duplicate:
            counts["copied"] += 1
            yield at, frame

    def loses(self) -> bool:
        """Decide over the next packet."""
        share, chance = self.link.loss, self.rng.random
        if not share:
            return False
        if not self.link.burst:
            return chance() < share
        leave = 1 / self.link.burst
        enter = leave * share / (1 - share)  # so that the long-run share is `loss`
        self.bad = chance() >= leave if self.bad else chance() < enter
        return self.bad


def is_local(frame: bytes) -> bool:
    """Recognize ARP and IPv6 neighbour discovery (ICMPv6 133 to 137)."""
    kind = frame[12:14]
    if kind == ARP:
        return True
    return kind == IPV6 and len(frame) > 54 and frame[20] == ICMPV6 and 133 <= frame[54] <= 137


def flip(frame: bytes, rng: random.Random) -> bytes:
    """Flip a bit behind the headers.

    A UDP checksum is made right again (RFC 1624): otherwise the kernel would drop the packet, and
    the transport above never see it.
    """
    six = frame[12:14] == IPV6
    udp = ETHERNET + 40 if six else ETHERNET + 4 * (frame[ETHERNET] & 15)
    protocol = frame[20] if six else frame[23]
    out = bytearray(frame)
    if protocol != UDP or len(frame) <= udp + 8:
        first = min(udp, len(frame) - 1)
        out[rng.randrange(first, len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)
    at = rng.randrange(udp + 8, len(out))
    word = udp + ((at - udp) & ~1)
    before = int.from_bytes(out[word : word + 2].ljust(2, b"\0"), "big")
    out[at] ^= 1 << rng.randrange(8)
    after = int.from_bytes(out[word : word + 2].ljust(2, b"\0"), "big")
    checksum = int.from_bytes(out[udp + 6 : udp + 8], "big")
    if six or checksum:
        total = (~checksum & 0xFFFF) + (~before & 0xFFFF) + after
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        out[udp + 6 : udp + 8] = ((~total & 0xFFFF) or 0xFFFF).to_bytes(2, "big")
    return bytes(out)


def link_of(told: dict[str, Any]) -> Link:
    """Make a link from what came through a pipe."""
    return Link(**told)
