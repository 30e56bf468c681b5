"""The examples of BEP 5, and mutated messages."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.mainline import krpc
from iroh_base.mainline.bencode import decode, encode
from iroh_base.mainline.krpc import Contact, ErrorReply, KrpcError, Query, Response

PING = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"
PONG = b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re"
ERROR = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"
OURS = b"abcdefghij0123456789"


def test_the_examples_of_bep_5() -> None:
    assert krpc.read(PING) == Query(b"aa", b"ping", {b"id": OURS}, False)
    assert krpc.write_query(b"aa", b"ping", {b"id": OURS}, read_only=False) == PING
    pong = krpc.read(PONG)
    assert pong == Response(b"aa", {b"id": b"mnopqrstuvwxyz123456"})
    assert isinstance(pong, Response)
    assert pong.sender == b"mnopqrstuvwxyz123456"
    assert krpc.read(ERROR) == ErrorReply(b"aa", 201, "A Generic Error Ocurred")
    assert krpc.write_error(b"aa", 201, "A Generic Error Ocurred") == ERROR


def test_a_client_says_so() -> None:
    query = krpc.read(krpc.write_query(b"t", b"get", {b"id": OURS}, read_only=True))
    assert isinstance(query, Query)
    assert query.read_only
    assert query.sender == OURS


def test_who_asked_is_told_where_it_is() -> None:
    data = krpc.write_response(b"t", {b"id": OURS}, ("1.2.3.4", 258))
    assert decode(data)[b"ip"] == b"\1\2\3\4\1\2"


def test_nodes() -> None:
    contacts = [Contact(bytes([n]) * 20, (f"10.0.0.{n}", 6880 + n)) for n in range(1, 40)]
    written = krpc.write_nodes(contacts)
    assert len(written) == 26 * 39
    assert krpc.read_nodes(written) == contacts[: krpc.MAX_NODES]
    assert krpc.read_nodes(written[:51]) == contacts[:1]
    assert krpc.read_nodes(b"\1" * 24 + b"\0\0") == []  # no port
    assert krpc.read_nodes(7) == []


@pytest.mark.parametrize(
    ("data", "transaction"),
    [
        (b"", None),
        (b"i1e", None),
        (b"d1:y1:qe", None),
        (encode({b"t": b"t" * 17, b"y": b"r", b"r": {b"id": OURS}}), None),
        (encode({b"t": b"t", b"y": b"q", b"q": b"ping", b"a": {b"id": b"short"}}), b"t"),
        (encode({b"t": b"t", b"y": b"q", b"q": 3, b"a": {b"id": OURS}}), b"t"),
        (encode({b"t": b"t", b"y": b"r", b"r": {}}), None),
        (encode({b"t": b"t", b"y": b"e", b"e": [b"text"]}), None),
        (encode({b"t": b"t", b"y": b"x"}), None),
    ],
)
def test_what_is_no_message(data: bytes, transaction: bytes | None) -> None:
    with pytest.raises(KrpcError) as caught:
        krpc.read(data)
    assert caught.value.transaction == transaction


@given(st.sampled_from([PING, PONG, ERROR]), st.data())
def test_mutated_messages(message: bytes, data: st.DataObject) -> None:
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KrpcError):
        krpc.read(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
