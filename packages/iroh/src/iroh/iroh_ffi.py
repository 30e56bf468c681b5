"""The bindings' module name, for programs that import it: everything is in `iroh`."""

from asyncio import AbstractEventLoop

from iroh import *  # noqa: F403


def uniffi_set_event_loop(eventloop: AbstractEventLoop) -> None:
    """Do nothing: each endpoint uses the loop it was bound on."""
