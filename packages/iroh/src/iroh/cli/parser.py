"""The command line: `iroh COMMAND ...`. Each command names the function that runs it."""

import argparse
import json
import textwrap
from typing import Any, NoReturn

from iroh.cli import exits, options
from iroh.cli.console import one_line
from iroh.cli.examples import EXAMPLES

__all__ = ["build_parser"]

_EPILOG = """\
exit status:
    0  done                     5  local file: exists, unreadable, disk full
    1  failed                   6  what came has another checksum
    2  wrong command line     130  ended by Ctrl-C
    3  peer not reached       141  whoever read our output has closed it
    4  peer refuses           143  ended by SIGTERM
  What serves until it is interrupted ends with 0 then.
"""
_TICKET = "a ticket, @FILE for the one in a file, - for the next line of standard input"
_STDIO = "without --tcp or --unix: standard input and output"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage of half a screen."""

    as_json = False

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        text = f"{self.prog}: {one_line(message)} (see {self.prog} --help)"
        if self.as_json:
            text = json.dumps({"event": "error", "message": text, "status": exits.USAGE})
        self.exit(exits.USAGE, f"{text}\n")


class _JsonParser(_Parser):
    """The parser of a command line with --json; so are those of its commands."""

    as_json = True


def build_parser(*, as_json: bool = False) -> argparse.ArgumentParser:
    """Make the parser of all commands; as_json: what is wrong is said as an event."""
    from iroh import __version__

    parser = (_JsonParser if as_json else _Parser)(
        prog="iroh",
        description="Pipes, files and diagnosis between machines that know each other by key.",
        epilog=f"{EXAMPLES['']}\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"iroh {__version__}")
    options.add_output(parser, top=True)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    pipes = (_add_listen, _add_connect, _add_send, _add_recv)
    for add in (_add_id, _add_ticket, *pipes, _add_ping, _add_doctor, _add_rest):
        add(commands)
    return parser


_OPERANDS = {
    "id": "[ID]",
    "show": "TICKET",
    "make": "[TICKET|ID]",
    "connect": "TICKET|ID",
    "send": "PATH...",
    "recv": "TICKET",
    "ping": "TICKET|ID",
    "doctor": "[TICKET|ID]",
    "relay": "...",
    "dns": "...",
    "completion": "bash|zsh|fish",
}


def _command(commands: Any, name: str, run: str, text: str) -> argparse.ArgumentParser:
    description = textwrap.fill(text[0].upper() + text[1:] + ".", 78)
    parser = commands.add_parser(
        name,
        help=text,
        usage=f"%(prog)s [OPTIONS] {_OPERANDS.get(name, '')}".rstrip(),
        description=description,
        epilog=f"{EXAMPLES[name]}\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    assert isinstance(parser, argparse.ArgumentParser)
    parser.set_defaults(run=f"iroh.cli.{run}")
    options.add_output(parser)
    return parser


def _add_id(commands: Any) -> None:
    parser = _command(commands, "id", "id:run", "make a key, or show the id that a key makes")
    parser.add_argument("id", nargs="?", type=options.endpoint_id, help="show this id instead")
    options.add_identity(parser)
    forms = ("hex", "z32", "short")
    parser.add_argument("--format", choices=forms, default="hex", help="how to write it")


def _add_ticket(commands: Any) -> None:
    parser = commands.add_parser("ticket", help="look into a ticket, or make one")
    parser.set_defaults(run="iroh.cli.ticket:show")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = _command(verbs, "show", "ticket:show", "print what a ticket says")
    show.add_argument("ticket", type=options.target, metavar="TICKET", help=_TICKET)
    make = _command(verbs, "make", "ticket:make", "print a ticket of an id and addresses")
    make.add_argument("peer", nargs="?", type=options.target, help="an id, or a ticket to add to")
    options.add_identity(make)
    options.add_relay(make, "reached over this relay; may be repeated")
    make.add_argument(
        "--addr",
        action="append",
        type=options.socket_addr,
        metavar="IP:PORT",
        help="reached here directly, [IP]:PORT for IPv6; may be repeated",
    )


def _add_pipe_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(piped=True)
    parser.add_argument(
        "--alpn",
        "--custom-alpn",
        action="append",
        type=options.alpn,
        metavar="ALPN",
        help='speak this protocol ("utf8:my/proto/1", or hex) and exchange no handshake',
    )
    parser.add_argument(
        "--recv-only", action="store_true", help="send nothing: standard input is not read"
    )
    options.add_network(parser)


def _add_listen(commands: Any) -> None:
    parser = _command(
        commands, "listen", "listen:run", f"be the end of pipes that others open; {_STDIO}"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--tcp", type=options.host_port, metavar="HOST:PORT", help="join each pipe to this server"
    )
    where.add_argument("--unix", metavar="PATH", help="join each pipe to this Unix socket")
    _add_allow(parser)
    _add_pipe_options(parser)


def _add_allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow",
        action="append",
        type=options.endpoint_id,
        metavar="ID",
        help="serve this peer, and none that is not named; may be repeated",
    )


def _add_connect(commands: Any) -> None:
    parser = _command(commands, "connect", "connect:run", f"open pipes to who listens; {_STDIO}")
    parser.add_argument("peer", type=options.target, metavar="TICKET|ID", help=_TICKET)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--tcp", type=options.host_port, metavar="HOST:PORT", help="listen here; a pipe for each"
    )
    where.add_argument("--unix", metavar="PATH", help="listen on this Unix socket")
    parser.add_argument(
        "--reconnect",
        action="store_true",
        help="dial until the peer answers, with pauses that grow to 30 s; a pipe that was open and "
        "is lost is not taken up again: what it had sent cannot be sent twice",
    )
    _add_pipe_options(parser)


def _add_send(commands: Any) -> None:
    parser = _command(commands, "send", "send:run", "share files and folders, until interrupted")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--once", action="store_true", help="end when one peer has all of it")
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="send what symbolic links in folders lead to; otherwise they are left out",
    )
    _add_allow(parser)
    options.add_network(parser)


def _add_recv(commands: Any) -> None:
    parser = _command(
        commands, "recv", "recv:run", "receive what is shared; again, to go on where it stopped"
    )
    parser.add_argument("ticket", type=options.file_ticket, metavar="TICKET", help=_TICKET)
    parser.add_argument(
        "-o", "--output", default=".", metavar="DIR", help="put it here (default: this folder)"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace what exists already")
    existing.add_argument("--rename", action="store_true", help='or put it at "name (1)"')
    parser.add_argument(
        "--hidden",
        action="store_true",
        help="take files whose names begin with a dot: shells and other programs heed some",
    )
    parser.add_argument(
        "--retry",
        type=options.count,
        default=5,
        metavar="N",
        help="dial again so often without progress when the connection is lost (default 5)",
    )
    options.add_network(parser)
    # It can go on, so there is no use in patience; one stream, so it may be a wide one: with the
    # usual 1.25 MB and a round trip of 100 ms, 12.5 MB/s would be all.
    parser.set_defaults(idle_timeout=10.0, window=8_000_000)


def _add_ping(commands: Any) -> None:
    parser = _command(
        commands, "ping", "ping:run", "measure the round trip to a peer, and say over which path"
    )
    parser.add_argument("peer", nargs="?", type=options.target, metavar="TICKET|ID", help=_TICKET)
    parser.add_argument(
        "--listen", action="store_true", help="answer pings (as listen and send do, too)"
    )
    _add_allow(parser)
    add = parser.add_argument
    add(
        "-c",
        "--count",
        type=options.count,
        default=5,
        metavar="N",
        help="how many; 0: until interrupted (default 5)",
    )
    add("-i", "--interval", type=options.seconds, default=1.0, metavar="S", help="default 1")
    add("--until-direct", action="store_true", help="stop once the path is direct")
    options.add_network(parser)


def _add_doctor(commands: Any) -> None:
    parser = _command(
        commands, "doctor", "doctor:run", "say what the network lets us do, and what to do about it"
    )
    parser.add_argument(
        "peer", nargs="?", type=options.target, metavar="TICKET|ID", help="and why not direct to it"
    )
    parser.add_argument(
        "--watch",
        type=options.seconds,
        default=10.0,
        metavar="S",
        help="wait so long for the path to the peer to become direct (default 10)",
    )
    options.add_network(parser)


def _add_rest(commands: Any) -> None:
    for name, server in (("relay", "iroh-relay"), ("dns", "iroh-dns-server")):
        text = f"run the program {server}, with all arguments that follow"
        parser = _command(commands, name, "servers:run", text)
        parser.set_defaults(server=server)
    parser = _command(commands, "completion", "completion:run", "print a shell's completion")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
