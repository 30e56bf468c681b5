"""The counters as a page for Prometheus."""

import asyncio
import socket

import aiohttp
import pytest

from iroh import EndpointAddr, SecretKey, serve_metrics
from iroh_base.openmetrics import CONTENT_TYPE

from .conftest import ALPN, meet


async def test_the_names_are_those_of_rust_endpoints(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    await meet(client, server)
    lines = client.openmetrics().splitlines()
    assert "# TYPE socket_num_conns_opened counter" in lines
    assert "socket_num_conns_opened_total 1" in lines
    assert "net_report_reports_total 0" in lines
    assert any(line.startswith("address_lookup_lookups_total ") for line in lines)
    assert lines[-1] == "# EOF"


async def test_what_is_dropped_is_counted_by_reason(bind) -> None:
    server = await bind(alpns=[ALPN])
    page = server.openmetrics()
    assert "socket_datagrams_dropped_total 0" in page.splitlines()
    host, _, port = server.bound_sockets()[0].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as evil:
        evil.sendto(b"\x40" + bytes(40), (host, int(port)))
    while "reason=" not in page:
        await asyncio.sleep(0)
        page = server.openmetrics()
    lines = page.splitlines()
    assert 'socket_dropped_total{reason="unknown connection"} 1' in lines
    assert "socket_datagrams_dropped_total 1" in lines
    assert "socket_incoming_refused_total 0" in lines
    assert server.stats()["socket:datagrams_dropped"].value == 1


RUST_NAMES = """
    address_lookup: lookups lookups_failed
    net_report: portmap_attempts portmap_external_address_updated reports reports_full
    socket: actor_link_change holepunch_attempts num_conns_closed num_conns_direct num_conns_opened
        paths_custom paths_direct paths_relay recv_data_custom recv_data_ipv4 recv_data_ipv6
        recv_data_relay recv_datagrams recv_gro_datagrams relay_conns_closed relay_conns_failed
        relay_conns_ratelimited relay_conns_success relay_home_change send_ipv4 send_ipv6 send_relay
        transport_custom_paths_added transport_custom_paths_removed transport_ip_paths_added
        transport_ip_paths_removed transport_relay_paths_added transport_relay_paths_removed
"""
"""`stats()` of the bindings 1.2.0, without update_direct_addrs and the actor_tick_*."""


async def test_every_counter_of_rust_is_there(bind) -> None:
    group, wanted = "", set()
    for word in RUST_NAMES.split():
        if word.endswith(":"):
            group = word
        else:
            wanted.add(group + word)
    found = (await bind()).stats()
    assert len(wanted) == 41 - 7
    assert wanted <= set(found)


async def test_lookup_services_are_counted_one_by_one(bind) -> None:
    class Failing:
        provenance = 'a "b"'

        def publish(self, data) -> None: ...

        async def resolve(self, endpoint_id):
            raise LookupError
            yield

    client = await bind(address_lookup=[Failing()])
    peer = SecretKey.generate().public()
    client.add_address(EndpointAddr(peer, None, ["127.0.0.1:9"]))
    assert "address_lookup_service" not in client.openmetrics()
    (await client.connect_pending(peer, ALPN)).abandon()
    page = ""
    while "service_errors" not in page:
        await asyncio.sleep(0)
        page = client.openmetrics()
    lines = page.splitlines()
    assert 'address_lookup_service_results_total{service="memory_lookup"} 1' in lines
    assert 'address_lookup_service_errors_total{service="a \\"b\\""} 1' in lines
    assert lines.count("# TYPE address_lookup_service_errors counter") == 1


async def test_the_page_is_served(bind) -> None:
    endpoint = await bind()
    async with serve_metrics(endpoint) as server, aiohttp.ClientSession() as session:
        async with session.get(server.url) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == CONTENT_TYPE
            assert await response.text() == endpoint.openmetrics()
        async with session.get(server.url + "/other") as response:
            assert response.status == 404
        with pytest.raises(OSError, match="in use"):
            await serve_metrics(endpoint, port=int(server.url.split(":")[2].split("/")[0])).start()
    await server.close()
