"""The checks before the 101; texts as the Rust relay 1.4.1 sends them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from iroh_relay.protos.versions import ProtocolVersion
from iroh_relay.server.access import auth_token
from iroh_relay.server.upgrade import UpgradeRefusedError, check_upgrade

GOOD = {
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "iroh-relay-v2, iroh-relay-v1",
}
PROTOCOL = "invalid header value for sec-websocket-protocol: "


def headers(**changes: str | None) -> CIMultiDict[str]:
    """The good headers with some changed or left out."""
    named = {name.replace("-", "").lower(): name for name in GOOD}
    chosen: dict[str, str | None] = {**GOOD, **{named[key]: changes[key] for key in changes}}
    return CIMultiDict({name: value for name, value in chosen.items() if value is not None})


def test_a_good_request() -> None:
    assert check_upgrade(headers()) is ProtocolVersion.V2
    assert check_upgrade(headers(secwebsocketprotocol="iroh-relay-v1")) is ProtocolVersion.V1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"upgrade": None}, "missing header: upgrade"),
        (
            {"upgrade": "WebSocket"},
            "invalid header value for upgrade: value must be websocket",
        ),
        ({"secwebsocketkey": None}, "missing header: sec-websocket-key"),
        ({"secwebsocketversion": None}, "missing header: sec-websocket-version"),
        (
            {"secwebsocketversion": "8"},
            "invalid header value for sec-websocket-version: unsupported websocket version, "
            "only supporting 13",
        ),
        ({"secwebsocketprotocol": None}, "missing header: sec-websocket-protocol"),
        ({"secwebsocketprotocol": "iroh-relay-v2 é"}, PROTOCOL + "header value is not ascii"),
        (
            {"secwebsocketprotocol": "iroh-relay-v3, x"},
            PROTOCOL + "unsupported relay version: we support iroh-relay-v2, iroh-relay-v1 but "
            "you only provide iroh-relay-v3, x",
        ),
        (
            {"upgrade": None, "secwebsocketkey": None, "secwebsocketversion": "8"},
            "missing header: upgrade",
        ),
        (
            {"secwebsocketkey": None, "secwebsocketversion": None},
            "missing header: sec-websocket-key",
        ),
    ],
)
def test_refusals_in_order(changes: dict[str, str | None], text: str) -> None:
    with pytest.raises(UpgradeRefusedError) as caught:
        check_upgrade(headers(**changes))
    assert caught.value.text == text


def test_a_wrong_websocket_version_is_told_the_right_one() -> None:
    with pytest.raises(UpgradeRefusedError) as caught:
        check_upgrade(headers(secwebsocketversion="8"))
    assert caught.value.headers == {"Sec-WebSocket-Version": "13"}


def test_the_first_of_several_headers_counts() -> None:
    many = headers()
    many.add("Sec-WebSocket-Protocol", "iroh-relay-v1")
    assert check_upgrade(many) is ProtocolVersion.V2


@given(st.text(max_size=60).filter(lambda text: "iroh-relay-v" not in text))
def test_no_other_offer_is_taken(value: str) -> None:
    with pytest.raises(UpgradeRefusedError) as caught:
        check_upgrade(headers(secwebsocketprotocol=value))
    assert caught.value.text.startswith(PROTOCOL)


# -- the access token ----------------------------------------------------------------------


def authorization(*values: str) -> CIMultiDict[str]:
    return CIMultiDict([("authorization", value) for value in values])


@pytest.mark.parametrize(
    ("values", "query", "token"),
    [
        ((), "", None),
        (("Bearer abc",), "", "abc"),
        (("bEARER with some spaces ",), "", "with some spaces "),
        (("Bearer ",), "", ""),
        (("Bearer",), "token=q", "q"),
        (("Basic xyz", "Bearer second", "Bearer third"), "", "second"),
        (("Bearer header",), "token=query", "header"),
        (("Basic xyz",), "token=query", "query"),
        (("Bearer é", "Bearer abc"), "token=query", None),
        ((), "a=b&token=one&token=two", "one"),
        ((), "token=", ""),
        ((), "token=a%20b%2Bc+d", "a b+c d"),
        ((), "tokens=x&Token=y", None),
    ],
)
def test_where_the_token_is_found(values: tuple[str, ...], query: str, token: str | None) -> None:
    assert auth_token(authorization(*values), query) == token


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_and_query_give_a_token_or_none(value: str, query: str) -> None:
    found = auth_token(authorization(value), query)
    assert found is None or isinstance(found, str)
