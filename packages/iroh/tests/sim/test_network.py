"""The simulated network itself: what it says it does to datagrams, it does."""

import random

import pytest

from iroh.quic.datagrams import Datagrams

from .link import Conditions
from .nat import Nat
from .network import Network, kind_of

A, B, C = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
MANY = 4_000


def network(quantum=0.0, seed=1, **conditions):
    net = Network(random.Random(seed), Conditions(**conditions), quantum)
    net.attach("a", [A, ("relay", "a")])
    net.attach("b", [B, ("relay", "b")])
    return net


def send(net, count=1, size=100, now=0.0, remote=B, local=None):
    for number in range(count):
        net.send("a", Datagrams(remote, number.to_bytes(4, "big") * (size // 4), local=local), now)


def received(net, host="b", now=1e9):
    """The numbers of the datagrams in the order of their arrival, and their batches."""
    batches = net.arrived(now).get(host, [])
    return [int.from_bytes(data[:4], "big") for batch in batches for data in batch], batches


def test_a_clean_link_carries_in_order_after_its_delay():
    net = network(delay=0.5)
    send(net, 10)
    assert net.next_arrival() == 0.5
    assert received(net, now=0.4) == ([], [])
    numbers, batches = received(net, now=0.5)
    assert numbers == list(range(10))
    assert [(batch.remote, batch.local, len(batch)) for batch in batches] == [(A, B, 10)]
    assert net.next_arrival() is None


@pytest.mark.parametrize(
    ("conditions", "fate", "share"),
    [
        ({"loss": 0.2}, "lost", 0.2),
        ({"corrupt": 0.1}, "corrupted", 0.1),
        ({"duplicate": 0.3}, "duplicated", 0.3),
        ({"reorder": 0.1}, "reordered", 0.1),
    ],
)
def test_shares_are_kept(conditions, fate, share):
    net = network(**conditions)
    send(net, MANY)
    assert abs(net.fates()[fate] / MANY - share) < 0.03


def test_a_burst_loses_neighbours():
    net = network(burst=0.005, burst_length=0.02)
    for number in range(MANY):
        send(net, now=number * 0.001)
    lost = net.fates()["burst"]
    assert 0.04 * MANY < lost < 0.2 * MANY


def test_jitter_keeps_the_order_and_reorder_does_not():
    net = network(jitter=0.1)
    send(net, 100)
    assert received(net)[0] == list(range(100))
    net = network(reorder=0.1)
    send(net, 100)
    numbers, _ = received(net)
    assert sorted(numbers) == list(range(100)) != numbers


def test_corruption_flips_one_bit():
    net = network(corrupt=1.0)
    net.send("a", Datagrams(B, bytes(50)), 0.0)
    (batch,) = net.arrived(9.0)["b"]
    assert int.from_bytes(batch.data, "big").bit_count() == 1
    assert net.heard == {}


def test_a_rate_spreads_and_its_queue_overflows():
    net = network(rate=10_000, queue=1_000, delay=0.0)
    send(net, 20)
    numbers, _ = received(net)
    assert numbers == list(range(10))
    assert net.fates() == {"carried": 10, "queue full": 10}
    assert net.link(A, B).busy_until == pytest.approx(0.1)


def test_the_mtu_and_an_outage_swallow():
    net = network(mtu=1200)
    send(net, size=1200)
    send(net, size=1204)
    net.conditions.is_up = False
    send(net)
    assert net.fates() == {"carried": 1, "too big": 1, "link down": 1}


def test_orders_go_before_conditions():
    net = network()
    link = net.link(A, B)
    link.orders.drop, link.orders.hold, link.orders.duplicate = 2, 1, 2
    send(net, 6)
    assert received(net)[0] == [2, 3, 3, 4, 5, 2]  # 0 and 1 dropped, 2 held and doubled, 3 doubled


def test_only_capable_datagrams_are_marked():
    net = network(mark=1.0)
    for ecn in (0, 1, 2):
        net.send("a", Datagrams(B, b"x", ecn=ecn), 0.0)
    assert [batch.ecn for batch in received(net)[1]] == [0, 3]
    assert net.fates()["marked"] == 2


def test_runs_are_joined_as_gro_does():
    net = network()
    for size in (100, 100, 60, 100, 120):
        send(net, size=size)
    batches = received(net)[1]
    assert [(batch.segment_size, len(batch.data)) for batch in batches] == [
        (100, 260),
        (100, 100),
        (120, 120),
    ]


def test_a_quantum_lets_arrivals_meet():
    net = network(quantum=0.01, delay=0.005)
    send(net, now=0.001)
    send(net, now=0.004)
    assert net.next_arrival() == 0.01
    assert len(received(net)[1][0]) == 2


# -- addresses ----------------------------------------------------------------------------------


def test_kinds_of_addresses_do_not_mix():
    assert kind_of(A) == "ipv4"
    assert kind_of(("fe80::1", 1)) == "ipv6"
    assert kind_of(("relay", "a")) == "relay"
    net = network()
    send(net, remote=("relay", "b"))
    send(net, remote=("fe80::1", 1))
    send(net, remote=C)
    send(net, local=C)
    assert [batch.remote for batch in received(net)[1]] == [("relay", "a")]
    assert net.unreachable == {"no source address": 2, "nobody there": 1}


def test_a_fan_out_reaches_every_address():
    net = network()
    net.fan_out("mixed", [B, ("relay", "b"), C])
    send(net, remote="mixed")
    assert {(batch.remote, batch.local) for batch in received(net)[1]} == {
        (A, B),
        (("relay", "a"), ("relay", "b")),
    }


def test_a_nat_shows_its_own_address_until_it_forgets():
    net = network()
    nat = net.nat(A, "192.0.2.1")
    send(net)
    (batch,) = received(net)[1]
    seen = batch.remote
    assert seen[0] == "192.0.2.1"
    net.send("b", Datagrams(seen, b"answer"), 1.0)
    net.send("b", Datagrams(A, b"past the NAT"), 1.0)
    (answer,) = received(net, "a")[1]
    assert (answer.remote, answer.local, answer.data) == (B, A, b"answer")
    nat.rebind()
    net.send("b", Datagrams(seen, b"too late"), 2.0)
    assert received(net, "a")[1] == []
    send(net, now=3.0)
    assert received(net)[1][0].remote != seen


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("filtering", [False, True])
def test_kinds_of_nats(symmetric, filtering):
    nat = Nat(A, "192.0.2.1", symmetric=symmetric, filtering=filtering)
    to_b, to_c = nat.outward(B), nat.outward(C)
    assert (to_b != to_c) == symmetric
    assert nat.inward(to_b, B)
    assert nat.inward(to_b, C) == (not (symmetric and filtering))
    assert nat.inward(to_b, ("10.0.0.9", 9)) != filtering


def test_a_seed_decides_everything():
    def run(seed):
        net = network(seed=seed, loss=0.3, jitter=0.1, duplicate=0.1, reorder=0.1)
        send(net, 200)
        return received(net)[0], net.digest

    assert run(5) == run(5)
    assert run(5) != run(6)
