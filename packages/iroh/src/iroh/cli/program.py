"""Runs one command: signals, errors, the log.

The command is a coroutine function `(options, console) -> int`, or a plain one. SIGINT and SIGTERM
cancel it, whereupon it closes what it has opened; the status is then 128 plus the signal, or what
the command returns if it takes the cancellation for its normal end.
"""

import argparse
import importlib
import inspect
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from iroh.cli import exits, log
from iroh.cli.console import Console
from iroh.cli.descriptors import forget_stdout

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Run the command that the options name; returns the exit status. Raises nothing."""
    piped = bool(getattr(options, "piped", False)) and not (options.tcp or options.unix)
    console = Console(as_json=options.json, quiet=options.quiet, piped=piped)
    log.set_up(options)
    try:
        module, _, name = options.run.partition(":")
        command = getattr(importlib.import_module(module), name)
        outcome = command(options, console)
        status = _run_async(outcome) if inspect.iscoroutine(outcome) else int(outcome)
        sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
        return exits.OUTPUT_CLOSED
    except KeyboardInterrupt:  # where signal handlers cannot be installed, or before they are
        return 128 + signal.SIGINT
    except Exception as error:  # the root of the program: one line, no traceback
        if options.verbose > 1:
            logging.getLogger("iroh").error("traceback:", exc_info=True)
        told = exits.in_words(error)
        console.fail(str(told), status=told.status)
        if told.status == exits.LOCAL_FILE:  # it may be standard output that is full
            _flush_or_forget()
        return told.status
    return status


def _run_async(command: "Coroutine[Any, Any, int]") -> int:
    import asyncio

    return asyncio.run(_supervise(command))


async def _supervise(command: "Coroutine[Any, Any, int]") -> int:
    import asyncio

    task = asyncio.create_task(command, name="iroh-command")
    loop, caught = asyncio.get_running_loop(), list[int]()

    def stop(number: int) -> None:
        caught.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop, number)
        except (NotImplementedError, RuntimeError, ValueError):
            break  # Windows, or not the main thread: KeyboardInterrupt will do
    try:
        return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]


def _flush_or_forget() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        forget_stdout()
