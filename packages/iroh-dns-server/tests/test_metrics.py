"""The metrics page: the Rust names, on an address of its own."""

from dataclasses import replace
from ipaddress import IPv4Address

import aiohttp

from iroh_dns_server import Config, DnsServer, Metrics, MetricsConfig
from iroh_dns_server.http.metrics_page import metrics_text

RUST = """
pkarr_publish_update pkarr_publish_noop dns_requests dns_requests_udp dns_requests_https
dns_lookup_success dns_lookup_notfound dns_lookup_error http_requests http_requests_success
http_requests_error http_requests_duration_ms store_packets_inserted store_packets_removed
store_packets_updated store_packets_expired cache_zones cache_zones_dht
"""


def test_the_text_is_openmetrics_under_the_rust_names() -> None:
    metrics = Metrics()
    metrics.dns_requests = 7
    text = metrics_text(metrics)
    assert text.endswith("# EOF\n")
    for name in RUST.split():
        kind = "gauge" if name.startswith("cache_zones") else "counter"
        assert f"# TYPE dns_server_{name} {kind}\n" in text
    assert "\ndns_server_dns_requests_total 7\n" in text
    assert "\ndns_server_cache_zones 0\n" in text


async def test_the_page(config: Config) -> None:
    async with DnsServer(config) as server:
        assert server.metrics_addr is None  # a server inside a program has none unless asked
    at = MetricsConfig(port=0, bind_addr=IPv4Address("127.0.0.1"))
    async with (
        DnsServer(replace(config, metrics=at)) as server,
        aiohttp.ClientSession(f"http://{server.metrics_addr}") as session,
    ):
        for path in ("/", "/metrics"):
            async with session.get(path) as response:
                assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
                assert await response.text() == metrics_text(server.metrics)
        async with session.get("/healthz") as response:
            assert (await response.json())["status"] == "ok"
        async with session.get(f"http://{server.http_addr}/metrics") as response:
            assert response.status == 404
