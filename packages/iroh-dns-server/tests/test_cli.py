"""The program as a process: what it prints, how it ends, and that kill -9 loses nothing."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import iroh_dns_server
from iroh_dns_server import cli

COMMAND = (sys.executable, "-m", "iroh_dns_server")
LOCAL = ("--http-bind-addr", "127.0.0.1:0", "--dns-bind-addr", "127.0.0.1:0")
CONFIG = """
[http]
port = 0
bind_addr = "127.0.0.1"
[dns]
port = 0
bind_addr = "127.0.0.1"
default_soa = "a. b. 0 1 2 3 4"
default_ttl = 900
origins = ["."]
"""


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The program with its HTTP address, once it says that it serves."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            http = (await process.stdout.readline()).decode()
            dns_line = (await process.stdout.readline()).decode()
            data = (await process.stdout.readline()).decode()
        assert re.fullmatch(r"iroh-dns-server http on http://127\.0\.0\.1:\d+\n", http)
        assert re.fullmatch(r"iroh-dns-server dns on udp\+tcp 127\.0\.0\.1:\d+\n", dns_line)
        assert data.startswith("iroh-dns-server data in ")
        yield process, http.split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_version_help_and_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status in ((["-V"], 0), (["--help"], 0), (["--nope"], 2), (["-c"], 2)):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == status
    printed = capsys.readouterr().out
    assert f"iroh-dns-server {iroh_dns_server.__version__}" in printed
    for option in ("--dev", "--config", "--http-bind-addr", "--dns-bind-addr", "--data-dir"):
        assert option in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_end_it_well(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    async with running("--config", str(path), "--data-dir", str(tmp_path / "d")) as (process, _):
        process.send_signal(number)
        assert await process.wait() == 0
    assert sorted(os.listdir(tmp_path / "d")) == [
        "signed-packets-1.lock",
        "signed-packets-1.sqlite",
    ]


async def test_dev_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publisher: Callable[[int], Any]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    who = publisher(1)
    async with running("--dev", *LOCAL) as (process, url):
        async with aiohttp.ClientSession() as session:
            for _ in range(5):  # there is no rate limit
                async with session.put(f"{url}/pkarr/{who.z32}", data=who.txt("x")) as response:
                    assert response.status == 204
        assert len(os.listdir(tmp_path)) == 1
        process.terminate()
        assert await process.wait() == 0
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("change", "arguments", "complaint"),
    [
        (("[http]", "[http"), (), "c.toml: not valid TOML"),
        (("port = 0", 'port = "x"'), (), "c.toml: http.port: expected a whole number"),
        (("[dns]", "[https]\nport = 1\n[dns]"), (), "c.toml: https: this version has no TLS"),
        (("a. b. 0 1 2 3 4", "a. b."), (), "dns.default_soa: "),
        (("", ""), ("--http-bind-addr", "localhost:80"), "--http-bind-addr: 'localhost:80' is no"),
        (("", ""), ("--dns-bind-addr", "127.0.0.1"), "--dns-bind-addr: '127.0.0.1' is no"),
        (("", ""), ("--origin", "a..b"), "dns.origins[0]: 'a..b' is no domain name"),
        (("", ""), ("--data-dir", "c.toml"), "data directory c.toml: cannot be created"),
        (("", ""), ("--config", "gone.toml"), "gone.toml: cannot be read"),
    ],
)
def test_what_the_operator_has_to_mend_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(CONFIG.replace(*change, 1))
    assert cli.main(["--config", "c.toml", "--data-dir", "d", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"iroh-dns-server: {complaint}")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_port_in_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["--dev", "--http-bind-addr", address, "--data-dir", str(tmp_path)]
        assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error == (
        f"iroh-dns-server: http: cannot listen on {address}: the port is in use: "
        "stop the other program or choose another port\n"
    )


async def publish_until_it_dies(
    url: str, who: Any, acknowledged: dict[str, bytes], first: asyncio.Event
) -> None:
    """PUT one packet after the other; remember the last one that was answered."""
    async with aiohttp.ClientSession() as session:
        while True:
            payload = who.txt(str(time.time_ns()))
            try:
                async with session.put(f"{url}/pkarr/{who.z32}", data=payload) as response:
                    assert response.status == 204
            except aiohttp.ClientError:
                return
            acknowledged[who.z32] = payload
            first.set()


async def test_kill_9_loses_no_acknowledged_packet(
    tmp_path: Path, publisher: Callable[[int], Any]
) -> None:
    """A short form; the reliability session kills a server many times."""
    people = [publisher(number) for number in range(1, 9)]
    acknowledged: dict[str, bytes] = {}
    for _ in range(2):
        async with running("--dev", *LOCAL, "--data-dir", str(tmp_path)) as (process, url):
            async with aiohttp.ClientSession() as session:
                for z32, payload in acknowledged.items():
                    async with session.get(f"{url}/pkarr/{z32}") as response:
                        stored = await response.read()
                    assert stored[64:72] >= payload[64:72]
            firsts = [asyncio.Event() for _ in people]
            writers = [
                asyncio.create_task(publish_until_it_dies(url, who, acknowledged, first))
                for who, first in zip(people, firsts, strict=True)
            ]
            async with asyncio.timeout(20):
                for first in firsts:
                    await first.wait()
            process.kill()
            await asyncio.gather(*writers)
            await process.wait()
    assert len(acknowledged) == len(people)
