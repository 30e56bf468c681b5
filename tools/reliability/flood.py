"""A flood of ClientHellos from spoofed addresses, and honest peers that dial in the midst of it.

    python -m reliability.flood [--count 20000] [--rate 2000] [--only ours] [--write]

Every hello is real and answers nothing afterwards. The addresses are those of 127.0.0.0/8, chosen
per datagram (IP_PKTINFO), so that one socket plays them all and hears every answer; nothing leaves
the machine. Printed per victim: bytes it sent per byte received, how many strangers it began a
handshake with, how long the honest peers waited, and what it cost. Linux only.
"""

import argparse
import os
import secrets
import select
import socket
import statistics
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence

from iroh.quic import frames as f
from iroh.quic import packet as pk
from iroh.quic.connection import Connection
from iroh.quic.frames import INITIAL
from iroh.quic.limits import Limits
from reliability import report
from reliability.attacker import Wire, evil_kit
from reliability.victims import Victim, interpreter

HONEST = 5
"""Honest peers that dial, one after the other."""
AFTER = 5.0
"""Seconds that answers are listened to after the flood: what is sent again counts too."""
MOST_TIMES = 3.0  # RFC 9000 section 8.1
GROUP = 20
PKTINFO = getattr(socket, "IP_PKTINFO", 8)


class Strangers:
    """All spoofed addresses: one socket, and what came back to each of them."""

    def __init__(self, victim: Victim) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.IPPROTO_IP, PKTINFO, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.sock.bind(("0.0.0.0", 0))
        self.sock.setblocking(False)
        self.target = tuple(victim.target.address)
        self.sent: Counter[bytes] = Counter()
        self.received: Counter[bytes] = Counter()
        self.kinds: Counter[int] = Counter()
        self.begun: set[bytes] = set()
        """Addresses that a handshake was begun with: an Initial came to them."""

    def send(self, number: int, data: bytes) -> None:
        """Send a datagram from the address of this number."""
        source = bytes((127, 64 + (number >> 16 & 63), number >> 8 & 255, number & 255))
        info = struct.pack("=i4s4s", 0, source, bytes(4))
        try:
            self.sock.sendmsg([data], [(socket.IPPROTO_IP, PKTINFO, info)], 0, self.target)
        except BlockingIOError:
            select.select([], [self.sock], [], 0.01)
            return
        self.sent[source] += len(data)

    def listen(self) -> None:
        """Count the answers that have come."""
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(2048, 64)
            except BlockingIOError:
                return
            to = next(item[2][8:12] for item in ancillary if item[1] == PKTINFO)
            self.received[to] += len(data)
            kind = data[0] >> 4 & 3 if data[0] & pk.LONG else -1
            self.kinds[kind] += 1
            if kind == pk.INITIAL:
                self.begun.add(to)


class Honest:
    """Honest peers, one after the other, while the flood goes on."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim
        self.wire = Wire()
        self.connection: Connection | None = None
        self.waited: list[float] = []
        self.retried = 0
        self._since = 0.0

    def begin(self) -> None:
        """Dial, unless one still waits."""
        if self.connection is None:
            self.connection = self.wire.dial(self.victim.target)
            self._since = time.monotonic()

    def work(self) -> None:
        """Go on with it."""
        self.wire.take()
        self.wire.work()
        connection = self.connection
        if connection is not None and connection.peer is not None:
            self.waited.append(time.monotonic() - self._since)
            self.retried += connection._p.retry_source_cid is not None  # noqa: SLF001
            self.connection = None


def hellos(victim: Victim, count: int) -> list[bytes]:
    """Make Initials with a real ClientHello, each for a connection id of its own."""
    wire = Wire()
    p = wire.dial(victim.target)._p  # noqa: SLF001
    level = p.levels[INITIAL]
    offset, data = level.crypto.take_frame(1100) or (0, b"")
    payload = f.Crypto(offset, data).encode()
    wire.close()
    return [evil_kit.initial(secrets.token_bytes(8), p.source_cid, payload) for _ in range(count)]


def run(kind: str, count: int, rate: float) -> tuple[bool, dict[str, str]]:
    """Flood one victim; give whether it held out, and name -> figure."""
    with Victim(kind) as victim:
        packets = hellos(victim, count)
        strangers, honest = Strangers(victim), Honest(victim)
        quiet = Honest(victim)
        quiet.begin()
        while not quiet.waited:
            quiet.work()
        before, start = victim.usage(), time.monotonic()
        for at in range(0, count, GROUP):
            if at * (HONEST + 1) // count > len(honest.waited):
                honest.begin()
            for number in range(at, min(at + GROUP, count)):
                strangers.send(number, packets[number])
            honest.work()
            strangers.listen()
            ahead = start + (at + GROUP) / rate - time.monotonic()
            while ahead > 0:
                select.select([honest.wire.sock, strangers.sock], [], [], ahead)
                honest.work()
                strangers.listen()
                ahead = start + (at + GROUP) / rate - time.monotonic()
        took = time.monotonic() - start
        end = time.monotonic() + AFTER
        while time.monotonic() < end:
            select.select([honest.wire.sock, strangers.sock], [], [], 0.05)
            honest.work()
            strangers.listen()
        after = victim.usage()
        version = victim.version
        for wire in (honest.wire, quiet.wire):
            wire.close()
        strangers.sock.close()
    sent, back = strangers.sent.total(), strangers.received.total()
    most = max(
        (strangers.received[to] / strangers.sent[to] for to in strangers.received), default=0
    )
    right = most <= MOST_TIMES and len(honest.waited) == HONEST
    right = right and len(strangers.begun) <= Limits().half_open_soft + HONEST
    return right, {
        "victim": version,
        "hellos sent": f"{len(strangers.sent)} in {took:.1f} s",
        "bytes sent per byte received": f"{back / sent:.2f} (target <= {MOST_TIMES}), "
        f"at most {most:.2f} to one address",
        "handshakes begun with strangers": f"{len(strangers.begun)}",
        "Retry packets": f"{strangers.kinds[pk.RETRY]}",
        "honest connects meanwhile": f"{len(honest.waited)} of {HONEST} in "
        f"{1000 * statistics.median(honest.waited or [99.0]):.0f} ms in the median, at most "
        f"{1000 * max(honest.waited or [99.0]):.0f} ms (target <= 1000), "
        f"{honest.retried} through Retry; {1000 * quiet.waited[0]:.0f} ms before the flood",
        "cost": f"{after.cpu - before.cpu:.2f} s of CPU, "
        f"{(after.memory - before.memory) / 1e6:.1f} MB",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="A flood of spoofed ClientHellos.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=2000.0, help="hellos per second")
    parser.add_argument("--only", choices=("ours", "rust"))
    parser.add_argument("--write", action="store_true", help="renew docs/reliability.md")
    options = parser.parse_args(arguments)
    kinds = [options.only] if options.only else ["ours", "rust"]
    lines, code = [], 0
    for kind in kinds:
        if interpreter(kind) is None:
            print(f"{kind}: not here (IROH_RUST_PYTHON is not set)")
            continue
        right, figures = run(kind, options.count, options.rate)
        if kind == "ours" and not right:
            code = 1
        version = figures.pop("victim")
        lines += [f"{name}, {version}: {figure}" for name, figure in figures.items()]
    print("\n".join(lines))
    if options.write:
        load = f"load of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        report.write("flood", "\n".join(f"- {line}" for line in (*lines, load)))
    return code


if __name__ == "__main__":
    sys.exit(main())
