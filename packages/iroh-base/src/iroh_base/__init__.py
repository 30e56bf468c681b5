"""Values and codecs of the iroh network: keys, addresses, tickets, pkarr packets.

Floor 0 of iroh in Python: no I/O, no event loop, no clock. Everything here is a value or turns
values into bytes and text, exactly as n0's Rust iroh 1.x does.
"""

from .addr import (
    CustomAddr,
    EndpointAddr,
    SocketAddr,
    TransportAddr,
    transport_addr_key,
    transport_addr_text,
)
from .encoding import base32_decode, base32_encode, from_hex, to_hex, z32_decode, z32_encode
from .endpoint_info import AddrFilter, EndpointData, EndpointInfo, UserData
from .errors import (
    AddrParseError,
    EndpointInfoError,
    InvalidInputError,
    IrohError,
    IrohErrorKind,
    KeyParsingError,
    PacketDnsError,
    PacketSignatureError,
    PacketTooLargeError,
    PacketTooShortError,
    PkarrError,
    PostcardError,
    RelayUrlError,
    SignatureError,
    TicketParsingError,
    WatchClosedError,
)
from .keys import EndpointId, PublicKey, SecretKey, Signature
from .pkarr import IROH_TXT_NAME, DnsRecord, MonotonicTimestamp, SignedPacket
from .postcard import Reader, Writer
from .relay_url import RelayUrl
from .ticket import EndpointTicket
from .watch import Watchable, Watcher

__version__ = "0.1.0"

__all__ = [
    "IROH_TXT_NAME",
    "AddrFilter",
    "AddrParseError",
    "CustomAddr",
    "DnsRecord",
    "EndpointAddr",
    "EndpointData",
    "EndpointId",
    "EndpointInfo",
    "EndpointInfoError",
    "EndpointTicket",
    "InvalidInputError",
    "IrohError",
    "IrohErrorKind",
    "KeyParsingError",
    "MonotonicTimestamp",
    "PacketDnsError",
    "PacketSignatureError",
    "PacketTooLargeError",
    "PacketTooShortError",
    "PkarrError",
    "PostcardError",
    "PublicKey",
    "Reader",
    "RelayUrl",
    "RelayUrlError",
    "SecretKey",
    "Signature",
    "SignatureError",
    "SignedPacket",
    "SocketAddr",
    "TicketParsingError",
    "TransportAddr",
    "UserData",
    "WatchClosedError",
    "Watchable",
    "Watcher",
    "Writer",
    "base32_decode",
    "base32_encode",
    "from_hex",
    "to_hex",
    "transport_addr_key",
    "transport_addr_text",
    "z32_decode",
    "z32_encode",
]
