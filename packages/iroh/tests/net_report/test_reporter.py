"""When reports are made and what becomes of them. Virtual time."""

from iroh.net_report import NetReportConfig
from iroh_relay.relay_map import RelayConfig

from .kit import ELSEWHERE, HERE, HERE6, V4, A, B, Lab, relay_map, settle

TICK = 23.0  # the middle of 20 to 26 s


async def test_the_only_relay_is_home_without_measuring() -> None:
    async with Lab(relay_map(A)) as lab:
        assert lab.homes == [A]
        lab.probes.asked.clear()


async def test_the_fastest_that_answers_is_home() -> None:
    lab = Lab(relay_map(A, B))
    lab.probes.v4 = {A: (0.2, HERE), B: (0.1, HERE)}
    async with lab:
        assert lab.homes == []
        await lab.clock.advance(1.0)
        assert lab.homes == [B]
        assert lab.report.preferred_relay == B
        assert lab.report.global_v4 == HERE


async def test_home_is_chosen_before_udp_has_timed_out() -> None:
    lab = Lab(relay_map(A, B))
    lab.probes.v4 = {A: None, B: None}
    lab.probes.http = {A: 0.1, B: 0.05}
    async with lab:
        await lab.clock.advance(0.31)
        assert lab.homes == [B]
        assert lab.reports == []
        await lab.clock.advance(3.0)
        assert lab.report.preferred_relay == B


async def test_udp_that_did_not_answer_is_asked_again_soon_and_less_and_less() -> None:
    lab = Lab(relay_map(A))
    lab.probes.v4 = {A: None}
    lab.probes.http = {A: 0.1}
    async with lab:
        await lab.clock.advance(3.5)
        assert not lab.report.has_udp()
        lab.probes.v4 = {A: (0.1, HERE)}
        await lab.clock.advance(1.0)
        assert lab.report.global_v4 == HERE
    blocked = Lab(relay_map(A))
    blocked.probes.v4 = {A: None}
    blocked.probes.http = {A: 0.1}
    async with blocked:
        await blocked.clock.advance(120.0)
        assert 5 < blocked.reporter.metrics.reports < 11


async def test_reports_come_at_intervals_and_reuse_connections() -> None:
    lab = Lab(relay_map(A, B))
    lab.probes.v4 = {A: (0.1, HERE), B: (0.2, HERE)}
    lab.probes.v6 = {A: (0.1, HERE6), B: (0.2, HERE6)}
    async with lab:
        await lab.clock.advance(1.0)
        asked = len(lab.probes.asked)
        await lab.clock.advance(5 * TICK)
        assert lab.reporter.metrics.reports == 6
        assert lab.reporter.metrics.reports_full == 1
        assert len(lab.probes.asked) == asked
        assert lab.report.mapping_varies_by_dest_ipv4 is False
        await lab.clock.advance(300.0)
        assert lab.reporter.metrics.reports_full == 2
        assert [link.is_open for link in lab.probes.links].count(True) == 2


async def test_an_address_that_changes_amends_the_report() -> None:
    lab = Lab(relay_map(A))
    lab.probes.v4 = {A: (0.1, HERE)}
    async with lab:
        await lab.clock.advance(1.0)
        [link] = lab.probes.links
        link.moves(ELSEWHERE)
        await lab.clock.advance(0.0)
        assert lab.report.global_v4 == ELSEWHERE
        before = len(lab.reports)
        for port in range(100):
            link.moves(HERE._replace(port=1 + port))
        await lab.clock.advance(0.9)
        assert len(lab.reports) == before  # a burst counts once
        await lab.clock.advance(0.1)
        assert len(lab.reports) == before + 1
        assert lab.report.global_v4 == HERE._replace(port=100)


async def test_a_major_change_makes_a_full_report() -> None:
    lab = Lab(relay_map(A))
    lab.probes.v4 = {A: (0.1, HERE)}
    async with lab:
        await lab.clock.advance(1.0)
        lab.probes.v4 = {A: (0.1, ELSEWHERE)}
        lab.reporter.request(False)
        await lab.clock.advance(1.0)
        assert lab.report.global_v4 == HERE
        lab.reporter.request(True)
        await lab.clock.advance(1.0)
        assert lab.report.global_v4 == ELSEWHERE
        assert lab.reporter.metrics.reports_full == 2


async def test_requests_during_a_report_make_one_more() -> None:
    lab = Lab(relay_map(A))
    lab.probes.v4 = {A: (0.1, HERE)}
    async with lab:
        for _ in range(5):
            lab.reporter.request(True)
        assert lab.reporter.metrics.reports == 1
        await lab.clock.advance(1.0)
        assert lab.reporter.metrics.reports == 2


async def test_a_home_that_lost_its_connection_is_an_occasion_to_ask_everybody() -> None:
    lab = Lab(relay_map(A, B))
    lab.probes.v4 = {A: (0.1, HERE), B: (0.2, HERE)}
    async with lab:
        await lab.clock.advance(1.0)
        assert lab.homes == [A]
        lab.connected = False
        lab.probes.v4 = {A: None, B: (0.2, HERE)}
        lab.probes.http = {B: 0.2}
        await lab.clock.advance(TICK + 5)
        assert lab.homes == [A, B]


async def test_a_change_of_the_map_is_an_occasion() -> None:
    lab = Lab(relay_map())
    lab.probes.v4 = {A: (0.1, HERE), B: (0.05, HERE)}
    async with lab:
        assert lab.homes == []
        lab.map.insert(RelayConfig(url=str(A), quic_port=0))
        await lab.clock.advance(1.0)
        assert lab.homes == [A]
        lab.map.insert(RelayConfig(url=str(B), quic_port=0))
        await lab.clock.advance(1.0)
        assert lab.homes == [A, B]
        lab.map.remove(str(B))
        await lab.clock.advance(1.0)
        assert lab.homes == [A, B, A]
        lab.map.remove(str(A))
        await lab.clock.advance(1.0)
        assert lab.homes == [A, B, A, None]
        assert lab.reports[-1] is None


async def test_when_nobody_answers_it_is_tried_again_soon() -> None:
    lab = Lab(relay_map(A, B, quic_port=None))
    lab.probes.http = {}
    async with lab:
        await lab.clock.advance(1.0)
        assert lab.homes == []
        assert lab.reporter.metrics.reports == 1
        await lab.clock.advance(0.5)
        assert lab.reporter.metrics.reports == 2
        lab.probes.http = {A: 0.1}
        await lab.clock.advance(2.5)
        assert lab.homes == [A]


async def test_a_single_relay_without_address_discovery_is_left_in_peace() -> None:
    lab = Lab(relay_map(A, quic_port=None))
    lab.probes.http = {A: 0.1}
    async with lab:
        await lab.clock.advance(200.0)
        assert lab.reporter.metrics.reports == 1
        assert lab.homes == [A]


async def test_behind_a_captive_portal_every_report_is_full() -> None:
    lab = Lab(relay_map(A), NetReportConfig(https_probes=False))
    lab.probes.captive = (0.1, True)
    async with lab:
        await lab.clock.advance(3 * TICK)
        assert lab.report.captive_portal is True
        assert lab.reporter.metrics.reports_full == lab.reporter.metrics.reports > 3


async def test_closing_ends_what_was_kept() -> None:
    lab = Lab(relay_map(A))
    lab.probes.v4 = {A: (0.1, HERE)}
    async with lab:
        await lab.clock.advance(1.0)
        [link] = lab.probes.links
        link.moves(ELSEWHERE)
        lab.reporter.close()
        assert not link.is_open
        await settle()
        assert lab.report.global_v4 == HERE
    assert V4 not in lab.reporter._kept
