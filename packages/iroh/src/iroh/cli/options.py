"""The options that commands share, and the types of their values.

A type function imports what it needs when it is called: most runs need few of them.
"""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iroh.protocols.files.wire import FileTicket
    from iroh_base import EndpointAddr, PublicKey

__all__ = [
    "add_identity",
    "add_network",
    "add_output",
    "alpn",
    "endpoint_id",
    "file_ticket",
    "host_port",
    "seconds",
    "target",
]

PRESETS = ("n0", "minimal")
RELAY_MODES = ("default", "staging", "disabled")
LOOKUPS = ("n0", "dht", "mdns", "none")


def add_output(parser: argparse.ArgumentParser, *, top: bool = False) -> None:
    """Add -q, -v and --json: before the command's name, or after it."""
    default: dict[str, Any] = (
        {} if top else {"default": argparse.SUPPRESS}
    )  # else it would undo what came before
    group = parser.add_argument_group("output")
    group.add_argument(
        "-q", "--quiet", action="store_true", help="say only results and errors", **default
    )
    verbose: dict[str, Any] = {"default": 0} if top else default
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        help="log what happens; -vv: everything, and tracebacks of errors",
        **verbose,
    )
    group.add_argument(
        "--json", action="store_true", help="one JSON object a line, for programs", **default
    )


def add_identity(group: "argparse._ActionsContainer") -> None:
    """Add --secret-file."""
    group.add_argument(
        "--secret-file",
        metavar="FILE",
        help="our secret key, which makes our id; made with mode 0600 if it is not there. "
        "Without it the environment's IROH_SECRET, else a new key for this run",
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add what an endpoint is bound with."""
    group = parser.add_argument_group("network")
    add = group.add_argument
    add_identity(group)
    add(
        "--preset",
        choices=PRESETS,
        default="n0",
        help="n0: n0's relays and lookup (the default); minimal: direct addresses only",
    )
    add("--relay", action="append", metavar="URL", help="use this relay; may be repeated")
    add("--relay-mode", choices=RELAY_MODES, help="n0's relays, its staging relays, or none")
    add(
        "--no-relay",
        dest="relay_mode",
        action="store_const",
        const="disabled",
        help="the same as --relay-mode disabled: works without internet, on direct addresses",
    )
    add(
        "--lookup",
        action="append",
        choices=LOOKUPS,
        help="where ids are published and looked up instead of the preset's: n0's servers, the "
        "Mainline DHT, the local network (mdns), nowhere; may be repeated",
    )
    add("--dns-origin", metavar="ZONE", help="look ids up in this DNS zone instead of n0's")
    add("--pkarr", metavar="URL", help="publish to (and look up at) this pkarr server")
    add("--nameserver", action="append", metavar="IP:PORT", help="ask it for every name")
    add("--bind", action="append", metavar="IP:PORT", help="our UDP socket; once a family")
    add("--ca-file", metavar="FILE", help="PEM certificates that vouch for relays and servers")
    add("--proxy", metavar="URL", help="reach relays through this HTTP or SOCKS proxy")
    add(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="S",
        help="give a dial up after so many seconds (default 30)",
    )


# -- types of values ---------------------------------------------------------------------------


def target(text: str) -> "EndpointAddr":
    """Read a ticket or an endpoint id."""
    from iroh_base import EndpointAddr, EndpointTicket, IrohError

    if text.startswith("files"):
        return file_ticket(text).addr
    if not text.startswith("endpoint"):
        return EndpointAddr(endpoint_id(text))
    try:
        return EndpointTicket.from_string(text).endpoint_addr()
    except IrohError as error:
        raise argparse.ArgumentTypeError(
            f"this is no whole ticket ({error}): copy all of it"
        ) from None


def file_ticket(text: str) -> "FileTicket":
    """Read a ticket of `iroh send`."""
    from iroh.protocols.files.wire import FileTicket
    from iroh_base import IrohError

    try:
        return FileTicket.from_string(text)
    except IrohError as error:
        raise argparse.ArgumentTypeError(
            f"this is no whole ticket of `iroh send`, files... ({error}): copy all of it"
        ) from None


def endpoint_id(text: str) -> "PublicKey":
    """Read an endpoint id."""
    from iroh_base import IrohError, PublicKey

    try:
        return PublicKey.from_string(text)
    except IrohError as error:
        raise argparse.ArgumentTypeError(
            f"{_shortened(text)!r} is neither a ticket (endpoint...) nor an endpoint id of 64 hex "
            f"characters: {error}"
        ) from None


def alpn(text: str) -> bytes:
    """Read an ALPN as dumbpipe does: "utf8:my/protocol/1", or hex."""
    if text.startswith("utf8:"):
        found = text.removeprefix("utf8:").encode()
    else:
        try:
            found = bytes.fromhex(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f'{text!r} is no hex; for text write "utf8:{text}"'
            ) from None
    if not 1 <= len(found) <= 255:
        raise argparse.ArgumentTypeError("an ALPN is 1 to 255 bytes long")
    return found


def host_port(text: str) -> tuple[str, int]:
    """Read "host:port", "[v6]:port" or "port" (on localhost)."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else ""
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form "host:port"')
    if ":" in host and not text.startswith("["):
        raise argparse.ArgumentTypeError(f"put the IPv6 address in brackets: [{host}]:{port}")
    return host or "localhost", int(port)


def seconds(text: str) -> float:
    """Read a positive number."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return found


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:30]}…"
