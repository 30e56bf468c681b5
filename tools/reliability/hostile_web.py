"""The messages of a server with a certificate, mutated: what a relay's address discovery may send.

The client is ours (`iroh.quic.tls.web`), the server aioquic's.
"""

import random
from functools import cache
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from iroh.quic.errors import PeerError
from iroh.quic.frames import HANDSHAKE, INITIAL, ONE_RTT
from iroh.quic.tls.web import WebHandshake
from iroh.quic.tls.web_trust import WebTrust
from iroh_relay.qad import ALPN
from iroh_relay.server import SelfSigned

NAME = "relay.example"
PARAMETERS = bytes.fromhex("0f0401020304")


@cache
def certificates() -> SelfSigned:
    return SelfSigned([NAME])


@cache
def trust() -> WebTrust:
    return WebTrust(certificates().chain_pem)


def started() -> WebHandshake:
    """A client that has sent its ClientHello."""
    client = WebHandshake(NAME, [ALPN], PARAMETERS, trust())
    client.start()
    return client


def answer(hello: bytes) -> tuple[bytes, bytes]:
    """What a server says to a ClientHello: ServerHello, and the flight up to Finished."""
    server = tls.Context(is_client=False, alpn_protocols=[ALPN.decode()])
    key: Any = load_pem_private_key(certificates().key_pem, None)
    server.certificate = x509.load_pem_x509_certificate(certificates().chain_pem)
    server.certificate_private_key = key
    server.handshake_extensions = [(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, PARAMETERS)]
    out = {
        epoch: Buffer(capacity=16_384)
        for epoch in (tls.Epoch.INITIAL, tls.Epoch.HANDSHAKE, tls.Epoch.ONE_RTT)
    }
    server.handle_message(hello, out)
    return out[tls.Epoch.INITIAL].data, out[tls.Epoch.HANDSHAKE].data


def web_seeds() -> list[bytes]:
    """Both flights of a server. The first byte says which: see `decode_web`."""
    first, second = answer(started().take(INITIAL))
    return [b"\x00" + first, b"\x01" + second]


def decode_web(data: bytes, rng: random.Random) -> None:
    """Give messages to a client that expects something like them."""
    client = started()
    hello = client.take(INITIAL)
    try:
        if not data or data[0] & 1 == 0:
            client.receive(INITIAL, data[1:])
            return
        client.receive(INITIAL, answer(hello)[0])
        client.receive(rng.choice((HANDSHAKE, HANDSHAKE, ONE_RTT)), data[1:])
    except PeerError:
        return
