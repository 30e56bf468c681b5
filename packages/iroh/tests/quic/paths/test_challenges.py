"""Challenges and responses of one path: retries, bounds."""

from paths_kit import CLIENT, CLIENT_2, rng_of

from iroh.quic.challenges import MAX_OUTSTANDING, MAX_RESPONSES, NEVER, Challenges, Responses


def test_every_challenge_is_new_and_the_last_ones_count():
    challenges, rng = Challenges(), rng_of(0)
    challenges.want()
    sent = []
    now = 0.0
    for _ in range(40):
        assert challenges.due
        sent.append(challenges.make(now, rng, 0.1, True))
        assert not challenges.due
        challenges.expire(challenges.deadline - 0.001)
        assert not challenges.due
        now = challenges.deadline
        challenges.expire(now)
        assert challenges.deadline == NEVER
    assert len(set(sent)) == 40
    assert all(len(data) == 8 for data in sent)
    assert [challenges.answered(data) is not None for data in sent] == [False] * (
        40 - MAX_OUTSTANDING
    ) + [True] * MAX_OUTSTANDING
    challenges.clear()
    assert challenges.answered(sent[-1]) is None


def test_a_huge_backoff_does_not_overflow():
    challenges, rng = Challenges(), rng_of(0)
    challenges.want()
    for _ in range(5000):
        challenges.make(0.0, rng, 1e300, True)
        challenges.expire(challenges.deadline)
    assert challenges.make(0.0, rng, 1.0, True)
    assert challenges.deadline == 2.0


def test_so_many_tries():
    challenges, rng = Challenges(), rng_of(0)
    challenges.want(2)
    for expected in (True, False):
        assert challenges.due
        challenges.make(0.0, rng, 0.1, True)
        challenges.expire(challenges.deadline)
        assert challenges.due is expected
    assert challenges.deadline == NEVER


def test_one_response_per_address_and_so_many_addresses():
    """A flood of PATH_CHALLENGE from everywhere (CVE-2023-49295)."""
    responses = Responses()
    for n in range(10_000):
        responses.push(n.to_bytes(8), ("192.0.2.9", n % 1000), None)
    assert len(responses) == MAX_RESPONSES
    responses = Responses()
    responses.push(b"1", CLIENT, None)
    responses.push(b"2", CLIENT_2, None)
    responses.push(b"3", CLIENT, CLIENT_2)
    assert responses.ways() == [(CLIENT, CLIENT_2), (CLIENT_2, None)]
    assert responses.pop(CLIENT) == b"3"
    responses.clear()
    assert not responses
