"""Endpoints on a machine whose network changes: the machine is made up, the sockets are real."""

import asyncio

import pytest

from iroh import NetworkChangeCallback
from iroh.netmon import DefaultRoute, Interface, LocalIp, NetworkState

from .conftest import ALPN, meet


def machine(ip: str) -> NetworkState:
    lo = Interface(1, "lo", 9, b"", (LocalIp("127.0.0.1", 8), LocalIp("::1", 128)))
    return NetworkState(
        (lo, Interface(2, "eth0", 1, b"", (LocalIp(ip, 24),))), DefaultRoute("eth0")
    )


class Machine:
    """Stands in for the machine of one endpoint."""

    def __init__(self, endpoint) -> None:
        self.monitor = endpoint._core.monitor
        self.state = self.monitor.state
        self.monitor._platform = self

    def read(self) -> NetworkState:
        return self.state

    def wall_clock(self) -> float:
        return 0.0


async def test_addresses_follow_the_machine(bind) -> None:
    endpoint = await bind(bind_addr="0.0.0.0:0")
    addresses, networks = endpoint.watch_addr(), endpoint.watch_network_change()
    there = Machine(endpoint)
    there.state = machine("198.51.100.77")
    await endpoint.network_change()
    port = endpoint.bound_sockets()[0].rpartition(":")[2]
    assert f"198.51.100.77:{port}" in (await addresses.updated()).direct_addresses()
    assert await networks.updated() == there.state
    assert endpoint.stats()["socket:actor_link_change"].value == 1
    await endpoint.network_change()
    assert endpoint.stats()["socket:actor_link_change"].value == 1


async def test_a_callback_hears_of_real_changes_only(bind) -> None:
    class Callback(NetworkChangeCallback):
        async def on_change(self) -> None:
            calls.append(endpoint.watch_network_change().get())
            called.set()

    calls: list[NetworkState] = []
    called = asyncio.Event()
    endpoint = await bind()
    there = Machine(endpoint)
    handle = endpoint.watch_network_change(Callback())
    for ip in ("198.51.100.1", "198.51.100.2"):
        await endpoint.network_change()
        there.state = machine(ip)
        await endpoint.network_change()
        await called.wait()
        called.clear()
    assert [state.regular_addresses for state in calls] == [("198.51.100.1",), ("198.51.100.2",)]
    await endpoint.close()
    await asyncio.wait((handle._task,))
    await endpoint.network_change()
    assert len(calls) == 2


@pytest.mark.parametrize("moves", ["client", "server", "both"])
async def test_a_connection_survives_major_changes(bind, moves: str) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    movers = {"client": [client], "server": [server], "both": [client, server]}[moves]
    dialled, accepted = await meet(client, server)
    send, recv = await dialled.open_bi()
    for turn in range(3):
        for endpoint in movers:
            endpoint._core.monitor._look(resumed=True)  # as after sleep: major, nothing is gone
        await send.write_all(b"x" * 1000)
        if not turn:
            answer, question = await accepted.accept_bi()
        assert await question.read_exact(1000) == b"x" * 1000
        await answer.write_all(b"y" * 1000)
        assert await recv.read_exact(1000) == b"y" * 1000
    assert all(endpoint._core.monitor.state.resumes == 3 for endpoint in movers)
    dialled.close(0, b"")


async def test_a_resolver_that_fails_to_reset_costs_nothing(bind, monkeypatch, caplog) -> None:
    endpoint = await bind(alpns=[ALPN])
    core = endpoint._core

    def fail() -> None:
        raise RuntimeError("mine")

    monkeypatch.setattr(core.resolver, "reset", fail)
    there = Machine(endpoint)
    there.state = machine("198.51.100.3")
    await endpoint.network_change()
    assert "the resolver failed to reset" in caplog.text
    assert endpoint.watch_network_change().get() == there.state
