"""Exit statuses, and errors in one line with a remedy.

0    done
1    failed: the connection was lost, the peer misbehaved, nothing answered
2    the command line is wrong (argparse's own)
3    the peer was not reached
4    the peer refused, or has nothing by that ticket
5    a local file: it exists already, cannot be read or written, the disk is full
6    what came is not what was promised: a checksum differs
130  ended by SIGINT (Ctrl-C); programs that serve until then end with 0
141  whoever read our output has closed it
143  ended by SIGTERM; programs that serve until then end with 0
"""

import errno
import sys
from typing import Final

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_REACHED: Final = 3
REFUSED: Final = 4
LOCAL_FILE: Final = 5
DAMAGED: Final = 6
OUTPUT_CLOSED: Final = 141

NOT_ALLOWED: Final = 403
"""The close code for a peer that is not on the allow-list."""
_NO_COMMON_ALPN: Final = 0x178  # the TLS alert 120 as a QUIC code (RFC 9001 sections 4.8, 8.1)


class CliError(Exception):
    """What ends the program: one line for people, what to do about it, the exit status."""

    def __init__(self, message: str, remedy: str = "", status: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.status = status

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


def in_words(error: Exception) -> CliError:
    """Say an error of the library or of the system in one line."""
    if isinstance(error, CliError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error)
    return _of_library(error)


_OF_FILES = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ELOOP),
    *(errno.ENAMETOOLONG, errno.ESTALE, errno.ETXTBSY, errno.EXDEV),
}


def _of_system(error: OSError) -> CliError:
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    remedies = {
        errno.ENOSPC: "make room and run the same command again",
        errno.EMFILE: "allow more open files: ulimit -n",
        errno.EACCES: "check the permissions",
        errno.EADDRINUSE: "another program uses the address: choose another one",
        errno.EADDRNOTAVAIL: "the address is not one of this machine",
    }
    status = LOCAL_FILE if error.errno in _OF_FILES else FAILED
    return CliError(what, remedies.get(error.errno or 0, ""), status)


def _of_library(error: Exception) -> CliError:
    from iroh.errors import (
        BindError,
        ConnectError,
        ConnectTimeoutError,
        KeyFileError,
        LookupFailedError,
        StreamLostError,
        StreamResetError,
        StreamStoppedError,
    )
    from iroh.quic.errors import TimedOut

    if isinstance(error, ConnectTimeoutError):
        remedy = "is it running? is one of its addresses reachable from here? `iroh doctor` helps"
        return CliError("the peer does not answer", remedy, NOT_REACHED)
    if isinstance(error, LookupFailedError):
        remedy = "ask the peer for a ticket with its addresses, or check --relay and the lookup"
        return CliError(f"the peer is not found: {_first_line(error)}", remedy, NOT_REACHED)
    if isinstance(error, ConnectError):
        return _of_dial(error)
    if isinstance(getattr(error, "reason", None), TimedOut):
        return CliError("the connection is lost: nothing comes from the peer any more", "", FAILED)
    if isinstance(error, StreamResetError):
        return CliError(
            f"the peer has broken off: not all has come (code {error.code})", "", FAILED
        )
    if isinstance(error, StreamStoppedError):
        return CliError(f"the peer takes no more, and had not all (code {error.code})", "", FAILED)
    if isinstance(error, BindError):
        return CliError(str(error), "", FAILED)
    if isinstance(error, KeyFileError):
        return CliError(str(error), "", LOCAL_FILE)
    if "iroh.protocols.files" in sys.modules and (told := _of_files(error)) is not None:
        return told
    if isinstance(error, StreamLostError) and getattr(error.reason, "code", None) == NOT_ALLOWED:
        return not_allowed()
    return CliError(_first_line(error), "", FAILED)


def _of_dial(error: Exception) -> CliError:
    if getattr(error, "code", None) == NOT_ALLOWED:
        return not_allowed()
    if getattr(error, "code", None) == _NO_COMMON_ALPN:
        remedy = "does it run the command that fits this one, with the same --alpn?"
        return CliError("the peer does not speak this protocol", remedy, REFUSED)
    return CliError(f"cannot connect: {_first_line(error)}", "", NOT_REACHED)


def _of_files(error: Exception) -> CliError | None:
    from iroh.protocols import files

    text = _first_line(error)
    match error:
        case files.ExistsError():
            return CliError(text, "see --overwrite, --rename and --output", LOCAL_FILE)
        case files.BusyError():
            return CliError(text, "", LOCAL_FILE)
        case files.HiddenNameError():
            return CliError(text, "--hidden says that this is meant", REFUSED)
        case files.FullError():
            return CliError(text, "make room, or choose another disk with --output", LOCAL_FILE)
        case files.DamagedError():
            return CliError(text, "the sender, or its disk, is not to be trusted", DAMAGED)
        case files.FilesError():
            return CliError(text, "", REFUSED)
    return None


def not_allowed() -> CliError:
    """The peer's allow-list has us not."""
    return CliError(
        "the peer does not allow us",
        "have it started with --allow and our id (`iroh id`), and give --secret-file here",
        REFUSED,
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
