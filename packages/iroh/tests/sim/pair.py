"""Two hosts, a client and a server, and what every run of theirs must end with."""

from dataclasses import dataclass

from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address

from .engines import ENGINES, Engine
from .host import End, Host
from .link import Conditions
from .simulation import Simulation
from .traffic import Traffic

CLIENT = ("10.0.0.1", 1000)
SERVER = ("10.0.0.2", 2000)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which engine is the client, and which the server."""

    client: Engine
    server: Engine

    @classmethod
    def of(cls, names: str) -> "Kinds":
        """Read "client-server"."""
        client, _, server = names.partition("-")
        return cls(ENGINES[client], ENGINES[server or client])


@dataclass(slots=True)
class Pair:
    """A client and a server that are connected, and their traffic."""

    sim: Simulation
    kinds: Kinds
    client: End
    server: End
    traffic: Traffic

    @property
    def sides(self) -> tuple[tuple[End, Engine], tuple[End, Engine]]:
        """Both ends with their engines."""
        return ((self.client, self.kinds.client), (self.server, self.kinds.server))

    def transfer(self, seconds: float = 120.0) -> float:
        """Run until all traffic is done; give the virtual seconds."""
        assert self.traffic.flows, "nothing to transfer"
        took = self.sim.run(lambda: self.traffic.is_done, seconds)
        self.check_healthy()
        return took

    def check_healthy(self) -> None:
        """Nobody closed, nobody counted a bug of its own."""
        for end, engine in self.sides:
            assert end.closed is None, f"{end}\n{self.sim.story()}"
            check_no_bug(end.host, engine)

    def close(self, code: int = 7) -> None:
        """Close from the client; all must come to rest, and be forgotten."""
        self.client.close(code, b"done")
        self.sim.settle(200.0)
        self.check_forgotten()

    def check_forgotten(self) -> None:
        """Both ends are drained, and their endpoints remember nothing."""
        for end, engine in self.sides:
            assert end.drained, end
            assert not end.host.ends
            check_no_bug(end.host, engine)
            if engine.can.remembered is not None:
                assert engine.can.remembered(end.host.endpoint) == 0


def check_no_bug(host: Host, engine: Engine) -> None:
    """Fail when an engine counted what only a bug of its own can be."""
    counted = {reason: host.endpoint.dropped.get(reason, 0) for reason in engine.can.bugs}
    assert not any(counted.values()), f"{host}: {counted}"


def hosts(
    kinds: Kinds,
    conditions: Conditions | None = None,
    *,
    seed: int = 0,
    quantum: float = 0.0,
    client: TransportConfig | None = None,
    server: TransportConfig | None = None,
    client_addresses: tuple[Address, ...] = (CLIENT,),
    server_addresses: tuple[Address, ...] = (SERVER,),
) -> tuple[Simulation, Host, Host]:
    """Make a simulation with a client and a server that have not spoken yet."""
    sim = Simulation(seed, conditions, quantum)
    dialler = sim.host("client", kinds.client, client_addresses, transport=client)
    listener = sim.host("server", kinds.server, server_addresses, is_server=True, transport=server)
    return sim, dialler, listener


def connect(
    kinds: Kinds,
    conditions: Conditions | None = None,
    *,
    seed: int = 0,
    quantum: float = 0.0,
    client: TransportConfig | None = None,
    server: TransportConfig | None = None,
) -> Pair:
    """Connect a client and a server."""
    sim, dialler, listener = hosts(
        kinds, conditions, seed=seed, quantum=quantum, client=client, server=server
    )
    return join(sim, kinds, dialler, listener)


def join(
    sim: Simulation, kinds: Kinds, dialler: Host, listener: Host, remote: Address | None = None
) -> Pair:
    """Connect two hosts of a simulation."""
    ends = sim.connect(dialler, listener, remote)
    return Pair(sim, kinds, *ends, Traffic(*ends))
