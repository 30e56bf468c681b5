"""Typed reading of TOML tables that goes on after an error, so that all are found at once.

A `Table` knows where it is in the file. Its methods give the value of a key, or the default when
the key is missing or what it holds is a problem, which then is written down.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from iroh_base.addr import SocketAddr
from iroh_base.errors import AddrParseError

from .problems import Lines, Problem

__all__ = ["Table", "addr_of"]

_NAMES: Final = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}
T = TypeVar("T")


def addr_of(text: str) -> SocketAddr:
    """An address out of configuration. Raises ValueError, which says how they look."""
    try:
        return SocketAddr.parse(text)
    except AddrParseError as error:
        example = '"127.0.0.1:3340" or "[::]:3340"'
        raise ValueError(
            f"must be an IP address and a port like {example}, not {text!r}"
        ) from error


class Table:
    """One table of the file."""

    def __init__(
        self,
        values: dict[str, Any],
        lines: Lines,
        problems: list[Problem],
        path: tuple[str, ...] = (),
    ) -> None:
        self.values = values
        self._lines = lines
        self._problems = problems
        self._path = path

    def problem(self, key: str, text: str, *, is_warning: bool = False) -> None:
        """Write down what is wrong with a key."""
        path = (*self._path, key)
        line = self._lines.of(path)
        self._problems.append(Problem(f"{'.'.join(path)} {text}", line, is_warning))

    def typed(self, key: str, kind: type[T]) -> T | None:
        """The value if it is of TOML's own type for `kind`, which a boolean is not for int."""
        value = self.values.get(key)
        if value is None or type(value) is kind:
            return value
        given = _NAMES.get(type(value), "a date or time")
        self.problem(key, f"must be {_NAMES[kind]}, not {given}")
        return None

    def value(self, key: str, kind: type[T], default: T) -> T:
        """The same, with a default."""
        found = self.typed(key, kind)
        return default if found is None else found

    def made(self, key: str, make: Callable[[str], T]) -> T | None:
        """What `make` makes of a string; its ValueError is the problem."""
        text = self.typed(key, str)
        if text is None:
            return None
        try:
            return make(text)
        except ValueError as error:
            self.problem(key, str(error))
            return None

    def addr(self, key: str) -> SocketAddr | None:
        """An IP address with a port."""
        return self.made(key, addr_of)

    def positive(self, key: str) -> int | None:
        """An integer above 0."""
        number = self.typed(key, int)
        if number is not None and number <= 0:
            self.problem(key, f"must be more than 0, not {number}")
            return None
        return number

    def strings(self, key: str) -> list[str]:
        """An array of strings."""
        found = self.value(key, list, [])
        if not all(isinstance(item, str) for item in found):
            self.problem(key, "must be an array of strings")
            return []
        return list(found)

    def table(self, key: str) -> "Table | None":
        """A table in this one."""
        found = self.typed(key, dict)
        if found is None:
            return None
        return Table(found, self._lines, self._problems, (*self._path, key))
