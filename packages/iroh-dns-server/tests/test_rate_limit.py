"""GCRA, and who a request counts for."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from iroh_dns_server import RateLimit
from iroh_dns_server.http.rate_limit import (
    BURST,
    PERIOD,
    RateLimiter,
    client_address,
    reported_addresses,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_two_at_once_then_one_every_four_seconds(clock: Clock) -> None:
    limiter = RateLimiter(clock=clock)
    assert [limiter.check("a") for _ in range(3)] == [0, 0, 4]
    clock.now += 3.5
    assert limiter.check("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert [limiter.check("a") for _ in range(2)] == [0, 4]
    clock.now += 100
    assert [limiter.check("a") for _ in range(3)] == [0, 0, 4]


def test_clients_do_not_share(clock: Clock) -> None:
    limiter = RateLimiter(clock=clock)
    assert [limiter.check(client) for client in "aabbaab"] == [0, 0, 0, 0, 4, 4, 4]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 10)), max_size=60))
def test_never_more_than_the_burst_and_the_rate(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    limiter = RateLimiter(clock=clock)
    allowed: dict[str, list[float]] = {"a": [], "b": []}
    for client, pause in steps:
        clock.now += pause
        wait = limiter.check(client)
        times = allowed[client]
        if wait == 0:
            times.append(clock.now)
            for earlier in range(len(times)):
                span = clock.now - times[earlier]
                assert len(times) - earlier <= BURST + span / PERIOD + 1e-6
        else:
            assert 0 < wait <= PERIOD + 1e-6
    assert len(limiter) <= 2


def test_the_table_forgets_the_quiet_and_is_bounded(clock: Clock) -> None:
    limiter = RateLimiter(clock=clock, max_clients=10)
    for client in range(100):
        limiter.check(str(client))
    assert len(limiter) == 10
    clock.now += 60
    for _ in range(6):
        limiter.check("one")
    assert len(limiter) == 1


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, None),
        ({"X-Forwarded-For": "192.0.2.1"}, "192.0.2.1"),
        ({"x-forwarded-for": "unknown, 192.0.2.1, 192.0.2.9"}, "192.0.2.1"),
        ({"X-Forwarded-For": "nobody", "X-Real-IP": "2001:db8::1"}, "2001:db8::1"),
        ({"X-Real-IP": "::ffff:192.0.2.1"}, "192.0.2.1"),
        ({"Forwarded": "for=192.0.2.43"}, "192.0.2.43"),
        ({"Forwarded": 'proto=http; For="[2001:db8:cafe::17]:4711", for=10.0.0.1'},
         "2001:db8:cafe::17"),
        ({"Forwarded": 'for="192.0.2.43:47011"'}, "192.0.2.43"),
        ({"Forwarded": "for=unknown, for=_hidden, for=192.0.2.1"}, "192.0.2.1"),
        ({"Forwarded": "for=[2001:db8::1"}, "2001:db8::1"),
    ],
)  # fmt: skip
def test_what_proxies_report(headers: dict[str, str], address: str | None) -> None:
    assert next(iter(reported_addresses(CIMultiDict(headers))), None) == address


def test_modes() -> None:
    headers = CIMultiDict({"X-Forwarded-For": "192.0.2.1"})
    assert client_address(RateLimit.SIMPLE, "::ffff:10.0.0.1", headers) == "10.0.0.1"
    assert client_address(RateLimit.SMART, "10.0.0.1", headers) == "192.0.2.1"
    assert client_address(RateLimit.SMART, "10.0.0.1", CIMultiDict()) == "10.0.0.1"
    assert client_address(RateLimit.SIMPLE, None, headers) == "unknown"


TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"))


@pytest.mark.parametrize(
    ("peer", "headers", "counted"),
    [
        ("192.0.2.7", [("X-Forwarded-For", "192.0.2.1")], "192.0.2.7"),  # not through a proxy
        ("10.0.0.1", [("X-Forwarded-For", "192.0.2.1")], "192.0.2.1"),
        ("::ffff:10.0.0.1", [("X-Forwarded-For", "192.0.2.1")], "192.0.2.1"),
        ("10.0.0.1", [("X-Forwarded-For", "8.8.8.8, 192.0.2.1")], "192.0.2.1"),  # made up
        ("10.0.0.1", [("X-Forwarded-For", "8.8.8.8, x, 192.0.2.1, 10.0.0.2")], "192.0.2.1"),
        ("10.0.0.1", [("X-Forwarded-For", "8.8.8.8"), ("X-Forwarded-For", "192.0.2.1")],
         "192.0.2.1"),  # a proxy that adds a line of its own
        ("10.0.0.1", [("X-Forwarded-For", "10.0.0.3, 10.0.0.2")], "10.0.0.1"),  # nobody else
        ("10.0.0.1", [("X-Real-IP", "192.0.2.1")], "192.0.2.1"),
        ("2001:db8:1::5", [("Forwarded", 'for="[2001:db8::1]:5", for=10.0.0.2')], "2001:db8::1"),
        ("10.0.0.1", [], "10.0.0.1"),
        (None, [("X-Forwarded-For", "192.0.2.1")], "unknown"),
    ],
)  # fmt: skip
def test_only_trusted_proxies_are_believed(
    peer: str | None, headers: list[tuple[str, str]], counted: str
) -> None:
    assert client_address(RateLimit.SMART, peer, CIMultiDict(headers), TRUSTED) == counted


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_no_header_makes_it_raise(forwarded_for: str, real: str, forwarded: str) -> None:
    headers = CIMultiDict(
        {"X-Forwarded-For": forwarded_for, "X-Real-IP": real, "Forwarded": forwarded}
    )
    assert client_address(RateLimit.SMART, "10.0.0.1", headers)
    assert client_address(RateLimit.SMART, "10.0.0.1", headers, TRUSTED)
