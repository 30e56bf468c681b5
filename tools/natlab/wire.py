"""All cables of a lab that are not perfect: one process, two TAP devices a cable.

Stands in for sch_netem, which the kernels of many build machines lack. A TAP device gives whole
frames with finished checksums and no segmentation offload, so TCP, UDP, ICMP, IPv4 and IPv6 pass.
Commands come as JSON lines on stdin, and each is answered by one on stdout:

    {"add": "a", "ends": [["namespace", "eth0"], ["namespace", "p3"]], "link": {...}}
    {"change": "a", "link": {...}}     {"remove": "a"}     {"counts": "a"}

End of stdin ends the process, and with it its devices. Runs as root, by `python -I wire.py`.
"""

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import selectors
import struct
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from natlab.cable import Direction, Link, link_of

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
"""linux/if_tun.h"""
CLONE_NEWNET = 0x40000000
"""linux/sched.h"""
BATCH = 64
"""Frames read from one device before the others have their turn."""


def open_tap(namespace: str, device: str) -> int:
    """Make a TAP device in a namespace; it lives as long as the descriptor. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TAP | IFF_NO_PI))
        if libc.setns(home, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns home")
    finally:
        os.close(home)
        os.close(there)
    return tap


class Wires:
    """The cables, and the frames under way in them."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ)
        self.cables: dict[str, tuple[int, int]] = {}
        self.ways: dict[int, tuple[Direction, int]] = {}
        """What is read from a device: how it fares, and the device at the other end."""
        self.under_way: list[tuple[float, int, int, bytes]] = []
        self.number = 0
        self.pending = b""

    def run(self) -> None:
        """Move frames until stdin ends."""
        clock = time.monotonic
        while True:
            self.deliver(clock())
            first = self.under_way[0][0] if self.under_way else None
            wait = None if first is None else max(first - clock(), 0)
            for key, _ in self.selector.select(wait):
                if key.fd == 0:
                    if not self.commands():
                        return
                elif key.fd in self.ways:
                    self.read(key.fd)

    def deliver(self, now: float) -> None:
        """Write the frames whose time has come."""
        heap = self.under_way
        while heap and heap[0][0] <= now:
            _, _, device, frame = heapq.heappop(heap)
            if device in self.ways:
                # A device may be down or full: then the frame is gone, as on a cable.
                with contextlib.suppress(OSError):
                    os.write(device, frame)

    def read(self, device: int) -> None:
        """Take what a device has to send."""
        way, out = self.ways[device]
        for _ in range(BATCH):
            try:
                frame = os.read(device, 65536)
            except OSError:
                return
            for at, what in way.put(frame, time.monotonic()):
                self.number += 1
                heapq.heappush(self.under_way, (at, self.number, out, what))

    def commands(self) -> bool:
        """Obey what came on stdin; say whether there may be more."""
        chunk = os.read(0, 65536)
        self.pending += chunk
        while b"\n" in self.pending:
            line, _, self.pending = self.pending.partition(b"\n")
            try:
                answer = self.obey(json.loads(line))
            except OSError as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
        return bool(chunk)

    def obey(self, told: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command. Raises OSError."""
        match told:
            case {"add": name, "ends": ends, "link": link}:
                self.add(name, ends, link_of(link))
            case {"change": name, "link": link}:
                for device in self.cables[name]:
                    way = self.ways[device][0]
                    way.link = link_of({**asdict(way.link), **link})
            case {"remove": name}:
                for device in self.cables.pop(name):
                    self.selector.unregister(device)
                    del self.ways[device]
                    os.close(device)
            case {"counts": name}:
                return {"counts": [self.ways[d][0].counts for d in self.cables[name]]}
        return {}

    def add(self, name: str, ends: list[tuple[str, str]], link: Link) -> None:
        """Lay a cable between two devices that this makes."""
        one, other = (open_tap(*end) for end in ends)
        self.cables[name] = one, other
        self.ways[one] = Direction(link, link.seed), other
        self.ways[other] = Direction(link, link.seed + 1), one
        for device in (one, other):
            self.selector.register(device, selectors.EVENT_READ)


if __name__ == "__main__":
    Wires().run()
