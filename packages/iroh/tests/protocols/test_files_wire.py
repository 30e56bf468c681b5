import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh import EndpointAddr, SecretKey
from iroh.protocols.files import Entry, FilesError, FileTicket, Kind, UnsafePathError
from iroh.protocols.files.wire import (
    check_names,
    check_path,
    contents_hash,
    decode_contents,
    decode_request,
    encode_contents,
    encode_request,
    request_size,
)
from iroh_base import TicketParsingError

HASH = hashlib.sha256(b"x").digest()
ADDR = EndpointAddr(SecretKey.from_bytes(bytes(32)).public(), None, ["127.0.0.1:1"])


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", "a//b", "a/", "./a", "."),
        *("a\\b", "..\\x", "a\0b", "a\nb", "\x7f", "\x9b", "\ud800", "x" * 256, "ab/" * 2000 + "x"),
    ],
)
def test_paths_that_are_never_created(path) -> None:
    with pytest.raises(UnsafePathError):
        check_path(path, windows=False)


@pytest.mark.parametrize(
    "path", ["C:/x", "C:", "con", "aux.txt", "a/NUL", "x.", "x ", "a*b", "lpt1 .x"]
)
def test_paths_that_windows_cannot_have(path) -> None:
    assert check_path(path, windows=False) == path
    with pytest.raises(UnsafePathError):
        check_path(path, windows=True)


def test_contents_come_back() -> None:
    entries = [
        Entry(Kind.FOLDER, "a"),
        Entry(Kind.FILE, "a/b c", 5, HASH),
        Entry(Kind.EXECUTABLE, "ä", 2**40, HASH),
    ]
    data = encode_contents(entries)
    assert decode_contents(data) == entries
    assert len(contents_hash(data)) == 32


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([Entry(Kind.FILE, "a", 1, HASH), Entry(Kind.FOLDER, "a")], "twice"),
        ([Entry(Kind.FILE, "a", 1, HASH), Entry(Kind.FILE, "a/b", 1, HASH)], "inside of a file"),
        ([Entry(Kind.FILE, "a/b", 1, HASH), Entry(Kind.FILE, "a", 1, HASH)], "inside of a file"),
        ([Entry(Kind.FILE, "a/b", 1, HASH)], "folder that is not named"),
        ([Entry(Kind.FILE, "a/b/c", 1, HASH), Entry(Kind.FOLDER, "a")], "that is not named"),
        ([Entry(Kind.FILE, "../a", 1, HASH)], "leads elsewhere"),
        ([Entry(Kind.FILE, "a", 2**63, HASH)], "cannot be"),
    ],
)
def test_contents_that_are_refused(entries, said) -> None:
    with pytest.raises(FilesError, match=said):
        decode_contents(encode_contents(entries))


def test_a_table_of_a_million_lies_is_refused_before_it_is_read() -> None:
    with pytest.raises(FilesError, match="too many"):
        decode_contents(b"\xff\xff\xff\x7f" + encode_contents([Entry(Kind.FOLDER, "a")])[1:])


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([".profile"], "would be hidden"),
        ([".ssh", ".ssh/authorized_keys"], "would be hidden"),
        ([".iroh-" + "0" * 32], "download that is not whole"),
        (["a", "A"], "same name"),
        (["d", "d/straße", "d/STRASSE"], "same name"),
        (["\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"], "same name"),
    ],
)
def test_names_that_do_something_behind_ones_back(paths, said) -> None:
    with pytest.raises(UnsafePathError, match=said):
        check_names(paths, hidden=False, folding=True)
    check_names(["d", "d/.hidden", "D2"], hidden=False, folding=True)
    check_names([".profile", "a", "A"], hidden=True, folding=False)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(data) -> None:
    for decode in (decode_contents, decode_request):
        with contextlib.suppress(FilesError):
            decode(data)


@pytest.mark.parametrize("wanted", [None, [], [(0, 0), (7, 2**40)]])
def test_requests_come_back(wanted) -> None:
    data = encode_request(HASH, wanted)
    assert decode_request(data) == (HASH, wanted)
    assert len(data) <= request_size(len(wanted or []))


def test_tickets_come_back() -> None:
    ticket = FileTicket(ADDR, HASH)
    assert FileTicket.from_string(str(ticket)) == ticket
    for wrong in ("", "files", "endpointabc", str(ticket)[:-4], "files" + "!" * 20):
        with pytest.raises(TicketParsingError):
            FileTicket.from_string(wrong)
