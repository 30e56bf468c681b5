"""Our endpoint and a Rust one over custom transports: Unix datagram sockets. See README.md.

    python tools/rust_peer/custom_check.py --peer PATH/iroh-rust-peer

Each side dials the other once: 3 MB go there and back, and both must see the other's address as
the custom one, the close, and nothing else. Exit status 1 if one does not.
"""

import argparse
import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from iroh import (
    Connection,
    CustomAddr,
    CustomTransport,
    Deliver,
    Endpoint,
    EndpointAddr,
    EndpointBuilder,
    EndpointId,
    IncomingAddr,
    Preset,
)
from iroh.protocols.echo import ECHO_ALPN

UNIX = 0x554E4958
SIZE = 3_000_000
PATIENCE = 60.0
READS = 32
"""Datagrams read before others get their turn."""


class UnixDatagrams(CustomTransport):
    """Datagrams over a Unix socket, whose path is the address."""

    def __init__(self, path: Path) -> None:
        self.addr = CustomAddr(UNIX, os.fsencode(path))
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    async def start(self, deliver: Deliver) -> None:
        self._sock.bind(self.addr.data)
        self._sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self._sock, self._readable, deliver)
        self.local_addrs.set((self.addr,))

    def _readable(self, deliver: Deliver) -> None:
        for _ in range(READS):
            try:
                data, source = self._sock.recvfrom(65_535)
            except BlockingIOError:
                return
            deliver(CustomAddr(UNIX, os.fsencode(source)), data, local=self.addr)

    def is_valid_send_addr(self, addr: CustomAddr) -> bool:
        return addr.id == UNIX

    def send(self, dst: CustomAddr, src: CustomAddr | None, data: bytes, segment_size: int) -> bool:
        try:
            self._sock.sendto(data, dst.data)
        except (BlockingIOError, ConnectionRefusedError, FileNotFoundError):
            return False  # the peer reads too slowly, or is gone
        return True

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


class Only(Preset):
    """This transport and nothing else."""

    def __init__(self, transport: CustomTransport) -> None:
        self.transport = transport

    def apply(self, builder: EndpointBuilder) -> None:
        builder.clear_ip_transports()
        builder.add_custom_transport(self.transport)


class Rust:
    """The Rust program. told: what it printed, key by key."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: dict[str, str] = {}

    @classmethod
    async def run(cls, program: str, *arguments: str) -> "Rust":
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(program, *arguments, stdout=pipe))

    async def until(self, key: str | None) -> str:
        """Read on until it told `key`; None: to its end, which must be a good one."""
        assert self._process.stdout is not None
        while key is None or key not in self.told:
            line = (await self._process.stdout.readline()).decode()
            if not line:
                break
            name, _, value = line.strip().partition(" ")
            self.told[name] = value
        if key is None:
            check("Rust ends well", await self._process.wait() == 0)
            return ""
        return self.told[key]


def check(what: str, holds: bool) -> None:
    """Print whether it holds; SystemExit if not."""
    print(f"  {'ok   ' if holds else 'WRONG'} {what}", flush=True)
    if not holds:
        sys.exit(1)


def check_path(connection: Connection, ours: CustomAddr, theirs: CustomAddr) -> None:
    """There is one path, between these two."""
    (path,) = connection.paths()
    seen = (path.remote, path.local_addr, path.is_custom, path.is_selected)
    check(f"one path, MTU {path.stats.current_mtu}", seen == (theirs, str(ours), True, True))


def names(text: str, addr: CustomAddr) -> bool:
    """Say whether Rust's debug output is of this address."""
    return f"id: {addr.id}" in text and addr.data.hex() in text


async def we_dial(program: str, folder: Path) -> None:
    """Rust echoes."""
    theirs = CustomAddr(UNIX, os.fsencode(folder / "rust"))
    rust = await Rust.run(program, "unix-serve", str(folder / "rust"))
    rust_id = EndpointId.from_string(await rust.until("id"))
    transport = UnixDatagrams(folder / "python")
    async with Endpoint.bind(Only(transport)) as endpoint:
        addr = EndpointAddr(rust_id).with_custom_addr(theirs)
        connection = await endpoint.connect(addr, ECHO_ALPN)
        send, recv = await connection.open_bi()
        data = os.urandom(SIZE)

        async def write() -> None:
            await send.write_all(data)
            await send.finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            reading = tasks.create_task(recv.read_to_end(SIZE))
        check("3 MB came back from Rust", reading.result() == data)
        check_path(connection, transport.addr, theirs)
        connection.close(5, b"done")
        await rust.until(None)
    told = rust.told
    check("Rust's own address holds no custom one either", told["addrs"] == "0")
    check("Rust knows us", told["peer"] == str(endpoint.id()))
    check("Rust knows where we are", names(told["from"], transport.addr))
    check("Rust's path is this one", names(told["path"], transport.addr))
    check("Rust's end of it, too", names(told["local"], theirs))
    check("Rust sees why we closed", "done" in told["closed"] and "5" in told["closed"])


async def they_dial(program: str, folder: Path) -> None:
    """We echo."""
    theirs = CustomAddr(UNIX, os.fsencode(folder / "rust-2"))
    transport = UnixDatagrams(folder / "python-2")
    async with Endpoint.bind(Only(transport), alpns=[ECHO_ALPN]) as endpoint:
        arguments = (str(folder / "rust-2"), str(endpoint.id()), str(folder / "python-2"))
        rust = await Rust.run(program, "unix-dial", *arguments)
        incoming = await endpoint.accept_next()
        assert incoming is not None
        seen = await incoming.remote_addr()
        check("the attempt comes from a custom address", seen == IncomingAddr.CUSTOM(str(theirs)))
        connection = await incoming
        send, recv = await connection.accept_bi()
        data = await recv.read_to_end(SIZE)
        check_path(connection, transport.addr, theirs)
        await send.write_all(data)
        await send.finish()
        closed = await connection.closed()
        check("we see why Rust closed", closed == "closed by peer: bye (code 7)")
        await rust.until(None)
    check("3 MB came back from Python", rust.told["equal"] == "true")
    check("its path is this one", names(rust.told["path"], transport.addr))


async def main(arguments: Sequence[str]) -> None:
    """Both directions."""
    parser = argparse.ArgumentParser(description="Custom transports, both ways; see README.md.")
    parser.add_argument("--peer", required=True, help="the program iroh-rust-peer")
    program = parser.parse_args(arguments).peer
    with tempfile.TemporaryDirectory() as name:
        async with asyncio.timeout(PATIENCE):
            print("Python dials Rust")
            await we_dial(program, Path(name))
            print("Rust dials Python")
            await they_dial(program, Path(name))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
