"""Handshake messages as bytes (RFC 8446 section 4). Decoders raise Malformed and Alert only.

    message              | type 1 | length 3 | body |
    ClientHello 1        | 03 03 | random 32 | session id <1> | cipher suites <2>
                         | compression methods <1> | extensions <2> |
    ServerHello 2        | 03 03 | random 32 | session id <1> | cipher suite 2
                         | compression method 1 | extensions <2> |
    NewSessionTicket 4   | lifetime 4 | age add 4 | nonce <1> | ticket <2> | extensions <2> |
    EncryptedExtensions 8    | extensions <2> |
    Certificate 11       | context <1> | list <3> of | certificate <3> | extensions <2> | |
    CertificateRequest 13    | context <1> | extensions <2> |
    CertificateVerify 15 | scheme 2 | signature <2> |
    Finished 20          | HMAC |
    extension            | type 2 | data <2> |

    supported_versions   list <1> of 2, a server's: 2          key_share   list <2> of | group 2 |
    signature_algorithms list <2> of 2                                     share <2> |, a server's:
    ALPN                 list <2> of | name <1> |                          one without the list
    psk_key_exchange_modes   list <1> of 1
    pre_shared_key       identities <2> of | ticket <2> | obfuscated age 4 | , binders <2> of <1>;
                         a server's: index 2

`<n>` is a block with an n-byte length in front.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from iroh.quic.tls.alerts import DECODE_ERROR, ILLEGAL_PARAMETER, Alert, Malformed

CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, ENCRYPTED_EXTENSIONS = 1, 2, 4, 8
CERTIFICATE, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, FINISHED = 11, 13, 15, 20
MESSAGE_HASH = 254
NAMES = {
    CLIENT_HELLO: "ClientHello",
    SERVER_HELLO: "ServerHello",
    NEW_SESSION_TICKET: "NewSessionTicket",
    ENCRYPTED_EXTENSIONS: "EncryptedExtensions",
    CERTIFICATE: "Certificate",
    CERTIFICATE_REQUEST: "CertificateRequest",
    CERTIFICATE_VERIFY: "CertificateVerify",
    FINISHED: "Finished",
}

# RFC 8446 section 4.2; ALPN RFC 7301, raw keys RFC 7250 section 8, parameters RFC 9001 section 8.2
SUPPORTED_GROUPS, SIGNATURE_ALGORITHMS, ALPN = 10, 13, 16
CLIENT_CERTIFICATE_TYPE, SERVER_CERTIFICATE_TYPE = 19, 20
PRE_SHARED_KEY, EARLY_DATA, SUPPORTED_VERSIONS, COOKIE = 41, 42, 43, 44
PSK_KEY_EXCHANGE_MODES, KEY_SHARE, TRANSPORT_PARAMETERS = 45, 51, 57

RAW_PUBLIC_KEY = 2  # RFC 7250 section 8: CertificateType RawPublicKey
ED25519 = 0x0807  # RFC 8446 section 4.2.3
TLS_1_3 = b"\x03\x04"
LEGACY_VERSION = b"\x03\x03"
PSK_DHE_KE = 1  # RFC 8446 section 4.2.9: tickets with fresh keys
RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""ServerHello.random of a HelloRetryRequest (RFC 8446 section 4.1.3)."""

_HEADER = 4
_EXTENSION = struct.Struct("!HH")
Extensions = Mapping[int, bytes]

# -- writing -------------------------------------------------------------------------------------


def message(kind: int, body: bytes) -> bytes:
    """Put a header in front."""
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def block(data: bytes, width: int) -> bytes:
    """Put a length of `width` bytes in front."""
    return len(data).to_bytes(width, "big") + data


def encode_extensions(extensions: Extensions) -> bytes:
    """Encode extensions, as a block, in their order."""
    pack = _EXTENSION.pack
    parts = [pack(kind, len(data)) + data for kind, data in extensions.items()]
    return block(b"".join(parts), 2)


def encode_alpn(names: Iterable[bytes]) -> bytes:
    """Encode the data of the ALPN extension."""
    return block(b"".join([block(name, 1) for name in names]), 2)


def encode_shares(shares: Iterable[tuple[int, bytes]]) -> bytes:
    """Encode a client's key shares: (group, share)."""
    return block(b"".join([encode_share(*share) for share in shares]), 2)


def encode_share(group: int, share: bytes) -> bytes:
    """Encode one key share."""
    return struct.pack("!HH", group, len(share)) + share


def encode_hello(random: bytes, suites: Iterable[int], extensions: Extensions) -> bytes:
    """Encode a ClientHello."""
    offered = b"".join([suite.to_bytes(2, "big") for suite in suites])
    start = LEGACY_VERSION + random + b"\x00" + block(offered, 2) + b"\x01\x00"
    return message(CLIENT_HELLO, start + encode_extensions(extensions))


def encode_certificate(context: bytes, entries: Iterable[bytes]) -> bytes:
    """Encode a Certificate of raw keys or whatever; entries without extensions."""
    listed = b"".join([block(entry, 3) + b"\x00\x00" for entry in entries])
    return message(CERTIFICATE, block(context, 1) + block(listed, 3))


def encode_verify(signature: bytes) -> bytes:
    """Encode a CertificateVerify by Ed25519."""
    return message(CERTIFICATE_VERIFY, struct.pack("!HH", ED25519, len(signature)) + signature)


# -- reading -------------------------------------------------------------------------------------


def cut(data: bytes, at: int, width: int) -> tuple[bytes, int]:
    """Cut a block out: its content, and where the rest starts. Raises Malformed."""
    start = at + width
    end = start + int.from_bytes(data[at:start], "big")
    if end > len(data) or start > len(data):
        raise Malformed
    return data[start:end], end


def whole(data: bytes, width: int) -> bytes:
    """Give the content of data that is one block. Raises Malformed."""
    content, end = cut(data, 0, width)
    if end != len(data):
        raise Malformed
    return content


def numbers(data: bytes | None, width: int) -> tuple[int, ...]:
    """Read a block of 16-bit numbers; none when there is no data. Raises Malformed."""
    if data is None:
        return ()
    content = whole(data, width)
    if len(content) % 2:
        raise Malformed
    return struct.unpack(f"!{len(content) // 2}H", content)


def decode_extensions(data: bytes, at: int) -> dict[int, bytes]:
    """Read the extensions from `at` to the end: type -> data. Raises Malformed.

    Raises Alert illegal_parameter for one that occurs twice.
    """
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    if end != len(data):
        raise Malformed
    at += 2
    found: dict[int, bytes] = {}
    while at < end:
        start = at + 4
        if start > end:
            raise Malformed
        kind, size = _EXTENSION.unpack_from(data, at)
        at = start + size
        if at > end:
            raise Malformed
        if kind in found:
            raise Alert(ILLEGAL_PARAMETER, f"extension {kind} occurs twice")
        found[kind] = data[start:at]
    return found


class ClientHello(NamedTuple):
    """What a server reads of a ClientHello."""

    random: bytes
    session_id: bytes
    suites: tuple[int, ...]
    compressions: bytes
    extensions: dict[int, bytes]


def decode_client_hello(data: bytes) -> ClientHello:
    """Read a whole message. Raises Malformed, Alert."""
    if data[4:6] != LEGACY_VERSION:
        raise Alert(DECODE_ERROR, "ClientHello version is not 1.2")
    session_id, at = cut(data, 38, 1)
    suites_from = at
    _, at = cut(data, at, 2)
    suites = numbers(data[suites_from:at], 2)
    compressions, at = cut(data, at, 1)
    extensions = decode_extensions(data, at)
    if PRE_SHARED_KEY in extensions and next(reversed(extensions)) != PRE_SHARED_KEY:
        raise Alert(ILLEGAL_PARAMETER, "PreSharedKey is not the last extension")
    return ClientHello(data[6:38], session_id, suites, compressions, extensions)


class ServerHello(NamedTuple):
    """What a client reads of a ServerHello or HelloRetryRequest."""

    random: bytes
    session_id: bytes
    suite: int
    compression: int
    extensions: dict[int, bytes]


def decode_server_hello(data: bytes) -> ServerHello:
    """Read a whole message. Raises Malformed, Alert."""
    if data[4:6] != LEGACY_VERSION:
        raise Alert(DECODE_ERROR, "ServerHello version is not 1.2")
    session_id, at = cut(data, 38, 1)
    if at + 3 > len(data):
        raise Malformed
    suite = int.from_bytes(data[at : at + 2], "big")
    return ServerHello(data[6:38], session_id, suite, data[at + 2], decode_extensions(data, at + 3))


def decode_encrypted_extensions(data: bytes) -> dict[int, bytes]:
    """Read a whole message: type -> data. Raises Malformed, Alert."""
    return decode_extensions(data, _HEADER)


def decode_alpn(data: bytes | None) -> list[bytes]:
    """Read ALPN names; none when the extension is missing. Raises Alert."""
    if data is None:
        return []
    found = []
    try:
        names = whole(data, 2)
        at = 0
        while at < len(names):
            name, at = cut(names, at, 1)
            found.append(name)
    except Malformed:
        found.clear()
    if not found or b"" in found:
        raise Alert(DECODE_ERROR, "ALPN could not be parsed")
    return found


def decode_shares(data: bytes) -> list[tuple[int, bytes]]:
    """Read a client's key shares: (group, share). Raises Malformed."""
    listed = whole(data, 2)
    found = []
    at = 0
    while at < len(listed):
        group = int.from_bytes(listed[at : at + 2], "big")
        share, at = cut(listed, at + 2, 2)
        found.append((group, share))
    return found


class Offer(NamedTuple):
    """The tickets that a ClientHello offers. binders_size: bytes of the list of binders, whole."""

    tickets: list[tuple[bytes, int]]
    binders: list[bytes]
    binders_size: int


def decode_offer(data: bytes) -> Offer:
    """Read a client's pre_shared_key: tickets with their obfuscated ages. Raises Malformed."""
    listed, at = cut(data, 0, 2)
    rest = whole(data[at:], 2)
    tickets, binders = [], []
    where = 0
    while where < len(listed):
        ticket, where = cut(listed, where, 2)
        if where + 4 > len(listed):
            raise Malformed
        tickets.append((ticket, int.from_bytes(listed[where : where + 4], "big")))
        where += 4
    where = 0
    while where < len(rest):
        binder, where = cut(rest, where, 1)
        binders.append(binder)
    return Offer(tickets, binders, len(data) - at)


def decode_certificate(data: bytes) -> list[bytes]:
    """Read the entries of a Certificate, without their extensions. Raises Malformed."""
    _, at = cut(data, _HEADER, 1)
    listed, at = cut(data, at, 3)
    if at != len(data):
        raise Malformed
    entries = []
    at = 0
    while at < len(listed):
        entry, at = cut(listed, at, 3)
        _, at = cut(listed, at, 2)
        entries.append(entry)
    return entries


def decode_certificate_request(data: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Read the context and the extensions. Raises Malformed, Alert."""
    context, at = cut(data, _HEADER, 1)
    return context, decode_extensions(data, at)


def decode_verify(data: bytes) -> tuple[int, bytes]:
    """Read the scheme and the signature. Raises Malformed."""
    scheme = int.from_bytes(data[_HEADER : _HEADER + 2], "big")
    return scheme, whole(data[_HEADER + 2 :], 2)


class TicketOffer(NamedTuple):
    """What a NewSessionTicket says. early_data: max_early_data_size; None without the extension."""

    lifetime: int
    age_add: int
    nonce: bytes
    ticket: bytes
    early_data: int | None


def decode_ticket(data: bytes) -> TicketOffer:
    """Read a whole message. Raises Malformed, Alert."""
    if len(data) < _HEADER + 8:
        raise Malformed
    lifetime, age_add = struct.unpack_from("!II", data, _HEADER)
    nonce, at = cut(data, _HEADER + 8, 1)
    ticket, at = cut(data, at, 2)
    size = decode_extensions(data, at).get(EARLY_DATA)
    if size is not None and len(size) != 4:
        raise Malformed
    early_data = None if size is None else int.from_bytes(size, "big")
    return TicketOffer(lifetime, age_add, nonce, ticket, early_data)


def encode_ticket(ticket: TicketOffer) -> bytes:
    """Encode a NewSessionTicket."""
    extensions = {}
    if ticket.early_data is not None:
        extensions[EARLY_DATA] = ticket.early_data.to_bytes(4, "big")
    numbers = struct.pack("!II", ticket.lifetime, ticket.age_add)
    texts = block(ticket.nonce, 1) + block(ticket.ticket, 2)
    return message(NEW_SESSION_TICKET, numbers + texts + encode_extensions(extensions))


def offers_raw_keys(extensions: Extensions) -> bool:
    """Whether a ClientHello offers raw public keys for both ends (a list of types each)."""
    for kind in (CLIENT_CERTIFICATE_TYPE, SERVER_CERTIFICATE_TYPE):
        data = extensions.get(kind, b"")
        if len(data) < 2 or data[0] != len(data) - 1 or RAW_PUBLIC_KEY not in data[1:]:
            return False
    return True


def selects_raw_keys(extensions: Extensions) -> bool:
    """Whether EncryptedExtensions settle on raw public keys for both ends (one type each)."""
    chosen = bytes((RAW_PUBLIC_KEY,))
    return (
        extensions.get(CLIENT_CERTIFICATE_TYPE) == chosen
        and extensions.get(SERVER_CERTIFICATE_TYPE) == chosen
    )
