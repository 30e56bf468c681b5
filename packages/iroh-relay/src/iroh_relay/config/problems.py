"""What is wrong with a configuration file, and in which line.

    relay.toml:7: limits.client.rx.bytes_per_second must be an integer, not a string

TOML parsers do not tell lines of values, so `Lines` finds them in the text: the `[table]` a line
belongs to, and the key it begins with. What it cannot find (a key in an inline table that goes
over several lines) gets the line of the nearest key around it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from iroh_base.errors import IrohError, IrohErrorKind

__all__ = ["ConfigError", "Lines", "Problem"]

_TABLE: Final = re.compile(r"\s*\[\[?\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_\-.\"' ]+?)\s*=")

Path = tuple[str, ...]


class ConfigError(IrohError, ValueError):
    """The configuration cannot be used; the message names the file, the key and the cure."""

    default_kind = IrohErrorKind.INVALID_INPUT


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` None: it is about the file as a whole.

    is_warning: the relay starts all the same.
    """

    text: str
    line: int | None = None
    is_warning: bool = False

    def located(self, name: str) -> str:
        """One line for people and editors."""
        place = name if self.line is None else f"{name}:{self.line}"
        return f"{place}: {'warning: ' if self.is_warning else ''}{self.text}"


class Lines:
    """Where the keys of a TOML text stand."""

    def __init__(self, text: str) -> None:
        self._found: dict[Path, int] = {}
        table: Path = ()
        for number, line in enumerate(text.splitlines(), 1):
            header = _TABLE.match(line)
            key = _KEY.match(line)
            if header:
                table = _split(header[1])
                self._found.setdefault(table, number)
            elif key:
                self._found.setdefault(table + _split(key[1]), number)

    def of(self, path: Sequence[str]) -> int | None:
        """The line of a key, or of the nearest one around it."""
        for end in range(len(path), 0, -1):
            line = self._found.get(tuple(path[:end]))
            if line is not None:
                return line
        return None


def _split(key: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in key.split("."))
