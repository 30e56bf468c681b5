"""Runs cases, several labs side by side, and collects what they found.

Most of a case is waiting, so several run at a time; a case that failed is run once more with
nothing beside it, and what counts is noted as "again". Cases that share a lab run in it together.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from interop.peer import PeerError, PeerGone
from interop.servers import ServerFailed
from natlab.case import Case
from natlab.node import LabError
from natlab.plan import Plan
from natlab.stage import KINDS, Failed, House, Side, Stage

BEARABLE = (Failed, PeerError, PeerGone, ServerFailed, LabError, TimeoutError)
"""What a case may raise; anything else is a bug of the lab."""

EVERY = 20
"""Cases that pass between two signs of life."""


@dataclass(slots=True)
class Result:
    """How one case went for one pair."""

    case: Case
    pair: str
    ok: bool
    text: str = ""
    figures: dict[str, float | str] = field(default_factory=dict)
    seconds: float = 0.0
    again: bool = False
    """Whether it failed beside others and was run once more, alone."""
    tails: str = ""
    """The last that a peer wrote to stderr, of a case that failed."""


class Runner:
    """Runs cases for pairs; at most `jobs` at a time."""

    def __init__(
        self, jobs: int, *, verbose: bool = False, keep: Callable[[Result], None] | None = None
    ) -> None:
        """keep: told of each result."""
        self.keep = keep
        self.jobs = jobs
        self.verbose = verbose
        self.results: list[Result] = []
        self.total = 0
        self.proofs: set[str] = set()
        """What the peers are made of."""

    async def run(self, cases: Iterable[Case], pairs: list[str]) -> list[Result]:
        """Run all; those that failed once more. The order is that of the cases."""
        everything = [(case, pair) for case in cases for pair in pairs]
        self.total = len(everything)
        await self.round(everything, self.jobs)
        failed = [(r.case, r.pair) for r in self.results if not r.ok]
        if failed and self.jobs > 1:
            print(f"{len(failed)} failed; once more, one by one", flush=True)
            first = {(r.case.name, r.pair): r for r in self.results if not r.ok}
            self.results = [r for r in self.results if r.ok]
            await self.round(failed, 1)
            for result in self.results:
                result.again = (result.case.name, result.pair) in first
        order = {id(case): number for number, (case, _) in enumerate(everything)}
        self.results.sort(key=lambda r: (order[id(r.case)], pairs.index(r.pair)))
        return self.results

    async def round(self, items: list[tuple[Case, str]], jobs: int) -> None:
        """Run some, at most `jobs` at a time: first what shares labs, then each in its own."""
        for plan, shared in by_plan(items):
            async with House(plan) as house:
                await self.gather(jobs, [self.stage(house, *item) for item in shared])
        alone = [self.alone(*item) for item in items if not item[0].shared]
        await self.gather(jobs, alone)

    async def gather(self, jobs: int, work: list[Coroutine[Any, Any, None]]) -> None:
        """Run coroutines, at most `jobs` at a time."""
        gate = asyncio.Semaphore(jobs)

        async def one(each: Coroutine[Any, Any, None]) -> None:
            async with gate:
                await each

        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(one(each))

    async def alone(self, case: Case, pair: str) -> None:
        """Run a case in a lab of its own."""
        try:
            async with House(case.plan) as house:
                await self.stage(house, case, pair)
        except (ServerFailed, LabError) as error:
            self.note(Result(case, pair, ok=False, text=told(error)))

    async def stage(self, house: House, case: Case, pair: str) -> None:
        """Run a case for a pair in a lab."""
        start = time.monotonic()
        result = Result(case, pair, ok=False)
        stage = None
        try:
            async with asyncio.timeout(case.limit):
                peers = await asyncio.gather(
                    house.peer(case.dialer, KINDS[pair[0]]),
                    house.peer(case.listener, KINDS[pair[1]]),
                )
                self.proofs |= {peer.proof for peer in peers}
                stage = Stage(
                    house,
                    Side("client", case.dialer, peers[0]),
                    Side("server", case.listener, peers[1]),
                )
                await case.script(stage)
            result.ok = True
        except BEARABLE as error:
            result.text = told(error)
            if stage is not None:
                result.tails = "".join(side.peer.tail() for side in stage.sides)
        finally:
            if stage is not None:
                result.figures = stage.figures
                if case.shared:
                    stage.leave()
        result.seconds = time.monotonic() - start
        self.note(result)

    def note(self, result: Result) -> None:
        """Keep a result and tell it."""
        self.results.append(result)
        if self.keep is not None:
            self.keep(result)
        case = result.case
        if result.ok and not self.verbose:
            if len(self.results) % EVERY == 0:
                print(f"{len(self.results):4}/{self.total}", flush=True)
            return
        figures = ", ".join(f"{name} {value}" for name, value in result.figures.items())
        verdict = "ok  " if result.ok else "FAIL"
        print(
            f"{len(self.results):4}/{self.total} {verdict} {case.group} {case.name} {result.pair}"
            f" [{result.seconds:.1f} s] {result.text} {figures}",
            flush=True,
        )
        if self.verbose and not result.ok:
            print(result.tails, flush=True)


def by_plan(
    items: list[tuple[Case, str]],
) -> Iterator[tuple[Plan, list[tuple[Case, str]]]]:
    """Group the items whose cases share labs."""
    shared = [item for item in items if item[0].shared]
    for _, group in itertools.groupby(shared, key=lambda item: id(item[0].plan)):
        listed = list(group)
        yield listed[0][0].plan, listed


def told(error: BaseException) -> str:
    """Say in one line what went wrong."""
    text = error.last_line if isinstance(error, PeerError) else str(error)
    lines = text.strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
