"""Relay URLs against those of the Rust bindings."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.errors import IrohErrorKind, RelayUrlError
from iroh_base.relay_url import RelayUrl
from iroh_base.ticket import EndpointTicket


def load(name: str) -> Any:
    return json.loads((Path(__file__).parent / "vectors" / name).read_text())["cases"]


@pytest.mark.parametrize("case", load("relay_url.json"), ids=lambda c: repr(c["input"]))
def test_vectors(case: dict[str, Any]) -> None:
    if not case["ok"]:
        with pytest.raises(RelayUrlError) as caught:
            RelayUrl(case["input"])
        assert str(caught.value).startswith(case["message"])
        assert caught.value.is_kind(IrohErrorKind.INTERNAL)
        return
    assert str(RelayUrl(case["input"])) == case["normalized"]
    ticket = EndpointTicket.from_string(case["ticket"])
    assert ticket.endpoint_addr().relay_url() == case["normalized"]
    assert str(ticket) == case["ticket"]


def normalised(text: str) -> str | None:
    try:
        return str(RelayUrl(text))
    except RelayUrlError:
        return None


def test_rust_urls() -> None:
    """One test for them all: the checks around each test would take longer than the URLs."""
    cases = load("rust_urls.json")
    assert len(cases) > 500
    assert [[text, normalised(text)] for text, _ in cases] == cases


@pytest.mark.parametrize(
    ("text", "scheme", "host", "hostname", "port", "path"),
    [
        ("https://r.example.", "https", "r.example.", "r.example.", 443, "/"),
        ("http://r.example:8080/a", "http", "r.example", "r.example", 8080, "/a"),
        ("HTTP://R.example:80", "http", "r.example", "r.example", 80, "/"),
        ("https://[::1]:3340", "https", "[::1]", "::1", 3340, "/"),
        ("wss://127.1", "wss", "127.0.0.1", "127.0.0.1", 443, "/"),
        ("foo:bar", "foo", "", "", None, "bar"),
        ("foo://h", "foo", "h", "h", None, ""),
    ],
)
def test_parts(
    text: str, scheme: str, host: str, hostname: str, port: int | None, path: str
) -> None:
    url = RelayUrl(text)
    assert (url.scheme, url.host, url.hostname, url.port) == (scheme, host, hostname, port)
    assert url.path == path


def test_as_a_value() -> None:
    url = RelayUrl("https://b.example")
    assert url == RelayUrl("HTTPS://b.example:443/") == RelayUrl(url)
    assert url != RelayUrl("https://b.example./")  # the trailing dot is significant
    assert url != "https://b.example/"
    assert RelayUrl("https://a.example") < url <= RelayUrl(url)
    assert len({url, RelayUrl(url)}) == 1
    assert repr(url) == 'RelayUrl("https://b.example/")'
    with pytest.raises(TypeError):
        assert url < "x"  # type: ignore[operator]


def test_wrong_types() -> None:
    for wrong in (None, b"https://a", 1):
        with pytest.raises(TypeError):
            RelayUrl(wrong)  # type: ignore[arg-type]


def test_long_urls_are_parsed_but_not_remembered() -> None:
    text = "https://a.example/" + "x" * 5000
    assert str(RelayUrl(text)) == text


@given(st.text(max_size=40) | st.text(max_size=30).map(lambda text: "https://" + text))
def test_any_text(text: str) -> None:
    try:
        url = RelayUrl(text)
    except RelayUrlError:
        return
    assert str(RelayUrl(str(url))) == str(url)
    assert str(url).isascii()
