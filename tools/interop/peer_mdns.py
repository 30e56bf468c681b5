"""Our mDNS lookup as a program with the lines of tools/rust_lookup: `SEED ADVERTISE TEXT ADDR ...`.

Prints discovered, expired and resolved lines; "resolve ID" on standard input. Ends with that.
"""

import asyncio
import sys

from iroh.address_lookup import Discovered, LookupContext, MdnsAddressLookup
from iroh.resolver import DnsResolver
from iroh_base import (
    AddrParseError,
    EndpointData,
    EndpointInfo,
    PublicKey,
    RelayUrl,
    SecretKey,
    SocketAddr,
    UserData,
)


def say(word: str, info: EndpointInfo) -> None:
    """Print one endpoint."""
    addrs = ",".join(map(str, (*info.data.ip_addrs, *info.data.relay_urls)))
    print(word, info.endpoint_id, addrs, info.data.user_data or "-", flush=True)


def parse(text: str) -> SocketAddr | RelayUrl:
    """An address of an endpoint."""
    try:
        return SocketAddr.parse(text)
    except AddrParseError:
        return RelayUrl(text)


async def watch(lookup: MdnsAddressLookup) -> None:
    """Print what comes and goes."""
    async for event in lookup.subscribe():
        if isinstance(event, Discovered):
            say("discovered", event.endpoint_info)
        else:
            print("expired", event.endpoint_id, flush=True)


async def resolve(lookup: MdnsAddressLookup, endpoint_id: PublicKey) -> None:
    """Print what is found first."""
    async for item in lookup.resolve(endpoint_id):
        say("resolved", item.endpoint_info)
        return
    print("nothing", flush=True)


async def main(seed: str, advertise: str, text: str, *addrs: str) -> None:
    """Run until standard input ends."""
    lookup = MdnsAddressLookup(advertise=advertise == "1")
    lookup.bind(LookupContext(SecretKey.from_string(seed), DnsResolver()))
    lookup.publish(EndpointData(list(map(parse, addrs)), None if text == "-" else UserData(text)))
    print("running", flush=True)
    tasks = {asyncio.create_task(watch(lookup))}
    while line := await asyncio.to_thread(sys.stdin.readline):
        tasks.add(asyncio.create_task(resolve(lookup, PublicKey.from_string(line.split()[1]))))
    await lookup.close()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
