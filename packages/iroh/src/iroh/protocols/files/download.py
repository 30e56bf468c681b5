"""The receiving side: into a folder of its own beside the destination, which a rename ends.

    DEST/.iroh-<hash>/data/...      what has come, by its path; a file that is short is gone on with
    DEST/.iroh-<hash>/lock          held while a download is at it
    DEST/NAME                       appears when all is there and every checksum is right

Whatever ends the program in between, the same command goes on where it stopped: what is there is
hashed again, and only what is missing is asked for. No path of the peer's can lead out of the
folder, since `check_path` has seen it and nothing in the folder is a link.
"""

import asyncio
import contextlib
import enum
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from iroh.connection import Connection
from iroh.errors import FinishedEarlyError, StreamResetError
from iroh.protocols.files.wire import (
    MAX_CONTENTS,
    Code,
    Entry,
    FilesError,
    Kind,
    contents_hash,
    decode_contents,
    encode_request,
)

__all__ = ["DamagedError", "Download", "Existing", "ExistsError", "FullError"]

_BLOCK = 1024 * 1024  # bytes taken off the stream, and written, at a time


class DamagedError(FilesError):
    """What came has another checksum than the ticket promises."""


class ExistsError(FilesError):
    """The destination exists already, or another download is at it."""


class FullError(FilesError):
    """The disk has not enough room."""


class Existing(enum.Enum):
    """What to do where the destination exists already."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    RENAME = "rename"


@dataclass
class _File:
    """A file on its way: how much of it is here, and the hash of that."""

    index: int
    entry: Entry
    place: Path
    have: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    again: bool = False  # begun anew, after what an earlier run left turned out wrong

    def open(self) -> IO[bytes]:
        """Open it where it goes on."""
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        file = os.fdopen(os.open(self.place, flags, 0o666), "wb", buffering=0)
        file.truncate(self.have)
        file.seek(self.have)
        return file

    def restart(self) -> None:
        """Forget what is here."""
        self.have, self.digest = 0, hashlib.sha256()


class Download:
    """One collection on its way into a folder. Use it as a context manager: it holds a lock.

    `prepare` once, `run` again and again, on another connection each time, until it returns, then
    `finish`. `progress` is called with bytes that are here: found by `prepare`, come in `run`.
    """

    def __init__(
        self,
        hash: bytes,
        folder: str | os.PathLike[str],
        *,
        existing: Existing = Existing.REFUSE,
        progress: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        self.hash = hash
        self.entries: list[Entry] = []
        self.found: int = 0
        """Bytes that an earlier run had left."""
        self._folder = Path(folder)
        self._part = self._folder / f".iroh-{hash.hex()[:32]}"
        self._data = self._part / "data"
        self._existing = existing
        self._progress = progress
        self._missing: list[_File] = []
        self._lock: IO[bytes] | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def names(self) -> list[str]:
        """What appears in the folder in the end."""
        return sorted({entry.path.partition("/")[0] for entry in self.entries})

    def __enter__(self) -> "Download":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._part.mkdir(mode=0o700, exist_ok=True)
        if self._part.is_symlink():
            raise ExistsError(f"{self._part} is a link")
        self._lock = _locked(self._part)
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._lock is not None
        self._lock.close()
        with contextlib.suppress(OSError):  # it is kept while there is something to go on with
            if not (self._data.exists() and any(self._data.iterdir())):
                shutil.rmtree(self._part)

    async def prepare(self, conn: Connection) -> None:
        """Get the table of contents, and look at what is here already.

        Raises ExistsError, FullError, FilesError, StreamError, OSError. Cancel it as you like.
        """
        send, recv = await conn.open_bi()
        await send.write_all(encode_request(self.hash, None))
        await send.finish()
        try:
            contents = await recv.read_to_end(MAX_CONTENTS)
        except StreamResetError as error:
            raise _reset(error) from None
        if contents_hash(contents) != self.hash:
            raise DamagedError("the table of contents is not the one of the ticket")
        self.entries = decode_contents(contents)
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        if self._existing is Existing.REFUSE:
            for name in self.names:
                if os.path.lexists(self._folder / name):
                    raise ExistsError(f"{self._folder / name} exists already")
        self._data.mkdir(exist_ok=True)
        for index, entry in enumerate(self.entries):
            place = self._data / entry.path
            if entry.kind is Kind.FOLDER:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            file = _File(index, entry, place)
            self._take_over(file)
            if file.have < entry.size or not file.place.exists():
                self._missing.append(file)
        need = sum(file.entry.size - file.have for file in self._missing)
        free = shutil.disk_usage(self._folder).free
        if need > free:
            raise FullError(f"{need} bytes are to come, and {free} are free in {self._folder}")

    def _take_over(self, file: _File) -> None:
        """Hash what an earlier run has left of a file, and use it unless it is wrong."""
        try:
            with file.place.open("rb", buffering=0) as there:
                too_long = os.fstat(there.fileno()).st_size > file.entry.size
                while not too_long and (block := there.read(_BLOCK)):
                    file.digest.update(block)
                    file.have += len(block)
        except FileNotFoundError:
            return
        whole = file.have == file.entry.size
        if too_long or (whole and file.digest.digest() != file.entry.hash):
            file.restart()
            file.place.unlink()
            return
        self.found += file.have
        self._progress(file.have)

    async def run(self, conn: Connection) -> None:
        """Get what is missing. Raises DamagedError, FilesError, StreamError, OSError.

        After any of them, or after it was cancelled, it can be run again, on another connection.
        """
        while self._missing:
            wanted = [(file.index, file.have) for file in self._missing]
            send, recv = await conn.open_bi()
            await send.write_all(encode_request(self.hash, wanted))
            await send.finish()
            sink = _Sink(self._missing)
            try:
                while not sink.done:
                    data = await recv.read(_BLOCK)
                    if not data and sink.needs_data:
                        raise FinishedEarlyError(b"", 1)
                    # A thread that writes is not stopped half-way, even if we are cancelled.
                    work = asyncio.ensure_future(asyncio.to_thread(sink.write, data))
                    try:
                        await asyncio.shield(work)
                    except asyncio.CancelledError:
                        await asyncio.wait((work,))
                        raise
                    self._progress(len(data))
            except StreamResetError as error:
                raise _reset(error) from None
            finally:
                sink.close()
                self._missing = sink.missing
                self._progress(-sink.lost)

    def finish(self) -> list[Path]:
        """Let everything appear in the folder; returns where. Raises ExistsError, OSError."""
        for entry in self.entries:
            if entry.kind is Kind.EXECUTABLE and os.name == "posix":
                place = self._data / entry.path
                mode = place.stat().st_mode
                place.chmod(mode | (mode & 0o444) >> 2)  # executable by whoever can read it
        placed = [self._place(name) for name in self.names]
        shutil.rmtree(self._data)
        return placed

    def _place(self, name: str) -> Path:
        goal, old = self._folder / name, self._part / "old"
        if os.path.lexists(goal):
            if self._existing is Existing.REFUSE:
                raise ExistsError(f"{goal} exists already")
            if self._existing is Existing.RENAME:
                goal = _free_name(goal)
            else:
                os.rename(goal, old)
        os.rename(self._data / name, goal)
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        return goal


class _Sink:
    """Splits a stream of bytes into files."""

    def __init__(self, files: list[_File]) -> None:
        self.lost = 0
        """Bytes of files that turned out wrong: they are asked for again."""
        self._left = deque(files)
        self._wrong: list[_File] = []
        self._open: IO[bytes] | None = None

    @property
    def missing(self) -> list[_File]:
        """The files that are not whole yet."""
        return [*self._left, *self._wrong]

    @property
    def done(self) -> bool:
        """Whether the stream has given all that was asked for."""
        return not self._left

    @property
    def needs_data(self) -> bool:
        """Whether a file is to come that is not empty."""
        return any(file.have < file.entry.size for file in self._left)

    def write(self, data: bytes) -> None:
        """Write bytes where they belong; runs in a thread. Raises OSError, DamagedError."""
        view = memoryview(data)
        while self._left:
            file = self._left[0]
            if self._open is None:
                self._open = file.open()
            view = self._append(file, view)
            if file.have < file.entry.size:
                return
            self._complete(file)
        if view:
            raise FilesError("the peer sent more than was asked for")

    def _append(self, file: _File, view: memoryview) -> memoryview:
        """Write what belongs to this file; returns the rest."""
        assert self._open is not None
        while view and file.have < file.entry.size:
            written = self._open.write(view[: file.entry.size - file.have])
            file.digest.update(view[:written])
            file.have += written
            view = view[written:]
        return view

    def _complete(self, file: _File) -> None:
        self.close()
        if file.digest.digest() == file.entry.hash:
            self._left.popleft()
            return
        file.place.unlink()
        self.lost += file.have
        file.restart()
        if file.again:
            raise DamagedError(f"{file.entry.path} came with a wrong checksum")
        file.again = True
        self._wrong.append(self._left.popleft())

    def close(self) -> None:
        """Close the file that is written to."""
        if self._open is not None:
            self._open.close()
            self._open = None


def _reset(error: StreamResetError) -> FilesError:
    match error.code:
        case Code.UNKNOWN:
            return FilesError("the peer does not share this (any more)")
        case Code.CHANGED:
            return FilesError("a file was changed at the sender meanwhile")
    return FilesError(f"the peer refuses: code {error.code}")


def _free_name(path: Path) -> Path:
    """The first of "name (1).ext", "name (2).ext" that does not exist."""
    number = 1
    while os.path.lexists(goal := path.with_name(f"{path.stem} ({number}){path.suffix}")):
        number += 1
    return goal


def _locked(part: Path) -> IO[bytes]:
    """Open a file that is held alone as long as it is open. Raises ExistsError."""
    file = (part / "lock").open("wb")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # Windows: a file that is open cannot be renamed there, which has to do
    except OSError:
        file.close()
        raise ExistsError(f"another download is at it: {part}") from None
    return file
