"""Requests that a real Rust endpoint sent (captured from the bindings `iroh` 1.2.0, iroh 1.4.1)."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import dns.message
import pytest

from iroh_dns_server import Config, DnsConfig, DnsServer

VECTORS = json.loads((Path(__file__).parent / "vectors" / "pkarr_put.json").read_text())["real"]


@pytest.mark.parametrize("vector", VECTORS, ids=[str(len(v["txt"])) for v in VECTORS])
async def test_a_rust_endpoint_publishes(
    config: Config,
    vector: dict[str, Any],
    query: Callable[..., bytes],
    ask_udp: Callable[..., Any],
) -> None:
    payload = bytes.fromhex(vector["relay_payload_hex"])
    here = dataclasses.replace(
        config, dns=DnsConfig(port=0, bind_addr=config.dns.bind_addr, origins=("dns.iroh.link.",))
    )
    async with (
        DnsServer(here, clock=lambda: vector["timestamp_us"]) as server,
        aiohttp.ClientSession(f"http://{server.http_addr}") as session,
    ):
        headers = vector["headers"]
        skip = ("Content-Type", "User-Agent")  # the Rust client sends neither
        async with session.put(
            vector["path"], data=payload, headers=headers, skip_auto_headers=skip
        ) as response:
            assert (response.status, await response.read()) == (204, b"")
        async with session.get(vector["path"]) as response:
            assert await response.read() == payload
        reply = await ask_udp(server.dns_addr, query(f"_iroh.{vector['z32']}.dns.iroh.link."))
    message = dns.message.from_wire(reply)
    texts = [b"".join(rdata.strings).decode() for rrset in message.answer for rdata in rrset]
    assert texts == vector["txt"]
    assert all(rrset.ttl == vector["ttl"] for rrset in message.answer)
