"""When a report has enough, and what it says in words. No I/O."""

import pytest

from iroh.net_report import Probe, Report
from iroh.net_report.draft import Draft

from .kit import ELSEWHERE, HERE, HERE6, V4, V6, A, B


def draft(*pending: tuple[Probe, object], full: bool = True) -> Draft:
    made = Draft(full=full)
    for probe, relay in pending:
        made.started(probe, relay)  # type: ignore[arg-type]
    return made


def test_a_full_report_wants_two_answers_and_each_family() -> None:
    made = draft((V4, A), (V4, B), (V6, A), (V6, B))
    made.answered(V4, A, 0.1, HERE)
    made.answered(V4, B, 0.1, HERE)
    assert not made.udp_is_enough()
    made.answered(V6, A, 0.1, HERE6)
    assert made.udp_is_enough()


def test_a_family_in_which_everything_failed_is_not_waited_for() -> None:
    made = draft((V4, A), (V4, B), (V6, A), (V6, B))
    made.answered(V4, A, 0.1, HERE)
    made.answered(V4, B, 0.1, HERE)
    made.failed(V6, A)
    assert not made.udp_is_enough()
    made.failed(V6, B)
    assert made.udp_is_enough()


def test_the_only_relay_that_can_answer_is_enough() -> None:
    made = draft((V4, A))
    assert not made.udp_is_enough()
    made.answered(V4, A, 0.1, HERE)
    assert made.udp_is_enough()


def test_an_incremental_report_wants_one_answer_of_each_family() -> None:
    made = draft((V4, A), (V4, B), (V6, A), full=False)
    made.answered(V4, A, 0.1, HERE)
    assert not made.udp_is_enough()
    made.answered(V6, A, 0.1, HERE6)
    assert made.udp_is_enough()


def test_https_wants_all() -> None:
    made = draft((Probe.HTTPS, A), (Probe.HTTPS, B))
    made.answered(Probe.HTTPS, A, 0.1)
    assert not made.https_is_enough()
    made.answered(Probe.HTTPS, B, 0.1)
    assert made.https_is_enough()
    assert made.all_done


def test_the_kind_of_nat() -> None:
    made = draft()
    made.answered(V4, A, 0.1, HERE)
    assert made.report(None, None).mapping_varies_by_dest_ipv4 is None
    made.answered(V4, B, 0.1, HERE)
    assert made.report(None, None).mapping_varies_by_dest_ipv4 is False
    made.answered(V4, A, 0.1, ELSEWHERE)
    report = made.report(None, None)
    assert report.mapping_varies_by_dest_ipv4 is True
    assert report.mapping_varies_by_dest() is True
    assert report.global_v4 == HERE
    made.answered(V4, B, 0.1, HERE)
    assert made.report(None, None).mapping_varies_by_dest_ipv4 is True


def test_what_one_relay_cannot_tell_is_remembered() -> None:
    made = draft(full=False)
    made.answered(V4, A, 0.1, HERE)
    last = Report(mapping_varies_by_dest_ipv4=True)
    assert made.report(None, last).mapping_varies_by_dest_ipv4 is True


def test_the_best_latency_counts() -> None:
    made = draft()
    made.answered(V4, A, 0.3, HERE)
    made.answered(V4, A, 0.1, HERE)
    made.answered(V4, A, 0.2, HERE)
    made.answered(Probe.HTTPS, A, 0.4)
    report = made.report(A, None)
    assert report.relay_latency == {A: {V4: 0.1, Probe.HTTPS: 0.4}}
    assert report.latency(A) == 0.1
    assert report.latency(B) is None


@pytest.mark.parametrize(
    ("report", "lines"),
    [
        (
            Report(),
            [
                "UDP: not tried; no relay offers address discovery",
                "home relay: none",
                "no relay answered",
            ],
        ),
        (
            Report(udp_probed=True),
            [
                "UDP: no answer from any relay; it may be blocked",
                "IPv4: no answer",
                "IPv6: no answer",
                "home relay: none",
                "no relay answered",
            ],
        ),
        (
            Report(
                udp_probed=True,
                udp_v4=True,
                global_v4=HERE,
                mapping_varies_by_dest_ipv4=True,
                preferred_relay=A,
                relay_latency={B: {Probe.HTTPS: 0.25}, A: {V4: 0.012, Probe.HTTPS: 0.05}},
                captive_portal=False,
            ),
            [
                "UDP: works; the NAT gives every destination another port (symmetric)",
                "IPv4: public address 203.0.113.7:7000, another one for every destination",
                "IPv6: no answer",
                "home relay: https://a.example/",
                "relay https://a.example/: 50.0 ms by HTTPS, 12.0 ms by UDP IPv4",
                "relay https://b.example/: 250.0 ms by HTTPS",
                "captive portal: no",
            ],
        ),
    ],
)
def test_in_words(report: Report, lines: list[str]) -> None:
    assert str(report).splitlines() == lines
    assert report.to_text() == str(report)


def test_more_words() -> None:
    mild = Report(udp_probed=True, udp_v6=True, global_v6=HERE6, mapping_varies_by_dest_ipv6=False)
    assert "looks the same from everywhere" in str(mild)
    assert "IPv6: public address [2001:db8::7]:7000, the same for all" in str(mild)
    one = Report(udp_probed=True, udp_v4=True, global_v4=HERE, captive_portal=True)
    assert "one relay alone cannot tell" in str(one)
    assert "captive portal: yes" in str(one)
