"""Routes, statuses and headers, byte by byte as the Rust relay 1.4.1 gives them."""

import asyncio
import json
import logging

import pytest

from iroh_relay import __version__
from iroh_relay.server import RelayServer

from .peer import PATIENCE, Peer

CSP = (
    "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'self'; "
    "block-all-mixed-content; plugin-types 'none'"
)


async def ask(
    relay: RelayServer, path: str, method: str = "GET", headers: str = "", body: str = ""
) -> tuple[int, dict[str, str], str]:
    """Send one request; status, headers in lower case, body."""
    peer = await Peer.tcp(relay)
    request = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n{body}"
    peer.writer.write(request.encode("latin-1"))
    async with asyncio.timeout(PATIENCE):
        head, _, rest = (await peer.reader.read()).decode().partition("\r\n\r\n")
    await peer.close()
    status, *lines = head.split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(status.split()[1]), {name.lower(): value for name, value in pairs}, rest


def check_standard_headers(headers: dict[str, str]) -> None:
    assert headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
    assert headers["content-security-policy"] == CSP
    assert "aiohttp" not in headers.get("server", "")
    assert len(headers) < 25  # the Rust client's parser takes no more


@pytest.mark.parametrize("path", ["/", "/index.html"])
async def test_the_page_says_what_this_is(relay: RelayServer, path: str) -> None:
    status, headers, body = await ask(relay, path)
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "iroh.computer" in body
    check_standard_headers(headers)


async def test_the_latency_probe(relay: RelayServer) -> None:
    status, headers, body = await ask(relay, "/ping?cachebust=1")
    assert (status, body) == (200, "")
    assert headers["access-control-allow-origin"] == "*"
    check_standard_headers(headers)


async def test_robots_keep_out(relay: RelayServer) -> None:
    status, headers, body = await ask(relay, "/robots.txt")
    assert (status, body) == (200, "User-agent: *\nDisallow: /\n")
    check_standard_headers(headers)


async def test_health(relay: RelayServer) -> None:
    status, headers, body = await ask(relay, "/healthz")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"status": "ok", "version": __version__, "git_hash": "unknown"}
    check_standard_headers(headers)


@pytest.mark.parametrize(
    ("challenge", "response"),
    [
        ("X-Iroh-Challenge: 123az__.\r\n", "response 123az__."),
        (f"x-iroh-challenge: {'a' * 63}\r\n", "response " + "a" * 63),
        (f"X-Iroh-Challenge: {'a' * 64}\r\n", None),
        ("X-Iroh-Challenge: a b\r\n", None),
        ("X-Iroh-Challenge: \r\n", None),
        ("", None),
    ],
)
async def test_captive_portal(relay: RelayServer, challenge: str, response: str | None) -> None:
    status, headers, body = await ask(relay, "/generate_204", headers=challenge)
    assert (status, body) == (204, "")
    assert headers.get("x-iroh-response") == response
    check_standard_headers(headers)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nope"),
        ("GET", "/derp"),
        ("GET", "/ping/"),
        ("GET", "//ping"),
        ("GET", "/%70ing"),
        ("GET", "/relay/"),
        ("HEAD", "/"),
        ("HEAD", "/ping"),
        ("POST", "/ping"),
        ("OPTIONS", "/ping"),
        ("PUT", "/relay"),
    ],
)
async def test_everything_else_is_not_found(relay: RelayServer, method: str, path: str) -> None:
    status, headers, body = await ask(relay, path, method)
    assert (status, body) == (404, "" if method == "HEAD" else "Not Found")
    check_standard_headers(headers)


async def test_a_request_body_is_not_waited_for(relay: RelayServer) -> None:
    status, _, _ = await ask(relay, "/", "POST", "Content-Length: 5\r\n", "hello")
    assert status == 404


UPGRADE = (
    "Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: iroh-relay-v2\r\n"
)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ("", "missing header: upgrade"),
        (
            UPGRADE.replace("Version: 13", "Version: 8"),
            "invalid header value for sec-websocket-version: unsupported websocket version, "
            "only supporting 13",
        ),
        (
            UPGRADE.replace("iroh-relay-v2", "caf\xe9"),
            "invalid header value for sec-websocket-protocol: header value is not ascii",
        ),
    ],
)
async def test_what_is_no_upgrade(relay: RelayServer, headers: str, text: str) -> None:
    status, answer, body = await ask(relay, "/relay", headers=headers)
    assert (status, body) == (400, text)
    assert ("sec-websocket-version" in answer) == ("Version: 8" in headers)
    check_standard_headers(answer)


@pytest.mark.parametrize(
    "headers",
    [UPGRADE, UPGRADE.replace("AAAA==", "") + "Connection: upgrade\r\n"],
    ids=["no connection header", "short key"],
)
async def test_what_the_websocket_library_refuses(relay: RelayServer, headers: str) -> None:
    status, answer, _ = await ask(relay, "/relay", headers=headers)
    assert status == 400
    check_standard_headers(answer)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("iroh-relay-v2, iroh-relay-v1", "iroh-relay-v2"),
        ("iroh-relay-v1, iroh-relay-v2", "iroh-relay-v2"),
        ("foo, iroh-relay-v1, iroh-relay-v2", "iroh-relay-v2"),
        ("iroh-relay-v1,iroh-relay-v2,iroh-relay-v9", "iroh-relay-v2"),
        ("iroh-relay-v1", "iroh-relay-v1"),
    ],
)
async def test_the_101(relay: RelayServer, offered: str, chosen: str) -> None:
    extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    peer = await Peer.upgrade(relay, subprotocols=offered, target="/relay?x", headers=extension)
    status, *lines = peer.head.strip().split("\r\n")
    headers = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines}
    assert status == "HTTP/1.1 101 Switching Protocols"
    assert headers["sec-websocket-protocol"] == chosen
    assert headers["sec-websocket-accept"] == "ICX+Yqv66kxgM0FcWaLWlFLwTAI="
    assert headers["upgrade"] == "websocket"
    assert "sec-websocket-extensions" not in headers
    check_standard_headers(headers)
    await peer.close()


@pytest.mark.parametrize(
    "garbage", [b"\0\1\2\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /ping HTTP/1.1\r\n\r\n"]
)
async def test_malformed_requests_leave_the_log_alone(
    relay: RelayServer, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await Peer.tcp(relay)
    peer.writer.write(garbage)
    async with asyncio.timeout(PATIENCE):
        assert b" 400 " in (await peer.reader.read())
    await peer.close()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
