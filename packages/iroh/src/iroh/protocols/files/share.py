"""The sending side: what is on the disk, and the handler that serves it.

Symbolic links inside of a folder are left out, or followed where that is asked for; devices, pipes
and sockets are left out. A file that is changed after it was looked at is not served any more.
"""

import asyncio
import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from iroh.connection import Connection
from iroh.errors import ConnectionLostError, StreamError
from iroh.protocols.files.wire import (
    MAX_CONTENTS,
    MAX_ENTRIES,
    PART_PREFIX,
    Code,
    Entry,
    FilesError,
    Kind,
    UnsafePathError,
    check_path,
    contents_hash,
    decode_request,
    encode_contents,
    request_size,
)
from iroh.router import ProtocolHandler
from iroh.streams import BiStream, SendStream
from iroh_base import IrohError, PublicKey

__all__ = ["Collection", "FileShare", "ShareEvent", "collect"]

_BLOCK = 1024 * 1024  # bytes read from the disk, and handed to the stream, at a time
_MAX_STREAMS = 16
"""Requests of one connection answered at once."""

Identity = tuple[int, int, int, int]
"""Device, inode, size, time of change in ns: another file, or other contents, has another one."""


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass
class Collection:
    """What is shared: its entries, and where each lies. `skipped`: what is not, with the reason."""

    entries: list[Entry]
    places: list[tuple[Path, Identity]]
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    contents: bytes = b""
    hash: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def files(self) -> int:
        """How many files there are; folders do not count."""
        return sum(entry.kind is not Kind.FOLDER for entry in self.entries)


def collect(
    paths: Sequence[str | os.PathLike[str]],
    *,
    follow_links: bool = False,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> Collection:
    """Look at files and folders, and hash them; call it in a thread. `progress` gets bytes.

    Raises OSError, FilesError for two of the same name or too many, UnsafePathError for a name.
    """
    found: dict[str, tuple[Kind, Path, Identity]] = {}
    skipped: list[tuple[Path, str]] = []
    for given in paths:
        mode = Path(given).stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # /dev/stdin leads to no path at all
            skipped.append((Path(given), "neither file nor folder"))
            continue
        path = Path(given).resolve(strict=True)
        name = check_path(path.name)
        if name.startswith(PART_PREFIX):
            raise UnsafePathError(f"{name!r} is the name of a download that is not whole")
        if name in found:
            raise FilesError(f"two of what is sent are called {name!r}")
        for relative, place, status in _walk(name, path, follow_links, skipped):
            found[relative] = (_kind(status), place, _identity(status))
    result = Collection([], [], skipped)
    for relative, (kind, place, identity) in sorted(found.items()):
        digest, size = b"", 0
        if kind is not Kind.FOLDER:
            digest, size = _hash(place, identity, progress), identity[2]
        result.entries.append(Entry(kind, relative, size, digest))
        result.places.append((place, identity))
    result.contents = encode_contents(result.entries)
    if len(result.contents) > MAX_CONTENTS or len(result.entries) > MAX_ENTRIES:
        raise FilesError("these are too many files for one ticket: pack them first")
    result.hash = contents_hash(result.contents)
    return result


def _kind(status: os.stat_result) -> Kind:
    if stat.S_ISDIR(status.st_mode):
        return Kind.FOLDER
    return Kind.EXECUTABLE if status.st_mode & stat.S_IXUSR else Kind.FILE


def _walk(
    name: str, top: Path, follow_links: bool, skipped: list[tuple[Path, str]]
) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Yield everything below and including a path that can be sent."""
    stack = [(name, top, frozenset[tuple[int, int]]())]
    while stack:
        relative, place, above = stack.pop()
        status = place.stat() if follow_links or place == top else place.lstat()
        inode = status.st_dev, status.st_ino
        if stat.S_ISDIR(status.st_mode):
            if inode in above:
                skipped.append((place, "a link to a folder that it is in"))
                continue
            yield relative, place, status
            for child in place.iterdir():
                try:
                    inside = check_path(f"{relative}/{child.name}", windows=False)
                    _ = child.stat() if follow_links else child.lstat()
                except (UnsafePathError, FileNotFoundError) as error:
                    skipped.append((child, str(error)))
                else:
                    stack.append((inside, child, above | {inode}))
        elif stat.S_ISREG(status.st_mode):
            yield relative, place, status
        else:
            link = stat.S_ISLNK(status.st_mode)
            skipped.append((place, "a symbolic link" if link else "neither file nor folder"))


def _open(place: Path) -> FileIO:
    """Open a file. Raises OSError; a pipe that has taken its place does not hold us up."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    return FileIO(os.open(place, flags), "rb")


def _hash(place: Path, identity: Identity, progress: Callable[[int], None]) -> bytes:
    digest, size = hashlib.sha256(), 0
    with _open(place) as file:
        # Files of /proc have contents, and a size of 0; one that grows need not be read to its end.
        while size <= identity[2] and (block := file.read(_BLOCK)):
            digest.update(block)
            size += len(block)
            progress(len(block))
        if size != identity[2] or _identity(os.fstat(file.fileno())) != identity:
            raise FilesError(f"{place} is being changed: send it when it is finished")
    return digest.digest()


# -- serving -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShareEvent:
    """What happens to a share.

    kind is "opened", "sent" (bytes more), "unreadable" (why: a file was changed, for one), "done",
    or "ended" (early).
    """

    kind: str
    peer: PublicKey
    bytes: int = 0
    why: str = ""


class FileShare(ProtocolHandler):
    """Serves one collection to whoever knows its hash."""

    def __init__(
        self,
        collection: Collection,
        on_event: Callable[[ShareEvent], None] = lambda _event: None,
    ) -> None:
        self._collection = collection
        self._tell = on_event

    async def accept(self, conn: Connection) -> None:
        """Answer the requests of a connection until it ends. Cancelling it ends all its streams."""
        peer = conn.remote_id()
        self._tell(ShareEvent("opened", peer))
        room = asyncio.Semaphore(_MAX_STREAMS)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await room.acquire()
                try:
                    task = tasks.create_task(self._answer(await conn.accept_bi(), peer))
                except ConnectionLostError as error:
                    done = getattr(error.reason, "reason", b"") == b"done"
                    self._tell(ShareEvent("done" if done else "ended", peer))
                    return
                task.add_done_callback(lambda _task: room.release())
                del task  # a stream that only its task has ends with it, when we are cancelled

    async def _answer(self, stream: BiStream, peer: PublicKey) -> None:
        send, recv = stream
        code: Code | None = None
        try:
            limit = request_size(len(self._collection.entries))
            hash, wanted = decode_request(await recv.read_to_end(limit))
            if hash != self._collection.hash:
                code = Code.UNKNOWN
            elif wanted is None:
                await send.write_all(self._collection.contents)
            else:
                await self._send_files(send, self._checked(wanted), peer)
        except StreamError:
            code = Code.MALFORMED  # too long; or the peer is gone, and nobody hears of it
        except FilesError:
            code = Code.MALFORMED
        except OSError as error:
            code = Code.CHANGED
            self._tell(ShareEvent("unreadable", peer, why=str(error)))
        with contextlib.suppress(IrohError):
            await (send.finish() if code is None else send.reset(code))

    def _checked(self, wanted: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return what is wanted if there is such a thing. Raises FilesError."""
        entries = self._collection.entries
        for index, offset in wanted:
            if index >= len(entries) or entries[index].kind is Kind.FOLDER:
                raise FilesError("there is no such file")
            if offset > entries[index].size:
                raise FilesError("the file is not that long")
        return wanted

    async def _send_files(
        self, send: SendStream, wanted: list[tuple[int, int]], peer: PublicKey
    ) -> None:
        """Send the files; the next block is read while one is sent. Raises OSError, StreamError."""
        blocks = _blocks([(*self._collection.places[i], offset) for i, offset in wanted])
        ahead = asyncio.ensure_future(asyncio.to_thread(next, blocks, b""))
        try:
            while block := await ahead:
                ahead = asyncio.ensure_future(asyncio.to_thread(next, blocks, b""))
                await send.write_all(block)
                self._tell(ShareEvent("sent", peer, len(block)))
        finally:
            await asyncio.wait((ahead,))  # a generator at work cannot be closed
            blocks.close()


def _blocks(wanted: list[tuple[Path, Identity, int]]) -> Generator[bytes, None, None]:
    """Read the files one after the other, small ones together. Raises OSError."""
    parts: list[bytes] = []
    size = 0
    for place, identity, offset in wanted:
        with _open(place) as file:
            if _identity(os.fstat(file.fileno())) != identity:
                raise OSError(f"{place} was changed")
            file.seek(offset)
            left = identity[2] - offset
            while left:
                part = file.read(min(_BLOCK - size, left))
                if not part:
                    raise OSError(f"{place} was cut")
                parts.append(part)
                size += len(part)
                left -= len(part)
                if size == _BLOCK:
                    yield b"".join(parts)
                    parts, size = [], 0
    if parts:
        yield b"".join(parts)
