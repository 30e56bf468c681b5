"""The program `iroh`: pipes, files and diagnosis between machines that know each other by key.

    options.py      the options of every command, and what they are checked with
    parser.py       the commands; each names the function that runs it, imported when it is run
    console.py      what is said, where: results on stdout, the rest on stderr; --json
    log.py          what is logged, in one line each
    descriptors.py  standard input, output and error, where the caller has closed some
    exits.py        exit statuses, and what an error of the library is called in one line
    setup.py        from the options to a bound endpoint

Nothing is imported that the command does not need: `iroh --help` starts without asyncio.
"""

import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (default: the process's); returns the exit status."""
    try:
        return _main(argv)
    except KeyboardInterrupt:  # before, or after, there was a loop to take the signal
        return 130
    finally:
        if argv is None:  # what the interpreter has to do yet is not worth a traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _main(argv: Sequence[str] | None) -> int:
    from iroh.cli.descriptors import allow_many_files, open_closed_ones
    from iroh.cli.log import log_what_nobody_catches
    from iroh.cli.parser import build_parser
    from iroh.cli.program import run

    if argv is None:  # the process is ours
        open_closed_ones()
        allow_many_files()
        log_what_nobody_catches()
    given = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser(as_json="--json" in given)
    passed_on: list[str] = []
    if given and given[0] in ("relay", "dns"):  # all that follows is the server's
        given, passed_on = given[:1], given[1:]
    options = parser.parse_args(given)
    options.arguments = passed_on
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    return run(options)
