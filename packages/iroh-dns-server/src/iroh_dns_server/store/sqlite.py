"""The packet store on sqlite: one file in the data directory, no dependency.

Files: `signed-packets-1.sqlite` with its `-wal` and `-shm`, and `signed-packets-1.lock`, a tiny
database whose exclusive transaction keeps a second server out (the operating system ends it with
the process, however that dies).

    signed_packets: public_key BLOB 32 | timestamp INTEGER us | version INTEGER | payload BLOB

`version` counts replacements and tells an insert from an update in the one statement that decides
which packet wins. Reads go straight to a connection of the event loop's thread (about 10 us, the
pages are cached); writes go to the writer thread.
"""

import asyncio
import logging
import sqlite3
from pathlib import Path

from iroh_dns_server.errors import StoreError
from iroh_dns_server.store.base import DNS_OFFSET, Expired, PutOutcome, payload_timestamp
from iroh_dns_server.store.health import Health
from iroh_dns_server.store.writer import DEFAULT_MAX_BATCH, DEFAULT_MAX_QUEUE, Writer

__all__ = ["DATABASE_NAME", "LOCK_NAME", "SqliteStore"]

logger: logging.Logger = logging.getLogger(__name__)

DATABASE_NAME = "signed-packets-1.sqlite"
"""The Rust server's file is `signed-packets-1.db` (redb): the two never touch each other's."""
LOCK_NAME = "signed-packets-1.lock"
SCHEMA_VERSION = 1
"""Written as `PRAGMA user_version`; a file with another number is refused."""
BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that looks at the database, a backup for example."""
MAX_TIMESTAMP = 2**63 - 1
"""Sqlite's largest integer, and the largest sequence number of BEP 44."""
JOURNAL_LIMIT = 16 * 1024 * 1024
"""Bytes the write-ahead log may keep on disk after a checkpoint."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS signed_packets (
    public_key BLOB PRIMARY KEY NOT NULL,
    timestamp INTEGER NOT NULL,
    version INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS signed_packets_timestamp ON signed_packets (timestamp);
PRAGMA user_version = {SCHEMA_VERSION};
"""

# The DNS messages are compared only when the timestamps are equal; blobs compare like bytes.
_UPSERT = f"""
INSERT INTO signed_packets (public_key, timestamp, version, payload) VALUES (?, ?, 0, ?)
ON CONFLICT (public_key) DO UPDATE SET
    timestamp = excluded.timestamp,
    version = signed_packets.version + 1,
    payload = excluded.payload
WHERE excluded.timestamp > signed_packets.timestamp
   OR (excluded.timestamp = signed_packets.timestamp
       AND substr(excluded.payload, {DNS_OFFSET + 1})
           >= substr(signed_packets.payload, {DNS_OFFSET + 1}))
RETURNING version
"""

_EXPIRE = """
DELETE FROM signed_packets WHERE rowid IN (
    SELECT rowid FROM signed_packets WHERE timestamp < ? ORDER BY timestamp LIMIT ?
) RETURNING public_key
"""


class SqliteStore:
    """`PacketStore` in one sqlite file. Make it with `open`."""

    def __init__(self, reader: sqlite3.Connection, lock: sqlite3.Connection, writer: Writer):
        self._reader = reader
        self._lock = lock
        self._writer = writer
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._health = Health(logger, "reads")

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        max_batch: int = DEFAULT_MAX_BATCH,
        max_queue: int = DEFAULT_MAX_QUEUE,
    ) -> "SqliteStore":
        """Open, and create when needed, the store in `data_dir`. Needs a running event loop.

        Raises `StoreError` with a line for the operator: the directory cannot be made or written,
        another server uses it, the file is no database of ours.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"data directory {data_dir}: cannot be created ({error.strerror}): "
                "choose another with --data-dir or data_dir"
            ) from None
        lock = _take_lock(data_dir)
        reader: sqlite3.Connection | None = None
        try:
            path = data_dir / DATABASE_NAME
            _create(path)
            reader = _connect(path)
            writer = Writer(lambda: _connect(path), max_batch=max_batch, max_queue=max_queue)
        except sqlite3.Error as error:
            if reader is not None:
                reader.close()
            lock.close()
            raise StoreError(
                f"data directory {data_dir}: {DATABASE_NAME} cannot be opened ({error})"
            ) from None
        except StoreError:
            lock.close()
            raise
        logger.debug("packet store opened at %s", data_dir)
        return cls(reader, lock, writer)

    async def put(self, public_key: bytes, payload: bytes) -> PutOutcome:
        """See `PacketStore.put`: durable before it returns."""
        timestamp = payload_timestamp(payload)
        if timestamp > MAX_TIMESTAMP:  # one bad row would fail the whole group
            raise StoreError(f"timestamp {timestamp} is beyond what the packet store holds")
        row = (public_key, timestamp, payload)
        rows = await self._writer.submit(_UPSERT, row)
        if not rows:
            return PutOutcome.STALE
        return PutOutcome.INSERTED if rows[0][0] == 0 else PutOutcome.UPDATED

    async def get(self, public_key: bytes) -> bytes | None:
        """See `PacketStore.get`."""
        return self.read(public_key)

    def read(self, public_key: bytes) -> bytes | None:
        """See `LocalStore.read`."""
        if self._closed:
            raise StoreError("the packet store is closed")
        try:
            found = self._reader.execute(
                "SELECT payload FROM signed_packets WHERE public_key = ?", (public_key,)
            ).fetchall()  # all: a cursor that is not exhausted keeps its snapshot of the log
        except sqlite3.Error as error:
            self._health.failed(error)
            raise StoreError(f"the packet store cannot be read ({error})") from error
        self._health.worked()
        return found[0][0] if found else None

    async def expire(self, before_us: int, limit: int) -> Expired:
        """See `PacketStore.expire`; runs between two groups of puts."""
        rows = await self._writer.submit(_EXPIRE, (before_us, limit))
        return Expired([row[0] for row in rows], more=len(rows) >= limit)

    async def count(self) -> int:
        """See `PacketStore.count`; in the writer's thread, for it looks at every row."""
        rows = await self._writer.submit("SELECT count(*) FROM signed_packets", ())
        found: int = rows[0][0]
        return found

    async def close(self) -> None:
        """See `PacketStore.close`."""
        if self._closing is None:
            self._closed = True
            self._reader.close()  # first, so that the writer is the last one and cleans the log up
            self._closing = asyncio.create_task(self._end(), name="iroh-dns-store-close")
        await asyncio.shield(self._closing)

    async def _end(self) -> None:
        try:
            await self._writer.close()
        finally:
            self._lock.close()


def _connect(path: Path) -> sqlite3.Connection:
    """A connection with our settings. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        # FULL: in WAL mode the log is synced at every commit, so a commit survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT}").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make the tables, or check that a file that is there is one of ours."""
    connection = _connect(path)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise StoreError(
                f"{path}: written by another version of this server (format {version}, "
                f"expected {SCHEMA_VERSION}): use another data directory"
            )
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN IMMEDIATE")  # fails here, and not at the first PUT
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _take_lock(data_dir: Path) -> sqlite3.Connection:
    """Keep other servers out of the directory for as long as the returned connection is open."""
    try:
        lock = sqlite3.connect(
            data_dir / LOCK_NAME, timeout=0, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise StoreError(_not_writable(data_dir, error)) from None
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
            raise StoreError(
                f"data directory {data_dir}: in use by another iroh-dns-server: "
                "stop it, or choose another with --data-dir or data_dir"
            ) from None
        raise StoreError(_not_writable(data_dir, error)) from None
    return lock


def _not_writable(data_dir: Path, error: sqlite3.Error) -> str:
    return (
        f"data directory {data_dir}: cannot be written ({error}): "
        "fix its permissions, or choose another with --data-dir or data_dir"
    )
