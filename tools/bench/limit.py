"""How fast a QUIC data plane in plain Python can be: the upper bound, not an implementation.

    python -m bench.limit [--mb 256] [--udp 1452] [--batch 44]

Two processes over loopback on asyncio's `add_reader`: real AES-256-GCM and header protection,
STREAM frames with id, offset and length, encrypted ACKs, a byte window, UDP_SEGMENT and UDP_GRO.
Left out: handshake, congestion control, retransmission, all other frames. Prints one JSON line.

    short header, 13 bytes           | payload                                   | tag
    0x43 | connection id 8 | number 4 | 0x0e 0x04 | offset 8 | length 2 | data     | 16
"""

import argparse
import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104  # linux/udp.h
FIRST = b"\x43" + bytes(8)
HEADER, TAG, FRAME = 13, 16, 12
LOW5 = bytes(value & 0x1F for value in range(256))
WINDOW = 1_500_000
JOIN = 400  # chunks after which the application takes them as one
TURN = 8  # reads in one turn of the loop
ACK_DIRECTION = 1 << 90  # other nonces than those of the data


def xor(one: bytes, other: bytes) -> bytes:
    """XOR two equally long strings."""
    mixed = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return mixed.to_bytes(len(one), "little")


class Keys:
    """Packet protection with fixed keys (RFC 9001 section 5)."""

    def __init__(self) -> None:
        self.aead = AESGCM(bytes(32))
        self.iv = int.from_bytes(b"0123456789ab", "big")
        cipher = Cipher(algorithms.AES(bytes(range(32))), modes.ECB())
        self.mask = cipher.encryptor().update

    def nonce(self, number: int) -> bytes:
        """Give the nonce of a packet."""
        return (self.iv ^ number).to_bytes(12, "big")

    def columns(self, samples: bytes) -> list[bytes]:
        """Give the first five bytes of the masks of a batch, each as a column."""
        masks = self.mask(samples)
        return [masks[0::16].translate(LOW5), *(masks[i::16] for i in range(1, 5))]


class Sender:
    """Builds batches of packets of one stream."""

    def __init__(self, udp: int) -> None:
        self.offset = 0
        self._number = 0
        self._keys = Keys()
        self._room = udp - HEADER - FRAME - TAG

    def batch(self, source: memoryview, count: int) -> tuple[list[bytes | memoryview], int]:
        """Seal up to `count` packets; give the buffers for sendmsg and how many packets."""
        encrypt, nonce = self._keys.aead.encrypt, self._keys.nonce
        number, offset, end, room = self._number, self.offset, len(source), self._room
        heads, samples = bytearray(), bytearray()
        bodies: list[bytes] = []
        while len(bodies) < count and offset < end:
            chunk = source[offset : offset + room]
            size = len(chunk)
            head = FIRST + number.to_bytes(4, "big")
            frame = (
                b"\x0e\x04",
                (offset | 3 << 62).to_bytes(8, "big"),
                (size | 0x4000).to_bytes(2, "big"),
                chunk,
            )
            body = encrypt(nonce(number), b"".join(frame), head)
            heads += head
            bodies.append(body)
            samples += body[:16]
            number += 1
            offset += size
        self._number, self.offset = number, offset
        for at, column in zip((0, 9, 10, 11, 12), self._keys.columns(bytes(samples)), strict=True):
            heads[at::HEADER] = xor(bytes(heads[at::HEADER]), column)
        view = memoryview(heads)
        out: list[bytes | memoryview] = []
        for index, body in enumerate(bodies):
            out += (view[index * HEADER : (index + 1) * HEADER], body)
        return out, len(bodies)


class Receiver:
    """Opens batches of packets, and joins what they carry."""

    def __init__(self) -> None:
        self.offset = 0
        self.largest = -1
        self.packets = 0
        self._keys = Keys()
        self._chunks: list[bytes] = []

    def feed(self, view: memoryview, size: int, segment: int) -> None:
        """Take equal packets of `segment` bytes; the last may be shorter."""
        count = -(-size // segment)
        data = bytes(view[:size])
        starts = range(0, count * segment, segment)
        samples = b"".join([data[at + HEADER : at + HEADER + 16] for at in starts])
        masks = self._keys.columns(samples)
        numbers = [xor(data[9 + i : size : segment][:count], masks[1 + i]) for i in range(4)]
        for index, at in enumerate(starts):
            tail = bytes(column[index] for column in numbers)
            self._open(view[at + HEADER : min(at + segment, size)], tail)
        self.packets += count
        if len(self._chunks) > JOIN:
            b"".join(self._chunks)
            self._chunks.clear()

    def _open(self, body: memoryview, tail: bytes) -> None:
        number = int.from_bytes(tail, "big")
        plain = self._keys.aead.decrypt(self._keys.nonce(number), body, FIRST + tail)
        if (
            plain[:2] != b"\x0e\x04"
            or int.from_bytes(plain[2:10], "big") & ~(3 << 62) != self.offset
        ):
            raise ValueError("not the next STREAM frame")
        size = int.from_bytes(plain[10:12], "big") & 0x3FFF
        self._chunks.append(plain[12 : 12 + size])
        self.offset += size
        self.largest = max(self.largest, number)


class Acks:
    """Encrypted packets that say how much has arrived."""

    def __init__(self) -> None:
        self._number = 0
        self._keys = Keys()

    def make(self, largest: int, offset: int) -> bytes:
        """Make one."""
        head = FIRST + self._number.to_bytes(4, "big")
        plain = b"\x02" + struct.pack(">QQ", largest, offset)
        nonce = self._keys.nonce(self._number ^ ACK_DIRECTION)
        body = self._keys.aead.encrypt(nonce, plain, head)
        self._number += 1
        mask = self._keys.mask(body[:16])
        return bytes((head[0] ^ mask[0] & 0x1F,)) + head[1:9] + xor(head[9:], mask[1:5]) + body

    def read(self, packet: bytes) -> int:
        """Read one, and give the offset."""
        tail = xor(packet[9:13], self._keys.mask(packet[13:29])[1:5])
        nonce = self._keys.nonce(int.from_bytes(tail, "big") ^ ACK_DIRECTION)
        plain = self._keys.aead.decrypt(nonce, packet[13:], FIRST + tail)
        offset: int = struct.unpack(">Q", plain[9:17])[0]
        return offset


def udp_socket() -> socket.socket:
    """Bind a socket with large buffers."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    return sock


async def until(sock: socket.socket, act: Callable[[], None], is_done: Callable[[], bool]) -> None:
    """Call `act` whenever the socket is readable, until it is done."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        try:
            for _ in range(TURN):
                act()
                if is_done():
                    loop.remove_reader(sock)
                    done.set_result(None)
                    return
        except BlockingIOError:
            pass

    sock.setblocking(False)
    loop.add_reader(sock, readable)
    await asyncio.wait_for(done, 60)


def receive(sock: socket.socket, total: int, report: int) -> None:
    """Be the receiving process; write its figures to the descriptor `report`."""
    receiver, acks, buffer = Receiver(), Acks(), bytearray(65_536)
    view, acknowledged, start = memoryview(buffer), 0, time.process_time()

    def act() -> None:
        nonlocal acknowledged
        size, ancillary, _, _ = sock.recvmsg_into([buffer], 64)
        segment = size
        for _, kind, data in ancillary:
            if kind == UDP_GRO:
                (segment,) = struct.unpack("i", data[:4])
        receiver.feed(view, size, segment)
        if receiver.offset - acknowledged > WINDOW // 8 or receiver.offset >= total:
            acknowledged = receiver.offset
            sock.send(acks.make(receiver.largest, receiver.offset))

    asyncio.run(until(sock, act, lambda: receiver.offset >= total))
    figures = {"packets": receiver.packets, "cpu": time.process_time() - start}
    os.write(report, json.dumps(figures).encode())


def send(sock: socket.socket, total: int, udp: int, batch: int) -> tuple[float, float]:
    """Be the sending process; give the seconds and the processor seconds."""
    sender, acks, acknowledged = Sender(udp), Acks(), 0
    source = memoryview(bytes(total))
    ancillary = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", udp))]
    start, cpu = time.perf_counter(), time.process_time()

    def fill() -> None:
        while sender.offset < total and sender.offset - acknowledged < WINDOW:
            buffers, count = sender.batch(source, batch)
            sock.sendmsg(buffers, ancillary if count > 1 else [])

    def act() -> None:
        nonlocal acknowledged
        acknowledged = max(acknowledged, acks.read(sock.recv(2048)))
        fill()

    async def run() -> None:
        fill()
        await until(sock, act, lambda: acknowledged >= total)

    asyncio.run(run())
    return time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    """Measure, and print one JSON line with the names of the bulk workload."""
    parser = argparse.ArgumentParser(description="The limit of a data plane in plain Python.")
    parser.add_argument("--mb", type=int, default=256)
    parser.add_argument("--udp", type=int, default=1452)
    parser.add_argument("--batch", type=int, default=44)
    options = parser.parse_args()
    total = options.mb * 1_000_000
    inbound, outbound = udp_socket(), udp_socket()
    inbound.connect(outbound.getsockname())
    outbound.connect(inbound.getsockname())
    inbound.setsockopt(SOL_UDP, UDP_GRO, 1)
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            receive(inbound, total, writer)
        finally:
            os._exit(0)
    os.close(writer)
    seconds, cpu = send(outbound, total, options.udp, options.batch)
    told = json.loads(os.read(reader, 4096))
    figures = {
        "rate": total / seconds / 1e6,
        "cpu_tx": cpu / total * 1e9,
        "cpu_rx": told["cpu"] / total * 1e9,
        "packets": told["packets"],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
