"""`iroh ping`: round trips to a peer, and the paths that they take.

All pings share one connection, so that a path may become direct meanwhile. n0's iroh-ping answers
one ping a connection: to such a peer each goes over a connection of its own.
"""

import argparse
import asyncio
from dataclasses import dataclass, field

from iroh.cli import exits
from iroh.cli.console import Console
from iroh.cli.setup import bound, dial, our_ticket, serving, wait_online
from iroh.connection import Connection
from iroh.endpoint import Endpoint
from iroh.errors import StreamError
from iroh.path_snapshot import PathSnapshot
from iroh.protocols.ping import PING_ALPN, ping_once

__all__ = ["path_text", "run"]

ANSWER_TIMEOUT = 5.0  # seconds; a round trip over a bad satellite link takes two
AGAIN_TIMEOUT = 0.5
"""Seconds, beside three round trips, after which a peer that has answered a ping of the connection
is asked again over another one: n0's would never answer."""


async def run(options: argparse.Namespace, console: Console) -> int:
    """Ping as often as asked, or answer pings until cancelled."""
    if options.listen:
        return await _answer(options, console)
    if options.peer is None:
        raise exits.CliError(
            "whom to ping?", "give a ticket or an id, or --listen to be pinged", exits.USAGE
        )
    async with bound(options, console) as endpoint:
        pinger = _Pinger(endpoint, options, console)
        try:
            await pinger.run()
        except asyncio.CancelledError:
            if not pinger.sent:
                raise
        finally:
            pinger.close()
        pinger.summarize()
    return exits.DONE if pinger.times else exits.FAILED


async def _answer(options: argparse.Namespace, console: Console) -> int:
    async with bound(options, console) as endpoint:
        await wait_online(endpoint, options, console)
        async with serving(endpoint, {}, options.allow, console):
            ticket = our_ticket(endpoint)
            say = f"answering pings; to send some:\n  iroh ping {ticket}"
            console.ticket("listening", say, ticket, id=str(endpoint.id()))
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            except asyncio.CancelledError:
                return exits.DONE
    raise AssertionError


@dataclass
class _Pinger:
    endpoint: Endpoint
    options: argparse.Namespace
    console: Console
    sent: int = 0
    times: list[float] = field(default_factory=list)
    conn: Connection | None = None
    answers_once: bool = False
    path: str = ""

    async def run(self) -> None:
        """Ping until there were enough."""
        self.conn = await self._dial()
        while True:
            self.sent += 1
            await self._one()
            if self.sent == self.options.count:
                return
            if self.options.until_direct and self.path.startswith("direct"):
                return
            await asyncio.sleep(self.options.interval)

    async def _dial(self) -> Connection:
        options = self.options
        return await dial(self.endpoint, options.peer, PING_ALPN, options, self.console)

    async def _one(self) -> None:
        try:
            taken = await self._measure()
        except (TimeoutError, StreamError) as error:
            told = exits.in_words(error)
            if told.status == exits.REFUSED:  # the next ping would be as well
                raise told from None
            why = str(error) or f"no answer within {ANSWER_TIMEOUT:g} s"
            self.console.result("lost", f"seq={self.sent} lost: {why}", seq=self.sent, why=why)
            self._tell_path()
            return
        self._tell_path()
        self.times.append(taken)
        milliseconds = round(1000 * taken, 2)
        text = f"pong seq={self.sent} time={milliseconds:g} ms {self.path}"
        self.console.result("pong", text, seq=self.sent, ms=milliseconds, path=self.path)

    async def _measure(self) -> float:
        assert self.conn is not None
        if self.conn.close_reason() is not None or self.answers_once:
            self.conn.close(0, b"bye!")
            self.conn = await self._dial()
        patience = ANSWER_TIMEOUT
        if self.times and not self.answers_once:
            patience = min(patience, AGAIN_TIMEOUT + 3 * max(self.times))
        try:
            async with asyncio.timeout(patience):
                return await ping_once(self.conn)
        except TimeoutError:
            if not self.times or self.answers_once:
                raise
        self.answers_once = True  # it answered one ping of this connection: perhaps only that
        return await self._measure()

    def _tell_path(self) -> None:
        assert self.conn is not None
        now = path_text(self.conn.paths())
        if now and self.path and now != self.path:
            self.console.tell("path", f"path: {self.path} -> {now}", before=self.path, now=now)
        self.path = now or self.path

    def summarize(self) -> None:
        """Say the sum of it, and why it is not direct if it is not."""
        times = [1000 * each for each in self.times]
        text = f"{self.sent} sent, {len(times)} answered"
        facts: dict[str, object] = {"sent": self.sent, "answered": len(times)}
        if times:
            low, mean, high = min(times), sum(times) / len(times), max(times)
            text += f"; min/avg/max {low:.2f}/{mean:.2f}/{high:.2f} ms"
            facts |= {"min_ms": round(low, 2), "avg_ms": round(mean, 2), "max_ms": round(high, 2)}
        self.console.result("summary", text, **facts)

    def close(self) -> None:
        """Close the connection, and say before why it is not direct if it is not."""
        if self.conn is not None:
            why = self.conn.why_not_direct()
            if why:
                self.console.tell("relayed", f"not direct: {why}", why=why)
            self.conn.close(0, b"bye!")


def path_text(paths: list[PathSnapshot], *, any_path: bool = False) -> str:
    """Say which path carries the data: "direct 192.0.2.1:4433", "relay https://..."; "" if none."""
    for path in paths:
        if path.is_selected or any_path:
            kind = "relay" if path.is_relay else "custom" if path.is_custom else "direct"
            return f"{kind} {path.remote_addr}"
    return ""
