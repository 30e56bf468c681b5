"""How trio's tasks call into the asyncio loop that trio-asyncio runs beside them.

Both loops are in one thread, so what does not wait is simply called.
"""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import trio_asyncio

__all__ = ["Portal"]

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """The way into the loop that was current when it was made."""

    async def wait(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Await `function(*args, **kwargs)` in the asyncio loop. Raises what it raises.

        A cancelled trio scope cancels the task in which it runs there, and waits for its end.
        """

        async def run() -> T:
            return await function(*args, **kwargs)

        result: T = await trio_asyncio.aio_as_trio(run)()
        return result

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that does not wait."""
        return function(*args, **kwargs)
