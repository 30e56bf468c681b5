"""The load on a relay, in a process of its own: `python -m bench.relay_load WORK` with a JSON line.

The line says where the relay is: {"port": ..., "roots": a file or null, "pid": ..., and the work's
own settings}; the answer is one JSON line of figures. Clients are blocking sockets that send
messages made before, so that the same generator can fill ours and the Rust relay.

    forward   one client sends to another, `window` frames on their way at most
    ping      one client asks for pongs, `every` seconds
    connect   clients come and go, eight at a time
    idle      `count` clients come and stay for `hold` seconds, answering the relay's pings
"""

import itertools
import json
import secrets
import selectors
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import figures
from iroh_base.keys import SecretKey
from iroh_relay.protos.frames import Ping, Pong, encode_datagrams
from iroh_relay.protos.handshake import ClientHandshake
from iroh_relay.protos.versions import offer

HOST = "127.0.0.1"
CHUNK = 16
"""Frames written at once."""
AT_ONCE = 8
PATIENCE = 20.0
ASK_EVERY = 15.0
"""Seconds, as endpoints ask (iroh `actor.rs`)."""
Settings = dict[str, Any]


def message(frame: bytes) -> bytes:
    """Make a client's WebSocket message, masked with zeros."""
    size = len(frame)
    short = bytes((0x82, 0x80 | size)) if size < 126 else b"\x82\xfe" + size.to_bytes(2)
    return short + bytes(4) + frame


def receive(sock: socket.socket) -> bytes:
    """Read what is there. Raises EOFError."""
    data = sock.recv(4096)
    if not data:
        raise EOFError("the relay hung up")
    return data


def read(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes. Raises EOFError."""
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError("the relay hung up")
        data += part
    return bytes(data)


def read_message(sock: socket.socket) -> bytes:
    """Read a message of less than 64 KiB."""
    _, size = read(sock, 2)
    return read(sock, size if size < 126 else int.from_bytes(read(sock, 2)))


class Dialer:
    """Connects clients."""

    def __init__(self, settings: Settings) -> None:
        self._port: int = settings["port"]
        self._context: ssl.SSLContext | None = None
        if settings["roots"]:
            self._context = ssl.create_default_context(cafile=settings["roots"])
        key = "AAAAAAAAAAAAAAAAAAAAAA=="
        self._request = (
            f"GET /relay HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {offer()}\r\n\r\n"
        ).encode()

    def connect(self, key: SecretKey) -> socket.socket:
        """Give a client that has been admitted."""
        sock = socket.create_connection((HOST, self._port), PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_hostname=HOST)
        sock.sendall(self._request)
        waiting = bytearray()
        while b"\r\n\r\n" not in waiting:
            waiting += receive(sock)
        del waiting[: waiting.index(b"\r\n\r\n") + 4]
        machine = ClientHandshake(key)
        while not machine.done:
            while len(waiting) < 2 or len(waiting) < 2 + waiting[1]:
                waiting += receive(sock)
            answer = machine.receive(bytes(waiting[2 : 2 + waiting[1]]))
            del waiting[: 2 + waiting[1]]
            if answer is not None:
                sock.sendall(message(answer))
        assert not waiting
        return sock


def forward(settings: Settings) -> dict[str, float]:
    """Fill the relay."""
    dialer, keys = Dialer(settings), [SecretKey.generate() for _ in range(2)]
    sender, receiver = (dialer.connect(key) for key in keys)
    size, segment = settings["size"], settings["segment"]
    frame = encode_datagrams(keys[1].public().to_bytes(), bytes(size), 0, segment or None)
    chunk = message(frame) * CHUNK
    arriving = (len(message(frame)) - 4) * CHUNK  # the relay masks nothing
    window = threading.Semaphore(max(1, settings["window"] // CHUNK))
    ended = threading.Event()
    received = [0]

    def count() -> None:
        buffer, total = bytearray(1 << 20), 0
        while not ended.is_set():
            try:
                total += receiver.recv_into(buffer)
            except TimeoutError:
                continue
            while total >= arriving:
                total -= arriving
                received[0] += CHUNK
                window.release()

    receiver.settimeout(0.2)
    reading = threading.Thread(target=count)
    reading.start()
    warm, end = settings["seconds"] * 0.2, settings["seconds"]
    start = time.monotonic()
    measured: tuple[float, float, int] | None = None
    while (now := time.monotonic() - start) < end:
        if measured is None and now > warm:
            measured = time.monotonic(), figures.cpu(settings["pid"]), received[0]
        if window.acquire(timeout=0.5):
            sender.sendall(chunk)
    assert measured is not None
    frames = received[0] - measured[2]
    seconds, cpu = time.monotonic() - measured[0], figures.cpu(settings["pid"]) - measured[1]
    ended.set()
    reading.join()
    return {"rate": frames / seconds, "cpu": cpu / max(frames, 1) * 1e6, "frames": frames}


def ping(settings: Settings) -> dict[str, float]:
    """Ask and wait, again and again."""
    sock = Dialer(settings).connect(SecretKey.generate())
    taken = []
    end = time.monotonic() + settings["seconds"]
    while time.monotonic() < end:
        data = secrets.token_bytes(8)
        start = time.perf_counter()
        sock.sendall(message(Ping(data).encode()))
        assert read_message(sock) == Pong(data).encode()
        taken.append((time.perf_counter() - start) * 1000)
        time.sleep(settings["every"])
    taken.sort()
    return {
        "p50": figures.percentile(taken, 0.5),
        "p99": figures.percentile(taken, 0.99),
        "most": taken[-1],
    }


def connect(settings: Settings) -> dict[str, float]:
    """Come and go."""
    dialer, end = Dialer(settings), time.monotonic() + settings["seconds"]
    before, start = figures.cpu(settings["pid"]), time.monotonic()

    def come_and_go(_: int) -> int:
        count = 0
        while time.monotonic() < end:
            dialer.connect(SecretKey.generate()).close()
            count += 1
        return count

    with ThreadPoolExecutor(AT_ONCE) as pool:
        count = sum(pool.map(come_and_go, range(AT_ONCE)))
    cpu = figures.cpu(settings["pid"]) - before
    return {"rate": count / (time.monotonic() - start), "cpu": cpu / count * 1000}


class Idlers:
    """Clients that say nothing but pings and pongs, served in a thread.

    Every second one asks for a pong each 15 s, as endpoints do; the others only answer the relay.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        self._due: deque[tuple[float, socket.socket]] = deque()
        self._asked: dict[socket.socket, tuple[bytes, float]] = {}
        self._gone: set[socket.socket] = set()
        self._count = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.answered = 0
        self.waits: list[float] = []

    @property
    def lost(self) -> int:
        """How many the relay has hung up on."""
        return len(self._gone)

    @property
    def unanswered(self) -> int:
        """How many pongs of the relay never came."""
        return len(self._asked)

    def add(self, sock: socket.socket) -> None:
        """Take over a client."""
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, bytearray())
        self._count += 1
        if self._count % 2:
            self._due.append((time.monotonic() + ASK_EVERY, sock))

    def end(self) -> None:
        """Ask for nothing more, wait for what is on its way, and serve no more."""
        self._due.clear()
        time.sleep(2.0)
        self._ended.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj, key.data)
            now = time.monotonic()
            while self._due and self._due[0][0] < now:
                self._ask(self._due.popleft()[1], now)

    def _ask(self, sock: socket.socket, now: float) -> None:
        """Send a ping; the pong of the one before must be there."""
        if sock in self._gone or sock in self._asked:
            return
        data = secrets.token_bytes(8)
        self._asked[sock] = data, now
        sock.send(message(Ping(data).encode()))
        self._due.append((now + ASK_EVERY, sock))

    def _read(self, sock: socket.socket, waiting: bytearray) -> None:
        try:
            data = sock.recv(4096)
            waiting += data
            while len(waiting) >= 11:  # a ping or a pong: 82 09, 09 or 0a, eight bytes
                self._frame(sock, bytes(waiting[:11]))
                del waiting[:11]
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self._gone.add(sock)
            self._selector.unregister(sock)

    def _frame(self, sock: socket.socket, frame: bytes) -> None:
        if frame.startswith(b"\x82\x09\x09"):
            sock.send(message(Pong(frame[3:]).encode()))
            self.answered += 1
            return
        data, sent = self._asked.pop(sock)
        assert frame == b"\x82\x09" + Pong(data).encode(), frame
        self.waits.append((time.monotonic() - sent) * 1000)


def idle(settings: Settings) -> dict[str, float]:
    """Come and stay."""
    dialer, pid = Dialer(settings), settings["pid"]
    for _ in range(20):
        dialer.connect(SecretKey.generate()).close()  # what the first ones cost is not theirs
    time.sleep(0.5)
    before, start = figures.memory(pid), time.monotonic()
    idlers, numbers = Idlers(), itertools.count()

    def come(_: int) -> None:
        while next(numbers) < settings["count"]:
            idlers.add(dialer.connect(SecretKey.generate()))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(come, range(AT_ONCE)))
    taken = time.monotonic() - start
    time.sleep(1.0)
    cpu, held = figures.cpu(pid), time.monotonic()
    time.sleep(settings["hold"])
    busy = (figures.cpu(pid) - cpu) / (time.monotonic() - held) * 100
    used = figures.memory(pid) - before
    idlers.end()
    waits = sorted(idlers.waits) or [0.0]
    return {
        "rss": used / settings["count"] / 1024,
        "seconds": taken,
        "lost": idlers.lost,
        "answered": idlers.answered,
        "asked": len(idlers.waits) + idlers.unanswered,
        "unanswered": idlers.unanswered,
        "p99": figures.percentile(waits, 0.99),
        "cpu": busy,
    }


WORKS: dict[str, Callable[[Settings], dict[str, float]]] = {
    "forward": forward,
    "ping": ping,
    "connect": connect,
    "idle": idle,
}


def main(work: str, lines: Iterator[str]) -> None:
    """Do the work of one line."""
    seen = WORKS[work](json.loads(next(lines)))
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], iter(sys.stdin))
