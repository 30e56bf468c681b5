import asyncio

import pytest

from iroh.address_lookup import LookupItem
from iroh.errors import EndpointClosedError, LookupFailedError
from iroh.magicsock.direct_addrs import DirectAddresses
from iroh.magicsock.remote import IDLE_TIMEOUT, MAX_IDLE_REMOTES, RemoteMap, Source
from iroh.magicsock.remote_addrs import MAX_ADDRESSES
from iroh.magicsock.remote_paths import Surroundings
from iroh.magicsock.selector import BiasedRttPathSelector
from iroh.metrics import SocketMetrics
from iroh_base import EndpointData, EndpointInfo, RelayUrl, SecretKey, SocketAddr

ID = SecretKey.generate().public()
RELAY = RelayUrl("https://relay.example/")
IP = SocketAddr("192.0.2.1", 1000)


class Lookup:
    """A lookup that gives what the test puts in."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue = asyncio.Queue()
        self.started = 0

    async def __call__(self, endpoint_id):
        self.started += 1
        while (found := await self.queue.get()) is not None:
            if isinstance(found, Exception):
                raise found
            yield LookupItem(EndpointInfo(endpoint_id, EndpointData([found])), "test")


class Clock:
    now = 0.0

    def time(self) -> float:
        return self.now

    def call_at(self, when, callback):
        raise AssertionError("without a connection there is nothing to time")


def make(lookup=None, clock=None) -> RemoteMap:
    around = Surroundings(
        clock=clock or Clock(),
        metrics=SocketMetrics(),
        direct=DirectAddresses(),
        selector=BiasedRttPathSelector(),
        path_address=lambda _endpoint_id, target: target,
        transport_addr=lambda address: address,
    )
    return RemoteMap(lookup or Lookup(), around)


async def test_given_addresses_resolve_at_once_while_the_lookup_goes_on() -> None:
    lookup = Lookup()
    remotes = make(lookup)
    remote = remotes.hold(ID)
    remote.add([IP], Source.APP)
    await remote.resolve()
    await asyncio.sleep(0)
    assert lookup.started == 1
    lookup.queue.put_nowait(RELAY)
    lookup.queue.put_nowait(None)
    await asyncio.wait((remote.lookup._task,))
    assert list(remote.targets(())) == [IP, RELAY]
    await remotes.close()


async def test_waits_for_the_first_address_and_shares_one_lookup() -> None:
    lookup = Lookup()
    remotes = make(lookup)
    dials = [asyncio.create_task(remotes.hold(ID).resolve()) for _ in range(3)]
    await asyncio.sleep(0)
    lookup.queue.put_nowait(RELAY)
    await asyncio.gather(*dials)
    assert lookup.started == 1
    await remotes.close()


async def test_a_lookup_without_result_fails_every_dial_that_waits() -> None:
    lookup = Lookup()
    remotes = make(lookup)
    dials = [asyncio.create_task(remotes.hold(ID).resolve()) for _ in range(2)]
    await asyncio.sleep(0)
    lookup.queue.put_nowait(LookupFailedError("nothing"))
    for dial in dials:
        with pytest.raises(LookupFailedError):
            await dial
    await remotes.close()


async def test_cancelling_a_dial_leaves_the_lookup_to_the_others() -> None:
    lookup = Lookup()
    remotes = make(lookup)
    first, second = (asyncio.create_task(remotes.hold(ID).resolve()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    lookup.queue.put_nowait(IP)
    await second
    assert first.cancelled()
    await remotes.close()


async def test_own_addresses_are_no_targets() -> None:
    remotes = make()
    remote = remotes.hold(ID)
    remote.add([IP, RELAY], Source.APP)
    assert list(remote.targets(())) == [IP, RELAY]
    assert list(remote.targets([IP])) == [RELAY]
    await remotes.close()


async def test_addresses_are_bounded_and_what_the_application_gave_stays_longest() -> None:
    remotes = make()
    remote = remotes.hold(ID)
    remote.add([IP], Source.APP)
    remote.add([SocketAddr("192.0.2.2", port) for port in range(1, 100)], Source.LOOKUP)
    assert len(remote.addrs) == MAX_ADDRESSES
    assert IP in remote.addrs
    assert SocketAddr("192.0.2.2", 99) in remote.addrs
    await remotes.close()


async def test_idle_remotes_are_forgotten_and_held_ones_are_not() -> None:
    clock = Clock()
    remotes = make(clock=clock)
    idle = remotes.hold(ID)
    idle.add([IP], Source.APP)
    busy = SecretKey.generate().public()
    remotes.hold(busy)
    remotes.release(idle)
    assert remotes.find(ID) is idle
    clock.now = IDLE_TIMEOUT + 1
    assert remotes.find(ID) is None
    assert remotes.find(busy) is not None
    remotes.hold(SecretKey.generate().public())
    assert len(remotes) == 2
    await remotes.close()


async def test_a_long_connection_does_not_keep_others_from_being_forgotten(monkeypatch) -> None:
    monkeypatch.setattr("iroh.magicsock.remote.MAX_IDLE_REMOTES", 5)
    remotes = make()
    remotes.hold(ID)  # the oldest of all, and in use
    for _ in range(20):
        remotes.release(remotes.hold(SecretKey.generate().public()))
    assert len(remotes) == 6
    assert MAX_IDLE_REMOTES > 5
    await remotes.close()


async def test_a_remote_that_comes_back_in_time_is_the_same() -> None:
    remotes = make()
    remote = remotes.hold(ID)
    remotes.release(remote)
    assert remotes.hold(ID) is remote
    assert remotes.hold(ID) is remote
    remotes.release(remote)
    assert remotes.find(ID) is remote
    await remotes.close()


async def test_closing_ends_dials_that_wait_for_a_lookup() -> None:
    remotes = make()
    dials = [asyncio.create_task(remotes.hold(ID).resolve()) for _ in range(2)]
    await asyncio.sleep(0)
    await remotes.close()
    for dial in dials:
        with pytest.raises(EndpointClosedError):
            await dial


async def test_an_endpoint_found_without_an_address_is_a_clear_error() -> None:
    async def lookup(endpoint_id):
        yield LookupItem(EndpointInfo(endpoint_id, EndpointData([])), "test")

    remotes = make(lookup)
    with pytest.raises(LookupFailedError, match="no address of it"):
        await remotes.hold(ID).resolve()
    await remotes.close()


async def test_ipv4_in_ipv6_clothes_is_ipv4() -> None:
    remotes = make()
    remote = remotes.hold(ID)
    remote.add([SocketAddr.parse("[::ffff:192.0.2.1]:1000"), SocketAddr("::1", 5)], Source.APP)
    assert list(remote.addrs) == [IP, SocketAddr("::1", 5)]
    await remotes.close()
