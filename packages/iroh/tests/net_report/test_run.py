"""One report: what is asked when, and when it is enough. Virtual time."""

import asyncio

import pytest

from iroh.net_report import NetReportConfig, Probe
from iroh_relay.relay_map import RelayConfig

from .kit import (
    ELSEWHERE,
    HERE,
    HERE6,
    V4,
    V6,
    A,
    B,
    C,
    FakeLink,
    FakeProbes,
    ManualClock,
    relay_map,
    settle,
    start,
)


@pytest.fixture
async def probes() -> FakeProbes:
    return FakeProbes(ManualClock())


async def test_udp_answers_and_nothing_else_is_asked(probes: FakeProbes) -> None:
    probes.v4 = {A: (0.05, HERE), B: (0.06, HERE), C: (0.5, HERE)}
    probes.v6 = {A: (0.07, HERE6), B: (0.08, HERE6), C: (0.5, HERE6)}
    one = start(probes, list(relay_map(A, B, C)))
    await probes.clock.advance(1.0)
    assert one.seconds == 0.07
    report = one.report()
    assert report.udp_v4
    assert report.udp_v6
    assert (report.global_v4, report.global_v6) == (HERE, HERE6)
    assert report.mapping_varies_by_dest_ipv4 is False
    assert set(probes.kinds()) == {V4.value, V6.value}
    assert {probe: link.relay for probe, link in one.kept.items()} == {V4: A, V6: A}
    assert [link.relay for link in probes.links if link.is_open] == [A, A]


async def test_a_single_relay_tells_all_it_can(probes: FakeProbes) -> None:
    probes.v4 = {A: (0.05, HERE)}
    one = start(probes, list(relay_map(A)))
    await probes.clock.advance(1.0)
    assert one.seconds == 0.05
    assert one.report().mapping_varies_by_dest_ipv4 is None


async def test_a_symmetric_nat(probes: FakeProbes) -> None:
    probes.v4 = {A: (0.05, HERE), B: (0.06, ELSEWHERE)}
    one = start(probes, list(relay_map(A, B)))
    await probes.clock.advance(1.0)
    assert one.report().mapping_varies_by_dest_ipv4 is True


async def test_where_udp_is_blocked_https_is_enough(probes: FakeProbes) -> None:
    probes.v4, probes.v6 = {A: None, B: None}, {A: None, B: None}
    probes.http = {A: 0.1, B: 0.2}
    one = start(probes, list(relay_map(A, B)))
    await probes.clock.advance(5.0)
    assert one.seconds == 3.0  # UDP is never cut off by HTTPS, which has told after 0.4 s
    report = one.report()
    assert not report.has_udp()
    assert report.relay_latency == {A: {Probe.HTTPS: 0.1}, B: {Probe.HTTPS: 0.2}}
    assert report.captive_portal is None
    assert "captive" in probes.kinds() or report.captive_portal is None


async def test_udp_that_has_lost_its_first_packets_is_waited_for(probes: FakeProbes) -> None:
    probes.v4, probes.v6 = {A: (2.0, HERE), B: None}, {A: None, B: None}
    probes.http = {A: 0.1, B: 0.2}
    one = start(probes, list(relay_map(A, B)))
    await probes.clock.advance(5.0)
    assert one.seconds == 2.5  # and the rest of it for the other family
    assert one.report().global_v4 == HERE


async def test_relays_without_address_discovery_are_measured_at_once(probes: FakeProbes) -> None:
    probes.http = {A: 0.1, B: 0.2}
    one = start(probes, list(relay_map(A, B, quic_port=None)))
    await probes.clock.advance(5.0)
    assert one.seconds == 0.2
    assert set(probes.kinds()) == {"https"}


async def test_a_relay_without_it_may_still_answer_when_udp_is_done(probes: FakeProbes) -> None:
    probes.v4 = {A: (0.05, HERE)}
    probes.http = {A: 0.05, B: 0.3}
    relays = [RelayConfig(url=str(A), quic_port=0), RelayConfig(url=str(B))]
    one = start(probes, relays)
    await probes.clock.advance(5.0)
    assert one.seconds == 0.3
    assert one.report().latency(B) == 0.3


async def test_but_it_is_not_waited_for_long(probes: FakeProbes) -> None:
    probes.v4 = {A: (0.05, HERE)}
    probes.http = {A: 0.05, B: None}
    relays = [RelayConfig(url=str(A), quic_port=0), RelayConfig(url=str(B))]
    one = start(probes, relays)
    await probes.clock.advance(5.0)
    assert one.seconds == 0.55


async def test_without_https_probes_nobody_is_asked_over_http(probes: FakeProbes) -> None:
    probes.v4 = {A: None}
    probes.http = {A: 0.1}
    one = start(probes, list(relay_map(A)), config=NetReportConfig.minimal())
    await probes.clock.advance(5.0)
    assert one.seconds == 3.0
    assert set(probes.kinds()) == {V4.value, V6.value}
    assert not one.report().relay_latency


@pytest.mark.parametrize("captive", [True, False])
async def test_a_captive_portal_is_looked_for_where_nobody_answers(
    probes: FakeProbes, captive: bool
) -> None:
    probes.v4 = {A: None}
    probes.captive = (0.1, captive)
    one = start(probes, list(relay_map(A)))
    await probes.clock.advance(5.0)
    assert one.report().captive_portal is captive
    assert one.seconds == 3.0


async def test_a_captive_portal_that_is_silent(probes: FakeProbes) -> None:
    probes.captive = (60.0, True)
    one = start(probes, list(relay_map(A)))
    await probes.clock.advance(5.0)
    assert one.report().captive_portal is None
    assert one.seconds == 2.2


async def test_everything_hangs(probes: FakeProbes) -> None:
    probes.v4, probes.v6, probes.http = {A: None}, {A: None}, {A: None}
    one = start(probes, list(relay_map(A)))
    await probes.clock.advance(10.0)
    assert one.seconds == 3.2
    assert one.report().relay_latency == {}


async def test_only_five_relays_are_asked_over_udp(probes: FakeProbes) -> None:
    relays = [RelayConfig(url=f"https://{n}.example/", quic_port=1) for n in range(9)]
    start(probes, relays)
    await settle()
    assert len(probes.asked) == 10
    await probes.clock.advance(10.0)


async def test_a_family_that_is_not_there_is_not_probed(probes: FakeProbes) -> None:
    probes.has = (True, False)
    probes.v4 = {A: (0.05, HERE)}
    one = start(probes, list(relay_map(A)))
    await probes.clock.advance(1.0)
    assert probes.kinds() == [V4.value]
    assert one.report().udp_v4


async def test_an_incremental_report_takes_no_packet(probes: FakeProbes) -> None:
    kept = {V4: FakeLink(A, 0.03, HERE), V6: FakeLink(B, 0.04, HERE6)}
    one = start(probes, list(relay_map(A, B)), full=False, kept=dict(kept))
    await settle()
    report = one.report()
    assert probes.asked == []
    assert report.relay_latency == {A: {V4: 0.03}, B: {V6: 0.04}}
    assert (report.global_v4, report.global_v6) == (HERE, HERE6)


async def test_a_kept_connection_that_is_over_is_replaced(probes: FakeProbes) -> None:
    old = FakeLink(A, 0.03, HERE)
    old.close()
    probes.v4 = {A: (0.05, ELSEWHERE), B: (0.06, ELSEWHERE)}
    kept = {V4: old, V6: FakeLink(B, 0.04, HERE6)}
    one = start(probes, list(relay_map(A, B)), full=False, kept=kept)
    await probes.clock.advance(1.0)
    assert one.report().global_v4 == ELSEWHERE
    assert set(probes.kinds()) == {V4.value}
    assert one.kept[V4] is probes.links[0]


async def test_cancelling_leaves_nothing_running(probes: FakeProbes) -> None:
    probes.v4, probes.http = {A: None}, {A: None}
    one = start(probes, list(relay_map(A)))
    await settle()
    one.task.cancel()
    await asyncio.wait((one.task,))
    assert one.task.cancelled()


async def test_a_bug_in_a_probe_spoils_nothing_else(probes: FakeProbes, caplog) -> None:
    probes.v4 = {A: (0.05, HERE)}
    probes.http = {A: 0.1}
    probes.v6 = "a bug"  # type: ignore[assignment]
    one = start(probes, list(relay_map(A)))
    await probes.clock.advance(1.0)
    assert one.seconds == 0.05
    assert one.report().udp_v4
    assert "failed by a bug" in caplog.text
