"""The lab's parts that need no root: cables, rules, theory, the list of cases, the table."""

import itertools
import socket
import subprocess
from dataclasses import replace

import pytest

from natlab import nat
from natlab.cable import Direction, Link, flip, is_local
from natlab.plan import Router
from natlab.report import Report, table
from natlab.runner import Result
from natlab.scenarios import disturb, matrix, upstream


def udp_frame(payload: bytes = b"payload!", *, six: bool = False) -> bytes:
    """Build an Ethernet frame around a UDP datagram with a right checksum."""
    length = 8 + len(payload)
    source, target = (bytes(15) + b"\1", bytes(15) + b"\2") if six else (b"\n\0\0\1", b"\n\0\0\2")
    udp = (1000).to_bytes(2, "big") + (2000).to_bytes(2, "big") + length.to_bytes(2, "big")
    pseudo = source + target + (17).to_bytes(2, "big") + length.to_bytes(2, "big")
    udp += checksum(pseudo + udp + bytes(2) + payload).to_bytes(2, "big")
    if six:
        ip = b"\x60\0\0\0" + length.to_bytes(2, "big") + bytes((17, 64)) + source + target
    else:
        ip = b"\x45\0" + (20 + length).to_bytes(2, "big") + bytes(5) + b"\x11\0\0" + source + target
    return bytes(12) + (b"\x86\xdd" if six else b"\x08\0") + ip + udp + payload


def checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_whole(frame: bytes, *, six: bool) -> bool:
    """Verify the UDP checksum of a frame."""
    udp = 54 if six else 34
    addresses = frame[22:54] if six else frame[26:34]
    pseudo = addresses + (17).to_bytes(2, "big") + frame[udp + 4 : udp + 6]
    return checksum(pseudo + frame[udp:]) == 0


def through(link: Link, count: int = 4000, gap: float = 0.001) -> list[tuple[float, bytes]]:
    """Send numbered frames through a cable; give what comes out, by departure."""
    way = Direction(link, link.seed)
    frames = [(n * gap, udp_frame(n.to_bytes(4, "big"))) for n in range(count)]
    out = [each for at, frame in frames for each in way.put(frame, at)]
    return sorted(out, key=lambda each: each[0])


def numbers(out: list[tuple[float, bytes]]) -> list[int]:
    return [int.from_bytes(frame[-4:], "big") for _, frame in out]


def test_a_perfect_cable_needs_no_wire() -> None:
    assert not Link().needs_wire()
    assert not Link(mtu=1280).needs_wire()
    assert Link(loss=0.1).needs_wire()
    assert Link(delay_ms=5).needs_wire()
    assert Link(wired=True).needs_wire()


@pytest.mark.parametrize("burst", [0, 6])
def test_loss_is_the_share_that_was_asked_for(burst: float) -> None:
    out = numbers(through(Link(loss=0.2, burst=burst), 40_000))
    assert 0.18 < 1 - len(out) / 40_000 < 0.22
    losses = [b - a - 1 for a, b in itertools.pairwise(out) if b - a > 1]
    mean = sum(losses) / len(losses)
    assert (mean > 5) if burst else (mean < 1.4)


def test_jitter_keeps_the_order_and_reordering_does_not() -> None:
    kept = through(Link(delay_ms=20, jitter_ms=15))
    assert numbers(kept) == sorted(numbers(kept))
    assert kept[0][0] >= 0.005
    assert numbers(through(Link(delay_ms=20, reorder=0.1))) != sorted(numbers(kept))


def test_the_bottleneck_has_a_rate_and_a_bounded_queue() -> None:
    size = len(udp_frame(b"1234"))
    out = through(Link(rate_kbit=100, queue=2), 4000)
    assert len(out) * size <= 4.3 * 100 * 125  # four seconds at the rate, and what may wait
    assert all(b[0] > a[0] for a, b in itertools.pairwise(out))


def test_neighbour_discovery_is_spared() -> None:
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    assert is_local(arp)
    assert not is_local(udp_frame())
    assert len(list(Direction(Link(loss=1.0), 1).put(arp, 0.0))) == 1
    assert not list(Direction(Link(loss=1.0), 1).put(udp_frame(), 0.0))


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("payload", [b"even", b"odd"])
def test_a_flipped_bit_keeps_the_checksum_right(payload: bytes, six: bool) -> None:
    frame = udp_frame(payload, six=six)
    assert is_whole(frame, six=six)
    way = Direction(Link(), 7)
    for _ in range(50):
        bent = flip(frame, way.rng)
        assert bent[-len(payload) :] != payload
        assert is_whole(bent, six=six)


def test_rules_are_one_a_line() -> None:
    for kind in nat.KINDS:
        router = Router(nat=kind, udp=False, allow_tcp=(80, 443), hairpin=True, v6="firewall")
        rules = nat.ruleset(router, "203.0.113.9", "10.1.0.0/24")
        assert rules.count("{") == rules.count("}")
        assert "tcp dport != { 80, 443 } reject" in rules
        # A NAT answers nobody from outside, and keeps no trace of who tried.
        assert kind == "none" or "chain input" in rules


def test_theory_is_the_table_that_was_measured() -> None:
    """Hole punching by plain sockets over the same rules: spec of the lab's first proof."""
    names = ["none", "full-cone", "addr-restr", "port-restr", "symmetric", "linux"]
    never = {("port-restr", "symmetric"), ("symmetric", "symmetric"), ("symmetric", "linux")}
    for one in names:
        for two in names:
            possible = (one, two) not in never and (two, one) not in never
            assert matrix.theory(matrix.KINDS[one], matrix.KINDS[two]) is possible
    assert not matrix.theory(matrix.KINDS["ipv6-only"], matrix.KINDS["ipv4-only"])
    assert matrix.theory(matrix.KINDS["ipv6-only"], matrix.KINDS["dual-stack"])


def test_n0_runs_63_cases_and_leaves_ten_out() -> None:
    cases = list(upstream.cases())
    assert len({case.name for case in cases}) == len(cases) == 73
    assert sum(not case.ignored for case in cases) == 63
    names = {case.name for case in cases}
    assert names >= upstream.QUICK
    assert names >= upstream.NOT_RUN


def test_every_quick_case_exists_and_shared_labs_are_one() -> None:
    cells = list(matrix.cases())
    assert len({id(cell.plan) for cell in cells}) == 1
    assert {cell.name for cell in cells} >= matrix.QUICK
    assert {case.name for case in disturb.cases()} >= disturb.QUICK
    hosts = cells[0].plan.hosts
    assert all(cell.dialer in hosts and cell.listener in hosts for cell in cells)


def test_the_table_says_where_rust_does_better() -> None:
    (case,) = (case for case in upstream.cases() if case.name == "holepunch_simple")
    good = Result(case, "PP", ok=True, figures={"direct s": 3.5})
    rust = Result(case, "RR", ok=True, figures={"direct s": 0.5})
    text = Report([good, rust], 1.0, []).text()
    assert "| n0's cases            | 1 of 1        | 1 of 1    |" in text
    assert "| holepunch_simple | direct s | 3.5           | 0.5       | 3    |" in text
    bad = Result(replace(case), "PP", ok=False, text="Failed: never")
    text = Report([bad, rust], 1.0, []).text()
    assert "FAIL" in text
    assert "- n0 holepunch_simple PP: Failed: never" in text


def test_tables_are_aligned() -> None:
    assert table(["a", "b"], [["long", "x"]]).splitlines() == [
        "| a    | b |",
        "| ---- | - |",
        "| long | x |",
    ]


def test_addresses_of_the_lab_are_for_documentation() -> None:
    """RFC 5737, RFC 3849 and private ranges only: nothing that exists."""
    from natlab.lab import PUBLIC

    assert str(PUBLIC.four) == "203.0.113.0/24"
    assert str(PUBLIC.six).startswith("2001:db8:")
    assert socket.inet_aton(PUBLIC.address(10)[0])


@pytest.mark.parametrize(("ci", "uid", "status"), [("true", 0, 1), ("true", 1000, 7), ("", 0, 7)])
def test_without_namespaces_the_simulation_runs_but_not_in_ci_as_root(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    uid: int,
    status: int,
) -> None:
    from natlab import __main__ as program

    ran: list[list[str]] = []

    def run(words: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        ran.append(words)
        return subprocess.CompletedProcess(words, 7)

    monkeypatch.setattr("natlab.__main__.subprocess.run", run)
    monkeypatch.setattr("natlab.__main__.os.geteuid", lambda: uid)
    monkeypatch.setenv("CI", ci)
    assert program.no_lab(["root"]) == status
    assert "NO LAB ON THIS MACHINE: it lacks root." in capsys.readouterr().out
    assert [words[-1] for words in ran] == ([] if status == 1 else ["packages/iroh/tests/sim"])
