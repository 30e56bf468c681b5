"""Our Mainline DHT as a program with the words of tools/rust_lookup: node, publish, resolve."""

import asyncio
import sys
from collections.abc import Callable, Coroutine

from iroh.address_lookup import Dht, DhtAddressLookup
from iroh_base import AddrFilter, EndpointData, PublicKey, RelayUrl, SecretKey, UserData


async def node(*bootstrap: str) -> None:
    """A node that answers, until standard input ends."""
    dht = Dht(bootstrap=bootstrap, server=True)
    await dht.start()
    print("listening", dht.local_addr[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await dht.close()


async def publish(seed: str, relay: str, text: str, *bootstrap: str) -> None:
    """Publish an endpoint, until standard input ends."""
    lookup = DhtAddressLookup(
        bootstrap=bootstrap,
        secret_key=SecretKey.from_string(seed),
        addr_filter=AddrFilter.unfiltered(),
    )
    lookup.publish(EndpointData([RelayUrl(relay)], UserData(text)))
    print("publishing", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await lookup.close()


async def resolve(endpoint_id: str, *bootstrap: str) -> None:
    """Print what is found first."""
    lookup = DhtAddressLookup(bootstrap=bootstrap, publish=False)
    async for item in lookup.resolve(PublicKey.from_string(endpoint_id)):
        data = item.endpoint_info.data
        print("resolved", item.endpoint_id, ",".join(map(str, data.addrs)), data.user_data)
        break
    else:
        print("nothing")
    await lookup.close()


if __name__ == "__main__":
    words: dict[str, Callable[..., Coroutine[None, None, None]]] = {
        "node": node,
        "publish": publish,
        "resolve": resolve,
    }
    asyncio.run(words[sys.argv[1]](*sys.argv[2:]))
