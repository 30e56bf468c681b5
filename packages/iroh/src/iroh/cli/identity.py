"""Our secret key: from a file, from the environment, or new for this run.

A key file holds the 64 hex characters of the key and a line end, and has mode 0600. The variable
IROH_SECRET is dumbpipe's, with the same contents.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from iroh.cli import exits
from iroh.cli.console import Console

if TYPE_CHECKING:
    from iroh_base import SecretKey

__all__ = ["SECRET_VARIABLE", "secret_key"]

SECRET_VARIABLE = "IROH_SECRET"  # dumbpipe's name
_MAX_FILE = 4096


def secret_key(
    file: str | None, console: Console, environ: Mapping[str, str] = os.environ
) -> "SecretKey | None":
    """The key that the options and the environment give; None if they give none.

    Raises CliError, OSError.
    """
    if file is not None:
        return _from_file(Path(file), console)
    text = environ.get(SECRET_VARIABLE)
    return None if text is None else _parsed(text, f"the environment's {SECRET_VARIABLE}")


def _from_file(path: Path, console: Console) -> "SecretKey":
    try:
        return _made(path, console)
    except FileExistsError:
        pass
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        text = file.read(_MAX_FILE).decode("ascii", "replace")
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        console.warn(f"others can read the secret key: chmod 600 {path}")
    return _parsed(text, str(path))


def _made(path: Path, console: Console) -> "SecretKey":
    """Make a key where there is none. Raises FileExistsError where there is one."""
    from iroh_base import SecretKey

    key = SecretKey.generate()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key.to_bytes().hex()}\n")
    console.tell("key", f"made a new secret key: {path}", file=str(path))
    return key


def _parsed(text: str, where: str) -> "SecretKey":
    from iroh_base import IrohError, SecretKey

    try:
        return SecretKey.from_string(text.strip())
    except IrohError as error:
        raise exits.CliError(
            f"{where} holds no secret key: {error}", "64 hex characters are one", exits.USAGE
        ) from None
