"""The files in deploy/, tried with the programs that they are for."""

import asyncio
import socket
import ssl
import subprocess

import pytest

from iroh_base.keys import SecretKey
from iroh_relay.client import RelayClient
from iroh_relay.relay_map import RelayConfig
from iroh_relay.server import RelayServer

from .conftest import DEPLOY, HOST, PATIENCE, Site, program, running

PAGES = {"/": 200, "/ping": 200, "/healthz": 200, "/robots.txt": 200, "/other": 404}


class Loopback:
    """Finds the site's name on loopback."""

    async def resolve(self, host: str) -> list[tuple[int, str]]:
        assert host == HOST
        return [(socket.AF_INET, "127.0.0.1")]


async def status(site: Site, path: str, context: ssl.SSLContext | None) -> int:
    """The status of a page, over HTTPS with a context, over HTTP without."""
    port, name = (site.http, None) if context is None else (site.https, HOST)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=name
    )
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        line = (await reader.read()).split(b"\r\n")[0]
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


async def serves(site: Site, relay: RelayServer) -> None:
    """Every page, and two clients that reach each other through the proxy."""
    trust = site.trust()
    assert {path: await status(site, path, trust) for path in PAGES} == PAGES
    assert await status(site, "/generate_204", None) == 204
    assert await status(site, "/relay", None) == 404
    inbox: asyncio.Queue[bytes] = asyncio.Queue()
    url = f"https://{HOST}:{site.https}"
    keys = [SecretKey.generate(), SecretKey.generate()]
    a, b = (
        RelayClient(
            RelayConfig(url=url),
            key,
            on_datagrams=lambda _source, data, *_: inbox.put_nowait(data),
            ssl_context=trust,
            resolver=Loopback(),
        )
        for key in keys
    )
    async with asyncio.timeout(PATIENCE):
        for client in (a, b):
            client.start()
            await client.connected()
        for size in (1, 1200, 60_000):
            a.send(keys[1].public().to_bytes(), bytes(size), 0)
            assert len(await inbox.get()) == size
        await a.close()
        await b.close()
    assert relay.metrics.accepts == 2


async def test_nginx(site: Site, relay: RelayServer) -> None:
    nginx = program("nginx")
    snippet = (DEPLOY / "relay" / "nginx.conf").read_text()
    for old, new in (
        ("127.0.0.1:3340", str(relay.http_addr)),
        ("listen 80;", f"listen 127.0.0.1:{site.http};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{site.https} ssl;"),
        ("listen [::]:80;", ""),
        ("listen [::]:443 ssl;", ""),
        (f"/etc/letsencrypt/live/{HOST}/fullchain.pem", str(site.cert)),
        (f"/etc/letsencrypt/live/{HOST}/privkey.pem", str(site.key)),
    ):
        assert old in snippet
        snippet = snippet.replace(old, new)
    folder = site.folder
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "whole.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {paths}\n{snippet} }}\n"
    )
    command = [nginx, "-c", str(folder / "whole.conf"), "-p", str(folder)]
    command += ["-e", str(folder / "error.log")]
    async with running(*command, port=site.https):
        await serves(site, relay)


async def test_caddy(site: Site, relay: RelayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    caddy = program("caddy")
    snippet = (DEPLOY / "relay" / "Caddyfile").read_text()
    for old, new in (
        ("127.0.0.1:3340", str(relay.http_addr)),
        (f"http://{HOST} {{", f"http://{HOST}:{site.http} {{\n\tbind 127.0.0.1"),
        (
            f"\n{HOST} {{",
            f"\nhttps://{HOST}:{site.https} {{\n\tbind 127.0.0.1\n\ttls {site.cert} {site.key}",
        ),
    ):
        assert old in snippet
        snippet = snippet.replace(old, new)
    file = site.folder / "Caddyfile"
    file.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{snippet}")
    monkeypatch.setenv("HOME", str(site.folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(site.folder / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(site.folder / "config"))
    command = [caddy, "run", "--config", str(file), "--adapter", "caddyfile"]
    async with running(*command, port=site.https):
        await serves(site, relay)


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*/*.service")), ids=lambda path: path.stem)
def test_systemd_units(unit: str) -> None:
    analyze = program("systemd-analyze")
    verify = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    # The program is not installed here; nothing else may be said.
    lines = {line for line in verify.stderr.splitlines() if "is not executable" not in line}
    assert not lines
    security = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert security.returncode == 0, security.stdout


def test_containers_copy_what_is_there() -> None:
    root = DEPLOY.parent
    for file in DEPLOY.glob("*/Containerfile"):
        lines = file.read_text().splitlines()
        copied = [line.split()[1] for line in lines if line.startswith("COPY packages")]
        assert copied
        assert all((root / path / "pyproject.toml").is_file() for path in copied)
