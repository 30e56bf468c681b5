"""Why a connection is not direct, in words."""

import logging

import pytest

from iroh.magicsock.remote import RELAYED_NOTE
from iroh.magicsock.why import Facts, why_not_direct
from iroh_base import SocketAddr

from .kit import OURS, RELAY, A, B, Net, arrive, commands_of

LAN = SocketAddr("192.168.1.2", 1)
SEEN, SEEN_TOO = SocketAddr("8.8.4.4", 5001), SocketAddr("8.8.4.4", 5002)
GOOD = {"own": (LAN, SEEN), "peers": (SEEN,), "reported": True, "udp_works": True, "public": True}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"has_udp": False}, "we have no UDP socket"),
        ({"multipath": False, "nat_traversal": False}, "does not speak multipath"),
        ({"nat_traversal": False}, "does not speak n0's NAT traversal"),
        ({**GOOD, "udp_works": False}, "UDP seems to be blocked here"),
        ({**GOOD, "own": ()}, "we know no address of our own"),
        ({**GOOD, "peers": ()}, "the peer has told no address"),
        ({**GOOD, "public": False}, "no QAD answer"),
        ({**GOOD, "varies": True}, "our NAT is symmetric"),
        ({**GOOD, "peers": (SEEN, SEEN_TOO)}, "the peer's NAT seems to be symmetric"),
        ({**GOOD, "varies": True, "peers": (SEEN, SEEN_TOO)}, "both NATs are symmetric"),
        ({**GOOD, "failures": 3}, "hole punching failed 3 times"),
        ({**GOOD, "failures": 1, "seconds": 2.0}, "still trying, for 2 s"),
        ({**GOOD, "punches": False, "seconds": 9.0}, "the peer, which dialled, has been punching"),
    ],
)
def test_words(facts, words) -> None:
    assert words in why_not_direct(Facts(relayed=True, **facts))


def test_a_direct_connection_needs_no_words() -> None:
    assert why_not_direct(Facts(relayed=False)) is None


def test_private_ports_say_nothing_of_a_nat() -> None:
    peers = (LAN, SocketAddr(LAN.ip, 2), SEEN)
    assert "symmetric" not in why_not_direct(Facts(relayed=True, **{**GOOD, "peers": peers}))


def test_facts_come_from_the_remote_and_the_report() -> None:
    net = Net()
    connection = net.connect(RELAY)
    explain = net.remote.why_not_direct
    assert explain(connection, False, None) == (
        "we have no UDP socket: only relays can carry the connection"
    )
    commands_of(connection).remote = [A, B]
    net.clock.advance(20)
    report = type("Report", (), {"udp_probed": True, "udp_v4": True, "udp_v6": False})
    report.mapping_varies_by_dest_ipv4 = True
    assert explain(connection, True, report) == (
        "our NAT is symmetric: it gives every destination another port; no relay has told us our "
        "public address (no QAD answer); hole punching failed 3 times, and goes on"
    )
    report.udp_v4 = False
    assert explain(connection, True, report).startswith("UDP seems to be blocked here")
    arrive(connection, net, A)
    assert explain(connection, True, report) is None


def test_one_line_in_the_log_when_it_stays_relayed(caplog) -> None:
    net = Net()
    net.remote.around.explain = lambda _remote, _connection: "for reasons"
    with caplog.at_level(logging.INFO, "iroh.magicsock.remote"):
        net.connect(RELAY)
        net.clock.advance(RELAYED_NOTE / 2)
        late = net.connect(RELAY)
        net.clock.advance(RELAYED_NOTE / 2)
        assert caplog.text.count("still relayed: for reasons") == 1
        net.clock.advance(100)
        assert caplog.text.count("still relayed: for reasons") == 2
        arrive(late, net, OURS)
        net.clock.advance(100)
    assert caplog.text.count("still relayed") == 2
