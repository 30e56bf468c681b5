"""The network of a Linux machine through rtnetlink sockets: one to read it, one to hear of changes.

A change only says "look again": the whole is dumped anew, three tables in well under a
millisecond on a common machine. So no event can be missed for good, not even when the kernel
drops some (ENOBUFS), and a flapping interface costs what looking costs, no more.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from . import rtnetlink
from .netlink import (
    DONE,
    DUMP_INTERRUPTED,
    ERROR,
    NetlinkError,
    parse_errno,
    parse_messages,
)
from .rtnetlink import Address, Link, Route, decode, is_noise
from .state import NetworkState
from .table import build_state

__all__ = ["LinuxEvents", "read_linux"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_TRIES = 3  # dumps that a change interrupted
_BUFFER = 65_536
_READS_PER_WAKE = 64
_KERNEL = 0  # port of the kernel; other processes may send us messages, too
_SOL_NETLINK, _GET_STRICT_CHECK = 270, 12  # linux/netlink.h: heed the table in a route dump
_NOTHING_THERE = {errno.ENOENT, errno.ENODEV, errno.EAFNOSUPPORT, errno.EOPNOTSUPP}


def read_linux() -> NetworkState:
    """Read interfaces, addresses and routes. Raises OSError where rtnetlink is not allowed."""
    records: list[Link | Address | Route] = []
    try:
        for request, limit in _REQUESTS:
            with _open() as sock:  # each its own: one not read to its end disturbs no other
                records += _dump(sock, request, limit)
    except NetlinkError as error:
        raise OSError(errno.EPROTO, f"netlink: {error}") from error
    return build_state(
        [record for record in records if isinstance(record, Link)],
        [record for record in records if isinstance(record, Address)],
        [record for record in records if isinstance(record, Route)],
    )


_REQUESTS: tuple[tuple[Callable[[int], bytes], int], ...] = (
    (rtnetlink.dump_links, 16_384),
    (rtnetlink.dump_addresses, 16_384),
    (lambda sequence: rtnetlink.dump_routes(sequence, rtnetlink.AF_INET), 4096),
    (lambda sequence: rtnetlink.dump_routes(sequence, rtnetlink.AF_INET6), 65_536),
)
"""What is asked for, and how many messages of the answer are read: a router's table of a million
routes is not. IPv4's default route comes first, IPv6's last: a router with more routes than that
seems to have none (0.1 s)."""


def _open(groups: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, groups))
        sock.setblocking(False)  # the kernel answers within sendto: nothing to wait for
    except BaseException:
        sock.close()
        raise
    return sock


def _dump(
    sock: socket.socket, request: Callable[[int], bytes], limit: int
) -> list[Link | Address | Route]:
    try:
        sock.setsockopt(_SOL_NETLINK, _GET_STRICT_CHECK, 1)
    except OSError as error:  # before Linux 4.20: we get, and leave out, the other tables
        logger.debug("no strict checking of netlink requests: %s", error)
    for sequence in range(1, MAX_TRIES + 1):
        sock.sendto(request(sequence), (_KERNEL, 0))
        records, consistent = _collect(sock, sequence, limit)
        if consistent:
            return records
    return records  # ever changing: what we have is as good as any, and an event will follow


def _collect(
    sock: socket.socket, sequence: int, limit: int
) -> tuple[list[Link | Address | Route], bool]:
    """Read one dump to its end; False: a change interrupted it. Raises OSError."""
    records: list[Link | Address | Route] = []
    consistent, seen = True, 0
    while seen < limit:
        data, (port, _groups) = sock.recvfrom(_BUFFER)
        if port != _KERNEL:
            continue
        for message in parse_messages(data):
            if message.sequence != sequence:
                continue  # the rest of a dump that was given up
            consistent = consistent and not message.flags & DUMP_INTERRUPTED
            if message.type in (DONE, ERROR):
                number = parse_errno(message)
                if number and number not in _NOTHING_THERE:
                    raise OSError(number, "netlink dump failed")
                return records, consistent
            seen += 1
            record = None if is_noise(message) else decode(message)
            if record is not None:
                records.append(record)
    return records, True


class LinuxEvents:
    """Calls `on_event` whenever something may have changed. Needs a running loop; then `close`."""

    def __init__(self, on_event: Callable[[], None], sock: socket.socket | None = None) -> None:
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self.sock: socket.socket = sock or _open(rtnetlink.GROUPS)
        """What the events come by."""
        try:
            self._loop.add_reader(self.sock, self._readable)
        except BaseException:
            self.sock.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether events may still come; after an error of the socket they do not."""
        return self.sock.fileno() >= 0

    def close(self) -> None:
        """Stop. Idempotent."""
        if self.sock.fileno() >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self.sock)
            self.sock.close()

    def _readable(self) -> None:
        matters = False
        for _ in range(_READS_PER_WAKE):
            try:
                data, (port, _groups) = self.sock.recvfrom(_BUFFER)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                # ENOBUFS: more happened than the kernel could keep. Whatever it was, look again.
                logger.debug("netlink events: %s", error)
                matters = True
                if error.errno != errno.ENOBUFS:
                    self.close()
                break
            matters = matters or (port == _KERNEL and _matters(data))
        if matters:
            self._on_event()


def _matters(data: bytes) -> bool:
    try:
        return not all(is_noise(message) for message in parse_messages(data))
    except NetlinkError as error:
        logger.debug("netlink event: %s", error)
        return True
