"""Which relay is home. No I/O."""

from collections.abc import Mapping

from iroh.net_report.home import MAX_HISTORY, HomeChoice
from iroh_base import RelayUrl

from .kit import A, B, C

ALL = {A, B, C}


def choose(
    home: HomeChoice, now: float, latencies: Mapping[RelayUrl, float], full: bool = True
) -> RelayUrl | None:
    return home.choose(now, latencies, ALL, full=full)


def test_the_fastest_is_home() -> None:
    assert choose(HomeChoice(), 0.0, {A: 0.2, B: 0.1}) == B
    assert choose(HomeChoice(), 0.0, {}) is None


def test_home_moves_only_for_a_clear_gain() -> None:
    home = HomeChoice()
    assert choose(home, 0.0, {A: 0.1, B: 0.2}) == A
    assert choose(home, 20.0, {A: 0.1, B: 0.08}) == A
    assert choose(home, 40.0, {A: 0.1, B: 0.067}) == A
    assert choose(home, 60.0, {A: 0.1, B: 0.066}) == B


def test_the_best_of_five_minutes_counts() -> None:
    home = HomeChoice()
    choose(home, 0.0, {A: 0.05, B: 0.1})
    assert choose(home, 20.0, {A: 0.3, B: 0.1}) == A  # one slow answer does not move it
    assert choose(home, 321.0, {A: 0.3, B: 0.1}) == B


def test_a_home_that_does_not_answer_a_full_report_is_left() -> None:
    home = HomeChoice()
    choose(home, 0.0, {A: 0.1, B: 0.2})
    assert choose(home, 20.0, {B: 0.2}, full=False) == A
    assert choose(home, 40.0, {B: 0.2}) == B


def test_when_nobody_answers_home_stays() -> None:
    home = HomeChoice()
    choose(home, 0.0, {A: 0.1})
    assert choose(home, 20.0, {}) == A
    assert home.choose(40.0, {}, {B}, full=True) is None


def test_a_home_that_was_taken_out_is_left() -> None:
    home = HomeChoice()
    choose(home, 0.0, {A: 0.1, B: 0.2})
    assert home.choose(20.0, {A: 0.1, B: 0.2}, {B, C}, full=False) == B


def test_latencies_of_another_network_are_forgotten() -> None:
    home = HomeChoice()
    choose(home, 0.0, {A: 0.01, B: 0.1})
    home.forget_latencies()
    assert choose(home, 5.0, {A: 0.3, B: 0.1}) == B


def test_history_is_bounded() -> None:
    home = HomeChoice()
    for _ in range(2 * MAX_HISTORY):
        choose(home, 0.0, {A: 0.1})
    assert len(home._history) == MAX_HISTORY
