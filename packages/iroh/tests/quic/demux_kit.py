"""An endpoint whose connections only take notes, and datagrams to feed it with."""

import random
from collections.abc import Callable
from typing import Any

from iroh.quic import packet as pk
from iroh.quic.api import ServerConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.frames import INITIAL, ConnectionClose, decode_payload
from iroh.quic.keys import AES_128_GCM_SHA256, HeaderKey, PacketKey, initial_secrets, seal_packet
from iroh.quic.local_cids import CidChange
from iroh.quic.opening import open_long
from iroh.quic.remote_cids import TokenChange
from iroh_base import SecretKey

CLIENT, OTHER, LOCAL = ("10.0.0.1", 1000), ("10.0.0.3", 3000), ("10.0.0.2", 2000)
KEY = SecretKey.from_bytes(bytes(32))
PEER = bytes(32)
CONFIG = ServerConfig([b"a"])
NOW = 100.0
STRANGER = b"nobody's"


class Notes:
    """A connection that takes notes. Its ids are numbers: 0 for path 0, and so on."""

    def __init__(self, **made: Any) -> None:
        self.made = made
        self.peer: bytes | None = None
        self.close_reason: Any = None
        self.runs: list[tuple[int, Any, bytes, int, int]] = []
        self.longs: list[tuple[bytes, Any, Any, int]] = []
        self.resets: list[Any] = []
        self.cid_changes: list[CidChange] = []
        self.token_changes: list[TokenChange] = []
        self.on_receive: Callable[[], None] = lambda: None
        self.source = made["shared"].new_cid()
        self.add(self.source)

    def add(self, cid: bytes, path_id: int = 0) -> bytes:
        self.cid_changes.append(CidChange(True, cid, path_id))
        return cid

    def receive_run(self, path_id, datagrams, now):
        d = datagrams
        self.runs.append((path_id, d.remote, d.data, d.segment_size, d.ecn))
        self.on_receive()

    def receive_long(self, data, remote, local, ecn, now):
        self.longs.append((data, remote, local, ecn))
        self.on_receive()

    def vanish(self, reason, now):
        self.resets.append(reason)

    def take_cid_changes(self):
        changes, self.cid_changes = self.cid_changes, []
        return changes

    def take_token_changes(self):
        changes, self.token_changes = self.token_changes, []
        return changes


def make(accepting=True, limits=None) -> Endpoint:
    rng = random.Random(4).randbytes
    return Endpoint(Notes, KEY, CONFIG if accepting else None, rng=rng, limits=limits)


def dial(endpoint: Endpoint, *paths: int) -> Notes:
    """A connection with an id for each path: 8 bytes of its number."""
    connection: Any = endpoint.connect(CLIENT, PEER, [b"a"], NOW)
    for path_id in paths:
        connection.add(bytes([path_id]) * 8, path_id)
    endpoint.update(connection)
    return connection


def short(cid: bytes, size: int = 100, fill: int = 7) -> bytes:
    return bytes((0x41,)) + cid + bytes([fill]) * (size - 1 - len(cid))


def initial(dcid=b"first id", scid=b"their id", token=b"", size=1200, payload=b"\x01") -> bytes:
    secret, _ = initial_secrets(dcid)
    overhead = pk.long_overhead(pk.INITIAL, dcid, scid, token)
    payload += bytes(size - overhead - len(payload))
    header = pk.long_header(pk.INITIAL, dcid, scid, 0, 4, len(payload), token)
    key, hp = PacketKey(AES_128_GCM_SHA256, secret), HeaderKey(AES_128_GCM_SHA256, secret)
    return seal_packet(key, hp, header, 0, payload)


def handshake(dcid: bytes) -> bytes:
    return pk.long_header(pk.HANDSHAKE, dcid, b"their id", 0, 4, 20) + bytes(36)


def feed(endpoint: Endpoint, *datagrams: bytes, remote=CLIENT, now=NOW, ecn=0):
    return endpoint.receive([Datagrams(remote, d, ecn=ecn, local=LOCAL) for d in datagrams], now)


def joined(*datagrams: bytes, size: int = 0, ecn: int = 2) -> Datagrams:
    return Datagrams(CLIENT, b"".join(datagrams), size or len(datagrams[0]), ecn, LOCAL)


def refusal_code(data: bytes, dcid=b"first id") -> int:
    """The code of an Initial with CONNECTION_CLOSE, opened as the client would."""
    header = pk.parse_long(data)
    _, secret = initial_secrets(dcid)
    key, hp = PacketKey(AES_128_GCM_SHA256, secret), HeaderKey(AES_128_GCM_SHA256, secret)
    opened = open_long(key, hp, data, header, -1)
    assert opened is not None
    (frame,) = decode_payload(opened[1], INITIAL)
    assert isinstance(frame, ConnectionClose)
    return frame.code
