"""The life of a connection: every pair of its table, and random inputs against a real one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic import stage as sg
from iroh.quic.datagrams import Datagrams
from iroh.quic.errors import PeerError, Reset, TimedOut
from iroh.quic.events import Closed, Drained
from iroh.quic.frames import ConnectionClose

from .engine_pair import SERVER, Pair, connected

INPUTS = ("COMPLETE", "CLOSE", "PEER_CLOSED", "VANISH", "ELAPSED")
PAIRS = list(itertools.product(range(len(sg.NAMES)), range(len(INPUTS))))


@pytest.mark.parametrize(("now", "what"), PAIRS)
def test_every_pair(now, what):
    expected = {
        sg.COMPLETE: {sg.HANDSHAKING: sg.ESTABLISHED},
        sg.CLOSE: dict.fromkeys((sg.HANDSHAKING, sg.ESTABLISHED), sg.CLOSING),
        sg.PEER_CLOSED: dict.fromkeys((sg.HANDSHAKING, sg.ESTABLISHED, sg.CLOSING), sg.DRAINING),
        sg.VANISH: dict.fromkeys((sg.HANDSHAKING, sg.ESTABLISHED), sg.DRAINED),
        sg.ELAPSED: dict.fromkeys((sg.CLOSING, sg.DRAINING), sg.DRAINED),
    }
    assert sg.step(now, what) == expected[what].get(now, now)


@given(st.lists(st.integers(0, len(INPUTS) - 1)))
def test_no_way_leads_back(inputs):
    now = sg.HANDSHAKING
    for what in inputs:
        after = sg.step(now, what)
        assert after >= now
        now = after
    assert sg.step(sg.step(now, sg.CLOSE), sg.ELAPSED) == sg.DRAINED


# -- a real connection -----------------------------------------------------------------------------


def close(connection, now):
    connection.close(7, b"bye", now)


def fail(connection, now):
    connection._p.ending.fail(PeerError(0xA, "broke the rules"), now)


def peer_closes(connection, now):
    if connection._p.stage < sg.DRAINED:
        connection._p.ending.on_close(ConnectionClose(3, b"", 0), now)


def peer_application_closes(connection, now):
    if connection._p.stage < sg.DRAINED:
        connection._p.ending.on_close(ConnectionClose(3, b"", None), now)


def reset(connection, now):
    connection.vanish(Reset(), now)


def idle(connection, now):
    connection.vanish(TimedOut(), now)


def tick(connection, now):
    due = connection.next_timeout()
    connection.handle_timeout(now if due is None else max(now, due))


def late(connection, now):
    connection.receive(Datagrams(SERVER, b"\x41" + bytes(50)), now)


def late_long(connection, now):
    connection.receive(Datagrams(SERVER, b"\xc0\0\0\0\1" + bytes(50)), now)


def send(connection, now):
    connection.transmit(now)


ACTS = (close, fail, peer_closes, peer_application_closes, reset, idle, tick, late, late_long, send)


@given(acts=st.lists(st.sampled_from(ACTS), max_size=8), early=st.booleans())
def test_a_connection_ends_once_whatever_happens(acts, early):
    pair = Pair() if early else connected()
    connection = pair.client.connection
    assert connection is not None
    events = []
    before = connection._p.stage
    for act in acts:
        act(connection, pair.now)
        events += connection.events()
        assert connection._p.stage >= before
        before = connection._p.stage
    close(connection, pair.now)
    for _ in range(3):
        tick(connection, pair.now)
        events += connection.events()
    ends = [event for event in events if isinstance(event, Closed | Drained)]
    assert [type(event) for event in ends] == [Closed, Drained]
    assert events[-1] == Drained()
    assert ends[0].reason == connection.close_reason
    assert connection.next_timeout() is None
    assert connection.transmit(pair.now + 1) == []
    assert connection.events() == []
