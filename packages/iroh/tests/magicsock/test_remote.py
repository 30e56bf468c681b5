import asyncio

import pytest

from iroh.address_lookup import LookupItem
from iroh.errors import LookupFailedError
from iroh.magicsock.remote import IDLE_TIMEOUT, MAX_ADDRESSES, RemoteMap, Source
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


def make(lookup=None, clock=lambda: 0.0) -> RemoteMap:
    return RemoteMap(lookup or Lookup(), clock)


async def test_given_addresses_resolve_at_once_while_the_lookup_goes_on() -> None:
    lookup = Lookup()
    remotes = make(lookup)
    remote = remotes.get(ID)
    remote.add([IP], Source.APP)
    await remote.resolve()
    await asyncio.sleep(0)
    assert lookup.started == 1
    lookup.queue.put_nowait(RELAY)
    lookup.queue.put_nowait(None)
    await asyncio.wait((remote._lookup_task,))
    assert list(remote.targets(())) == [IP, RELAY]
    await remotes.close()


async def test_waits_for_the_first_address_and_shares_one_lookup() -> None:
    lookup = Lookup()
    remotes = make(lookup)
    dials = [asyncio.create_task(remotes.get(ID).resolve()) for _ in range(3)]
    await asyncio.sleep(0)
    lookup.queue.put_nowait(RELAY)
    await asyncio.gather(*dials)
    assert lookup.started == 1
    await remotes.close()


async def test_a_lookup_without_result_fails_every_dial_that_waits() -> None:
    lookup = Lookup()
    remotes = make(lookup)
    dials = [asyncio.create_task(remotes.get(ID).resolve()) for _ in range(2)]
    await asyncio.sleep(0)
    lookup.queue.put_nowait(LookupFailedError("nothing"))
    for dial in dials:
        with pytest.raises(LookupFailedError):
            await dial
    await remotes.close()


async def test_cancelling_a_dial_leaves_the_lookup_to_the_others() -> None:
    lookup = Lookup()
    remotes = make(lookup)
    first, second = (asyncio.create_task(remotes.get(ID).resolve()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    lookup.queue.put_nowait(IP)
    await second
    assert first.cancelled()
    await remotes.close()


async def test_the_path_in_use_is_the_only_target_and_own_addresses_are_none() -> None:
    remotes = make()
    remote = remotes.get(ID)
    remote.add([IP, RELAY], Source.APP)
    assert list(remote.targets([IP])) == [RELAY]
    remote.selected = IP
    assert list(remote.targets([IP])) == [IP]
    await remotes.close()


async def test_addresses_are_bounded_and_what_the_application_gave_stays_longest() -> None:
    remotes = make()
    remote = remotes.get(ID)
    remote.add([IP], Source.APP)
    remote.add([SocketAddr("192.0.2.2", port) for port in range(1, 100)], Source.LOOKUP)
    assert len(remote.addresses) == MAX_ADDRESSES
    assert IP in remote.addresses
    assert SocketAddr("192.0.2.2", 99) in remote.addresses
    await remotes.close()


async def test_idle_remotes_are_forgotten() -> None:
    now = [0.0]
    remotes = make(clock=lambda: now[0])
    remotes.get(ID).add([IP], Source.APP)
    busy = SecretKey.generate().public()
    remotes.get(busy).connections = 1
    now[0] = IDLE_TIMEOUT + 1
    assert remotes.find(ID) is None
    assert remotes.find(busy) is not None
    remotes.get(SecretKey.generate().public())
    assert len(remotes) == 2
    await remotes.close()
