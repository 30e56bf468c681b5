"""The options that commands share, and the types of their values.

A type function imports what it needs when it is called: most runs need few of them.
"""

import argparse
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iroh.protocols.files.wire import FileTicket
    from iroh_base import EndpointAddr, PublicKey

__all__ = [
    "add_identity",
    "add_network",
    "add_output",
    "add_relay",
    "alpn",
    "count",
    "endpoint_id",
    "file_ticket",
    "host_port",
    "http_url",
    "proxy_url",
    "relay_url",
    "seconds",
    "socket_addr",
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
    add_relay(group, "use this relay; may be repeated")
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
    add(
        "--pkarr",
        type=http_url,
        metavar="URL",
        help="publish to (and look up at) this pkarr server",
    )
    add("--nameserver", action="append", metavar="IP:PORT", help="ask it for every name")
    add(
        "--bind",
        action="append",
        type=socket_addr,
        metavar="IP:PORT",
        help="our UDP socket, [IP]:PORT for IPv6; once a family",
    )
    add("--ca-file", metavar="FILE", help="PEM certificates that vouch for relays and servers")
    add(
        "--proxy",
        type=proxy_url,
        metavar="URL",
        help="reach relays through this proxy: http://, https:// or socks5://",
    )
    _add_patience(group)


def _add_patience(group: "argparse._ActionsContainer") -> None:
    add = group.add_argument
    add(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="S",
        help="give a dial up after so many seconds (default 30)",
    )
    add(
        "--idle-timeout",
        type=seconds,
        metavar="S",
        help="take a connection for lost when nothing at all came for so many seconds, not even "
        "signs of life (default 30, of recv 10)",
    )


def add_relay(group: "argparse._ActionsContainer", text: str) -> None:
    """Add --relay."""
    group.add_argument("--relay", action="append", type=relay_url, metavar="URL", help=text)


# -- types of values ---------------------------------------------------------------------------


MAX_TICKET = 64 * 1024  # bytes; a ticket with a few addresses has 200


def _looked_up(text: str) -> str:
    """What stands in the file of "@FILE", or on the next line of standard input, "-"."""
    try:
        if text == "-":
            line = bytearray()
            while len(line) < MAX_TICKET and (char := os.read(0, 1)) not in (b"", b"\n"):
                line += char  # not one byte more: what follows may be a pipe's data
            found = line.decode(errors="replace").strip()
        elif text.startswith("@"):
            with open(text[1:], encoding="utf-8", errors="replace") as file:
                found = file.read(MAX_TICKET).strip()
        else:
            return text
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is empty: there is no ticket in it")
    return found


def target(text: str) -> "EndpointAddr":
    """Read a ticket or an endpoint id, or where it stands: "@FILE", "-"."""
    from iroh_base import EndpointAddr, EndpointTicket, IrohError

    text = _looked_up(text)
    if text.startswith("files"):
        return file_ticket(text).addr
    if not text.startswith("endpoint"):
        return EndpointAddr(endpoint_id(text))
    try:
        return EndpointTicket.from_string(text).endpoint_addr()
    except IrohError as error:
        raise argparse.ArgumentTypeError(
            f"{_shortened(text)!r} is no whole ticket ({error}): copy all of it"
        ) from None


def file_ticket(text: str) -> "FileTicket":
    """Read a ticket of `iroh send`, or where it stands: "@FILE", "-"."""
    from iroh.protocols.files.wire import FileTicket
    from iroh_base import IrohError

    text = _looked_up(text)
    try:
        return FileTicket.from_string(text)
    except IrohError as error:
        raise argparse.ArgumentTypeError(
            f"{_shortened(text)!r} is no whole ticket of `iroh send`, files... ({error}): copy "
            "all of it"
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


def count(text: str) -> int:
    """Read a number from 0 on."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def relay_url(text: str) -> str:
    """Read a relay's URL; it stays a text."""
    from iroh_base import IrohError, RelayUrl

    try:
        return str(RelayUrl(http_url(text)))
    except IrohError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def http_url(text: str) -> str:
    """Read the URL of a server that speaks HTTP; it stays a text."""
    if not re.fullmatch(r"https?://[^/\s]+\S*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form https://host/...")
    return text


def proxy_url(text: str) -> str:
    """Read a proxy's URL; it stays a text."""
    if not re.fullmatch(r"(https?|socks5)://[^/\s]+\S*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form http://host:port")
    return text


def socket_addr(text: str) -> str:
    """Read "ip:port" or "[v6]:port"; it stays a text."""
    from iroh_base import IrohError, SocketAddr

    try:
        return str(SocketAddr.parse(text))
    except (IrohError, ValueError):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form "IP:PORT"') from None


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:30]}…"
