"""The tables of both halves of a stream: every pair, and ways that lead nowhere."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.streams import recv, send

SEND = {
    send.FINISH: {send.OPEN: send.FINISHING},
    send.FIN_SENT: {send.FINISHING: send.DATA_SENT, send.DATA_SENT: send.DATA_SENT},
    send.ALL_ACKED: {send.DATA_SENT: send.DATA_RECVD},
    send.RESET: dict.fromkeys((send.OPEN, send.FINISHING, send.DATA_SENT), send.RESET_SENT),
    send.RESET_ACKED: {send.RESET_SENT: send.RESET_RECVD},
    send.REWIND: {send.DATA_SENT: send.FINISHING},
}
RECV = {
    recv.FIN: {recv.RECV: recv.SIZE_KNOWN, recv.STOPPED: recv.DATA_READ},
    recv.COMPLETE: {recv.SIZE_KNOWN: recv.DATA_RECVD},
    recv.RESET: {
        recv.RECV: recv.RESET_RECVD,
        recv.SIZE_KNOWN: recv.RESET_RECVD,
        recv.STOPPED: recv.RESET_READ,
    },
    recv.STOP: {
        recv.RECV: recv.STOPPED,
        recv.SIZE_KNOWN: recv.DATA_READ,
        recv.DATA_RECVD: recv.DATA_READ,
        recv.RESET_RECVD: recv.RESET_READ,
    },
    recv.TOLD: {recv.DATA_RECVD: recv.DATA_READ, recv.RESET_RECVD: recv.RESET_READ},
}
HALVES = {"send": (send, SEND), "recv": (recv, RECV)}
ENDS = {
    "send": (send.DATA_RECVD, send.RESET_RECVD),
    "recv": (recv.DATA_READ, recv.RESET_READ),
}


@pytest.mark.parametrize("name", HALVES)
def test_every_pair(name):
    module, expected = HALVES[name]
    for state, what in itertools.product(range(len(module.STATES)), expected):
        assert module.TRANSITIONS.get((state, what)) == expected[what].get(state)
    assert {what for _, what in module.TRANSITIONS} <= expected.keys()


@pytest.mark.parametrize("name", HALVES)
@given(data=st.data())
def test_a_half_that_is_over_stays_so(name, data):
    module, expected = HALVES[name]
    inputs = data.draw(st.lists(st.sampled_from(sorted(expected)), max_size=20))
    state = 0
    for what in inputs:
        after = module.TRANSITIONS.get((state, what), state)
        if state in ENDS[name]:
            assert after == state
        state = after


@pytest.mark.parametrize("name", HALVES)
def test_from_everywhere_there_is_an_end(name):
    module, _ = HALVES[name]
    for start in range(len(module.STATES)):
        reached, fresh = set(), {start}
        while fresh:
            reached |= fresh
            fresh = {after for (now, _), after in module.TRANSITIONS.items() if now in reached}
            fresh -= reached
        assert reached & set(ENDS[name]), module.STATES[start]
