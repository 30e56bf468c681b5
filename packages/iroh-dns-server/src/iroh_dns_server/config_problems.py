"""What is wrong with a configuration file, and in which line.

    server.toml:7: http.port: expected a whole number from 0 to 65535, got text '80'

TOML parsers do not tell the lines of values, so `Lines` finds them in the text: the `[table]` a
line belongs to, and the key it begins with. What it cannot find (a key in an inline table, an item
of a list) gets the line of the nearest key around it. A value that comes from the environment has
the name of its variable instead.
"""

import re
from typing import Final, NamedTuple

__all__ = ["Lines", "Problem"]

_TABLE: Final = re.compile(r"\s*\[\[?\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_\-.\"' ]+?)\s*=")
_ITEM: Final = re.compile(r"\[\d+\]$")


class Problem(NamedTuple):
    """One thing that is wrong: `text` starts with the path of the key.

    line: where it stands in the file; None if it is about the file as a whole, or `variable` names
    the environment variable that it comes from.
    """

    text: str
    line: int | None = None
    variable: str | None = None

    def located(self, name: str) -> str:
        """One line for people and editors."""
        if self.variable is not None:
            return f"{self.variable}: {self.text}"
        place = name if self.line is None else f"{name}:{self.line}"
        return f"{place}: {self.text}"


class Lines:
    """Where the keys of a TOML text stand; `variables`: path -> the variable that overrides it."""

    def __init__(self, text: str, variables: dict[str, str]) -> None:
        self._variables = variables
        self._found: dict[str, int] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), 1):
            if header := _TABLE.match(line):
                table = _plain(header[1])
                self._found.setdefault(table, number)
            elif key := _KEY.match(line):
                path = f"{table}.{_plain(key[1])}" if table else _plain(key[1])
                self._found.setdefault(path, number)

    def problem(self, text: str) -> Problem:
        """The problem of a text that starts with the path of its key and a colon."""
        path = _ITEM.sub("", text.partition(":")[0])
        if path in self._variables:
            return Problem(text, variable=self._variables[path])
        while path and path not in self._found:
            path = path.rpartition(".")[0]
        return Problem(text, self._found.get(path))


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))
