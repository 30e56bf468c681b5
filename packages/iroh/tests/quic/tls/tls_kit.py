"""Two handshakes, and how to let them talk."""

import random
from typing import Any

from iroh.quic.tls import HANDSHAKE, INITIAL, ONE_RTT, Handshake
from iroh_base import SecretKey

ALPN = b"test/1"
CLIENT_KEY = SecretKey.from_bytes(bytes([1]) * 32)
SERVER_KEY = SecretKey.from_bytes(bytes([2]) * 32)
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


def carry(sender: Handshake, receiver: Handshake, step: int = 1 << 20) -> bool:
    """Take what is to be sent to the other end, `step` bytes at a time. Whether it was anything."""
    moved = False
    for epoch in EPOCHS:
        data = sender.take(epoch)
        for at in range(0, len(data), step):
            receiver.receive(epoch, data[at : at + step])
            moved = True
    return moved


def talk(client: Handshake, server: Handshake, step: int = 1 << 20) -> None:
    """Let them talk until neither has anything to say."""
    client.start()
    while carry(client, server, step) or carry(server, client, step):
        pass


def meet(step: int = 1 << 20) -> tuple[Handshake, Handshake]:
    """Let a client and a server talk to the end."""
    client, server = pair()
    talk(client, server, step)
    return client, server
