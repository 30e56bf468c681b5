"""A real ACME server for tests: pebble, which Let's Encrypt tests its clients with."""

import asyncio
import contextlib
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from .conftest import free_port, program, running

__all__ = ["AcmeServer", "acme_server"]


class AcmeServer(NamedTuple):
    """Where it is, whom to trust to speak to it, where it looks for answers, and its CA."""

    url: str
    ca_file: str
    http: int
    issuer: str


@contextlib.asynccontextmanager
async def acme_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AcmeServer]:
    """Run pebble; every name leads to 127.0.0.1."""
    pebble, names = program("pebble"), program("pebble-challtestsrv")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1")
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    port, management, http, dns = (free_port() for _ in range(4))
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "cert.pem"),
        "privateKey": str(folder / "key.pem"),
        "httpPort": http,
        "tlsPort": free_port(),
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    monkeypatch.setenv("PEBBLE_VA_NOSLEEP", "1")
    monkeypatch.setenv("PEBBLE_WFE_NONCEREJECT", "0")
    resolver = [names, "-dnsserver", f"127.0.0.1:{dns}", "-defaultIPv4", "127.0.0.1"]
    resolver += ["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""]
    command = [pebble, "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    manage = free_port()
    resolver += ["-management", f"127.0.0.1:{manage}"]
    async with running(*resolver, port=manage), running(*command, port=port):
        issuer = await asyncio.to_thread(_root, management, folder / "ca.pem")
        yield AcmeServer(f"https://127.0.0.1:{port}/dir", str(folder / "ca.pem"), http, issuer)


def _root(management: int, ca_file: Path) -> str:
    """The CA that pebble made for this run."""
    context = ssl.create_default_context(cafile=str(ca_file))
    url = f"https://127.0.0.1:{management}/roots/0"
    with urllib.request.urlopen(url, context=context) as answer:
        text: str = answer.read().decode()
        return text
