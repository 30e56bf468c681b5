"""`iroh doctor`: what the network lets us do, in words; with a peer, why it is not direct to it.

The facts are those of `Endpoint.net_report`, of the machine's network and of the home relay; what
to do about them is said in the end.
"""

import argparse
import asyncio
import contextlib
import platform
import sys
from collections.abc import Collection, Iterable
from typing import Any

import iroh
from iroh.cli import exits
from iroh.cli.console import Console
from iroh.cli.ping import path_text
from iroh.cli.setup import bound, dial
from iroh.connection import Connection
from iroh.endpoint import Endpoint
from iroh.net_report.report import Report
from iroh.protocols.ping import PING_ALPN, ping_once

__all__ = ["advice", "nat_kind", "run"]

REPORT_TIMEOUT = 10.0  # seconds; a first report takes at most about 5
RELAY_TIMEOUT = 5.0  # seconds that the home relay has to connect after it was chosen


async def run(options: argparse.Namespace, console: Console) -> int:
    """Look, and say what is there. The status is 0 if a relay, or the peer, was reached."""
    async with bound(options, console) as endpoint:
        _say_who(endpoint, console)
        report = await _report(endpoint)
        _say_network(endpoint, console)
        relayed = await _say_relay(endpoint, report, console)
        if report is not None:
            own = endpoint.watch_network_change().get().local_addresses
            kind, text = nat_kind(report, own)
            console.result("nat", f"nat         {text}", kind=kind)
        words = advice(report, relayed=relayed, has_relays=_has_relays(endpoint))
        for line in words:
            console.result("advice", f"advice      {line}", words=line)
        if options.peer is None:
            return exits.DONE if relayed or not _has_relays(endpoint) else exits.FAILED
        return await _say_peer(endpoint, options, console)


def _say_who(endpoint: Endpoint, console: Console) -> None:
    version = f"iroh {iroh.__version__}, Python {platform.python_version()}, {sys.platform}"
    sockets = endpoint.bound_sockets()
    console.result(
        "endpoint",
        f"endpoint    {endpoint.id()}\nversion     {version}\nsockets     {', '.join(sockets)}",
        id=str(endpoint.id()),
        version=version,
        sockets=sockets,
    )


def _has_relays(endpoint: Endpoint) -> bool:
    relays = endpoint._core.relay_map  # noqa: SLF001 (the program is of the package)
    return relays is not None and len(relays) > 0


async def _report(endpoint: Endpoint) -> Report | None:
    """The first report that knows of a relay that answers; else the last one there is."""
    if not _has_relays(endpoint):
        return None
    last: Report | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REPORT_TIMEOUT):
            async for report in endpoint.watch_net_report():
                last = report or last
                if last is not None and (last.relay_latency or last.captive_portal):
                    break
    return last


def _say_network(endpoint: Endpoint, console: Console) -> None:
    state = endpoint.watch_network_change().get()
    families = [name for name, have in (("IPv4", state.have_v4), ("IPv6", state.have_v6)) if have]
    direct = endpoint.addr().direct_addresses()
    mapped = _port_mapping(endpoint)
    console.result(
        "network",
        f"interface   {state.default_interface or 'none leads to the internet'}"
        f" ({' and '.join(families) or 'no address but loopback'})\n"
        f"direct at   {', '.join(direct) or 'nowhere'}\n"
        f"port map    {mapped}",
        interface=state.default_interface,
        families=families,
        direct=direct,
        port_mapping=mapped,
    )


def _port_mapping(endpoint: Endpoint) -> str:
    counted = {name.rpartition(":")[2]: stat.value for name, stat in endpoint.stats().items()}
    if counted.get("portmap_external_address_updated"):
        return "the home router forwards a port to us"
    if counted.get("portmap_attempts"):
        return "the home router was asked for a port, and gave none so far"
    return "the home router was not asked"


async def _say_relay(endpoint: Endpoint, report: Report | None, console: Console) -> bool:
    if not _has_relays(endpoint):
        console.result("relay", "relays      none are used", relays=False)
        return False
    if report is None:
        console.result("relay", f"relays      no report within {REPORT_TIMEOUT:g} s", report=None)
        return False
    with contextlib.suppress(TimeoutError):
        if report.preferred_relay is not None:
            async with asyncio.timeout(RELAY_TIMEOUT):
                await endpoint.online()
    status = endpoint.watch_home_relay().get()
    connected = status is not None and status.is_connected
    words = "connected" if connected else "not connected"
    if status is not None and status.last_error:
        words += f": {status.last_error}"
    indented = report.to_text().replace("\n", "\n            ")
    text = f"report      {indented}"
    if status is not None:
        text += f"\nhome relay  {words}"
    console.result("report", text, connected=connected, **_facts(report))
    return connected


def nat_kind(report: Report, own: Collection[str]) -> tuple[str, str]:
    """Say which kind of NAT IPv4 passes: "none", "mild", "symmetric", "some", "unknown"; and more.

    own: the machine's addresses. What a NAT lets in cannot be seen from inside, only how it maps.
    """
    seen = report.global_v4
    if seen is None:
        return "unknown", "nobody answered over UDP and IPv4, so nobody knows"
    if seen.ip in own:
        return "none", f"none: {seen.ip} is our own address (there may be a firewall)"
    match report.mapping_varies_by_dest_ipv4:
        case True:
            return "symmetric", "symmetric: every destination sees another address or port of us"
        case False:
            return "mild", f"a mild one: everybody sees us at {seen}"
    return "some", f"one is there ({seen.ip} is not ours); of which kind, two relays could tell"


def _facts(report: Report) -> dict[str, Any]:
    return {
        "udp_v4": report.udp_v4,
        "udp_v6": report.udp_v6,
        "global_v4": None if report.global_v4 is None else str(report.global_v4),
        "global_v6": None if report.global_v6 is None else str(report.global_v6),
        "symmetric_nat": report.mapping_varies_by_dest(),
        "home_relay": None if report.preferred_relay is None else str(report.preferred_relay),
        "captive_portal": report.captive_portal,
        "relay_latency_ms": {
            str(url): {probe.value: round(1000 * taken, 1) for probe, taken in probes.items()}
            for url, probes in report.relay_latency.items()
        },
    }


def advice(report: Report | None, *, relayed: bool, has_relays: bool) -> list[str]:
    """Say what the facts mean, and what can be done."""
    if not has_relays:
        return ["without relays only who reaches one of our addresses directly can connect"]
    if report is None or not report.relay_latency:
        if report is not None and report.captive_portal:
            return ["a captive portal answers for the internet: log in with a browser first"]
        return ["no relay answers: is there internet? is HTTPS (TCP 443) allowed? see --proxy"]
    found: list[str] = []
    if not relayed:
        found.append("relays answer, but none keeps a connection: does a proxy cut WebSockets?")
    if report.udp_probed and not report.has_udp():
        found.append(
            "no relay answers over UDP (port 7842): if UDP is blocked, connections stay on relays"
        )
    if report.mapping_varies_by_dest():
        found.append(
            "the NAT is symmetric: direct paths need a milder NAT at the other end, IPv6 at both, "
            "or a forwarded port (UPnP, or by hand with --bind)"
        )
    elif report.has_udp():
        found.append("holes can be punched: expect direct paths to most peers")
    return found


async def _say_peer(endpoint: Endpoint, options: argparse.Namespace, console: Console) -> int:
    peer = str(options.peer.id())
    async with await dial(endpoint, options.peer, PING_ALPN, options, console) as conn:
        await ping_once(conn)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.watch):
                await _until_direct(conn, console)
        paths = conn.paths()
        lines = [
            f"{path_text([path], any_path=True)}, {path.rtt_ms} ms"
            + (", carries the data" if path.is_selected else "")
            for path in paths
        ]
        why = conn.why_not_direct()
        verdict = "direct" if why is None else f"not direct: {why}"
        text = f"peer        {peer}\npaths       " + "\n            ".join([*lines, verdict])
        console.result("peer", text, id=peer, paths=_paths(paths), why_not_direct=why)
    return exits.DONE


async def _until_direct(conn: Connection, console: Console) -> None:
    before = ""
    async for paths in conn.paths_stream():
        now = path_text(paths)
        if now and before and now != before:
            console.tell("path", f"path: {before} -> {now}", before=before, now=now)
        before = now or before
        if before.startswith("direct"):
            return


def _paths(paths: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        {"remote": path.remote_addr, "selected": path.is_selected, "rtt_ms": path.rtt_ms}
        for path in paths
    ]
