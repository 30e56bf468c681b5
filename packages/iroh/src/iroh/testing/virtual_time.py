"""An event loop whose time jumps to the next timer as soon as nobody has anything to do.

    @in_virtual_time
    async def test_an_hour():
        await asyncio.sleep(3600)      # takes no time, and the same each time

    run_in_virtual_time(story())       # the same for a coroutine

For programs that do no input or output: nobody waits for a socket here, and who opens one is told
so. What a program gives to another thread (`asyncio.to_thread`) is done at once, in this one.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar, TypeVarTuple, Unpack, overload

import iroh

__all__ = ["VirtualTimeError", "VirtualTimeLoop", "in_virtual_time", "run_in_virtual_time"]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
MAX_SECONDS = 3600.0
START = 1000.0
"""Seconds; not 0, which code might take for "never"."""
LAST_SECONDS = 60.0
"""In which a program that is over may clean up."""
OURS = ("iroh", "relay ")
"""What the names of iroh's own tasks begin with; a user does not look for the fault there."""
LIBRARIES = tuple(str(Path(module.__file__ or "").parent) for module in (asyncio, iroh))
"""Where the code is that waits on behalf of a program."""


class VirtualTimeError(RuntimeError):
    """Virtual time cannot go on; the text says who waits for what."""


class _Selector(selectors.SelectSelector):
    """Instead of waiting, lets the loop's clock go on, to its end."""

    def __init__(self, max_seconds: float) -> None:
        super().__init__()
        self.now = START
        self.end = START + max_seconds
        self.over: Callable[[str], object]

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            self.over("everybody waits for somebody, and nothing will ever happen")
            return []
        ahead = self.now + max(timeout, 0.0)
        if ahead > self.end:
            self.now, self.end = self.end, self.end + LAST_SECONDS
            self.over(f"more than {self.now - START:g} s of virtual time have passed")
            return []
        self.now = ahead
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Reads no clock and waits for nothing.

    max_seconds: after so many virtual seconds it raises VirtualTimeError, and also as soon as
    nobody has anything to wait for any more.
    """

    def __init__(self, max_seconds: float = MAX_SECONDS) -> None:
        self._virtual = _Selector(max_seconds)
        self._virtual.over = self._over
        self._main: asyncio.Task[Any] | None = None
        self._error: VirtualTimeError | None = None
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds, virtual ones."""
        return self._virtual.now

    async def limited(self, main: Coroutine[Any, Any, T]) -> T:
        """Await `main`, which is cancelled when virtual time cannot go on, so that it cleans up.

        Raises VirtualTimeError then, with the notes that `main` made while it ended.
        """
        self._main = asyncio.current_task()
        try:
            return await main
        except asyncio.CancelledError as cancelled:
            if self._error is None:
                raise
            for note in getattr(cancelled, "__notes__", ()):
                self._error.add_note(note)
            raise self._error from None
        finally:
            self._main = None

    def _over(self, why: str) -> None:
        error = VirtualTimeError(why + self._who_waits())
        if self._main is None or self._error is not None:
            raise error
        self._error = error
        self._main.cancel()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Call it here and now: another thread would take real time."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            done.set_exception(error)
        return done

    def _who_waits(self) -> str:
        """Say where each task of the program waits, iroh's own left out."""
        lines = [
            f"\n  {task.get_name()} waits in {_place(task)}"
            for task in sorted(asyncio.all_tasks(self), key=asyncio.Task.get_name)
            if not task.get_name().startswith(OURS)
        ]
        return ":" * bool(lines) + "".join(lines)


def _no_network(*_args: Any, **_settings: Any) -> NoReturn:
    """Raise VirtualTimeError."""
    raise VirtualTimeError(
        "there are no sockets, pipes or processes in virtual time: use what iroh.testing "
        "simulates, or run this on a common event loop"
    )


for _name in (
    *("create_connection", "create_server", "create_datagram_endpoint"),
    *("create_unix_connection", "create_unix_server", "connect_accepted_socket"),
    *("add_reader", "add_writer", "getaddrinfo", "getnameinfo"),
    *("sock_recv", "sock_sendall", "sock_connect", "sock_accept"),
    *("subprocess_exec", "subprocess_shell", "connect_read_pipe", "connect_write_pipe"),
):
    setattr(VirtualTimeLoop, _name, _no_network)


def _place(task: "asyncio.Task[Any]") -> str:
    """Say in which line of the program a task waits, and for which function of a library."""
    place, library = "its beginning", ""
    inner: Any = task.get_coro()
    while inner is not None and not library:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "ag_frame", None)
        if frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(LIBRARIES):
                library = "" if code is _LIMITED else f", for {code.co_qualname}"
            else:
                place = f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
        inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)
    return place + library


_LIMITED = VirtualTimeLoop.limited.__code__


def run_in_virtual_time(main: Coroutine[Any, Any, T], *, max_seconds: float = MAX_SECONDS) -> T:
    """Run a coroutine to its end in virtual time; as `asyncio.run` otherwise."""
    loop = VirtualTimeLoop(max_seconds)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(loop.limited(main))


Story = Callable[P, Coroutine[Any, Any, T]]


@overload
def in_virtual_time(story: Story[P, T]) -> Callable[P, T]: ...
@overload
def in_virtual_time(
    *, max_seconds: float = MAX_SECONDS
) -> Callable[[Story[P, T]], Callable[P, T]]: ...
def in_virtual_time(
    story: Story[P, T] | None = None, *, max_seconds: float = MAX_SECONDS
) -> Callable[..., Any]:
    """Make of an async function a plain one that runs it in virtual time: for a test, mostly.

    No plugin is needed for such a test, and none gets in its way. Its parameters (fixtures) stay;
    async fixtures, which belong to another loop, have no place there.
    """
    if story is None:
        return functools.partial(in_virtual_time, max_seconds=max_seconds)

    @functools.wraps(story)
    def run(*args: P.args, **settings: P.kwargs) -> T:
        return run_in_virtual_time(story(*args, **settings), max_seconds=max_seconds)

    return run
