"""Who asks and who answers, in virtual time."""

import itertools

import pytest

from iroh.address_lookup.mdns.swarm import MAX_PEERS, Ask, Gone, Output, Say, Seen, Swarm
from iroh.address_lookup.mdns.wire import Announcement
from iroh_base import SecretKey, SocketAddr

HERE = Announcement((SocketAddr("10.0.0.1", 1),))
MOVED = Announcement((SocketAddr("10.0.0.2", 1),))
IDS = [SecretKey(bytes([n]) * 32).public() for n in range(1, 9)]


def make(random: float = 0.5) -> Swarm:
    return Swarm(0.0, lambda: random)


def run(swarm: Swarm, until: float) -> list[tuple[float, Output]]:
    done = []
    while (now := swarm.next_timeout) < until:
        done += [(round(now, 3), output) for output in swarm.handle_timeout(now)]
    return done


def test_one_alone_asks_and_answers_itself() -> None:
    """0.7 + 0.5 * 0.07 s to the query, 0.5 * 0.05 s to the answer; extra is 0 in a small swarm."""
    assert run(make(), 1.6) == [
        (0.735, Ask()),
        (0.76, Say(None)),
        (1.495, Ask()),
        (1.52, Say(None)),
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_who_hears_a_query_does_not_ask(family) -> None:
    swarm = make()
    assert swarm.heard_query(family, 0.1) == []
    assert swarm.heard_query(6, 0.11) == []  # one answer is enough
    assert run(swarm, 0.2) == [(0.125, Say(family))]


def test_enough_others_answered() -> None:
    """The cutoff is ceil(0.7 * 2.5) = 2 answers."""
    swarm = make(0.999)
    swarm.heard_query(4, 0.1)
    swarm.heard_peers({IDS[0]: HERE}, 0.11)
    swarm.heard_peers({IDS[1]: HERE}, 0.12)
    assert run(swarm, 0.8) == []  # no answer of ours, and the next query is not before 0.12 + 0.7


def test_after_an_answer_others_get_their_turn() -> None:
    swarm = make(0.0)
    swarm.heard_peers(dict.fromkeys(IDS, HERE), 0.0)
    swarm.heard_query(4, 0.1)
    assert run(swarm, 0.2) == [(0.1, Say(4))]
    swarm.heard_query(4, 0.2)
    assert run(swarm, 0.65) == [(0.6, Say(4))]  # 8 // 2 times 0.1 s later
    swarm.heard_query(4, 0.7)
    swarm.heard_peers({IDS[0]: HERE, IDS[1]: HERE}, 0.71)  # a round without us
    swarm.heard_query(4, 0.8)
    assert run(swarm, 1.2)[0] == (1.1, Say(4))  # still 0.4 - 0.1


def test_what_is_told_of_an_endpoint() -> None:
    swarm = make()
    assert swarm.heard_peers({IDS[0]: HERE}, 0.0) == [Seen(IDS[0], HERE)]
    assert swarm.heard_peers({IDS[0]: HERE}, 0.1) == []
    assert swarm.heard_peers({IDS[0]: MOVED}, 0.2) == [Seen(IDS[0], MOVED)]
    assert swarm.get(IDS[0]) == MOVED
    # one of one is to answer each 0.7 s: gone after 3 * 0.7 s, at the next of the rounds of 0.864 s
    gone = [(when, output) for when, output in run(swarm, 5) if isinstance(output, Gone)]
    assert gone == [(2.593, Gone(IDS[0]))]
    assert swarm.get(IDS[0]) is None
    assert swarm.heard_peers({IDS[0]: MOVED}, 5.1) == [Seen(IDS[0], MOVED)]


def test_in_a_large_swarm_each_may_be_silent_for_longer() -> None:
    swarm = make()
    swarm.heard_peers(dict.fromkeys(IDS, HERE), 0.0)
    gone = [when for when, output in run(swarm, 20) if isinstance(output, Gone)]
    assert len(gone) == len(IDS)
    assert min(gone) >= 3 * 0.7 * len(IDS) / 2


def test_the_table_is_bounded() -> None:
    swarm = make()
    for n in range(MAX_PEERS + 5):
        swarm.heard_peers({_Id(n): HERE}, 0.0)
    assert swarm.full == 5


class _Id(int):
    """Stands for an id: the table only compares."""


def test_two_take_turns_in_asking() -> None:
    """Queries do not double with a second endpoint: whoever hears one does not ask."""
    numbers = itertools.cycle([0.1, 0.9, 0.4, 0.7, 0.2])
    swarms = [Swarm(0.0, lambda: next(numbers)) for _ in range(2)]
    asked = 0
    while (now := min(swarm.next_timeout for swarm in swarms)) < 70:
        for swarm in swarms:
            for output in swarm.handle_timeout(now) if now >= swarm.next_timeout else ():
                for n, other in enumerate(swarms):
                    if isinstance(output, Ask):
                        asked += 1
                        other.heard_query(4, now)
                    elif isinstance(output, Say):
                        other.heard_peers({IDS[n]: HERE}, now)
    assert asked / 2 <= 101  # both hear each query: one per 0.7 s together


def test_a_cadence_of_nothing() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Swarm(0.0, lambda: 0.5, tau=0.0)
