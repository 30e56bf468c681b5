"""aioquic's log lines, quietly.

aioquic warns about every protocol error of a peer, which would let any stranger write to the user's
terminal. Here everything it says is DEBUG, and nothing is formatted while DEBUG is off.
"""

import logging

_logger = logging.getLogger("aioquic_engine")


class QuietLogger:
    """The part of a logger that aioquic uses."""

    def debug(self, message: object, *args: object) -> None:
        """Log at DEBUG."""
        _logger.debug(message, *args)

    info = warning = error = debug


QUIET = QuietLogger()
