"""DNS over HTTPS: GET, POST and JSON, with the statuses of the Rust server."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_dns_server import DnsConfig, DnsServer, Metrics
from iroh_dns_server.dns import Authority, DnsService
from iroh_dns_server.http.body import BODY_LIMIT
from iroh_dns_server.http.doh import DohHandlers
from iroh_dns_server.http.exchange import Ask

ORIGIN = "irohdns.example."
MESSAGE = {"Accept": "application/dns-message"}
JSON = {"Accept": "application/dns-json"}


@pytest.fixture
async def doh(server: DnsServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that sends no Accept of its own."""
    async with aiohttp.ClientSession(
        f"http://{server.http_addr}", skip_auto_headers=("Accept",)
    ) as session:
        yield session


def packed(query: bytes) -> str:
    return "/dns-query?dns=" + base64.urlsafe_b64encode(query).decode().rstrip("=")


async def publish(session: aiohttp.ClientSession, who: Any) -> None:
    records = [
        ("_iroh", 30, "TXT", '"a=1" "b"'),
        ("_iroh", 20, "TXT", '"c"'),
        ("", 9, "A", "1.2.3.4"),
    ]
    async with session.put(f"/pkarr/{who.z32}", data=who.payload(who.message(records))) as reply:
        assert reply.status == 204


async def test_get_and_post(
    doh: aiohttp.ClientSession,
    server: DnsServer,
    publisher: Callable[[int], Any],
    query: Callable[..., bytes],
) -> None:
    who = publisher(1)
    await publish(doh, who)
    question = query(f"_iroh.{who.z32}.{ORIGIN}")
    for headers in ({}, MESSAGE):
        async with doh.get(packed(question), headers=headers) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "application/dns-message"
            assert response.headers["Cache-Control"] == "s-maxage=20"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            first = await response.read()
    answer = dns.message.from_wire(first)
    assert [rdata.to_text() for rrset in answer.answer for rdata in rrset] == ['"a=1" "b"', '"c"']
    async with doh.post("/dns-query", data=question, headers={"Content-Type": "x/y"}) as response:
        assert (response.status, await response.read()) == (200, first)
        assert response.headers["Content-Type"] == "application/dns-message"
        assert "Cache-Control" not in response.headers
    async with doh.get(packed(query("nothing.irohdns.example."))) as response:
        assert response.status == 200  # the response code is inside
        assert "Cache-Control" not in response.headers
        assert dns.message.from_wire(await response.read()).rcode() == dns.rcode.NXDOMAIN
    assert server.metrics.dns_requests_https == 4
    assert server.metrics.dns_requests_tcp == 0
    assert server.metrics.dns_lookup_success == 3


async def test_json(doh: aiohttp.ClientSession, publisher: Callable[[int], Any]) -> None:
    who = publisher(1)
    await publish(doh, who)
    name = f"_iroh.{who.z32}.{ORIGIN}"
    for accept in ("application/dns-json", "application/x-javascript"):
        for rdtype in ("TXT", "txt", "16"):
            async with doh.get(
                "/dns-query", params={"name": name, "type": rdtype}, headers={"Accept": accept}
            ) as response:
                assert response.headers["Content-Type"] == accept
                assert response.headers["Cache-Control"] == "s-maxage=20"
                found = json.loads(await response.read())
    answers = [{"name": name, "type": 16, "TTL": found["Answer"][0]["TTL"], "data": "a=1b"}]
    assert found["Answer"][:1] == answers
    assert [answer["data"] for answer in found["Answer"]] == ["a=1b", "c"]
    assert {key: found[key] for key in found if key != "Answer"} == {
        "Status": 0, "TC": False, "RD": True, "RA": False, "AD": False, "CD": False,
        "Question": [{"name": name, "type": 16}], "Comment": None, "edns_client_subnet": None,
    }  # fmt: skip
    parameters = {"name": f"{who.z32}.{ORIGIN}", "rd": "false", "cd": "true", "ct": "ignored"}
    async with doh.get("/dns-query", params=parameters, headers=JSON) as response:
        found = json.loads(await response.read())
    assert (found["RD"], found["CD"], found["Answer"][0]["data"]) == (False, True, "1.2.3.4")
    async with doh.get("/dns-query?name=no.irohdns.example&do=true", headers=JSON) as response:
        found = json.loads(await response.read())
    assert (found["Status"], "Answer" in found) == (3, False)


@pytest.mark.parametrize(
    ("path", "headers", "status", "detail"),
    [
        ("/dns-query", {"Accept": "*/*"}, 406, None),
        ("/dns-query", {"Accept": "application/dns-message, */*"}, 406, None),
        ("/dns-query", MESSAGE, 400, "the parameter dns is missing"),
        ("/dns-query?dns=a", MESSAGE, 400, "the parameter dns is no base64url"),
        ("/dns-query?dns=AAA%3D", MESSAGE, 400, "the parameter dns is no base64url"),
        ("/dns-query?dns=AAB", MESSAGE, 400, "the parameter dns is no base64url"),
        ("/dns-query?dns=AAAA", MESSAGE, 400, "Invalid DNS message: "),
        (packed(bytes(12)), MESSAGE, 400, "Invalid DNS message: "),
        (packed(b"\0\0\x80" + bytes(9)), MESSAGE, 400, "Invalid message type: expected query"),
        ("/dns-query", JSON, 400, "the parameter name is missing"),
        ("/dns-query?name=a..b", JSON, 400, "no name or type of DNS"),
        ("/dns-query?name=a&type=moon", JSON, 400, "no name or type of DNS"),
        ("/dns-query?name=a&type=65536", JSON, 400, "no name or type of DNS"),
        ("/dns-query?name=a&rd=1", JSON, 400, "the parameter rd must be true or false"),
        ("/dns-query?" + "a&" * 50, JSON, 400, "Max number of fields exceeded"),
    ],
)
async def test_what_is_no_query(
    doh: aiohttp.ClientSession, path: str, headers: Any, status: int, detail: str | None
) -> None:
    async with doh.get(path, headers=headers) as response:
        found = await response.json()
        assert (response.status, found["status"]) == (status, str(status))
        assert found["detail"] == detail if detail is None else found["detail"].startswith(detail)


async def test_bad_bodies_and_methods(doh: aiohttp.ClientSession) -> None:
    for body, status in ((b"", 400), (bytes(12), 400), (b"x" * (BODY_LIMIT + 1), 413)):
        async with doh.post("/dns-query", data=body) as response:
            assert response.status == status
    async with doh.put("/dns-query", data=b"") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD,POST")


class NoStore:
    """Zones of no key."""

    def peek(self, _: bytes) -> None:
        return None

    async def load(self, _: bytes) -> None:
        return None


@given(st.text(max_size=60) | st.from_regex(r"(name|dns|type|rd)=[a-zA-Z0-9.&=%-]{0,40}"))
async def test_arbitrary_parameters(text: str) -> None:
    """They are answered, with 200 or 400."""
    zones: Any = NoStore()
    service = DnsService(Authority(DnsConfig()), zones, Metrics())

    async def nothing() -> bytes:
        return text.encode()

    handlers = DohHandlers(service)
    for headers in (MESSAGE, JSON):
        ask = Ask("GET", "/dns-query", text, headers, None, nothing)
        assert (await handlers.get(ask)).status in (200, 400)
    assert (await handlers.post(ask)).status in (200, 400)
