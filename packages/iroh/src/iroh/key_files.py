"""Secret keys that outlive the program: in a file that only its owner reads, or the environment.

    key = load_secret_key("~/.config/my-app/key")     made if it is not there
    key = secret_key_from_env("MY_APP_SECRET")

The file holds one line, the key in hex; base32 is read, too, and 32 raw bytes. Who reads it is the
endpoint, so a file that others can read is refused, and a new one is never readable to others, not
for a moment.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from iroh.errors import KeyFileError
from iroh_base import IrohError, SecretKey

__all__ = ["load_secret_key", "save_secret_key", "secret_key_from_env"]

OWNER_ONLY = 0o600
MAX_FILE = 1024
"""Bytes of a key file that are looked at."""


def load_secret_key(path: str | os.PathLike[str], *, create: bool = True) -> SecretKey:
    """Read the key in a file; without a file make a new key and the file (create=True).

    Programs that start at the same moment agree on one key. Raises KeyFileError with what to do:
    others can read the file, or it holds no key; FileNotFoundError with create=False, and other
    OSErrors.
    """
    file = Path(path).expanduser()
    try:
        return _read(file)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):  # somebody was faster: it is his key
        save_secret_key(file, SecretKey.generate())
    return _read(file)


def save_secret_key(path: str | os.PathLike[str], key: SecretKey) -> None:
    """Write a key to a new file with mode 0600, at once and whole; missing folders are made 0700.

    Raises FileExistsError, whatever the file holds, and other OSErrors.
    """
    file = Path(path).expanduser()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(descriptor, "wb") as out:
            out.write(key.to_bytes().hex().encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, file)  # unlike rename, fails where there is a file
    finally:
        draft.unlink(missing_ok=True)


def secret_key_from_env(variable: str) -> SecretKey | None:
    """Read the key in an environment variable, hex or base32; None when it is unset or empty.

    Raises KeyFileError for other text, which is not quoted.
    """
    text = os.environ.get(variable)
    return _parse(text.strip(), f"the environment's {variable}") if text else None


def _read(file: Path) -> SecretKey:
    with file.open("rb") as source:
        mode = os.fstat(source.fileno()).st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFileError(
                f"{file} can be read or written by others (mode {stat.S_IMODE(mode):04o}), and "
                f"whoever has the key is this endpoint: chmod 600 {file}"
            )
        data = source.read(MAX_FILE)
    if len(data) == SecretKey.LENGTH:
        return SecretKey(data)
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    return _parse(text, str(file))


def _parse(text: str, where: str) -> SecretKey:
    try:
        return SecretKey.from_string(text)
    except IrohError:
        raise KeyFileError(
            f"{where} holds no secret key: 64 hex characters, or 52 of base32"
        ) from None
