"""QLOGDIR: a folder with a qlog of every connection, for tools such as qvis.

    <id>_client.sqlog    <id>_server.sqlog      id: what the client's first packet went to, in hex

Both ends of a connection have the same id (but after a Retry, which changes the client's). What is
logged is in `iroh.quic.qlog`: headers, frames, times, addresses; no contents and no keys.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

logger: logging.Logger = logging.getLogger(__name__)

VARIABLE = "QLOGDIR"


class QlogFile:
    """Appends records to one file. It says once when that does not work, and gives up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False

    def __call__(self, records: bytes) -> None:
        """Append records. Raises nothing."""
        if self._failed:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(records)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            self._failed = True
            logger.warning("%s: nothing is logged: %s", VARIABLE, error)


def qlog_from_environment(
    environment: Mapping[str, str] = os.environ,
) -> Callable[[bytes, bool], Callable[[bytes], None]] | None:
    """Give what to ask for a new connection's log; None when nobody asked for logs.

    It takes the id of the connection and whether we are its client, and gives what to call with
    records.
    """
    folder = environment.get(VARIABLE)
    if not folder:
        return None

    def open_log(first_id: bytes, is_client: bool) -> QlogFile:
        role = "client" if is_client else "server"
        return QlogFile(Path(folder) / f"{first_id.hex()}_{role}.sqlog")

    return open_log
