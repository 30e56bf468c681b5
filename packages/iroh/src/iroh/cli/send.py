"""`iroh send`: share files and folders with whoever gets the ticket."""

import argparse
import asyncio
from dataclasses import dataclass

from iroh.cli import exits
from iroh.cli.console import Console, count_text, one_line, size_text
from iroh.cli.progress import Progress
from iroh.cli.setup import bound, serving, wait_online
from iroh.protocols.files import (
    FILES_ALPN,
    Collection,
    FilesError,
    FileShare,
    FileTicket,
    ShareEvent,
    collect,
)

__all__ = ["run"]


async def run(options: argparse.Namespace, console: Console) -> int:
    """Serve until cancelled, or with --once until one peer has all."""
    collection = await _collect(options, console)
    listener = _Listener(console, Progress(console, "sending", collection.size), asyncio.Event())
    share = FileShare(collection, listener.on_event)
    async with bound(options, console) as endpoint:
        await wait_online(endpoint, options, console)
        async with serving(endpoint, {FILES_ALPN: share}, options.allow, console):
            ticket = str(FileTicket(endpoint.addr(), collection.hash))
            what = f"{count_text(collection.files, 'file')}, {size_text(collection.size)}"
            say = f"sharing {what}; to receive:\n  iroh recv {ticket}"
            facts = {"files": collection.files, "bytes": collection.size, "id": str(endpoint.id())}
            console.ticket("sharing", say, ticket, **facts)
            try:
                await (listener.complete.wait() if options.once else asyncio.Future())
            except asyncio.CancelledError:
                if options.once:
                    raise  # nobody had it
            finally:
                listener.progress.end()
    return exits.DONE


async def _collect(options: argparse.Namespace, console: Console) -> Collection:
    if "-" in options.paths:
        raise exits.CliError(
            "- is no file",
            "send standard input through a pipe: `iroh listen`, `iroh connect`",
            exits.USAGE,
        )
    stopped = False

    def count(size: int) -> None:
        if stopped:
            raise InterruptedError  # a thread is not cancelled otherwise
        progress.add(size)

    def work() -> Collection:
        return collect(options.paths, follow_links=options.follow_links, progress=count)

    progress = Progress(console, "reading", 0)
    try:
        collection = await asyncio.to_thread(work)
    except FilesError as error:  # what is ours is meant, nothing of a peer's
        raise exits.CliError(str(error), "", exits.LOCAL_FILE) from None
    finally:
        stopped = True
        progress.end()
    for path, why in collection.skipped:
        console.warn(f"left out: {one_line(str(path))}: {why}", path=str(path), why=why)
    if not collection.entries:
        raise exits.CliError("nothing to send", "", exits.LOCAL_FILE)
    return collection


@dataclass
class _Listener:
    """Says what happens to the share."""

    console: Console
    progress: Progress
    complete: asyncio.Event

    def on_event(self, event: ShareEvent) -> None:
        """Show it."""
        if event.kind == "sent":
            self.progress.add(event.bytes)
            return
        self.progress.end()
        peer = str(event.peer)
        if event.kind == "opened":
            self.progress.count = 0
            self.progress.begin()
            self.console.tell("opened", f"sending to {peer}", peer=peer)
        elif event.kind == "unreadable":
            self.console.warn(f"cannot send the rest to {peer}: {event.why}", peer=peer)
        elif event.kind == "done":
            self.console.tell("done", f"{peer} has all of it", peer=peer)
            self.complete.set()
        else:
            self.console.tell("ended", f"{peer} went before it had all of it", peer=peer)
