"""Tickets against those of the Rust bindings."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.addr import EndpointAddr
from iroh_base.encoding import base32_encode
from iroh_base.errors import IrohErrorKind, TicketParsingError
from iroh_base.keys import EndpointId, SecretKey
from iroh_base.ticket import EndpointTicket


def load(name: str) -> Any:
    return json.loads((Path(__file__).parent / "vectors" / name).read_text())


VECTORS = load("tickets.json")
ADDR = EndpointAddr(SecretKey(bytes(32)).public(), "https://r", ["1.2.3.4:5", "1_ab"])


@pytest.mark.parametrize("case", VECTORS["encoded"], ids=lambda c: c["name"])
def test_encoded(case: dict[str, Any]) -> None:
    addr = EndpointAddr(EndpointId.from_string(case["id"]), case["relay_in"], case["addrs_in"])
    ticket = EndpointTicket.from_addr(addr)
    assert str(ticket) == case["ticket"]
    assert ticket.to_bytes().hex() == case["bytes_hex"]
    assert str(EndpointTicket.from_string(case["ticket"])) == case["ticket"]


@pytest.mark.parametrize("case", VECTORS["decode"], ids=lambda c: c["name"])
def test_decode(case: dict[str, Any]) -> None:
    if not case["ok"]:
        with pytest.raises(TicketParsingError) as caught:
            EndpointTicket.from_string(case["input"])
        assert caught.value.is_kind(IrohErrorKind.TICKET_PARSING)
        return
    ticket = EndpointTicket.from_string(case["input"])
    assert str(ticket) == case["reencoded"]
    assert (str(ticket) == case["input"]) is case["same"]
    assert ticket.to_bytes().hex() == case["reencoded_bytes_hex"]
    assert ticket.endpoint_addr().relay_url() == case["relay_last"]
    assert ticket.endpoint_addr().direct_addresses() == case["addrs"]


def read(text: str) -> list[Any] | None:
    try:
        ticket = EndpointTicket.from_string(text)
    except TicketParsingError:
        return None
    addr = ticket.endpoint_addr()
    return [str(ticket), addr.relay_url(), addr.direct_addresses()]


def test_rust_tickets() -> None:
    cases = load("rust_tickets.json")["cases"]
    assert [[text, read(text)] for text, _ in cases] == cases


def test_as_a_value() -> None:
    ticket = EndpointTicket(ADDR)
    assert ticket.endpoint_addr() == ADDR
    assert ticket == EndpointTicket.from_string(str(ticket))
    assert ticket == EndpointTicket.from_bytes(ticket.to_bytes())
    assert ticket != EndpointTicket(EndpointAddr(ADDR.id()))
    assert ticket != str(ticket)
    assert len({ticket, EndpointTicket.from_addr(ADDR)}) == 1
    assert repr(ticket) == f"EndpointTicket({ADDR!r})"


@given(st.text(max_size=60) | st.text(alphabet="abcdefgh234567=A01", max_size=90))
def test_any_text(text: str) -> None:
    for candidate in (text, "endpoint" + text, "endpointaa" + text):
        try:
            EndpointTicket.from_string(candidate)
        except TicketParsingError:
            continue


@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_bytes(data: bytes, cut: int) -> None:
    whole = EndpointTicket(ADDR).to_bytes()
    for wire in (data, b"\0" + ADDR.id().to_bytes() + data, whole[:cut] + data):
        try:
            ticket = EndpointTicket.from_string("endpoint" + base32_encode(wire))
        except TicketParsingError:
            continue
        assert EndpointTicket.from_string(str(ticket)) == ticket
