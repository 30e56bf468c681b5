"""Domain names outside ASCII. `rust_urls.json` has more of them, through `RelayUrl`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.idna import to_ascii


@pytest.mark.parametrize(
    ("domain", "ascii_form"),
    [
        ("Example.COM", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example", "xn--bcher-kva.example"),
        ("XN--Bcher-KVA", "xn--bcher-kva"),
        ("straße", "xn--strae-oqa"),  # non-transitional: not "strasse"
        ("βόλος", "xn--nxasmm1c"),
        ("ΒΌΛΟΣ", "xn--nxasmq6b"),
        ("a\u00adb", "ab"),
        ("ﬁ①", "fi1"),
        ("नमस्ते", "xn--h2bhs4b8d8a"),
        ("क्\u200dष", "xn--11b2ezcw70k"),
        ("نامه\u200cای", "xn--mgba3gch31f060k"),
    ],
)
def test_names(domain: str, ascii_form: str) -> None:
    assert to_ascii(domain) == ascii_form


@pytest.mark.parametrize(
    "domain",
    [
        "\u0301a",  # a combining mark in front
        "a\u200db",  # a joiner outside of its context
        "\u200c",
        "⒈com",  # a dot inside of one character
        "a\ue000",  # private use
        "\ud800",
        "a\ufffd",
        "xn--a",
        "xn--",
        "xn---g7c",  # another spelling of xn--g7c
        "xn--bcher-kva\u00fc",
        "xn--ASCII-",
        "xn--\u00fc",
        "1א",
        "אa",
        "א٠1",
        "אב.1",  # a label of digits in a right-to-left name, RFC 5893
        "ü" * 1001,
    ],
)
def test_refused_names(domain: str) -> None:
    with pytest.raises(ValueError):
        to_ascii(domain)


@given(st.text(max_size=20) | st.text(alphabet="xn-az09", max_size=12).map("xn--".__add__))
def test_any_text(domain: str) -> None:
    try:
        result = to_ascii(domain)
    except ValueError:
        return
    assert result.isascii()
    assert to_ascii(result) == result
