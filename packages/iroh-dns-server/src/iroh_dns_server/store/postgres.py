"""The packet store on PostgreSQL: any number of servers on one database (extra `postgres`).

    signed_packets_1: public_key bytea | timestamp bigint us | version bigint | payload bytea

    put     waits with others for one of two writers; a group is one statement, committed before
            anybody is answered, in which the newer packet wins
    get     one statement on a connection of the pool
    caches  the statement that replaces or removes packets tells every server which ones
            (NOTIFY iroh_dns_packets, keys in hex). A server whose listening connection is lost
            keeps no zone in memory until it listens again.

A connection that is lost in the middle (the database restarts) is replaced and the statement run
again: a put that was done already counts as an update. The groups of all servers lock their rows
in the order of the keys, and expiry leaves locked rows out, so that none waits in a circle.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from iroh_dns_server.errors import StoreBusyError, StoreError, StoreUnavailableError
from iroh_dns_server.store.base import DNS_OFFSET, Expired, PutOutcome, Watcher, payload_timestamp
from iroh_dns_server.store.health import Health

__all__ = ["PostgresStore", "heard_keys", "take_group"]

logger: logging.Logger = logging.getLogger(__name__)
_T = TypeVar("_T")
Connection = Any
Pool = Any
"""Those of asyncpg, which tells no types."""

TABLE: Final = "signed_packets_1"
CHANNEL: Final = "iroh_dns_packets"
MAX_GROUP: Final = 100
"""Puts in one statement: as many keys in hex fit into the 8000 bytes of a notification."""
MAX_QUEUE: Final = 4096
"""Puts that may wait."""
WRITERS: Final = 2
"""Groups under way at a time: while one is synced to disk the next one is sent."""
CONNECTIONS: Final = 8
"""Connections of one server, besides the one that listens."""
TIMEOUT: Final = 5.0
"""Seconds for a connection to be made, and for a statement to end."""
CHECK_INTERVAL: Final = 5.0
"""Seconds between two looks whether the listening connection still is one."""
RETRIES: Final = (0.1, 0.5, 1.0)
"""Seconds to wait before a statement is run again whose connection was lost."""
_LOCK: Final = 0x69726F68
"""Advisory lock under which the table is made: "iroh"."""
_MAX_TIMESTAMP: Final = 2**63 - 1
_MISSING: Final = (
    "the PostgreSQL store needs the package asyncpg: pip install 'iroh-dns-server[postgres]'"
)

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    public_key bytea PRIMARY KEY,
    timestamp bigint NOT NULL,
    version bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS {TABLE}_timestamp ON {TABLE} (timestamp);
"""
_NOTIFY = f"""
SELECT pg_notify('{CHANNEL}', string_agg(encode(public_key, 'hex'), ''))
FROM changed HAVING count(*) > 0
"""
# A key that was not there is in nobody's memory, hence only updates are told.
_UPSERT = f"""
WITH done AS (
    INSERT INTO {TABLE} AS old (public_key, timestamp, version, payload)
    SELECT k, t, 0, p FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS new (k, t, p)
    ORDER BY k
    ON CONFLICT (public_key) DO UPDATE SET
        timestamp = excluded.timestamp, version = old.version + 1, payload = excluded.payload
    WHERE excluded.timestamp > old.timestamp
       OR (excluded.timestamp = old.timestamp
           AND substr(excluded.payload, {DNS_OFFSET + 1}) >= substr(old.payload, {DNS_OFFSET + 1}))
    RETURNING public_key, version
), changed AS (SELECT public_key FROM done WHERE version > 0), told AS ({_NOTIFY})
SELECT public_key, version, (SELECT count(*) FROM told) FROM done
"""
_EXPIRE = f"""
WITH changed AS (
    DELETE FROM {TABLE} WHERE public_key IN (
        SELECT public_key FROM {TABLE} WHERE timestamp < $1
        ORDER BY timestamp LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING public_key
), told AS ({_NOTIFY})
SELECT public_key, (SELECT count(*) FROM told) FROM changed
"""


class Put:
    """One packet on its way, and who waits for its outcome."""

    __slots__ = ("future", "payload", "public_key", "timestamp")

    def __init__(self, public_key: bytes, payload: bytes) -> None:
        self.public_key: bytes = public_key
        self.timestamp: int = payload_timestamp(payload)
        self.payload: bytes = payload
        self.future: asyncio.Future[PutOutcome] = asyncio.get_running_loop().create_future()


class PostgresStore:
    """`SharedStore` in a PostgreSQL database. Make it with `open`."""

    def __init__(self, url: str, pool: Pool) -> None:
        self._url = url
        self._pool = pool
        self._queue: deque[Put] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self._reads = Health(logger, "reads")
        self._writes = Health(logger, "writes")
        self._writers = [
            asyncio.create_task(self._write(), name=f"iroh-dns-postgres-{number}")
            for number in range(WRITERS)
        ]
        self._listener: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str) -> "PostgresStore":
        """Connect to the database and make the table if it is not there.

        url: `postgresql://user@host/database`, as libpq and asyncpg read it. Raises `StoreError`
        with a line for the operator, in which there is no password.
        """
        asyncpg = _asyncpg()
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=CONNECTIONS,
                timeout=TIMEOUT,
                command_timeout=TIMEOUT,
                server_settings={"synchronous_commit": "on", "application_name": "iroh-dns-server"},
            )
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StoreError(f"postgres: cannot connect ({_reason(error)})") from error
        try:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                if await connection.fetchval("SELECT to_regclass($1)", TABLE) is None:
                    await connection.execute(_SCHEMA)
                await connection.execute(f"SELECT 1 FROM {TABLE} LIMIT 1 FOR UPDATE")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            pool.terminate()
            raise StoreError(f"postgres: the table cannot be used ({_reason(error)})") from error
        except BaseException:
            pool.terminate()
            raise
        return cls(url, pool)

    async def put(self, public_key: bytes, payload: bytes) -> PutOutcome:
        """See `PacketStore.put`."""
        if self._closing:
            raise StoreError("the packet store is closed")
        if len(self._queue) >= MAX_QUEUE:
            raise StoreBusyError("the packet store has too many writes waiting")
        put = Put(public_key, payload)
        if put.timestamp > _MAX_TIMESTAMP:
            raise StoreError(f"timestamp {put.timestamp} is beyond what the packet store holds")
        self._queue.append(put)
        self._work.set()
        return await put.future

    async def get(self, public_key: bytes) -> bytes | None:
        """See `PacketStore.get`."""
        select = f"SELECT payload FROM {TABLE} WHERE public_key = $1"
        found: bytes | None = await self._run(
            self._reads, lambda connection: connection.fetchval(select, public_key)
        )
        return found

    async def expire(self, before_us: int, limit: int) -> Expired:
        """See `PacketStore.expire`; `limit` is at most `MAX_GROUP` here."""
        limit = min(limit, MAX_GROUP)
        before = min(before_us, _MAX_TIMESTAMP)
        rows = await self._run(self._writes, lambda c: c.fetch(_EXPIRE, before, limit))
        return Expired([row[0] for row in rows], more=len(rows) >= limit)

    async def count(self) -> int:
        """See `PacketStore.count`."""
        select = f"SELECT count(*) FROM {TABLE}"
        found: int = await self._run(self._reads, lambda connection: connection.fetchval(select))
        return found

    def watch(self, watcher: Watcher) -> None:
        """See `SharedStore.watch`. Called once."""
        watcher.suspend()
        self._listener = asyncio.create_task(self._listen(watcher), name="iroh-dns-listen")

    async def close(self) -> None:
        """See `PacketStore.close`."""
        if self._closing:
            return
        self._closing = True
        self._work.set()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait((self._listener,))
        await asyncio.wait(self._writers)
        try:
            await asyncio.wait_for(self._pool.close(), TIMEOUT)
        except TimeoutError:
            self._pool.terminate()

    # -- writing ----------------------------------------------------------------------------------

    async def _write(self) -> None:
        """One of the writers: groups until closed and empty."""
        while True:
            if group := take_group(self._queue, MAX_GROUP):
                await self._write_group(group)
            elif self._closing:
                return
            else:
                self._work.clear()
                await self._work.wait()

    async def _write_group(self, group: Sequence[Put]) -> None:
        columns = (
            [put.public_key for put in group],
            [put.timestamp for put in group],
            [put.payload for put in group],
        )
        try:
            rows = await self._run(self._writes, lambda c: c.fetch(_UPSERT, *columns))
        except StoreError as error:
            for put in group:
                if not put.future.done():
                    put.future.set_exception(error)
            return
        versions = {row[0]: row[1] for row in rows}
        for put in group:
            if put.future.done():  # nobody waits any more
                continue
            version = versions.get(put.public_key)
            done = PutOutcome.UPDATED if version else PutOutcome.INSERTED
            put.future.set_result(PutOutcome.STALE if version is None else done)

    async def _run(self, health: Health, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Do some work with a connection, and again if it was lost. Raises `StoreError`."""
        asyncpg = _asyncpg()
        for wait in (*RETRIES, None):
            try:
                async with self._pool.acquire(timeout=TIMEOUT) as connection:
                    result = await work(connection)
            except (*_lost(), asyncpg.PostgresError) as error:
                if wait is not None and isinstance(error, _lost()) and not self._closing:
                    await asyncio.sleep(wait)
                    continue
                health.failed(error)
                kind = StoreUnavailableError if isinstance(error, _lost()) else StoreError
                raise kind(f"the packet store cannot be used ({_reason(error)})") from error
            health.worked()
            return result
        raise AssertionError("the last try returns or raises")

    # -- listening --------------------------------------------------------------------------------

    async def _listen(self, watcher: Watcher) -> None:
        """Hear what other servers change, until cancelled."""
        asyncpg = _asyncpg()
        while True:
            try:
                await self._listen_once(watcher)
            except (*_lost(), asyncpg.PostgresError) as error:
                logger.warning("postgres: not listening, no zone is kept (%s)", _reason(error))
            finally:
                watcher.suspend()
            await asyncio.sleep(RETRIES[-1])

    async def _listen_once(self, watcher: Watcher) -> None:
        def heard(_: object, pid: int, channel: str, text: object) -> None:
            watcher.drop(heard_keys(str(text)))

        lost = asyncio.Event()
        connection = await _asyncpg().connect(self._url, timeout=TIMEOUT, command_timeout=TIMEOUT)
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, heard)
            watcher.resume()
            while not lost.is_set():
                try:
                    await asyncio.wait_for(lost.wait(), CHECK_INTERVAL)
                except TimeoutError:
                    await connection.fetchval("SELECT 1")
            raise ConnectionError("the connection was lost")
        finally:
            connection.terminate()


def take_group(queue: deque[Put], limit: int) -> list[Put]:
    """The puts of the next statement, at most `limit`, in the order of their arrival.

    A statement cannot put one key twice: the second one stays for the next statement.
    """
    group: dict[bytes, Put] = {}
    left: list[Put] = []
    while queue and len(group) < limit:
        put = queue.popleft()
        if put.public_key in group:
            left.append(put)
        else:
            group[put.public_key] = put
    queue.extendleft(reversed(left))
    return list(group.values())


def heard_keys(text: str) -> list[bytes]:
    """The keys that a notification names; nothing if it is none of ours."""
    try:
        joined = bytes.fromhex(text)
    except ValueError:
        return []
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]


def _asyncpg() -> Any:
    """The driver: slow to load, and an extra. Raises `StoreError`."""
    try:
        import asyncpg  # type: ignore[import-untyped]
    except ImportError as error:
        raise StoreError(_MISSING) from error
    return asyncpg


def _lost() -> tuple[type[Exception], ...]:
    """What says that the connection, and not the statement, is at fault."""
    asyncpg = _asyncpg()
    return (
        OSError,  # TimeoutError, too
        asyncpg.InterfaceError,
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.TooManyConnectionsError,
    )


def _reason(error: Any) -> str:
    """Why, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
