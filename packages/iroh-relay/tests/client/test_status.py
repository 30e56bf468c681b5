"""The state machine as a table."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_relay.client.status import Event, RelayState, RelayStatus, next_state

S, E = RelayState, Event
TABLE = {
    (S.CONNECTING, E.DIALLING): S.CONNECTING,
    (S.CONNECTING, E.FAILED): S.DISCONNECTED,
    (S.CONNECTING, E.UP): S.CONNECTED,
    (S.CONNECTING, E.STOPPED): S.DISCONNECTED,
    (S.CONNECTED, E.LOST): S.DISCONNECTED,
    (S.CONNECTED, E.STOPPED): S.DISCONNECTED,
    (S.DISCONNECTED, E.DIALLING): S.CONNECTING,
    (S.DISCONNECTED, E.STOPPED): S.DISCONNECTED,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_every_pair(state: RelayState, event: Event) -> None:
    if (state, event) in TABLE:
        assert next_state(state, event) is TABLE[state, event]
    else:
        with pytest.raises(KeyError):
            next_state(state, event)


@given(st.lists(st.sampled_from(sorted(E, key=lambda event: event.value)), max_size=30))
def test_connected_only_right_after_up(events: list[Event]) -> None:
    state = S.CONNECTING
    for event in events:
        if (state, event) in TABLE:
            state = next_state(state, event)
            assert (state is S.CONNECTED) == (event is E.UP)


def test_status_is_a_value() -> None:
    status = RelayStatus("https://relay.example/")
    assert status == RelayStatus("https://relay.example/", S.CONNECTING, None)
    assert not status.is_connected
    assert RelayStatus("u", S.CONNECTED).is_connected
    assert f"{S.CONNECTED}" == "connected"
