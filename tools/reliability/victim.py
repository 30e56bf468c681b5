"""The attacked endpoint, as a process of its own: ours or the real Rust one, by the interpreter.

    in    {"do": "dial", "id": "...", "address": "127.0.0.1:1"}     dial the evil server
    out   {"id": "...", "addresses": ["127.0.0.1:1"], "version": "..."}    once, when bound

Every attempt is accepted, every bidirectional stream echoed; a stream that starts with `send N`
gets N bytes instead. Nothing but the standard library and `iroh` is imported. The end of stdin ends
the process.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import sys
from typing import Any

import iroh

ALPN = b"hostile/1"
CHUNK = 1 << 16
running: set[asyncio.Task[None]] = set()


def start(work: Any) -> None:
    """Run something beside; what it raises is the attacker's doing."""

    async def guarded() -> None:
        with contextlib.suppress(Exception):
            await work

    task = asyncio.create_task(guarded())
    running.add(task)
    task.add_done_callback(running.discard)


async def serve_stream(send: Any, recv: Any) -> None:
    """Echo a stream, or send as much as it asks for."""
    first = bytes(await recv.read(CHUNK) or b"")
    if first.startswith(b"send "):
        left = int(first[5:])
        while left > 0:
            await send.write_all(bytes(min(left, CHUNK)))
            left -= CHUNK
    else:
        while first:
            await send.write_all(first)
            first = bytes(await recv.read(CHUNK) or b"")
    await send.finish()


async def serve(connection: Any) -> None:
    """Serve the streams of a connection until it ends."""
    while True:
        stream = await connection.accept_bi()
        start(serve_stream(stream.send(), stream.recv()))


async def answer(incoming: Any) -> None:
    """Accept an attempt."""
    accepting = await incoming.accept()
    await serve(await accepting.connect())


async def accept_all(endpoint: Any) -> None:
    """Accept whoever comes."""
    while (incoming := await endpoint.accept_next()) is not None:
        start(answer(incoming))


async def dial(endpoint: Any, peer: str, address: str) -> None:
    """Dial, and serve what is dialled."""
    addr = iroh.EndpointAddr(iroh.EndpointId.from_string(peer), None, [address])
    await serve(await endpoint.connect(addr, ALPN))


async def main() -> None:
    """Bind, say where, and serve until stdin ends."""
    set_loop = getattr(sys.modules.get("iroh.iroh_ffi"), "uniffi_set_event_loop", None)
    if set_loop is not None:
        set_loop(asyncio.get_running_loop())
    options = iroh.EndpointOptions(
        preset=iroh.preset_minimal(),
        alpns=[ALPN],
        relay_mode=iroh.RelayMode.disabled(),
        bind_addr="127.0.0.1:0",
    )
    endpoint = await iroh.Endpoint.bind(options)
    addresses = [text for text in endpoint.bound_sockets() if text.startswith("127.")]
    version = importlib.metadata.version("iroh")
    told = {"id": str(endpoint.id()), "addresses": addresses, "version": version}
    print(json.dumps(told), flush=True)
    start(accept_all(endpoint))
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        start(dial(endpoint, order["id"], order["address"]))
    for task in list(running):
        task.cancel()
    await endpoint.close()


if __name__ == "__main__":
    asyncio.run(main())
