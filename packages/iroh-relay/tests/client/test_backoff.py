"""The waits between attempts."""

import pytest

from iroh_relay.client.backoff import Backoff


def test_doubles_from_10_ms_to_16_s() -> None:
    backoff = Backoff(lambda: 0.0)
    delays = [backoff.next_delay() for _ in range(13)]
    assert delays[:4] == [0.01, 0.02, 0.04, 0.08]
    assert delays[10:] == [10.24, 16.0, 16.0]


def test_jitter_adds_up_to_the_step_again() -> None:
    backoff = Backoff(lambda: 0.5)
    assert [backoff.next_delay() for _ in range(3)] == pytest.approx([0.015, 0.03, 0.06])


def test_reset() -> None:
    backoff = Backoff(lambda: 0.0)
    for _ in range(5):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == 0.01
