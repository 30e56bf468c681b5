"""Requests to replies: what is remembered, when it is forgotten, what is counted."""

from collections.abc import Callable
from typing import Any

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_dns_server import DnsConfig, Metrics, StoreError
from iroh_dns_server.dns import Authority, DnsService, ZoneCache, service
from iroh_dns_server.dns.service import Pending
from iroh_dns_server.store.base import Expired, PutOutcome

ORIGIN = "dns.example."


class MemoryStore:
    """A `PacketStore` of one dict that counts its reads and can be told to fail."""

    def __init__(self) -> None:
        self.packets: dict[bytes, bytes] = {}
        self.reads = 0
        self.failure: StoreError | None = None

    async def put(self, public_key: bytes, payload: bytes) -> PutOutcome:
        self.packets[public_key] = payload
        return PutOutcome.UPDATED

    async def get(self, public_key: bytes) -> bytes | None:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return self.packets.get(public_key)

    async def expire(self, before_us: int, limit: int) -> Expired:
        return Expired([], more=False)

    async def close(self) -> None:
        pass


class Bench:
    """A service on a memory store."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.zones = ZoneCache(self.store, self.metrics)
        authority = Authority(DnsConfig(origins=(ORIGIN,)))
        self.service = DnsService(authority, self.zones, self.metrics)

    async def ask(self, request: bytes, *, udp: bool = True) -> dns.message.Message:
        reply = self.service.respond(request, udp=udp)
        if isinstance(reply, Pending):
            reply = await self.service.finish(reply)
        assert isinstance(reply, bytes)
        return dns.message.from_wire(reply)

    def publish(self, who: Any, text: str) -> None:
        self.store.packets[who.key.to_bytes()] = who.txt(text)
        self.zones.drop((who.key.to_bytes(),))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_the_store_is_asked_once(
    bench: Bench, publisher: Callable[[int], Any], query: Callable[..., bytes]
) -> None:
    who = publisher(1)
    bench.publish(who, "one")
    for number in range(5):
        request = number.to_bytes(2) + query(f"_iroh.{who.z32}.{ORIGIN}")[2:]
        message = await bench.ask(request)
        assert (message.id, message.answer[0][0].to_text()) == (number, '"one"')
    assert bench.store.reads == 1
    assert bench.metrics.cache_zones == 1
    assert bench.metrics.dns_requests == bench.metrics.dns_lookup_success == 5


async def test_a_new_packet_is_seen_by_the_next_query(
    bench: Bench, publisher: Callable[[int], Any], query: Callable[..., bytes]
) -> None:
    who = publisher(1)
    request = query(f"_iroh.{who.z32}.{ORIGIN}")
    assert (await bench.ask(request)).rcode() == dns.rcode.NXDOMAIN
    for text in ("one", "two"):
        bench.publish(who, text)
        for _ in range(3):
            assert (await bench.ask(request)).answer[0][0].to_text() == f'"{text}"'


async def test_remembered_answers_are_bounded_and_keep_to_their_request(
    bench: Bench,
    publisher: Callable[[int], Any],
    query: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "MAX_REMEMBERED", 2)
    who = publisher(1)
    bench.publish(who, "one")
    name = f"_iroh.{who.z32}.{ORIGIN}"
    for variant in (name, name.upper(), name.capitalize(), name):
        message = await bench.ask(query(variant))
        assert message.question[0].name.to_text() == variant
        assert message.answer[0].name.to_text() == variant
    assert len(bench.service._remembered) == 2


async def test_udp_and_tcp_do_not_share_answers(
    bench: Bench, publisher: Callable[[int], Any], query: Callable[..., bytes]
) -> None:
    who = publisher(1)
    records = [("_iroh", 30, "TXT", f'"{letter * 200}"') for letter in "abcd"]
    bench.store.packets[who.key.to_bytes()] = who.payload(who.message(records))
    request = query(f"_iroh.{who.z32}.{ORIGIN}", use_edns=-1, payload=None)
    for _ in range(2):
        short = await bench.ask(request)
        assert short.flags & dns.flags.TC
        assert not short.answer
        whole = await bench.ask(request, udp=False)
        assert len(whole.answer[0]) == 4
    assert bench.metrics.dns_truncated == 1  # the second time it was remembered


async def test_a_store_that_fails_is_servfail_and_not_remembered(
    bench: Bench, publisher: Callable[[int], Any], query: Callable[..., bytes]
) -> None:
    who = publisher(1)
    bench.publish(who, "one")
    bench.store.failure = StoreError("disk gone")
    request = query(f"_iroh.{who.z32}.{ORIGIN}")
    assert (await bench.ask(request)).rcode() == dns.rcode.SERVFAIL
    assert bench.metrics.store_errors == bench.metrics.dns_lookup_error == 1
    bench.store.failure = None
    assert (await bench.ask(request)).answer


async def test_every_request_is_counted_where_upstream_counts_it(
    bench: Bench, publisher: Callable[[int], Any], query: Callable[..., bytes]
) -> None:
    who = publisher(1)
    bench.publish(who, "one")
    for name, udp in (
        (f"_iroh.{who.z32}.{ORIGIN}", True),
        (f"_iroh.{who.z32}.{ORIGIN}", False),
        (f"nope.{who.z32}.{ORIGIN}", True),
        (f"{who.z32}.{ORIGIN}", True),
        ("elsewhere.", True),
    ):
        await bench.ask(query(name), udp=udp)
    assert bench.service.respond(b"x", udp=True) is None
    assert bench.service.respond(query("a.")[:-1], udp=True) is not None
    counted = {name: value for name, value in bench.metrics.as_dict().items() if value}
    assert counted == {
        "dns_requests": 6,
        "dns_requests_udp": 5,
        "dns_requests_tcp": 1,
        "dns_lookup_success": 2,
        "dns_lookup_notfound": 2,
        "dns_lookup_error": 2,
        "dns_dropped": 1,
        "dns_malformed": 1,
        "cache_zones": 1,
    }


async def test_zones_keep_to_their_budget(publisher: Callable[[int], Any]) -> None:
    store, metrics = MemoryStore(), Metrics()
    zones = ZoneCache(store, metrics, budget=3000)
    keys = []
    for number in range(1, 10):
        who = publisher(number)
        keys.append(who.key.to_bytes())
        store.packets[keys[-1]] = who.txt("one")
    loaded = [await zones.load(key) for key in keys]
    kept = [key for key in keys if zones.peek(key) is not None]
    assert kept == keys[-len(kept) :]
    assert 1 <= len(kept) < 5
    assert metrics.cache_zones == len(kept)
    assert [zone.alive for zone in loaded if zone] == [key in kept for key in keys]


async def test_a_zone_read_while_its_packet_changed_is_not_kept(
    publisher: Callable[[int], Any],
) -> None:
    who = publisher(1)
    key = who.key.to_bytes()

    class Overtaken(MemoryStore):
        async def get(self, public_key: bytes) -> bytes | None:
            found = await super().get(public_key)
            zones.drop((key,))  # a PUT ends while we were waiting
            return found

    store = Overtaken()
    store.packets[key] = who.txt("old")
    zones = ZoneCache(store, Metrics())
    zone = await zones.load(key)
    assert zone is not None
    assert not zone.alive
    assert zones.peek(key) is None


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
    st.integers(0, 100),
    st.booleans(),
)
def test_no_request_makes_it_raise(changes: list[tuple[int, int]], cut: int, udp: bool) -> None:
    wire = bytearray(dns.message.make_query(f"_iroh.{'y' * 52}.{ORIGIN}", "TXT").to_wire())
    for position, value in changes:
        wire[position % len(wire)] = value
    reply = Bench().service.respond(bytes(wire[: len(wire) - cut % len(wire)]), udp=udp)
    if isinstance(reply, bytes):
        assert reply[2] & 0x80
