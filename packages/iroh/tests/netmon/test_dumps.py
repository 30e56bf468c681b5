"""Reading whole tables from a socket that answers as a test wants."""

import errno
import struct
import sys

import pytest

from iroh.netmon import linux, rtnetlink
from iroh.netmon.netlink import DONE, DUMP_INTERRUPTED, ERROR
from iroh.netmon.rtnetlink import Link

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")

KERNEL, PROCESS = (0, 0), (4711, 0)


def message(kind: int, payload: bytes = b"", flags: int = 2, sequence: int = 1) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload


def link(index: int, **how: int) -> bytes:
    name = b"eth%d\0\0\0\0"[:8] % index if index < 10 else b"ethN\0\0\0\0"
    attribute = struct.pack("=HH", 12, 3) + name[:8].ljust(8, b"\0")
    payload = struct.pack("=BxHiII", 0, 1, index, 1, 0) + attribute
    return message(rtnetlink.NEWLINK, payload, **how)


class Kernel:
    """Gives prepared answers, one list for each request."""

    def __init__(self, *answers: list[tuple[bytes, tuple[int, int]]]) -> None:
        self.answers = list(answers)
        self.now: list[tuple[bytes, tuple[int, int]]] = []
        self.requests = 0

    def setsockopt(self, *_: int) -> None:
        raise OSError(errno.ENOPROTOOPT, "an old kernel")

    def sendto(self, _data: bytes, _to: tuple[int, int]) -> None:
        self.requests += 1
        self.now += self.answers.pop(0)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        return self.now.pop(0)


def dumped(*answers: list[tuple[bytes, tuple[int, int]]], limit: int = 100) -> list[int]:
    kernel = Kernel(*answers)
    records = linux._dump(kernel, rtnetlink.dump_links, limit)
    assert all(isinstance(record, Link) for record in records)
    return [record.interface for record in records]


DONE_1 = (message(DONE, bytes(4)), KERNEL)


def test_a_dump_in_parts() -> None:
    assert dumped([(link(1) + link(2), KERNEL), (link(3), KERNEL), DONE_1]) == [1, 2, 3]


def test_what_is_not_the_answer_is_passed_over() -> None:
    stray = (link(7), PROCESS), (link(8, sequence=9), KERNEL), (message(99), KERNEL)
    assert dumped([*stray, (link(1), KERNEL), DONE_1]) == [1]


def test_an_interrupted_dump_is_asked_for_again() -> None:
    torn = [(link(1, flags=2 | DUMP_INTERRUPTED), KERNEL), DONE_1]
    whole = [(link(2, sequence=2), KERNEL), (message(DONE, sequence=2), KERNEL)]
    assert dumped(torn, whole) == [2]


def test_a_dump_that_is_ever_interrupted_is_taken_as_it_is() -> None:
    torn = [
        [
            (link(n, flags=DUMP_INTERRUPTED, sequence=n), KERNEL),
            (message(DONE, sequence=n), KERNEL),
        ]
        for n in range(1, linux.MAX_TRIES + 1)
    ]
    assert dumped(*torn) == [linux.MAX_TRIES]


def test_a_dump_without_an_end_is_left() -> None:
    assert dumped([(link(1) * 60, KERNEL)] * 2, limit=100) == [1] * 120


@pytest.mark.parametrize("kind", [ERROR, DONE])
def test_refusals(kind: int) -> None:
    def refusal(number: int) -> list[tuple[bytes, tuple[int, int]]]:
        return [(message(kind, struct.pack("=i", -number) + bytes(16)), KERNEL)]

    assert dumped(refusal(errno.ENOENT)) == []  # there is no such table
    with pytest.raises(OSError, match="dump failed") as refused:
        dumped(refusal(errno.EPERM))
    assert refused.value.errno == errno.EPERM


def test_nonsense_of_a_kernel_is_an_os_error(monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise linux.NetlinkError("nonsense")

    monkeypatch.setattr(linux, "_collect", fail)
    with pytest.raises(OSError, match="nonsense"):
        linux.read_linux()
