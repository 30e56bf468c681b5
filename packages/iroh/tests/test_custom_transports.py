"""Endpoints over custom transports, end to end: lookup, tickets, paths, loss, the end."""

import asyncio

import pytest

from iroh import (
    BiasedRttPathSelector,
    BindError,
    CustomAddr,
    CustomTransport,
    Endpoint,
    EndpointAddr,
    EndpointBuilder,
    EndpointTicket,
    IncomingAddr,
    IncomingLocalAddr,
    LookupFailedError,
    SecretKey,
    Tier,
    TransportBias,
    presets,
)
from iroh.testing import MEMORY_TRANSPORT_ID, MemoryNetwork, memory_addr
from iroh_base import InvalidInputError

from .conftest import ALPN
from .test_network_change import Machine, machine


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


@pytest.fixture
def join(bind, network):
    """Bind an endpoint on the memory network, and nothing else."""

    async def join(**settings) -> Endpoint:
        key = SecretKey.generate()
        transport = network.create_transport(key.public())
        settings = {"preset": transport, "bind_addr": None, "secret_key": key, **settings}
        return await bind(**settings)

    return join


@pytest.fixture
def join_both(bind, network):
    """Bind an endpoint on the memory network and on loopback; it looks nobody up."""

    async def join(**settings) -> Endpoint:
        key = SecretKey.generate()
        transport = network.create_transport(key.public())
        return await bind(secret_key=key, custom_transports=[transport], **settings)

    return join


async def meet(client: Endpoint, server: Endpoint, addr=None):
    async def accept():
        incoming = await server.accept_next()
        return incoming, await incoming

    dialled, (incoming, accepted) = await asyncio.gather(
        client.connect(addr or server.id(), ALPN), accept()
    )
    return dialled, accepted, incoming


async def echo(client, server, data: bytes) -> bytes:
    async def answer() -> None:
        bi = await server.accept_bi()
        await bi.send().write_all(await bi.recv().read_to_end(len(data)))
        await bi.send().finish()

    async def ask() -> bytes:
        bi = await client.open_bi()
        await bi.send().write_all(data)
        await bi.send().finish()
        return await bi.recv().read_to_end(len(data))

    return (await asyncio.gather(ask(), answer()))[0]


async def test_an_endpoint_of_a_custom_transport_alone(join) -> None:
    server, client = await join(alpns=[ALPN]), await join()
    assert server.bound_sockets() == []
    assert server.addr() == EndpointAddr(server.id())  # as upstream: custom addresses are not in it
    assert server.custom_addrs() == [memory_addr(server.id())]
    assert str(memory_addr(server.id())) in repr(server)
    dialled, accepted, incoming = await meet(client, server)
    ours, theirs = str(memory_addr(client.id())), str(memory_addr(server.id()))
    assert await incoming.remote_addr() == IncomingAddr.CUSTOM(ours)
    assert await incoming.local_addr() == IncomingLocalAddr.CUSTOM(theirs)
    assert ours in repr(incoming)
    data = bytes(300_000)
    assert await echo(dialled, accepted, data) == data
    stats = {name.partition(":")[2]: counter.value for name, counter in client.stats().items()}
    assert stats["recv_data_custom"] > len(data) < stats["send_custom"]
    assert (stats["paths_custom"], stats["paths_direct"], stats["num_conns_direct"]) == (1, 0, 0)
    assert stats["send_ipv4"] == stats["recv_data_ipv4"] == stats["custom_errors"] == 0


async def test_custom_addresses_in_tickets_and_by_hand(join_both) -> None:
    server, client = await join_both(alpns=[ALPN]), await join_both()
    addr = EndpointAddr(server.id()).with_addrs(server.custom_addrs())
    assert addr.custom_addrs == (CustomAddr(MEMORY_TRANSPORT_ID, server.id().to_bytes()),)
    with pytest.raises(LookupFailedError):
        await client.connect(server.id(), ALPN)
    ticket = str(EndpointTicket.from_addr(addr))
    dialled, accepted, _ = await meet(
        client, server, EndpointTicket.from_string(ticket).endpoint_addr()
    )
    assert await echo(dialled, accepted, b"over a ticket") == b"over a ticket"
    client.add_address(addr)
    await meet(client, server)


async def test_the_initial_goes_to_every_kind_of_address(join_both, network) -> None:
    """Nobody answers at the IP address and at an unknown transport; and the other way round."""
    server, client = await join_both(alpns=[ALPN]), await join_both()
    lost = [CustomAddr(0x9999, b"nobody"), "127.0.0.1:9"]
    addr = EndpointAddr(server.id(), None, [*lost, *server.custom_addrs()])
    dialled, _, incoming = await meet(client, server, addr)
    assert (await incoming.remote_addr()).is_custom()
    dialled.close()
    await dialled.closed()
    network.loss = 1.0
    other, client = await join_both(alpns=[ALPN]), await join_both()
    addr = EndpointAddr(other.id(), None, [*other.addr().direct_addresses(), *other.custom_addrs()])
    _, _, incoming = await meet(client, other, addr)
    assert (await incoming.remote_addr()).is_ip()
    assert network.lost > 0


async def test_loss_and_delay_are_repaired(join, network) -> None:
    server, client = await join(alpns=[ALPN]), await join()
    dialled, accepted, _ = await meet(client, server)
    network.loss, network.delay = 0.05, 0.002
    data = bytes(range(256)) * 800
    assert await echo(dialled, accepted, data) == data
    assert network.lost > 0
    assert dialled.rtt() >= 1


async def test_the_close_travels_over_a_custom_transport(join) -> None:
    server, client = await join(alpns=[ALPN]), await join()
    dialled, accepted, _ = await meet(client, server)
    dialled.close(7, b"bye")
    assert await accepted.closed() == "closed by peer: bye (code 7)"
    dialled, accepted, _ = await meet(client, server)
    await client.close()
    assert await accepted.closed() == "closed by peer: 0"


class Broken(CustomTransport):
    """Fails at everything but starting."""

    async def start(self, deliver) -> None:
        pass

    def is_valid_send_addr(self, addr) -> bool:
        return True

    def send(self, dst, src, data, segment_size) -> bool:
        raise ZeroDivisionError

    async def close(self) -> None:
        raise ZeroDivisionError


async def test_a_broken_transport_does_not_harm_the_others(bind, network, caplog) -> None:
    async def both(**settings) -> Endpoint:
        key = SecretKey.generate()
        transports = [Broken(), network.create_transport(key.public())]
        return await bind(secret_key=key, custom_transports=transports, **settings)

    server, client = await both(alpns=[ALPN]), await both()
    addr = EndpointAddr(server.id()).with_addrs(server.custom_addrs())
    dialled, accepted, _ = await meet(client, server, addr)
    assert await echo(dialled, accepted, b"still here") == b"still here"
    await client.close()
    assert client.stats()["socket:custom_errors"].value > 2
    await server.close()
    assert len(caplog.records) == 4  # each endpoint says once that sending, and closing, failed


async def test_nothing_to_bind_and_what_is_no_transport() -> None:
    builder = EndpointBuilder()
    builder.apply(presets.Minimal)
    builder.clear_ip_transports()
    with pytest.raises(BindError, match="no UDP socket, relay or custom transport"):
        await builder.bind()
    with pytest.raises(TypeError, match="derives from CustomTransport"):
        EndpointBuilder().add_custom_transport(object())


async def test_a_failed_or_cancelled_bind_closes_the_transport(network) -> None:
    closed, started = [], asyncio.Event()

    class Slow(Broken):
        async def start(self, deliver) -> None:
            started.set()
            await asyncio.get_running_loop().create_future()

        async def close(self) -> None:
            closed.append(self)

    binding = asyncio.ensure_future(_bind(Slow()))
    await started.wait()
    binding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await binding
    assert len(closed) == 1
    transport = network.create_transport(SecretKey.generate().public())
    async with Endpoint.bind(presets.Minimal, custom_transports=[transport]):
        with pytest.raises(BindError, match="another endpoint"):
            await _bind(transport)


async def _bind(transport: CustomTransport) -> None:
    await Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0", custom_transports=[transport])


async def test_a_memory_network_knows_who_is_there(join, network) -> None:
    endpoint = await join()
    with pytest.raises(InvalidInputError, match="already"):
        network.create_transport(endpoint.id())
    await endpoint.close()
    transport = network.create_transport(endpoint.id())  # it has left
    assert transport.is_valid_send_addr(memory_addr(endpoint.id()))
    assert not transport.is_valid_send_addr(CustomAddr(1, b""))
    assert network.address_lookup().resolve(SecretKey.generate().public()) is None
    before = network.lost
    assert transport.send(transport.addr, None, b"nobody has started it", 7)
    assert network.lost - before == 3


async def test_a_retry_over_a_custom_transport(join) -> None:
    server, client = await join(alpns=[ALPN]), await join()
    dial = asyncio.create_task(client.connect(server.id(), ALPN))
    await (await server.accept_next()).retry()
    incoming = await server.accept_next()
    assert await incoming.remote_addr_validated()
    accepted, dialled = await asyncio.gather(incoming, dial)
    assert await echo(dialled, accepted, b"proven") == b"proven"


async def test_an_outage_shorter_than_the_idle_time_is_survived(join, network) -> None:
    server, client = await join(alpns=[ALPN]), await join()
    dialled, accepted, _ = await meet(client, server)
    lost = asyncio.Event()

    def lose() -> float:
        lost.set()
        return 0.0

    network.loss, network._rng = 1.0, lose
    waiting = asyncio.create_task(echo(dialled, accepted, b"patience"))
    await lost.wait()
    network.loss = 0.0
    assert await waiting == b"patience"


FAR_BETTER = TransportBias(rtt_bias=-10.0)
FAR_WORSE = TransportBias(rtt_bias=10.0)
SPARE = TransportBias(Tier.BACKUP)


@pytest.mark.parametrize(
    ("bias", "wins"),
    [
        pytest.param(FAR_BETTER, "custom", id="custom_wins_over_ip"),
        pytest.param(FAR_WORSE, "ip", id="ip_wins_over_custom"),
        pytest.param(SPARE, "ip", id="a_backup_never_wins"),
    ],
)
async def test_a_transport_is_chosen_by_its_bias(join_both, bias, wins) -> None:
    """Upstream's tests of test_transport.rs: both ways are open, the bias decides."""
    selector = BiasedRttPathSelector(custom={MEMORY_TRANSPORT_ID: bias})
    server = await join_both(alpns=[ALPN], path_selector=selector)
    client = await join_both(path_selector=selector)
    addr = server.addr().with_addrs(server.custom_addrs())
    dialled, accepted, _ = await meet(client, server, addr)
    async for paths in dialled.paths_stream():
        selected = {path.is_custom for path in paths if path.is_selected}
        if {path.is_custom for path in paths} == {True, False} and selected == {wins == "custom"}:
            break
    assert await echo(dialled, accepted, b"over " + wins.encode()) == b"over " + wins.encode()


async def test_a_custom_path_is_renewed_when_the_network_changes(join) -> None:
    """Nobody knows what a change means for it: the dialler gives it up for a fresh one."""
    server, client = await join(alpns=[ALPN]), await join()
    dialled, accepted, _ = await meet(client, server)
    events = dialled.path_events()
    Machine(client).state = machine("198.51.100.77")
    await client.network_change()
    story = [await anext(events) for _ in range(3)]
    assert [type(event).__name__ for event in story] == ["CLOSED", "OPENED", "SELECTED"]
    (path,) = dialled.paths()
    assert (path.is_custom, path.is_selected, path.id != "0") == (True, True, True)
    assert await echo(dialled, accepted, b"goes on") == b"goes on"


async def test_a_custom_path_that_a_server_gave_up_is_opened_again(join_both) -> None:
    """A server cannot replace it when its network changes: the client does, as soon as it knows."""
    server, client = await join_both(alpns=[ALPN]), await join_both()
    addr = server.addr().with_addrs(server.custom_addrs())
    dialled, accepted, _ = await meet(client, server, addr)
    async for paths in dialled.paths_stream():
        if {path.is_custom for path in paths} == {True, False}:
            break
    events = dialled.path_events()
    Machine(server).state = machine("198.51.100.77")
    await server.network_change()
    story = []
    async for event in events:
        if not event.is_selected() and event.remote_addr == str(memory_addr(server.id())):
            story.append(type(event).__name__)
        if story == ["CLOSED", "OPENED"]:
            break
    assert await echo(dialled, accepted, b"goes on") == b"goes on"
    assert {path.is_custom for path in dialled.paths()} == {True, False}
