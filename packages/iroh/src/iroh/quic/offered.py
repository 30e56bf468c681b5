"""Which ALPNs an attempt offers, read before anything is answered (noq `DecryptedInitial`).

    datagrams held --Initial keys--> CRYPTO frames --from 0 on--> ClientHello --> ALPNs

The keys follow from a connection id that everybody on the way can read, so what is offered is known
and not proven. Several Initials make one hello when it is long.
"""

from collections.abc import Iterable, Iterator

from iroh.quic import packet as pk
from iroh.quic.errors import PeerError
from iroh.quic.frames import INITIAL, Crypto, decode_payload
from iroh.quic.keys import initial_keys
from iroh.quic.opening import open_long
from iroh.quic.strangers import FirstPacket
from iroh.quic.tls.alerts import Alert, Malformed
from iroh.quic.tls.messages import (
    ALPN,
    CLIENT_HELLO,
    decode_alpn,
    decode_client_hello,
)

__all__ = ["offered_alpns"]

_HEADER = 4  # of a TLS message: type 1 | length 3


def offered_alpns(first: FirstPacket, datagrams: Iterable[bytes]) -> list[bytes] | None:
    """Read the ALPNs, in the client's order; None when its hello is not whole, or not good."""
    try:
        hello = _join(_crypto(first, datagrams))
        end = _HEADER + int.from_bytes(hello[1:_HEADER], "big")
        if len(hello) < _HEADER or len(hello) < end or hello[0] != CLIENT_HELLO:
            return None
        return decode_alpn(decode_client_hello(hello[:end]).extensions.get(ALPN))
    except (PeerError, Alert, Malformed, IndexError):
        return None


def _crypto(first: FirstPacket, datagrams: Iterable[bytes]) -> Iterator[Crypto]:
    keys = initial_keys(first.destination, True)
    for data in datagrams:
        at = 0
        while at < len(data):
            try:
                header = pk.parse_long(data, at)
            except pk.PacketError:  # padding of the datagram, or nonsense
                break
            at = header.end
            if header.kind == pk.INITIAL and header.dcid == first.header.dcid:
                opened = open_long(*keys, data, header, -1)
                frames = [] if opened is None else decode_payload(opened[1], INITIAL)
                yield from (frame for frame in frames if isinstance(frame, Crypto))


def _join(frames: Iterable[Crypto]) -> bytes:
    """What is there without a hole."""
    joined = bytearray()
    for frame in sorted(frames, key=lambda frame: frame.offset):
        if frame.offset > len(joined):
            break
        joined += frame.data[len(joined) - frame.offset :]
    return bytes(joined)
