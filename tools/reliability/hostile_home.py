"""What the machine and its router say, mutated: netlink, NAT-PMP, PCP, and the texts of UPnP."""

import random
import struct
from collections.abc import Callable

from iroh.netmon.netlink import NetlinkError, parse_messages
from iroh.netmon.rtnetlink import NEWADDR, NEWLINK, NEWROUTE, decode, is_noise
from iroh.portmap import igd, nat_pmp, pcp, ssdp
from iroh.portmap.errors import PortmapError

LOCATION = "http://192.0.2.1:5000/rootDesc.xml"
DESCRIPTION = (
    '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><URLBase>'
    "http://192.0.2.1/</URLBase><device><serviceList><service><serviceType>"
    f"{igd.SERVICES[1]}</serviceType><controlURL>/ctl</controlURL></service></serviceList>"
    "</device></root>"
)
REPLY = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><detail>'
    "<UPnPError><errorCode>718</errorCode><errorDescription>Conflict</errorDescription>"
    "</UPnPError></detail></s:Fault></s:Body></s:Envelope>"
)


def home_seeds() -> list[bytes]:
    """Good answers of each kind."""
    v4 = struct.pack("=HH4s", 8, 2, bytes((192, 0, 2, 5)))
    name = struct.pack("=HH8s", 12, 3, b"eth0\0\0\0\0")
    hop = struct.pack("=HBBi", 16, 0, 0, 2) + struct.pack("=HH4s", 8, 5, bytes((192, 0, 2, 1)))
    netlink = [
        netlink_message(NEWLINK, struct.pack("=BxHiII", 0, 1, 2, 0x1043, 0) + name),
        netlink_message(NEWADDR, struct.pack("=BBBBI", 2, 24, 0x80, 0, 2) + v4),
        netlink_message(NEWROUTE, bytes((2, 0, 0, 0, 254, 3, 0, 1)) + bytes(4) + route(hop)),
    ]
    mapped = bytes.fromhex("0281000000000e1000000203") + bytes(24)
    mapped += bytes.fromhex("1100000011d711d8") + bytes(10) + b"\xff\xff\x0b\0\0\1"
    return [
        *(*netlink, b"".join(netlink)),
        *(bytes.fromhex("00800000000002030b000001"), mapped),
        bytes.fromhex("0081000000000204 11d7 11d8 00001c20".replace(" ", "")),
        b"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: http://192.0.2.1/d.xml\r\n\r\n",
        *(DESCRIPTION.encode(), REPLY.encode()),
    ]


def netlink_message(kind: int, payload: bytes) -> bytes:
    """Put a payload into a message."""
    return struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 0) + payload


def route(hop: bytes) -> bytes:
    """Make the attribute of several next hops."""
    return struct.pack("=HH", 4 + 2 * len(hop), 9) + hop + hop


def decode_netlink(data: bytes) -> None:
    """Read every message, as the monitor does."""
    for message in parse_messages(data):
        is_noise(message)
        decode(message)


READERS: tuple[Callable[[bytes], object], ...] = (
    decode_netlink,
    nat_pmp.decode,
    pcp.decode,
    ssdp.parse_answer,
    lambda data: igd.find_service(data, LOCATION),
    lambda data: igd.parse_reply("AddPortMapping", 200, data),
)


def decode_home(data: bytes, rng: random.Random) -> None:
    """Let one of the readers have it."""
    try:
        rng.choice(READERS)(data)
    except (NetlinkError, PortmapError):
        return
