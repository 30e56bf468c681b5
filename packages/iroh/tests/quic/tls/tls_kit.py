"""Two handshakes, and how to let them talk."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from iroh.quic.params import TransportParameters
from iroh.quic.tls import HANDSHAKE, INITIAL, ONE_RTT, Handshake, TicketStore
from iroh_base import SecretKey

ALPN = b"test/1"
CLIENT_KEY = SecretKey.from_bytes(bytes([1]) * 32)
SERVER_KEY = SecretKey.from_bytes(bytes([2]) * 32)
CLIENT = CLIENT_KEY.public().to_bytes()
SERVER = SERVER_KEY.public().to_bytes()
START = 1000.0
EPOCHS = (INITIAL, HANDSHAKE, ONE_RTT)


def make_client(**options: Any) -> Handshake:
    options.setdefault("peer", SERVER_KEY.public().to_bytes())
    arguments: dict[str, Any] = {
        "secret_key": CLIENT_KEY,
        "alpns": [ALPN],
        "params": b"client params",
        "rng": random.Random(1).randbytes,
        **options,
    }
    return Handshake(True, **arguments)


def make_server(**options: Any) -> Handshake:
    arguments: dict[str, Any] = {
        "secret_key": SERVER_KEY,
        "alpns": [ALPN],
        "params": b"server params",
        "rng": random.Random(2).randbytes,
        **options,
    }
    return Handshake(False, **arguments)


def pair() -> tuple[Handshake, Handshake]:
    return make_client(), make_server()


def carry(sender: Handshake, receiver: Handshake, step: int, now: float | None) -> bool:
    """Take what is to be sent to the other end, `step` bytes at a time. Whether it was anything."""
    moved = False
    for epoch in EPOCHS:
        data = sender.take(epoch)
        for at in range(0, len(data), step):
            receiver.receive(epoch, data[at : at + step], now)
            moved = True
    return moved


def talk(
    client: Handshake, server: Handshake, step: int = 1 << 20, now: float | None = None
) -> None:
    """Let them talk until neither has anything to say."""
    client.start(now)
    while carry(client, server, step, now) or carry(server, client, step, now):
        pass


def meet(step: int = 1 << 20) -> tuple[Handshake, Handshake]:
    """Let a client and a server talk to the end."""
    client, server = pair()
    talk(client, server, step)
    return client, server


def params(**values: Any) -> bytes:
    values = {"initial_max_data": 1000, "max_nat_traversal_addresses": 32, **values}
    return TransportParameters(**values).encode(random.Random(5).randbytes)


@dataclass
class World:
    """Two endpoints that meet again and again."""

    now: float = START
    received: TicketStore = field(default_factory=TicketStore)
    issued: TicketStore = field(default_factory=TicketStore)
    rng: Any = field(default_factory=lambda: random.Random(9).randbytes)

    def ends(self, client: Any = None, server: Any = None) -> tuple[Handshake, Handshake]:
        return (
            make_client(
                **{"params": params(), "ticket_store": self.received, "rng": self.rng}
                | (client or {})
            ),
            make_server(
                **{"params": params(), "ticket_store": self.issued, "rng": self.rng}
                | (server or {})
            ),
        )

    def meet(self, client: Any = None, server: Any = None) -> tuple[Handshake, Handshake]:
        ends = self.ends(client, server)
        talk(*ends, now=self.now)
        for end in ends:
            assert end.complete
            assert end.alpn is not None
        assert ends[0].peer == SERVER
        assert ends[1].peer == CLIENT
        material = [end.export_keying_material(32, b"x", b"") for end in ends]
        assert material[0] == material[1]
        return ends


def changed(world: World, **values: Any) -> None:
    """Change the ticket that the client will offer next."""
    ticket = world.received.take(SERVER, world.now)
    assert ticket is not None
    world.received = TicketStore()
    world.received.add(replace(ticket, **values))
