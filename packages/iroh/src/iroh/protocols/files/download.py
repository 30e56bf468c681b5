"""The receiving side: into a folder of its own beside the destination, which a rename ends.

    DEST/.iroh-<hash>/data/...      what has come, by its path; a file that is short is gone on with
    DEST/.iroh-<hash>/lock          held while a download is at it
    DEST/.iroh-<hash>/placing       there while things get their names: name -> where, in JSON
    DEST/NAME                       appears when all is there and every checksum is right

Whatever ends the program in between, the same command goes on where it stopped: what is there is
hashed again, and only what is missing is asked for. No path of the peer's can lead out of the
folder, since `check_path` has seen it and nothing in the folder is a link: the folder is ours
alone, and what is in it and should not be is removed.
"""

import asyncio
import contextlib
import enum
import hashlib
import json
import os
import shutil
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from iroh.connection import Connection
from iroh.errors import FinishedEarlyError, StreamResetError
from iroh.protocols.files.folder import free_name, locked, make_folder, remove
from iroh.protocols.files.wire import (
    MAX_CONTENTS,
    PART_PREFIX,
    Code,
    Entry,
    FilesError,
    Kind,
    check_names,
    contents_hash,
    decode_contents,
    encode_request,
)
from iroh.streams import RecvStream

__all__ = ["DamagedError", "Download", "Existing", "ExistsError", "FullError"]

_BLOCK = 1024 * 1024  # bytes taken off the stream, and written, at a time


class DamagedError(FilesError):
    """What came has another checksum than the ticket promises."""


class ExistsError(FilesError):
    """The destination exists already."""


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

    hidden: whether files may appear whose names begin with a dot; HiddenNameError otherwise.

    `prepare` once, `run` again and again, on another connection each time, until it returns, then
    `finish`. `progress` is called with bytes that are here: found by `prepare`, come in `run`.
    """

    def __init__(
        self,
        hash: bytes,
        folder: str | os.PathLike[str],
        *,
        existing: Existing = Existing.REFUSE,
        hidden: bool = False,
        progress: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        self.hash = hash
        self.entries: list[Entry] = []
        self.found: int = 0
        """Bytes that an earlier run had left."""
        self._folder = Path(folder)
        self._part = self._folder / f"{PART_PREFIX}{hash.hex()[:32]}"
        self._data = self._part / "data"
        self._existing = existing
        self._hidden = hidden
        self._progress = progress
        self._missing: list[_File] = []
        self._lock: IO[bytes] | None = None
        self._cancelled = False

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
        self._lock = locked(self._part)
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._lock is not None
        if os.name == "nt":  # which removes no file that is open
            self._lock.close()
        with contextlib.suppress(OSError):  # it is kept while there is something to go on with
            if not (self._data.exists() and any(self._data.iterdir())):
                shutil.rmtree(self._part)
        self._lock.close()

    async def prepare(self, conn: Connection) -> None:
        """Get the table of contents, and look at what is here already.

        Raises ExistsError, FullError, FilesError, StreamError, OSError. Cancel it as you like: a
        thread that hashes stops soon.
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
        self._cancelled = False
        await self._in_thread(lambda: self._look(contents))

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Do it in a thread, which is told when this is cancelled, and waited for."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self._cancelled = True
            await asyncio.wait((task,))
            task.exception()
            raise

    def _look(self, contents: bytes) -> None:
        entries = decode_contents(contents)
        folding = (self._part / "LOCK").exists()  # what was made is "lock"
        check_names((entry.path for entry in entries), hidden=self._hidden, folding=folding)
        self.entries, self._missing, self.found = entries, [], 0
        if self._placing():
            self.found = self.size
            self._progress(self.size)
            return
        if self._existing is Existing.REFUSE:
            for name in self.names:
                if os.path.lexists(self._folder / name):
                    raise ExistsError(f"{self._folder / name} exists already")
        make_folder(self._data)
        for entry in sorted(self.entries, key=lambda entry: entry.path):
            if entry.kind is Kind.FOLDER:
                make_folder(self._data / entry.path)
        for index, entry in enumerate(self.entries):
            if entry.kind is Kind.FOLDER:
                continue
            file = _File(index, entry, self._data / entry.path)
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
            status = file.place.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode) or status.st_size > file.entry.size:
            remove(file.place)
            return
        with file.place.open("rb", buffering=0) as there:
            while block := there.read(_BLOCK):
                if self._cancelled:
                    raise InterruptedError
                file.digest.update(block)
                file.have += len(block)
                self._progress(len(block))
        if file.have == file.entry.size and file.digest.digest() != file.entry.hash:
            self._progress(-file.have)
            file.restart()
            remove(file.place)
            return
        self.found += file.have

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
                await self._fill(sink, recv)
            except StreamResetError as error:
                raise _reset(error) from None
            finally:
                sink.close()
                self._missing = sink.missing
                self._progress(-sink.lost)

    async def _fill(self, sink: "_Sink", recv: RecvStream) -> None:
        """Take bytes off the stream while a thread hashes and writes those before."""
        asked = sum(file.entry.size - file.have for file in self._missing)
        writing: asyncio.Future[None] | None = None
        size = 0
        try:
            while asked > 0 or writing is None:  # once at least: a file may be empty
                data = await recv.read(_BLOCK)
                if asked and not data:
                    raise FinishedEarlyError(b"", 1)
                asked -= len(data)
                if writing is not None:
                    await asyncio.shield(writing)
                    self._progress(size)
                writing = asyncio.ensure_future(asyncio.to_thread(sink.write, data))
                size = len(data)
            await asyncio.shield(writing)
        finally:
            if writing is not None:
                # A thread that writes is not stopped half-way, even if we are cancelled, and what
                # it has written is here.
                await asyncio.wait((writing,))
                if writing.exception() is None:
                    self._progress(size)

    def finish(self) -> list[Path]:
        """Let everything appear in the folder; returns where. Raises ExistsError, OSError.

        A run that is killed in between is ended by the next one, without another look.
        """
        goals = self._placing()
        if not goals:
            for entry in self.entries:
                if entry.kind is Kind.EXECUTABLE and os.name == "posix":
                    place = self._data / entry.path
                    mode = place.stat().st_mode
                    place.chmod(mode | (mode & 0o444) >> 2)  # executable by whoever can read it
            goals = self._choose()
            draft = self._note.with_suffix(".new")
            draft.write_text(json.dumps({name: goal.name for name, goal in goals.items()}))
            draft.replace(self._note)
        for name in goals:
            if os.path.lexists(self._data / name):
                goals[name] = self._place(name, goals[name])
        shutil.rmtree(self._data)
        self._note.unlink()
        return list(goals.values())

    @property
    def _note(self) -> Path:
        return self._part / "placing"

    def _placing(self) -> dict[str, Path]:
        """Where everything goes, if an earlier run was at it and all is there; else nothing."""
        try:
            noted = json.loads(self._note.read_bytes())
            goals = {name: self._folder / noted[name] for name in self.names}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        there = all(
            os.path.lexists(self._data / name) or os.path.lexists(goal)
            for name, goal in goals.items()
        )
        if there:
            return goals
        self._note.unlink()  # what had got its name was taken away meanwhile
        return {}

    def _choose(self) -> dict[str, Path]:
        """Choose where everything goes. Raises ExistsError before anything is moved."""
        goals: dict[str, Path] = {}
        for name in self.names:
            goal = self._folder / name
            if os.path.lexists(goal) or goal in goals.values():
                if self._existing is Existing.REFUSE:
                    raise ExistsError(f"{goal} exists already")
                if self._existing is Existing.RENAME:
                    goal = free_name(goal, goals.values())
            goals[name] = goal
        return goals

    def _place(self, name: str, goal: Path) -> Path:
        old = self._part / "old"
        if os.path.lexists(goal):
            if self._existing is Existing.REFUSE:
                raise ExistsError(f"{goal} exists already")
            if self._existing is Existing.RENAME:
                goal = free_name(goal)
            else:
                remove(old)
                os.rename(goal, old)
        os.rename(self._data / name, goal)
        remove(old)
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
