"""The URL parser on its own: parts, and normal forms that are fixed points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.whatwg import Url, parse_url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "https://u:p@h.example:8443/a/../b?q=1#f",
            Url("https", "u:p@", "h.example", 8443, "/b", "q=1", "f"),
        ),
        ("https://h?#", Url("https", "", "h", None, "/", "", "")),
        ("ftp://h:21/%2e%2E/x", Url("ftp", "", "h", None, "/x", None, None)),
        ("foo:bar?q#f", Url("foo", "", None, None, "bar", "q", "f")),
        ("foo:/a//b/..", Url("foo", "", None, None, "/a//", None, None)),
        ("foo:/..//x", Url("foo", "", None, None, "//x", None, None)),
        ("foo:///x", Url("foo", "", "", None, "/x", None, None)),
        ("file:///C|/x/..", Url("file", "", "", None, "/C:/", None, None)),
        ("file://localhost/x", Url("file", "", "", None, "/x", None, None)),
        ("file://h.example/x", Url("file", "", "h.example", None, "/x", None, None)),
        ("file://C:/x", Url("file", "", "", None, "/C:/x", None, None)),
        ("file://h.example//C:", Url("file", "", "h.example", None, "/C:", None, None)),
        ("file://h.example/C|", Url("file", "", "", None, "/C:", None, None)),
        ("foo://h:8\\x/y", Url("foo", "", "h", 8, "/\\x/y", None, None)),
        ("file:x", Url("file", "", "", None, "/x", None, None)),
    ],
)
def test_parts(text: str, parts: Url) -> None:
    assert parse_url(text) == parts


def test_a_path_that_looks_like_a_host_is_kept_apart() -> None:
    assert str(parse_url("foo:/..//x")) == "foo:/.//x"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("https://h/ \"<>`{}?'", "https://h/%20%22%3C%3E%60%7B%7D?%27"),
        ("foo://h/?'", "foo://h/?'"),
        ("https://h/#`'", "https://h/#%60'"),
        ("https://a;b='@h/", "https://a%3Bb%3D'@h/"),
        ("https://:@h/", "https://h/"),
        ("https://h/%zz%7e", "https://h/%zz%7e"),
    ],
)
def test_percent_encoding(text: str, encoded: str) -> None:
    assert str(parse_url(text)) == encoded


@pytest.mark.parametrize(
    "text",
    ["", "x", "//h", "1a:x", "https:", "https://", "https://:80", "https://a@", "foo://:80",
     "foo://u@", "https://h:x", "https://h:-1", "https://[::1]x", "https://[", "foo://a b",
     "foo://[::1", "https://\ud800/", "https://h/\ud800"],
)  # fmt: skip
def test_no_urls(text: str) -> None:
    with pytest.raises(ValueError):
        parse_url(text)


def test_default_ports_are_not_written() -> None:
    for scheme, port in {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}.items():
        assert str(parse_url(f"{scheme}://h:{port}")) == f"{scheme}://h/"
    assert parse_url("foo://h:80").port == 80


PIECES = st.sampled_from(
    ["https:", "foo:", "file:", "/", "//", "\\", "@", ":", "80", "[::1]", "a", "%2e", "..", ".",
     "?", "#", "C|", "C:", "\t", " ", "é", "xn--", "127.1", "0x", '"', "'", "\x7f", "\ud800"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join))
def test_a_normal_form_is_a_fixed_point(text: str) -> None:
    try:
        url = parse_url(text)
    except ValueError:
        return
    assert str(parse_url(str(url))) == str(url)
