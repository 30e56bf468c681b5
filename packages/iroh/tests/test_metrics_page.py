"""The counters as a page for Prometheus."""

import aiohttp
import pytest

from iroh import serve_metrics
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
