"""The messages, the table of contents, tickets, and which paths are taken. No I/O.

    contents   count | entry*                     in postcard, ascending by path, each folder named
    entry      kind | path | [size | sha256 32]   folders have no size and no hash
    kind       0 folder   1 file   2 executable file
    path       UTF-8, its parts joined by "/"

    request    0 | hash 32                                    the table of contents
               1 | hash 32 | count | (index | offset)*        bytes of files
    hash       SHA-256 of "iroh-python/files/1" and the table of contents

    ticket     "files" + base32 of: 00 | EndpointAddr in postcard | hash 32

Numbers are varints. SHA-256 because every Python has it in hardware speed; BLAKE3 is in none.
"""

import enum
import hashlib
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from iroh_base import EndpointAddr, IrohError, TicketParsingError
from iroh_base.encoding import base32_decode, base32_encode
from iroh_base.errors import PostcardError
from iroh_base.postcard import Reader, Writer

__all__ = [
    "FILES_ALPN",
    "HASH_SIZE",
    "MAX_CONTENTS",
    "MAX_ENTRIES",
    "PART_PREFIX",
    "Code",
    "Entry",
    "FileTicket",
    "FilesError",
    "HiddenNameError",
    "Kind",
    "UnsafePathError",
    "check_names",
    "check_path",
    "contents_hash",
    "decode_contents",
    "decode_request",
    "encode_contents",
    "encode_request",
    "request_size",
]

FILES_ALPN = b"iroh-python/files/1"
HASH_SIZE = 32
MAX_CONTENTS = 64 * 1024 * 1024
"""Bytes of a table of contents that a receiver takes: some hundred thousand files."""
MAX_ENTRIES = 1_000_000
"""Entries that a receiver takes: each costs it some 400 bytes of memory, and an inode."""
PART_PREFIX = ".iroh-"
"""How the names of folders begin in which downloads are kept until they are whole."""
MAX_PATH = 4096  # bytes, as PATH_MAX on Linux
MAX_PART = 255  # bytes of one name, as NAME_MAX on Linux
_TICKET = "files"


class FilesError(IrohError):
    """What the other side sent or asked for is not of this protocol."""


class UnsafePathError(FilesError, ValueError):
    """A path that must not be created here."""


class HiddenNameError(UnsafePathError):
    """What is sent would be hidden; it has to be allowed."""


class Code(enum.IntEnum):
    """Why a stream of the sender is reset."""

    UNKNOWN = 1  # nothing is shared under this hash
    CHANGED = 2  # a file is not what it was when it was shared
    MALFORMED = 3  # the request makes no sense


class Kind(enum.IntEnum):
    """What an entry is."""

    FOLDER = 0
    FILE = 1
    EXECUTABLE = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder of the table of contents; size in bytes, hash the file's SHA-256."""

    kind: Kind
    path: str
    size: int = 0
    hash: bytes = b""


# -- paths -------------------------------------------------------------------------------------

_NOT_ON_WINDOWS = frozenset('<>:"|?*')
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}
)


def check_path(path: str, *, windows: bool = os.name == "nt") -> str:
    """Return the path if it may be created below a folder. Raises UnsafePathError."""
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        raise UnsafePathError(f"{path!r} is no UTF-8") from None
    if len(raw) > MAX_PATH:
        raise UnsafePathError(f"a path of {len(raw)} bytes is too long")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise UnsafePathError(f"{path!r} leads elsewhere")
        if len(part.encode()) > MAX_PART:
            raise UnsafePathError(f"the name {part[:40]!r}... is too long")
        if "\\" in part or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in part):
            raise UnsafePathError(f"{path!r} has characters that no file name should have")
        if windows:
            _check_windows(path, part)
    return path


def check_names(paths: Iterable[str], *, hidden: bool, folding: bool) -> None:
    """Raise UnsafePathError for names that would do something behind the receiver's back.

    hidden: whether what appears may begin with a dot: `.profile` is run by shells. folding: whether
    the disk takes names for the same that differ in case or in Unicode's normal form.
    """
    seen: dict[str, str] = {}
    for path in paths:
        top = path.partition("/")[0]
        if top.startswith(PART_PREFIX):
            raise UnsafePathError(f"{top!r} is the name of a download that is not whole")
        if top.startswith(".") and not hidden:
            raise HiddenNameError(f"{top!r} would be hidden")
        if folding:
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
            if seen.setdefault(folded, path) != path:
                other = seen[folded]
                raise UnsafePathError(f"{other!r} and {path!r} are the same name on this disk")


def _check_windows(path: str, part: str) -> None:
    device = part.partition(".")[0].rstrip().casefold() in _DEVICES
    if device or part[-1] in ". " or not _NOT_ON_WINDOWS.isdisjoint(part):
        raise UnsafePathError(f"{path!r} cannot be a name on Windows")


# -- the table of contents ---------------------------------------------------------------------


def encode_contents(entries: list[Entry]) -> bytes:
    """Write a table of contents; the entries are sorted already."""
    writer = Writer()
    writer.varint(len(entries))
    for entry in entries:
        writer.varint(entry.kind)
        path = entry.path.encode()
        writer.varint(len(path))
        writer.raw(path)
        if entry.kind is not Kind.FOLDER:
            writer.varint(entry.size)
            writer.raw(entry.hash)
    return writer.finish()


def contents_hash(contents: bytes) -> bytes:
    """The hash by which a table of contents, and all that is in it, is asked for."""
    return hashlib.sha256(FILES_ALPN + contents).digest()


def decode_contents(data: bytes) -> list[Entry]:
    """Read a table of contents. Raises FilesError, UnsafePathError."""
    reader = Reader(data)
    try:
        # The count may be a lie: nothing is reserved for it, and the data runs out first.
        count = reader.varint()
        if count > MAX_ENTRIES:
            raise FilesError(f"the table of contents names {count} files: that is too many")
        entries = [_decode_entry(reader) for _ in range(count)]
    except (PostcardError, UnicodeDecodeError) as error:
        raise FilesError(f"the table of contents is malformed: {error}") from None
    _check_tree(entries)
    return entries


def _decode_entry(reader: Reader) -> Entry:
    kind = Kind(reader.variant(len(Kind)))
    path = check_path(bytes(reader.take(reader.varint())).decode())
    if kind is Kind.FOLDER:
        return Entry(kind, path)
    size = reader.varint()
    if size >= 2**63:
        raise PostcardError("a file of that size cannot be")
    return Entry(kind, path, size, bytes(reader.take(HASH_SIZE)))


def _check_tree(entries: list[Entry]) -> None:
    """Raise FilesError unless each path is once there, in a folder that is there, too."""
    kinds = {entry.path: entry.kind for entry in entries}
    if len(kinds) != len(entries):
        raise FilesError("the table of contents names a path twice")
    for path in kinds:
        parent = path.rpartition("/")[0]
        if not parent:
            continue
        # So that a short table does not stand for a million folders, "a/a/a/...".
        if kinds.get(parent) is None:
            raise FilesError(f"{path!r} lies in a folder that is not named")
        if kinds[parent] is not Kind.FOLDER:
            raise UnsafePathError(f"{path!r} lies inside of a file")


# -- requests ----------------------------------------------------------------------------------

_CONTENTS, _FILES = 0, 1


def request_size(count: int) -> int:
    """The most bytes that a request for up to so many files has."""
    return 1 + HASH_SIZE + 10 + count * 20


def encode_request(hash: bytes, wanted: list[tuple[int, int]] | None) -> bytes:
    """Write a request: for the table of contents (None), or for files from offsets on."""
    writer = Writer()
    writer.varint(_CONTENTS if wanted is None else _FILES)
    writer.raw(hash)
    if wanted is not None:
        writer.varint(len(wanted))
        for index, offset in wanted:
            writer.varint(index)
            writer.varint(offset)
    return writer.finish()


def decode_request(data: bytes) -> tuple[bytes, list[tuple[int, int]] | None]:
    """Read a request: hash and wanted files, None for the table of contents. Raises FilesError."""
    reader = Reader(data)
    try:
        kind = reader.variant(2)
        hash = bytes(reader.take(HASH_SIZE))
        if kind == _CONTENTS:
            return hash, None
        return hash, [(reader.varint(), reader.varint()) for _ in range(reader.varint())]
    except PostcardError as error:
        raise FilesError(f"the request is malformed: {error}") from None


# -- tickets -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileTicket:
    """Where files are, and which. Prints as "files..."."""

    addr: EndpointAddr
    hash: bytes

    @classmethod
    def from_string(cls, text: str) -> Self:
        """The ticket with this text. Raises TicketParsingError."""
        if not text.startswith(_TICKET):
            raise TicketParsingError(f"wrong prefix, expected {_TICKET}")
        try:
            reader = Reader(base32_decode(text[len(_TICKET) :]))
            reader.variant(1)
            return cls(EndpointAddr.read_from(reader), bytes(reader.take(HASH_SIZE)))
        except (PostcardError, ValueError) as error:
            raise TicketParsingError(str(error)) from error

    def __str__(self) -> str:
        writer = Writer()
        writer.varint(0)
        self.addr.write_to(writer)
        writer.raw(self.hash)
        return _TICKET + base32_encode(writer.finish())
