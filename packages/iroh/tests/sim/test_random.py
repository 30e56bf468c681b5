"""Two engines, used at random on a network that misbehaves at random.

After the style of noq-proto's test `random_interaction`; the model is stricter: it knows which
answers are right, and in the end everything has to arrive. Hypothesis prints the steps of a failure
as a program; the seed of the network and the endpoints is in its first step. To keep a failure, put
its steps into `FOUND`.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from iroh.quic.config import AckFrequencyConfig, TransportConfig

from .ending import Ending
from .engines import EXAMPLES
from .link import Conditions
from .model import Model
from .operations import (
    CLIENT_ADDRESSES,
    CODE,
    SERVER_ADDRESSES,
    SIDE,
    SendDatagrams,
    SetLoss,
    Step,
    Talk,
    Wait,
    World,
    operations,
)
from .pair import CLIENT, SERVER, Kinds, hosts, join

STEPS = 60
CONFIGS = {
    "as iroh": TransportConfig(),
    "tight": TransportConfig(
        stream_receive_window=15_000,
        receive_window=40_000,
        send_window=30_000,
        max_concurrent_bidi_streams=4,
        max_concurrent_uni_streams=2,
    ),
    "unusual": TransportConfig(
        congestion="newreno",
        mtu_upper_bound=9000,
        ack_frequency=AckFrequencyConfig(ack_eliciting_threshold=20, max_ack_delay=0.1),
        new_tokens=2,
        keep_alive_interval=None,
        stream_receive_window=200_000,
    ),
}


def begin(kinds: Kinds, seed: int, config: str, delay: float, jitter: float) -> World:
    """Connect a client with a server, each behind a NAT that may rebind."""
    transport = CONFIGS[config]
    sim, client, server = hosts(
        kinds,
        Conditions(delay=delay, jitter=jitter),
        seed=seed,
        client=transport,
        server=transport,
        client_addresses=CLIENT_ADDRESSES,
        server_addresses=SERVER_ADDRESSES,
    )
    nats = (sim.network.nat(CLIENT, "192.0.2.1"), sim.network.nat(SERVER, "192.0.2.2"))
    pair = join(sim, kinds, client, server, remote=nats[1].outward(None))
    for end, _ in pair.sides:
        end.listeners.clear()  # the model takes the place of the traffic
    return World(pair, Model(pair, transport), nats)


def machine(kinds: Kinds) -> type[RuleBasedStateMachine]:
    """Make the state machine for a pair of engines."""

    class RandomInteraction(RuleBasedStateMachine):
        world: World | None = None

        @initialize(
            seed=st.integers(0, 2**16),
            config=st.sampled_from(sorted(CONFIGS)),
            delay=st.sampled_from([0.0, 0.01, 0.1]),
            jitter=st.sampled_from([0.0, 0.02]),
        )
        def begin(self, seed, config, delay, jitter):
            self.world = begin(kinds, seed, config, delay, jitter)

        @rule(operation=operations(kinds))
        def do(self, operation):
            operation.run(self.world)

        @precondition(lambda self: self.world.pair.sim.steps > 200)  # else most runs end at once
        @rule(side=SIDE, code=CODE)
        def close(self, side, code):
            self.world.model.close(side, code)

        @invariant()
        def nothing_is_wrong(self):
            if self.world is not None:
                self.world.check()

        def teardown(self):
            if self.world is not None:
                Ending(self.world.model).run()

    return RandomInteraction


def test_random_interaction(kinds):
    run_state_machine_as_test(
        machine(kinds),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# -- what it has found ----------------------------------------------------------------------------

FOUND = {
    # A loss timer that was announced for t, and found nothing to do at t, without end.
    "a rounding error of the loss timer": (
        {"seed": 1007, "config": "tight", "delay": 0.1, "jitter": 0.0},
        [
            Wait(seconds=2.0),
            SendDatagrams(side=0, size=148, count=1),
            Step(count=8),
            SetLoss(loss=0.2),
            Step(count=14),
            Talk(side=0, kind="old", sizes=[387], pause=0.0),
            Talk(side=1, kind="uni", sizes=[51, 1082, 100_000, 1356], pause=0.3),
            SetLoss(loss=0.0),
            Wait(seconds=0.3),
        ],
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_mended(kinds, name):
    start, steps = FOUND[name]
    world = begin(kinds, **start)
    for step in steps:
        step.run(world)
        world.check()
    Ending(world.model).run()
