"""`iroh recv`: get what a ticket of `iroh send` stands for.

A connection that is lost is dialled again, and the program itself may be ended and run again: in
either case it goes on where it stopped.
"""

import argparse
import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from iroh.cli import exits
from iroh.cli.console import Console, count_text, one_line, size_text
from iroh.cli.progress import Progress
from iroh.cli.setup import FIRST_PAUSE, LONGEST_PAUSE, bound, dial
from iroh.endpoint import Endpoint
from iroh.errors import ConnectError, ConnectionLostError, FinishedEarlyError, StreamLostError
from iroh.protocols.files import FILES_ALPN, Download, Existing, Kind

__all__ = ["run"]

SILENCE = 5
"""Seconds without a byte after which it is said that there is none."""


async def run(options: argparse.Namespace, console: Console) -> int:
    """Receive everything. Raises what `exits.in_words` has words for."""
    existing = Existing.REFUSE
    if options.overwrite or options.rename:
        existing = Existing.OVERWRITE if options.overwrite else Existing.RENAME
    progress = Progress(console, "receiving", 0)
    download = Download(
        options.ticket.hash,
        options.output,
        existing=existing,
        hidden=options.hidden,
        progress=progress.add,
    )
    try:
        with download:
            async with bound(options, console) as endpoint:
                await _Receiver(endpoint, options, console, download, progress).run()
    except asyncio.CancelledError:
        progress.end()
        if download.entries:
            console.tell("interrupted", "interrupted; the same command goes on where it stopped")
        raise
    finally:
        progress.end()
    return exits.DONE


async def _to_its_end(work: Coroutine[Any, Any, list[Path]]) -> list[Path]:
    """Wait for what takes but a moment, also when we are cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise


class _Receiver:
    """Dials until everything is there."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: argparse.Namespace,
        console: Console,
        download: Download,
        progress: Progress,
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._console = console
        self._download = download
        self._progress = progress
        self._connected = False

    async def run(self) -> None:
        """Get it, dialling again when the connection is lost after there was one."""
        failures, seen, pause = 0, 0, FIRST_PAUSE
        while True:
            silence = asyncio.create_task(self._tell_silence(), name="iroh-silence")
            try:
                await self._once()
            except (
                ConnectionLostError,
                ConnectError,
                StreamLostError,
                FinishedEarlyError,
            ) as error:
                self._progress.end()
                if self._progress.count > seen:
                    failures, seen, pause = 0, self._progress.count, FIRST_PAUSE
                failures += 1
                told = exits.in_words(error)
                hopeless = told.status == exits.REFUSED or not self._download.entries
                if hopeless or failures > self._options.retry:
                    raise
                self._console.tell(
                    "retry",
                    f"{told.message}; again in {pause:g} s",
                    message=told.message,
                    after=pause,
                )
            else:
                return
            finally:
                silence.cancel()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _tell_silence(self) -> None:
        """Say it when nothing comes although there was something to come."""
        seen, quiet = self._progress.count, 0
        while True:
            await asyncio.sleep(1)
            quiet = quiet + 1 if self._progress.count == seen else 0
            seen = self._progress.count
            if quiet == SILENCE and self._connected:
                self._progress.end()
                wait = f"waiting until {self._options.idle_timeout:g} s, then dialling again"
                text = f"nothing from the sender for {SILENCE} s; {wait}"
                self._console.tell("silent", text, seconds=SILENCE)

    async def _once(self) -> None:
        download, ticket = self._download, self._options.ticket
        conn = await dial(self._endpoint, ticket.addr, FILES_ALPN, self._options, self._console)
        async with conn:
            if not download.entries:
                await download.prepare(conn)
                self._begin()
            self._connected = True
            try:
                await download.run(conn)
            finally:
                self._connected = False
            placed = await _to_its_end(asyncio.to_thread(download.finish))
            conn.close(0, b"done")
        rate = self._progress.rate()
        self._progress.end()
        names = ", ".join(one_line(str(path)) for path in placed[:5])
        names += ", ..." if len(placed) > 5 else ""
        files = count_text(_count(download), "file")
        size = size_text(download.size)
        self._console.result(
            "received",
            f"received {names}: {files}, {size}, {size_text(rate)}/s, checksums right",
            paths=[str(path) for path in placed],
            bytes=download.size,
            resumed=download.found,
        )

    def _begin(self) -> None:
        download, progress = self._download, self._progress
        progress.total = download.size
        progress.begin()
        if download.found:
            found = size_text(download.found)
            self._console.tell("resumed", f"{found} are here already", bytes=download.found)
        names = ", ".join(map(one_line, download.names[:5]))
        names += ", ..." if len(download.names) > 5 else ""
        what = f"{count_text(_count(download), 'file')}, {size_text(download.size)}"
        self._console.tell(
            "receiving",
            f"receiving {names}: {what}",
            files=_count(download),
            bytes=download.size,
            names=download.names,
        )


def _count(download: Download) -> int:
    return sum(entry.kind is not Kind.FOLDER for entry in download.entries)
