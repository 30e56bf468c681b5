"""NEW_CONNECTION_ID, RETIRE_CONNECTION_ID and their PATH_ forms, byte by byte."""

import pytest
from frames_kit import both_ways, cut, read_as, refused

from iroh.quic.frames import NewConnectionId, RetireConnectionId

CID = bytes(range(1, 9))
TOKEN = bytes(range(16, 32))
BODY = f"{CID.hex()} {TOKEN.hex()}"


def test_new():
    both_ways(f"18 03 01 08 {BODY}", NewConnectionId(3, 1, CID, TOKEN))


def test_new_of_a_path_as_it_usually_is_and_as_it_may_be():
    both_ways(f"7e78 02 03 01 08 {BODY}", NewConnectionId(3, 1, CID, TOKEN, 2))
    both_ways(f"7e78 4040 03 01 08 {BODY}", NewConnectionId(3, 1, CID, TOKEN, 64))
    both_ways(f"7e78 02 4040 01 08 {BODY}", NewConnectionId(64, 1, CID, TOKEN, 2))
    both_ways(f"7e78 02 4041 4040 08 {BODY}", NewConnectionId(65, 64, CID, TOKEN, 2))
    read_as(f"7e78 4002 4003 4001 08 {BODY}", NewConnectionId(3, 1, CID, TOKEN, 2))


@pytest.mark.parametrize("length", [1, 7, 9, 20])
def test_ids_of_other_lengths(length):
    cid = bytes(length)
    both_ways(f"18 03 01 {length:02x} {cid.hex()} {TOKEN.hex()}", NewConnectionId(3, 1, cid, TOKEN))
    text = f"7e78 02 03 01 {length:02x} {cid.hex()} {TOKEN.hex()}"
    both_ways(text, NewConnectionId(3, 1, cid, TOKEN, 2))


def test_retire():
    both_ways("19 05", RetireConnectionId(5))
    both_ways("7e79 02 4040", RetireConnectionId(64, 2))


@pytest.mark.parametrize("head", ["18", "7e78 02"])
def test_what_is_refused(head):
    refused(f"{head} 03 04 08 {BODY}")  # retires itself
    refused(f"{head} 03 01 00 {TOKEN.hex()}")  # an empty id
    refused(f"{head} 03 01 15 {bytes(21).hex()} {TOKEN.hex()}")  # one of 21 bytes
    cut(f"{head} 03 01 08 {BODY}")


def test_path_ids_of_33_bits_are_refused():
    refused(f"7e78 c000000100000000 03 01 08 {BODY}")
    refused("7e79 c000000100000000 03")
    cut("7e79 02 4040")
