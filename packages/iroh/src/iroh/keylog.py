"""SSLKEYLOGFILE: the secrets of connections, for a packet analyser (draft-ietf-tls-keylogfile).

Whoever reads the file can decrypt recorded traffic. It is made for its owner only (0600), appended
to, and not opened before the first secret; each line is written by one call, so that processes may
share the file.
"""

import logging
import os
from collections.abc import Callable, Mapping

logger: logging.Logger = logging.getLogger(__name__)

VARIABLE = "SSLKEYLOGFILE"


class KeyLogFile:
    """Appends lines to a file. It says once when that does not work, and gives up."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._failed = False

    def __call__(self, line: str) -> None:
        """Append a line, given without its end. Raises nothing."""
        if self._failed:
            return
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line.encode() + b"\n")
            finally:
                os.close(file)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            self._failed = True
            logger.warning("%s: no secrets are logged: %s", VARIABLE, error)


def keylog_from_environment(
    environment: Mapping[str, str] = os.environ,
) -> Callable[[str], None] | None:
    """Give what to call with each line; None when nobody asked for a key log."""
    path = environment.get(VARIABLE)
    return KeyLogFile(path) if path else None
