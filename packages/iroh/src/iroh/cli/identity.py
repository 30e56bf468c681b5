"""Our secret key: from a file, from the environment, or new for this run.

The variable IROH_SECRET is dumbpipe's, with the same contents; key files: `iroh.key_files`.
"""

import os
from typing import TYPE_CHECKING

from iroh.cli.console import Console

if TYPE_CHECKING:
    from iroh_base import SecretKey

__all__ = ["SECRET_VARIABLE", "secret_key"]

SECRET_VARIABLE = "IROH_SECRET"  # dumbpipe's name


def secret_key(file: str | None, console: Console) -> "SecretKey | None":
    """The key that the options and the environment give; None if they give none.

    Raises KeyFileError, OSError.
    """
    from iroh.key_files import load_secret_key, secret_key_from_env

    if file is None:
        return secret_key_from_env(SECRET_VARIABLE)
    is_new = not os.path.exists(os.path.expanduser(file))
    key = load_secret_key(file)
    if is_new:
        console.tell("key", f"made a new secret key: {file}", file=file)
    return key
