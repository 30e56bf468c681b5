"""What the program says, and where.

              plain                            --json
    result    text on stdout                   one JSON object a line on stdout
    tell      text on stderr, not with -q      the same, as an event
    warn      text on stderr, not with -q      the same, as an event
    fail      "iroh: ..." on stderr            the same on stderr, always

Where stdout carries a pipe's data, results and events go to stderr. Whatever a text has of a peer's
(names, reasons), it moves no cursor: what is not printable is written as its number.
"""

import json
import sys
from typing import Any, TextIO

__all__ = ["Console", "count_text", "one_line", "size_text"]


class Console:
    """The program's voice. `piped`: stdout belongs to the data."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, piped: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.piped = piped

    def result(self, event: str, text: str, **facts: Any) -> None:
        """Say what the command was run for."""
        if self.as_json:
            self._json(event, facts)
        elif text:
            _line(self.stream, text)

    def tell(self, event: str, text: str, **facts: Any) -> None:
        """Say something by the way."""
        if self.as_json:
            self._json(event, facts)
        elif text and not self.quiet:
            _line(sys.stderr, text)

    def warn(self, text: str, **facts: Any) -> None:
        """Say what may surprise, although the command goes on."""
        if self.as_json:
            self._json("warning", {"message": text, **facts})
        elif not self.quiet:
            _line(sys.stderr, f"iroh: warning: {one_line(text)}")

    def ticket(self, event: str, text: str, ticket: str, **facts: Any) -> None:
        """Show a ticket: in a sentence, or with -q alone."""
        if self.as_json:
            self._json(event, {"ticket": ticket, **facts})
        elif self.quiet:
            _line(self.stream, ticket)
        else:
            _line(sys.stderr, text)

    def fail(self, text: str, **facts: Any) -> None:
        """Say why the program ends."""
        if self.as_json:
            _line(sys.stderr, json.dumps({"event": "error", "message": text, **facts}))
        else:
            _line(sys.stderr, f"iroh: {one_line(text)}")

    @property
    def stream(self) -> TextIO:
        """Where results go."""
        return sys.stderr if self.piped else sys.stdout

    def _json(self, event: str, facts: dict[str, Any]) -> None:
        _line(self.stream, json.dumps({"event": event, **facts}))


def one_line(text: str) -> str:
    """The text with everything that is not printable written as its number: an escape, a newline.

    Invisible formatting counts too: text that runs from right to left can make one name look like
    another.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _line(stream: TextIO, text: str) -> None:
    if not text.isprintable():
        text = "\n".join(map(one_line, text.split("\n")))
    stream.write(f"{text}\n")
    stream.flush()  # for whoever waits for this line


def size_text(count: float) -> str:
    """Say a number of bytes: "1.5 MB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def count_text(count: int, noun: str) -> str:
    """Say how many there are: "1 file", "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
