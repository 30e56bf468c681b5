"""One of our servers as a process: serve.py relay [HOST PORT [QUIC_PORT]] | serve.py dns FOLDER

Writes one JSON line when it serves, and one with all its counters for every line that it reads.
End of stdin closes the server. The DNS server answers on 127.0.0.1:53 for the origin that n0's
preset asks for, so it must run in a namespace of its own.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

LOOPBACK = IPv4Address("127.0.0.1")
ORIGIN = "dns.iroh.link."
"""upstream `N0_DNS_ENDPOINT_ORIGIN_PROD`"""


@asynccontextmanager
async def relay(
    host: str = str(LOOPBACK), port: str = "0", quic_port: str | None = None
) -> AsyncIterator[tuple[str, Callable[[], dict[str, int]]]]:
    """Run the relay, on a free port if none is given; give its URL and how to read its counters.

    With a port for it, address discovery runs, too, and shows a certificate of its own making.
    """
    from iroh_base import SocketAddr
    from iroh_relay.server import RelayServer, RelayServerConfig, SelfSigned

    config = RelayServerConfig(http_bind_addr=SocketAddr(host, int(port)))
    shown = None
    if quic_port is not None:
        config = replace(config, quic_bind_addr=SocketAddr(host, int(quic_port)))
        shown = SelfSigned()
    async with RelayServer(config, quic_certificates=shown) as server:
        yield str(server.http_url), server.metrics.as_dict


@asynccontextmanager
async def dns(folder: str) -> AsyncIterator[tuple[str, Callable[[], dict[str, int]]]]:
    """Run the DNS server; give its HTTP URL and how to read its counters."""
    from iroh_dns_server import Config, DnsConfig, DnsServer, HttpConfig

    config = Config(
        data_dir=Path(folder),
        http=HttpConfig(port=0, bind_addr=LOOPBACK),
        dns=DnsConfig(port=53, bind_addr=LOOPBACK, origins=(ORIGIN, ".")),
    )
    async with DnsServer(config) as server:
        yield f"http://{server.http_addr}", server.metrics.as_dict


async def main(name: str, *arguments: str) -> None:
    """Serve until stdin ends."""
    servers: dict[str, Any] = {"relay": relay, "dns": dns}
    async with servers[name](*arguments) as (url, counters):
        print(json.dumps({"url": url}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(counters()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
