"""MemoryLookup, with the upstream tests of memory.rs."""

from iroh.address_lookup import LookupItem, MemoryLookup
from iroh_base import EndpointAddr, EndpointData, EndpointInfo, SecretKey, SocketAddr, UserData

from .kit import collect

ID = SecretKey.from_bytes(bytes(32)).public()
ADDR = EndpointAddr(ID, "https://example.com")
ONE, TWO = SocketAddr("192.0.2.1", 1), SocketAddr("192.0.2.2", 2)


def test_basic() -> None:
    """Upstream test_basic."""
    lookup = MemoryLookup()
    info = EndpointInfo(ID, EndpointData(ADDR.sorted_addrs(), UserData("foobar")))
    lookup.add_endpoint_info(info)
    back = lookup.get_endpoint_info(ID)
    assert back == info
    assert back is not None
    assert back.to_endpoint_addr() == ADDR
    assert lookup.remove_endpoint_info(ID) == info
    assert lookup.get_endpoint_info(ID) is None
    assert lookup.remove_endpoint_info(ID) is None


async def test_provenance() -> None:
    """Upstream test_provenance."""
    lookup = MemoryLookup("foo", time_us=lambda: 42)
    lookup.add_endpoint_info(ADDR)
    info = EndpointInfo.from_endpoint_addr(ADDR)
    items = lookup.resolve(ID)
    assert await collect(items) == [LookupItem(info, "foo", 42)]


async def test_resolve_of_an_unknown_endpoint() -> None:
    assert MemoryLookup().resolve(ID) is None


async def test_default_provenance_and_time() -> None:
    lookup = MemoryLookup.from_endpoint_info([ADDR])
    (item,) = await collect(lookup.resolve(ID))
    assert item.provenance == "memory_lookup"
    assert item.last_updated_us > 1.7e15
    assert item.endpoint_id == ID


def test_add_appends_and_set_replaces() -> None:
    lookup = MemoryLookup()
    assert lookup.set_endpoint_info(EndpointInfo(ID, EndpointData([ONE], UserData("u")))) is None
    lookup.add_endpoint_info(EndpointInfo(ID, EndpointData([TWO, ONE])))
    info = lookup.get_endpoint_info(ID)
    assert info == EndpointInfo(ID, EndpointData([ONE, TWO]))  # user data is replaced by none too
    assert lookup.set_endpoint_info(ADDR) == EndpointData([ONE, TWO])
    assert lookup.get_endpoint_info(ID) == EndpointInfo.from_endpoint_addr(ADDR)


def test_publish_does_nothing() -> None:
    lookup = MemoryLookup()
    lookup.publish(EndpointData([ONE]))
    assert lookup.get_endpoint_info(ID) is None
