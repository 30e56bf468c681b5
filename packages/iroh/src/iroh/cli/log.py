"""What is logged, on stderr: a line each; with --json an event each; tracebacks only with -vv."""

import argparse
import json
import logging
import sys
import threading
from typing import Any

from iroh.cli.console import one_line

__all__ = ["Formatter", "log_what_nobody_catches", "set_up"]

_LEVELS = {0: logging.ERROR, 1: logging.INFO}


def set_up(options: argparse.Namespace) -> None:
    """Log as -q, -v and --json say."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(as_json=options.json, tracebacks=options.verbose > 1))
    level = logging.CRITICAL if options.quiet else _LEVELS.get(options.verbose, logging.DEBUG)
    logging.basicConfig(level=level, handlers=[handler])


def log_what_nobody_catches() -> None:
    """Log what threads and finalizers raise, which would print tracebacks."""
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread


class Formatter(logging.Formatter):
    """A line a record, or an event."""

    def __init__(self, *, as_json: bool, tracebacks: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._as_json = as_json
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Give the record as one line, with -vv and a traceback as several."""
        if self._tracebacks and not self._as_json:
            return super().format(record)
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            message += f": {type(error).__name__}: {error}"
        if self._as_json:
            facts = {"level": record.levelname, "logger": record.name, "message": message}
            if self._tracebacks and record.exc_info:
                facts["traceback"] = self.formatException(record.exc_info)
            return json.dumps({"event": "log", **facts})
        when = self.formatTime(record)
        return f"{when} {record.levelname} {record.name}: {one_line(message)}"


def _unraisable(what: Any) -> None:
    if what.exc_value is not None:
        logging.getLogger("iroh").error("%s", what.err_msg or "ignored", exc_info=what.exc_value)


def _in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None and not issubclass(what.exc_type, SystemExit):
        logging.getLogger("iroh").error("in a thread", exc_info=what.exc_value)
