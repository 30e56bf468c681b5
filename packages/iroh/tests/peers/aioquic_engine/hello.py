"""The extensions of a ClientHello or EncryptedExtensions, raw (RFC 8446 sections 4.1.2 and 4.3.1).

    ClientHello          | 01 | length 3 | 03 03 | random 32 | session id <1> | cipher suites <2>
                         | compression methods <1> | extensions <2> |
    ServerHello          | 02 | length 3 | 03 03 | random 32 | session id <1> | cipher suite 2
                         | compression method 1 | extensions <2> |
    EncryptedExtensions  | 08 | length 3 | extensions <2> |
    extension            | type 2 | data <2> |
    ALPN data            | list <2> of | name <1> |
    ticket offer data    | identities <2> of | ticket <2> | obfuscated age 4 | ... | binders <2> |

`<n>` is a block with an n-byte length in front. aioquic parses the same message again for what it
needs itself; this pass exists for what it loses: ALPNs that are not ASCII, duplicate extensions.
"""

from dataclasses import dataclass

from aioquic._buffer import Buffer, BufferReadError
from aioquic.tls import AlertDecodeError, AlertIllegalParameter, ExtensionType

CLIENT_CERTIFICATE_TYPE = 19  # RFC 7250 section 8
SERVER_CERTIFICATE_TYPE = 20  # RFC 7250 section 8
RAW_PUBLIC_KEY = 2  # RFC 7250 section 8: CertificateType RawPublicKey

_HEADER = 4
_VERSION_AND_RANDOM = 34


def client_hello_extensions(message: bytes) -> dict[int, bytes]:
    """Give type -> data. Raises aioquic's alerts: decode_error, illegal_parameter (duplicates)."""
    try:
        buf = Buffer(data=message)
        buf.seek(_HEADER + _VERSION_AND_RANDOM)
        _block(buf, 1)
        _block(buf, 2)
        _block(buf, 1)
        return _extensions(buf)
    except BufferReadError as error:
        raise AlertDecodeError("ClientHello could not be parsed") from error


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What decides how a ServerHello is taken."""

    random: bytes
    session_id: bytes
    suite: int
    extensions: dict[int, bytes]


def server_hello(message: bytes) -> ServerHello:
    """Read a ServerHello or HelloRetryRequest. Raises decode_error, illegal_parameter."""
    try:
        buf = Buffer(data=message)
        buf.seek(_HEADER + 2)
        random = buf.pull_bytes(32)
        session_id = _block(buf, 1)
        suite = buf.pull_uint16()
        buf.pull_uint8()
        return ServerHello(random, session_id, suite, _extensions(buf))
    except BufferReadError as error:
        raise AlertDecodeError("ServerHello could not be parsed") from error


def encrypted_extensions(message: bytes) -> dict[int, bytes]:
    """Give type -> data, like `client_hello_extensions`."""
    try:
        buf = Buffer(data=message)
        buf.seek(_HEADER)
        return _extensions(buf)
    except BufferReadError as error:
        raise AlertDecodeError("EncryptedExtensions could not be parsed") from error


def alpn_names(extensions: dict[int, bytes]) -> list[bytes]:
    """Give the ALPN names, empty when the extension is missing. Raises decode_error."""
    data = extensions.get(ExtensionType.ALPN)
    if data is None:
        return []
    try:
        buf = Buffer(data=data)
        names = Buffer(data=_block(buf, 2))
        found = []
        while not names.eof():
            found.append(_block(names, 1))
    except BufferReadError as error:
        raise AlertDecodeError("ALPN could not be parsed") from error
    if not buf.eof() or not found or b"" in found:
        raise AlertDecodeError("ALPN could not be parsed")
    return found


def offered_ticket_age(extensions: dict[int, bytes]) -> int | None:
    """Give the obfuscated age of the first ticket that a ClientHello offers; None without one."""
    try:
        identities = Buffer(
            data=_block(Buffer(data=extensions.get(ExtensionType.PRE_SHARED_KEY, b"")), 2)
        )
        _block(identities, 2)
        return identities.pull_uint32()
    except BufferReadError:
        return None


def offers_raw_keys(extensions: dict[int, bytes]) -> bool:
    """Whether a ClientHello offers raw public keys for both ends (a list of types each)."""
    for kind in (CLIENT_CERTIFICATE_TYPE, SERVER_CERTIFICATE_TYPE):
        data = extensions.get(kind, b"")
        if len(data) < 2 or data[0] != len(data) - 1 or RAW_PUBLIC_KEY not in data[1:]:
            return False
    return True


def selects_raw_keys(extensions: dict[int, bytes]) -> bool:
    """Whether EncryptedExtensions settle on raw public keys for both ends (one type each)."""
    chosen = bytes([RAW_PUBLIC_KEY])
    return (
        extensions.get(CLIENT_CERTIFICATE_TYPE) == chosen
        and extensions.get(SERVER_CERTIFICATE_TYPE) == chosen
    )


def _extensions(buf: Buffer) -> dict[int, bytes]:
    block = Buffer(data=_block(buf, 2))
    if not buf.eof():
        raise AlertDecodeError("extra bytes behind the extensions")
    found: dict[int, bytes] = {}
    while not block.eof():
        kind = block.pull_uint16()
        if kind in found:
            raise AlertIllegalParameter(f"extension {kind} occurs twice")
        found[kind] = _block(block, 2)
    return found


def _block(buf: Buffer, capacity: int) -> bytes:
    return buf.pull_bytes(int.from_bytes(buf.pull_bytes(capacity), "big"))
