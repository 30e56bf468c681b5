from iroh_relay.protos.ping import PingTracker
from iroh_relay.server.keepalive import Keepalive, default_jitter


def keepalive(*jitter: float) -> Keepalive:
    values = iter(jitter)
    return Keepalive(0.0, 15.0, jitter=lambda: next(values), pings=PingTracker())


def test_the_jitter_is_one_to_five_whole_seconds() -> None:
    assert {default_jitter() for _ in range(300)} == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_a_silent_client_is_asked_and_each_time_later_or_sooner() -> None:
    alive = keepalive(3.0, 1.0, 5.0)
    assert alive.next_wake() == 18.0
    assert alive.poll(17.9) is None
    data = alive.poll(18.0)
    assert data is not None
    alive.pong_received(data, 18.1)
    assert alive.next_wake() == 34.0


def test_any_frame_starts_the_silence_over() -> None:
    alive = keepalive(1.0, 1.0)
    alive.last_received = 10.0
    assert alive.next_wake() == 26.0
    assert alive.poll(16.0) is None
    assert not alive.dead


def test_no_pong_is_death_five_seconds_later() -> None:
    alive = keepalive(1.0, 1.0)
    assert alive.poll(16.0) is not None
    assert alive.next_wake() == 21.0
    alive.last_received = 20.0  # other frames do not pay what is owed
    assert alive.poll(20.9) is None
    assert not alive.dead
    assert alive.poll(21.0) is None
    assert alive.dead


def test_a_fast_client_gets_as_long_as_any_other() -> None:
    """Its program may be busy for a moment."""
    alive = keepalive(1.0, 1.0, 1.0)
    data = alive.poll(16.0)
    assert data is not None
    alive.pong_received(data, 16.001)
    assert alive.poll(32.0) is not None
    assert alive.next_wake() == 37.0
    alive.poll(37.0)
    assert alive.dead


def test_a_relay_that_stood_still_asks_again() -> None:
    """A laptop that slept, a host application that was busy: the pong may wait in the socket."""
    alive = keepalive(1.0, 1.0, 1.0)
    assert alive.poll(16.0) is not None
    data = alive.poll(300.0)
    assert data is not None
    assert not alive.dead
    assert alive.next_wake() == 305.0
    alive.poll(305.0)
    assert alive.dead


def test_a_late_answer_to_an_old_ping_pays_nothing() -> None:
    alive = keepalive(1.0, 1.0)
    assert alive.poll(16.0) is not None
    alive.pong_received(b"whatever", 16.1)
    alive.poll(21.0)
    assert alive.dead
