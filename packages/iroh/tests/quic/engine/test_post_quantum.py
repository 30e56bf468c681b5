"""X25519MLKEM768: used when both ends want it, and when one of its packets is lost."""

import pytest
from engine_kit import ALPN, Wire

from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.tls import groups, schedule

HYBRID, PLAIN = {"post_quantum": True}, {}

pytestmark = pytest.mark.skipif(
    not groups.has_hybrid(), reason="this cryptography has no ML-KEM-768"
)


@pytest.fixture
def secrets(monkeypatch):
    """The lengths of what both ends agree on: 32 bytes by x25519 alone, 64 with ML-KEM."""
    lengths = []
    agree = schedule.Schedule.agree

    def noting(self, shared):
        lengths.append(len(shared))
        agree(self, shared)

    monkeypatch.setattr(schedule.Schedule, "agree", noting)
    return lengths


@pytest.mark.parametrize(
    ("client", "server", "length"),
    [(HYBRID, HYBRID, 64), (HYBRID, PLAIN, 32), (PLAIN, HYBRID, 32), (PLAIN, PLAIN, 32)],
)
def test_both_have_to_want_it(secrets, client, server, length):
    wire = Wire()
    wire.server_config = ServerConfig([ALPN], TransportConfig(**server))
    wire.meet(transport=TransportConfig(**client))
    assert secrets == [length, length]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_client_hello_of_two_datagrams_of_which_one_is_lost(secrets, lost):
    wire = Wire()
    wire.server_config = ServerConfig([ALPN], TransportConfig(post_quantum=True))
    wire.passes = lambda _is_client, _datagrams: len(wire.sent) != lost + 1
    wire.meet(transport=TransportConfig(post_quantum=True))
    assert secrets == [64, 64]


def test_it_needs_a_library_that_has_it(monkeypatch):
    monkeypatch.setattr(groups, "has_hybrid", lambda: False)
    with pytest.raises(ValueError):
        TransportConfig(post_quantum=True)
