"""Standard input, output and error, and how many other files may be open.

A caller may start a program with some of them closed (`iroh ... <&-`). The next file that is opened
would get such a number: a UDP socket as standard input, for one, whose datagrams would be sent on.
"""

import contextlib
import io
import os
import sys
from typing import TextIO

__all__ = ["allow_many_files", "forget_stdout", "open_closed_ones"]


def open_closed_ones() -> None:
    """Open /dev/null in place of those that are closed."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number that is free: this one
    sys.stdin = sys.stdin or _text(0, "r")
    sys.stdout = _lenient(sys.stdout or _text(1, "w"))
    sys.stderr = _lenient(sys.stderr or _text(2, "w"))


def _text(number: int, mode: str) -> TextIO:
    return io.TextIOWrapper(os.fdopen(number, f"{mode}b", closefd=False), encoding="utf-8")


def _lenient(stream: TextIO) -> TextIO:
    """Let what the terminal's character set has not be written as its number."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


def forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: each forwarded connection is one."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
