"""Relays on loopback, and endpoints that have nothing else."""

from collections.abc import Sequence

from iroh import Endpoint, EndpointBuilder, Preset
from iroh_base import SocketAddr
from iroh_relay.server import RelayServer, RelayServerConfig

LOCAL = RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))


class RelayedOnly(Preset):
    """No UDP socket: nothing but relays. Bind with bind_addr=None."""

    def apply(self, builder: EndpointBuilder) -> None:
        builder.clear_ip_transports()


def urls(relays: Sequence[RelayServer]) -> list[str]:
    """Where the relays are."""
    return [str(relay.http_url) for relay in relays]


async def home_becomes(endpoint: Endpoint, url: str | None) -> None:
    """Wait until the endpoint is at home there, connected; None: nowhere."""
    watcher = endpoint.watch_home_relay()
    while True:
        status = watcher.get()
        if (None if status is None or not status.is_connected else str(status.url)) == url:
            return
        await watcher.updated()
