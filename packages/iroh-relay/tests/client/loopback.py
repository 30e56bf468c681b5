"""A client on loopback, and waiting for what becomes of it."""

import asyncio
from collections.abc import Callable
from typing import Any

from iroh_relay.client import RelayClient, RelayStatus
from iroh_relay.relay_map import RelayConfig

from .fakes import KEY


class Inbox:
    """Where a client's datagrams go."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, bytes, int, int]] = asyncio.Queue()

    def __call__(self, *args: Any) -> None:
        self.queue.put_nowait(args)


def client_of(url: str, token: str | None = None, **options: Any) -> tuple[RelayClient, Inbox]:
    inbox = Inbox()
    config = RelayConfig(url=url, auth_token=token)
    return RelayClient(config, KEY, on_datagrams=inbox, home=True, **options), inbox


async def until(client: RelayClient, wanted: Callable[[RelayStatus], bool]) -> RelayStatus:
    """Wait for a status. Statuses that come and go between two turns may be missed."""
    async for status in client.status.watch():
        if wanted(status):
            return status
    raise AssertionError(f"the client ended: {client.status.get()}")


async def failure(client: RelayClient) -> str:
    """The first error of a client."""
    status = await until(client, lambda status: status.last_error is not None)
    assert status.last_error is not None
    return status.last_error
