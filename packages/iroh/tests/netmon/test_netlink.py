"""The bytes of rtnetlink: recorded from a Linux 6.18 in a namespace, and arbitrary ones."""

import contextlib
import errno
import json
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iroh.netmon import rtnetlink
from iroh.netmon.netlink import (
    DONE,
    ERROR,
    Message,
    NetlinkError,
    parse_attributes,
    parse_errno,
    parse_messages,
)
from iroh.netmon.rtnetlink import Address, Link, Route, decode, is_noise
from iroh.netmon.table import build_state

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on little-endian")

RECORDED = json.loads((Path(__file__).parent / "vectors" / "netlink.json").read_text())


def event(name: str) -> list[Message]:
    return [m for text in RECORDED["events"][name] for m in parse_messages(bytes.fromhex(text))]


def records(name: str) -> list[Link | Address | Route | None]:
    return [decode(message) for message in event(name) if not is_noise(message)]


def dump(name: str) -> dict[type, list]:
    found: dict[type, list] = {Link: [], Address: [], Route: []}
    for text in RECORDED["dumps"][name]:
        for message in parse_messages(bytes.fromhex(text)):
            record = decode(message)
            if record is not None:
                found[type(record)].append(record)
    return found


def state(name: str):
    found = dump(name)
    return build_state(found[Link], found[Address], found[Route])


def test_events_as_recorded() -> None:
    assert Link(3, "wan0", 0x1002, bytes.fromhex("020000000001")) in records("link added")
    assert Address(3, "198.51.100.7", 24, 0x80) in records("address added")
    assert records("default route added") == [
        Route(True, 254, 1, 0, "", 0, 3, "198.51.100.1", "", 50)
    ]
    assert records("v6 default") == [Route(False, 254, 1, 0, "", 0, 3, "fe80::1", "", 1024)]
    assert records("multipath") == [Route(True, 254, 1, 0, "", 0, 3, "198.51.100.2", "", 20)]
    assert Address(2, "203.0.113.5", 32, 0x80) in records("point to point")  # ours, not the peer's
    assert [message.type for message in event("link gone")].count(rtnetlink.DELLINK) == 2


def test_noise_is_left_out() -> None:
    noisy = [decode(message) for message in event("link up") if is_noise(message)]
    assert {route.dst for route in noisy} == {"ff00::", "fe80::"}
    assert len(records("link up")) == 4
    assert [type(record) for record in records("address gone")] == [Address]


def test_states_as_recorded() -> None:
    lonely = state("lonely")
    assert [interface.name for interface in lonely.interfaces] == ["lo"]
    assert not lonely.is_usable
    assert lonely.local_addresses == {"127.0.0.1", "::1"}
    full = state("full")
    assert full.default_interface == "wan0"
    assert full.default_v4.gateway == "198.51.100.2"  # metric 20 goes before 50
    assert full.default_v6.gateway == "fe80::1"
    assert full.regular_addresses == ("198.51.100.7", "203.0.113.5", "2001:db8::7")
    assert "2001:db8::8" in full.local_addresses  # deprecated: told nobody, but still ours
    assert full.is_usable
    down = state("down")
    assert down.default_v4 is down.default_v6 is None
    assert down.regular_addresses == ("203.0.113.5",)
    assert down.is_major_change_from(full)


def test_tentative_addresses_are_not_there_yet() -> None:
    assert "2001:db8::7" in {address.ip for address in dump("tentative")[Address]}
    assert state("tentative").regular_addresses == ("198.51.100.7",)


def test_requests_ask_for_whole_tables() -> None:
    (links,) = parse_messages(rtnetlink.dump_links(7))
    (addresses,) = parse_messages(rtnetlink.dump_addresses(8))
    (routes,) = parse_messages(rtnetlink.dump_routes(9, rtnetlink.AF_INET6))
    assert (links.type, links.flags, links.sequence, links.payload) == (18, 0x301, 7, bytes(16))
    assert (addresses.type, addresses.sequence, addresses.payload) == (22, 8, bytes(8))
    assert routes.payload == bytes((10, 0, 0, 0, 254, 0, 0, 0, 0, 0, 0, 0))


def test_status_of_errors_and_ends() -> None:
    refused = struct.pack("=i", -errno.EPERM) + bytes(16)
    assert parse_errno(Message(ERROR, 0, 1, refused)) == errno.EPERM
    assert parse_errno(Message(DONE, 0, 1, b"")) == 0
    with pytest.raises(NetlinkError):
        parse_errno(Message(ERROR, 0, 1, b"\0"))


def test_what_is_cut_off_is_refused() -> None:
    whole = bytes.fromhex(RECORDED["events"]["default route added"][0])
    for length in range(1, len(whole)):
        with pytest.raises(NetlinkError):
            parse_messages(whole[:length])
    (message,) = parse_messages(whole)
    with pytest.raises(NetlinkError):
        decode(message._replace(payload=message.payload[:11]))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    for parse in (parse_messages, parse_attributes):
        try:
            parse(data)
        except NetlinkError:
            continue


KINDS = [rtnetlink.NEWLINK, rtnetlink.DELADDR, rtnetlink.NEWROUTE, 99]


@given(st.sampled_from(KINDS), st.binary(max_size=120))
@example(rtnetlink.NEWROUTE, bytes((2, *bytes(11))) + struct.pack("=HHHBBi", 12, 9, 8, 0, 0, 1))
@example(rtnetlink.NEWADDR, bytes((10, *bytes(7))) + struct.pack("=HH4s", 8, 1, b"1234"))
def test_arbitrary_payloads_raise_nothing_else(kind: int, payload: bytes) -> None:
    for read in (decode, is_noise):
        try:
            read(Message(kind, 0, 0, payload))
        except NetlinkError:
            continue


@given(st.data())
def test_mutated_recordings_raise_nothing_else(data) -> None:
    name = data.draw(st.sampled_from(sorted(RECORDED["events"])))
    message = data.draw(st.sampled_from(event(name)))
    payload = bytearray(message.payload)
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NetlinkError):
        decode(message._replace(payload=bytes(payload)))
