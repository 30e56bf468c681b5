"""Measuring the latency of a relay."""

import asyncio
import ssl

import aiohttp
import pytest
import trustme

from iroh_relay.client import RelayProbeError, probe_latency

from .fake_relay import fake_relay


async def test_latency() -> None:
    async with fake_relay() as relay:
        times = iter((10.0, 10.25))
        assert await probe_latency(relay.url, now=lambda: next(times)) == 0.25
        assert 0 < await probe_latency(relay.url) < 3
        assert {request.path_qs for request in relay.requests} == {"/ping"}


async def test_websocket_schemes_paths_and_queries() -> None:
    async with fake_relay() as relay:
        await probe_latency(f"ws://127.0.0.1:{relay.port}/some/where?a=b")
        assert relay.requests[0].path_qs == "/ping"


async def test_a_session_of_the_caller_stays_open() -> None:
    async with fake_relay() as relay, aiohttp.ClientSession() as session:
        await probe_latency(relay.url, session=session)
        await probe_latency(relay.url, session=session)
        assert not session.closed


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_other_answers(status: int) -> None:
    async with fake_relay() as relay:
        relay.probe_status = status
        with pytest.raises(RelayProbeError, match=str(status)):
            await probe_latency(relay.url)
        assert len(relay.requests) == 1


async def test_no_answer() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(RelayProbeError, match=r"did not answer within 0\.05 s"):
        await probe_latency(f"http://127.0.0.1:{port}", timeout=0.05)
    server.close()
    await server.wait_closed()
    with pytest.raises(RelayProbeError):
        await probe_latency(f"http://127.0.0.1:{port}")


async def test_tls() -> None:
    authority = trustme.CA()
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)
    async with fake_relay(server) as relay:
        url = f"https://127.0.0.1:{relay.port}/"
        assert await probe_latency(url, ssl_context=trusting) > 0
        with pytest.raises(RelayProbeError):
            await probe_latency(url)


@pytest.mark.parametrize("url", ["", "nonsense", "http://[::1"])
async def test_bad_url(url: str) -> None:
    with pytest.raises(RelayProbeError):
        await probe_latency(url)


async def test_cancelling() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    task = asyncio.create_task(probe_latency(f"http://127.0.0.1:{port}"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.close()
    await server.wait_closed()
