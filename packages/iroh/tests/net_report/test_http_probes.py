"""The probes over HTTP, against relays and against what stands in their place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from iroh.net_report.http import challenge_of, looks_captive, measure
from iroh.net_report.run import ProbeFailed
from iroh_base import RelayUrl, SocketAddr
from iroh_relay.protos.http import captive_response
from iroh_relay.server import RelayServer, RelayServerConfig

Answer = Callable[[bytes], bytes | None]


@asynccontextmanager
async def standing_in(answer: Answer) -> AsyncIterator[RelayUrl]:
    """Something that answers every connection with bytes, or with nothing and the end of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            reply = answer(request)
            if reply is None:
                await reader.read()  # hangs until the other side gives up
            else:
                writer.write(reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield RelayUrl(f"http://127.0.0.1:{port}")


def says(text: str) -> Answer:
    return lambda _request: text.encode()


OK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
REDIRECT = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/login\r\nContent-Length: 0\r\n\r\n"
NO_CONTENT = "HTTP/1.1 204 No Content\r\n\r\n"


async def test_a_relay_is_measured_and_is_no_portal() -> None:
    async with RelayServer(RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))) as relay:
        assert 0 < await measure(relay.url, None, None, 5.0) < 5.0
        assert not await looks_captive(relay.url, None)


@pytest.mark.parametrize("reply", [REDIRECT, OK.replace("200", "500"), "garbage\r\n\r\n", ""])
async def test_other_answers_measure_nothing(reply: str) -> None:
    async with standing_in(says(reply)) as url:
        with pytest.raises(ProbeFailed):
            await measure(url, None, None, 5.0)


async def test_a_relay_that_hangs_is_not_waited_for() -> None:
    async with standing_in(lambda _request: None) as url:
        with pytest.raises(ProbeFailed, match="did not answer"):
            await measure(url, None, None, 0.05)


@pytest.mark.parametrize(
    "reply",
    [
        OK,
        REDIRECT,
        NO_CONTENT,  # who says 204 to everything, and does not know the challenge
        NO_CONTENT.replace("\r\n\r\n", "\r\nX-Iroh-Response: response other\r\n\r\n"),
        "garbage\r\n\r\n",
    ],
)
async def test_a_portal_is_seen(reply: str) -> None:
    async with standing_in(says(reply)) as url:
        assert await looks_captive(url, None)


async def test_nobody_there_is_no_portal() -> None:
    with pytest.raises(ProbeFailed):
        await looks_captive(RelayUrl("http://127.0.0.1:1"), None)
    async with standing_in(says("")) as url:  # closes without a word
        with pytest.raises(ProbeFailed):
            await looks_captive(url, None)


@pytest.mark.parametrize(
    ("url", "challenge"),
    [
        ("https://relay.example.", "ts_relay.example."),
        ("http://[2001:db8::1]:3340", "ts_2001-db8--1"),
        ("http://127.0.0.1", "ts_127.0.0.1"),
        (f"https://{'a' * 60}.{'b' * 60}.example", "ts_" + "a" * 60),
    ],
)
def test_a_challenge_is_one_that_a_relay_answers(url: str, challenge: str) -> None:
    assert challenge_of(RelayUrl(url)) == challenge
    assert captive_response(challenge) == f"response {challenge}"


async def test_an_ipv6_relay_is_no_portal() -> None:
    async with RelayServer(RelayServerConfig(http_bind_addr=SocketAddr("::1", 0))) as relay:
        assert not await looks_captive(relay.url, None)
