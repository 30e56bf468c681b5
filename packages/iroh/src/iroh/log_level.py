"""How much is logged, by the bindings' names. `logging.getLogger("iroh")` does the same."""

import enum
import logging

__all__ = ["LogLevel", "set_log_level"]

TRACE = 5
"""A level below DEBUG, for `logging`; nothing of ours logs at it."""
LOGGERS = ("iroh", "iroh_base", "iroh_relay")


class LogLevel(enum.Enum):
    """How much to tell."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4
    OFF = 5


_LEVELS = {
    LogLevel.TRACE: TRACE,
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.OFF: logging.CRITICAL + 1,
}


def set_log_level(level: LogLevel) -> None:
    """Log what is as grave as `level`, to standard error unless the program has set up logging.

    May be called again, at any time (the bindings panic at the second call).
    """
    if not isinstance(level, LogLevel):
        raise TypeError(f"a LogLevel is needed, not {level!r}")
    logging.basicConfig()  # nothing where there is a handler already
    for name in LOGGERS:
        logging.getLogger(name).setLevel(_LEVELS[level])
