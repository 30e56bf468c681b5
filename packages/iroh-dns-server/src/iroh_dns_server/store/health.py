"""Telling an operator about a store that fails, once, and when it works again.

A full disk fails thousands of requests a second; each of them has its answer and its count in the
metrics, and the log has two lines: when it began and when it ended.
"""

import logging

__all__ = ["Health"]


class Health:
    """Whether one kind of work, reads or writes, is failing. For one thread."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._failing = False

    def failed(self, error: Exception) -> None:
        """The work failed."""
        if not self._failing:
            self._logger.error("packet store: %s began to fail: %s", self._what, error)
        self._failing = True

    def worked(self) -> None:
        """The work was done."""
        if self._failing:
            self._logger.warning("packet store: %s work again", self._what)
        self._failing = False
