"""What tests ask of a connection's paths: is it direct, does it become so, does it stay relayed?

They work on any network, simulated or not; what fails says which paths there were, and why none of
them was direct.
"""

import asyncio

from iroh.connection import Connection

__all__ = ["becomes_direct", "becomes_relayed", "describe_paths", "is_direct", "stays_relayed"]


def is_direct(conn: Connection) -> bool:
    """Whether what is sent now goes straight to the peer, over no relay."""
    return any(path.is_selected and not path.is_relay for path in conn.paths())


async def becomes_direct(*conns: Connection, within: float = 10.0) -> None:
    """Wait until each connection is direct, `within` seconds at most.

    Raises AssertionError, which says why it is not, also when a connection ends. Cancelling it is
    harmless.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    await _all_become(True, conns, within)


async def becomes_relayed(*conns: Connection, within: float = 10.0) -> None:
    """Wait until a relay carries each connection, `within` seconds at most. As `becomes_direct`."""
    __tracebackhide__ = True  # pytest shows the line of the test
    await _all_become(False, conns, within)


async def stays_relayed(*conns: Connection, during: float = 30.0) -> None:
    """Wait for `during` seconds, in which a relay carries each connection all the time.

    Raises AssertionError as soon as one is direct, or has ended. Cancelling it is harmless.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    async with asyncio.TaskGroup() as tasks:
        for conn in conns:
            tasks.create_task(_stays_relayed(conn, during))


def describe_paths(conn: Connection) -> str:
    """Say in lines which paths a connection has, and why it is not direct."""
    reason = conn.close_reason()
    if reason is not None:
        return f"  the connection has ended: {reason}"
    lines = [
        f"  {'*' if path.is_selected else ' '} {path.remote_addr}"
        f" ({'relay' if path.is_relay else 'direct'}, {path.rtt_ms} ms)"
        for path in conn.paths()
    ]
    why = conn.why_not_direct()
    return "\n".join([*lines, *([] if why is None else [f"  not direct: {why}"])])


async def _all_become(direct: bool, conns: tuple[Connection, ...], within: float) -> None:
    __tracebackhide__ = True
    try:
        async with asyncio.timeout(within):
            for conn in conns:
                await _becomes(direct, conn)
    except TimeoutError:
        wanted = "direct" if direct else "relayed"
        shown = "\n".join(map(describe_paths, conns))
        raise AssertionError(f"not {wanted} within {within:g} s:\n{shown}") from None


async def _becomes(direct: bool, conn: Connection) -> None:
    if conn.close_reason() is None:
        async for _paths in conn.paths_stream():
            if is_direct(conn) is direct:
                return
    raise AssertionError(f"the connection has ended: {conn.close_reason()}")


async def _stays_relayed(conn: Connection, during: float) -> None:
    try:
        async with asyncio.timeout(during):
            await _becomes(True, conn)
    except TimeoutError:
        return
    raise AssertionError(f"it became direct:\n{describe_paths(conn)}")
