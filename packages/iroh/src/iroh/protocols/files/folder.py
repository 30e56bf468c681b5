"""What a download does to its folder, and to names in the destination. All of it blocks."""

import contextlib
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path
from typing import IO

from iroh.protocols.files.wire import FilesError

__all__ = ["BusyError", "free_name", "locked", "make_folder", "remove"]


class BusyError(FilesError):
    """Another download of the same is at it, or somebody else has its folder."""


def free_name(path: Path, taken: Collection[Path] = ()) -> Path:
    """The first of "name (1).ext", "name (2).ext" that does not exist, and is not taken."""
    number = 1
    while True:
        goal = path.with_name(f"{path.stem} ({number}){path.suffix}")
        if not os.path.lexists(goal) and goal not in taken:
            return goal
        number += 1


def make_folder(place: Path) -> None:
    """Make a folder, in place of what is there if it is none."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(place.lstat().st_mode):
            return
        place.unlink()
    place.mkdir()


def remove(place: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it, if it is there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def locked(part: Path) -> IO[bytes]:
    """Make the folder, and hold a file in it as long as it is open. Raises BusyError."""
    while True:
        with contextlib.suppress(FileExistsError):
            part.mkdir(mode=0o700)
        status = part.lstat()
        foreign = os.name == "posix" and status.st_uid != os.geteuid()
        if foreign or not stat.S_ISDIR(status.st_mode):
            raise BusyError(f"{part} is not a folder of ours: remove it")
        try:
            file = _try_lock(part / "lock")
        except FileNotFoundError:  # another download has ended, and removed it, just now
            continue
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), (part / "lock").lstat()):
                return file
        file.close()


def _try_lock(place: Path) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    file = os.fdopen(os.open(place, flags, 0o600), "wb")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # Windows: a file that is open cannot be renamed there, which has to do
    except OSError:
        file.close()
        raise BusyError(f"another iroh recv of the same is at it: {place.parent}") from None
    return file
