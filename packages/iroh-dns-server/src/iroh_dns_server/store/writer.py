"""The one thread that writes: it commits whole groups and answers only after the commit.

    put --> queue (bounded) --> thread: take all that waits, at most max_batch
                                        BEGIN, each statement, COMMIT (the log is synced here)
                                        one wake-up of the event loop: every future of the group

While one group is synced the next one gathers, so the cost of the sync is shared by as many puts
as arrive meanwhile and nothing ever waits for a timer. The Rust server answers before its commit,
which happens up to a second later (store/signed_packets.rs): we do not.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from iroh_dns_server.errors import StoreBusyError, StoreError
from iroh_dns_server.store.health import Health

__all__ = ["DEFAULT_MAX_BATCH", "DEFAULT_MAX_QUEUE", "Writer"]

logger: logging.Logger = logging.getLogger(__name__)

DEFAULT_MAX_BATCH = 512
"""Statements in one commit. Groups of 64 reach nine tenths of the speed of groups of 1000."""
DEFAULT_MAX_QUEUE = 4096
"""Statements that may wait; with the largest packets that is about 5 MB."""

Row = tuple[Any, ...]
Rows = list[Row]


class _Job:
    """One statement, the future its rows go to, and what came out of it."""

    __slots__ = ("error", "future", "parameters", "rows", "statement")

    def __init__(self, statement: str, parameters: Row, future: "asyncio.Future[Rows]") -> None:
        self.statement = statement
        self.parameters = parameters
        self.future = future
        self.rows: Rows = []
        self.error: StoreError | None = None


class Writer:
    """A thread with its own connection that runs statements in groups, in order.

    `connect` is called once, in the caller's thread, so that a bad file is reported at once
    (sqlite3.Error). Make and close it in a running event loop.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        max_batch: int = DEFAULT_MAX_BATCH,
        max_queue: int = DEFAULT_MAX_QUEUE,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connect()
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._health = Health(logger, "writes")
        self._finished = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="iroh-dns-store", daemon=True)
        self._thread.start()

    async def submit(self, statement: str, parameters: Row) -> Rows:
        """Run one statement; returns its rows after the commit that contains it.

        Raises `StoreBusyError` when the queue is full, `StoreError` when the statement or the
        commit failed. Safe to cancel, but the statement may run nevertheless.
        """
        future: asyncio.Future[Rows] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise StoreError("the packet store is closed")
            if len(self._jobs) >= self._max_queue:
                raise StoreBusyError("the packet store has too many writes waiting")
            self._jobs.append(_Job(statement, parameters, future))
            self._wake.notify()
        return await future

    async def close(self) -> None:
        """Run what is queued, then end the thread. Idempotent; not to be cancelled half-way."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.shield(self._finished)
        self._thread.join()

    def _run(self) -> None:
        """Body of the thread: groups until closed and empty."""
        while batch := self._take():
            self._commit(batch)
            self._notify(_answer, batch)
        self._connection.close()
        self._notify(_finish, self._finished)

    def _take(self) -> list[_Job]:
        """Wait for work; an empty list means closed and nothing left."""
        with self._wake:
            while not self._jobs and not self._closing:
                self._wake.wait()
            return [self._jobs.popleft() for _ in range(min(len(self._jobs), self._max_batch))]

    def _commit(self, batch: Sequence[_Job]) -> None:
        """Run one group in one transaction; on any failure nothing of it is kept."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                job.rows = self._connection.execute(job.statement, job.parameters).fetchall()
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self._health.failed(error)
            self._rollback()
            for job in batch:
                job.error = StoreError(f"the packet store cannot be written ({error})")
        else:
            self._health.worked()

    def _rollback(self) -> None:
        """Leave the transaction, if sqlite has not done so itself (it does on a full disk)."""
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                logger.error("packet store: rollback failed: %s", error)

    def _notify(self, callback: Callable[[Any], None], argument: object) -> None:
        """Call back in the event loop; a loop that is already closed has nobody waiting."""
        try:
            self._loop.call_soon_threadsafe(callback, argument)
        except RuntimeError:
            logger.debug("packet store: the event loop ended before its writer")


def _answer(batch: Sequence[_Job]) -> None:
    """In the event loop: give each waiter its rows or its error."""
    for job in batch:
        if job.future.done():  # the waiter was cancelled
            continue
        if job.error is None:
            job.future.set_result(job.rows)
        else:
            job.future.set_exception(job.error)


def _finish(finished: "asyncio.Future[None]") -> None:
    if not finished.done():
        finished.set_result(None)
