import shutil
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from iroh import EndpointTicket, Probe, RelayUrl, Report, SocketAddr
from iroh.cli import main
from iroh.cli.doctor import advice, nat_kind
from iroh.cli.parser import build_parser
from iroh.protocols import PING_ALPN, Ping
from iroh_relay.server import RelayServer
from iroh_relay.server.config import RelayServerConfig

URL = RelayUrl("https://relay.example.org/")
ANSWERED = {URL: {Probe.HTTPS: 0.1}}


@pytest.mark.parametrize(
    ("report", "relayed", "said"),
    [
        (None, False, "no relay answers"),
        (Report(), False, "no relay answers"),
        (Report(captive_portal=True), False, "log in with a browser"),
        (Report(relay_latency=ANSWERED), False, "none keeps a connection"),
        (Report(relay_latency=ANSWERED, udp_probed=True), True, "no relay answers over UDP"),
        (
            Report(
                relay_latency=ANSWERED,
                udp_probed=True,
                udp_v4=True,
                global_v4=SocketAddr.parse("192.0.2.1:1"),
                mapping_varies_by_dest_ipv4=True,
            ),
            True,
            "the NAT is symmetric",
        ),
        (
            Report(relay_latency=ANSWERED, udp_probed=True, udp_v4=True),
            True,
            "expect direct paths",
        ),
    ],
)
def test_advice(report, relayed, said) -> None:
    words = advice(report, relayed=relayed, has_relays=True)
    assert any(said in line for line in words)


@pytest.mark.parametrize(
    ("seen", "varies", "kind"),
    [
        (None, None, "unknown"),
        ("192.0.2.1:1", False, "none"),
        ("192.0.2.9:1", False, "mild"),
        ("192.0.2.9:1", True, "symmetric"),
        ("192.0.2.9:1", None, "some"),
    ],
)
def test_the_kind_of_nat(seen, varies, kind) -> None:
    addr = None if seen is None else SocketAddr.parse(seen)
    report = Report(global_v4=addr, mapping_varies_by_dest_ipv4=varies)
    assert nat_kind(report, {"192.0.2.1"})[0] == kind


def test_advice_without_relays() -> None:
    assert len(advice(None, relayed=False, has_relays=False)) == 1


@pytest.fixture
async def relay_url() -> AsyncIterator[str]:
    """A relay of our own on loopback."""
    config = RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))
    async with RelayServer(config) as server:
        yield str(server.http_url)


async def test_with_a_relay_and_a_peer(start, bind, relay_url) -> None:
    server = await bind(protocols={PING_ALPN: Ping()})
    ticket = str(EndpointTicket(server.addr()))
    program = await start("doctor", "--relay", relay_url, ticket)
    status, out, said = await program.end()
    assert (status, said) == (0, "")
    for line in ("home relay  connected", f"relay {relay_url}", f"peer        {server.id()}"):
        assert line in out
    assert "carries the data" in out


async def test_without_relays(start) -> None:
    status, out, said = await (await start("doctor", "--no-relay")).end()
    assert (status, said) == (0, "")
    assert "relays      none are used" in out
    program = await start("doctor", "--no-relay", "--json")
    assert (await program.event("relay"))["relays"] is False
    assert (await program.end())[0] == 0


def test_the_servers_get_all_arguments(monkeypatch, capsys) -> None:
    program = shutil.which("iroh-relay", path=sys.prefix + "/bin")
    if program is None:
        pytest.skip("iroh-relay is not installed as a program")
    command = [sys.executable, "-m", "iroh", "relay", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout.startswith("iroh-relay")
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kw: None)
    assert main(["dns", "--help"]) == 1
    assert "iroh-dns-server is not installed; from a checkout: pip" in capsys.readouterr().err


def test_every_command_has_a_function() -> None:
    from importlib import import_module

    (commands,) = (a for a in build_parser()._actions if a.dest == "command")
    for parser in commands.choices.values():
        module, _, name = parser.get_default("run").partition(":")
        assert callable(getattr(import_module(module), name))
