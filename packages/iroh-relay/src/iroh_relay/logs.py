"""The log of the program, on standard error: as text or as JSON lines, filtered as in Rust.

    RUST_LOG=warn                        warnings and worse
    RUST_LOG=info,iroh_relay=debug       everything of ours, the rest from info on
    RUST_LOG=iroh_relay::server=trace    one part of ours; what else there is, from info on

Levels: off, error, warn, info, debug, trace (which is debug here). Names of modules that are not
here (`hyper=warn`) have no effect. Source: the crate tracing-subscriber, `EnvFilter`.
"""

import json
import logging
import sys
import time
from typing import Final

__all__ = ["RUST_LOG", "levels", "set_up_log"]

RUST_LOG: Final = "RUST_LOG"
"""Environment: what is logged (iroh-relay `main.rs`). Without it: info; Rust: errors only."""
_LEVELS: Final = {
    "off": logging.CRITICAL + 1,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}


def set_up_log(style: str, wanted: str | None) -> None:
    """Log from now on. style: `text` or `json`; wanted: as RUST_LOG, None means info."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_JsonLines() if style == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    chosen, ignored = levels(wanted or "")
    for name, level in chosen.items():
        logging.getLogger(name).setLevel(level)
    for directive in ignored:
        logging.getLogger(__name__).warning("%s: %r is ignored", RUST_LOG, directive)


def levels(wanted: str) -> tuple[dict[str | None, int], list[str]]:
    """Logger -> level, as a value of RUST_LOG says (None: all), and what it says in vain."""
    chosen: dict[str | None, int] = {}
    ignored = []
    for directive in filter(None, (part.strip() for part in wanted.split(","))):
        name, equals, word = directive.rpartition("=")
        level = _LEVELS.get(word.lower())
        if level is not None:
            chosen[name.replace("::", ".") if equals else None] = level
        elif not equals and word.replace("::", "").replace("_", "").isalnum():
            chosen[word.replace("::", ".")] = logging.DEBUG  # a name alone: all of it
        else:
            ignored.append(directive)
    return chosen, ignored


class _JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """`time` is RFC 3339, UTC."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)
