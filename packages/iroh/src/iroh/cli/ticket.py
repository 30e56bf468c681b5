"""`iroh ticket show` and `iroh ticket make`: what is in a ticket, and one that is made by hand."""

import argparse

from iroh.cli import exits
from iroh.cli.console import Console
from iroh.cli.identity import SECRET_VARIABLE, secret_key
from iroh_base import EndpointAddr, EndpointTicket

__all__ = ["make", "show"]


def show(options: argparse.Namespace, console: Console) -> int:
    """Print what a ticket says, one fact a line."""
    addr: EndpointAddr = options.ticket
    lines = [f"id      {addr.id()}"]
    lines += [f"relay   {url}" for url in addr.relay_urls]
    lines += [f"direct  {socket}" for socket in addr.ip_addrs]
    lines += [f"custom  {custom}" for custom in addr.custom_addrs]
    if addr.is_empty():
        lines.append("no addresses: whoever dials it has to look them up")
    console.result(
        "ticket",
        "\n".join(lines),
        id=str(addr.id()),
        relays=[str(url) for url in addr.relay_urls],
        addrs=[str(socket) for socket in addr.ip_addrs],
        custom=[str(custom) for custom in addr.custom_addrs],
        ticket=str(EndpointTicket(addr)),
    )
    return exits.DONE


def make(options: argparse.Namespace, console: Console) -> int:
    """Print a ticket of an id and addresses. Raises CliError."""
    addr: EndpointAddr | None = options.peer
    if addr is None:
        key = secret_key(options.secret_file, console)
        if key is None:
            raise exits.CliError(
                "no id to make a ticket of",
                f"give an id, --secret-file FILE, or {SECRET_VARIABLE}",
                exits.USAGE,
            )
        addr = EndpointAddr(key.public())
    for url in options.relay or ():
        addr = addr.with_relay_url(url)
    for socket in options.addr or ():
        addr = addr.with_ip_addr(socket)
    ticket = str(EndpointTicket(addr))
    console.result("ticket", ticket, ticket=ticket, id=str(addr.id()))
    return exits.DONE
