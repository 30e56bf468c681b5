"""A case: a lab, and what two endpoints must manage in it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from natlab.plan import Host, Plan, Router
from natlab.stage import RELAY, Stage

Script = Callable[[Stage], Awaitable[None]]
CLIENT, SERVER = "client", "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of a table, run once for each pair of implementations.

    - `group`, `name`: where it stands; `-k` looks at both;
    - `plan`: the lab; cases of a group with the very same plan share one, and its processes;
    - `script`: what is done, raising when it fails;
    - `dialer`, `listener`: hosts of the plan;
    - `quick`: part of the short form; `ignored`: n0 does not run it;
    - `limit`: seconds for all of it.
    """

    group: str
    name: str
    plan: Plan
    script: Script
    shared: bool = False
    dialer: str = CLIENT
    listener: str = SERVER
    quick: bool = False
    ignored: bool = False
    limit: float = 120.0


def two_homes(client: Router, server: Router, /, **hosts: Host) -> Plan:
    """Give the usual lab: a client and a server, each behind a router, and a relay."""
    everyone = {
        RELAY: Host(),
        CLIENT: Host(on="client-nat"),
        SERVER: Host(on="server-nat"),
        **hosts,
    }
    return Plan({"client-nat": client, "server-nat": server}, everyone)
