"""The program as a process: what it prints, how it ends, and that kill -9 loses nothing."""

import asyncio
import json
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
[metrics]
disabled = true
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
        (("port = 0", 'port = "x"'), (), "c.toml:3: http.port: expected a whole number"),
        (("[dns]", "[https]\nport = 1\n[dns]"), (), "c.toml:5: https.cert_mode: is missing"),
        (("a. b. 0 1 2 3 4", "a. b."), (), "c.toml:8: dns.default_soa: "),
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


def test_check_names_every_problem_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(CONFIG)
    assert cli.main(["check", "c.toml"]) == 0
    assert capsys.readouterr().out == "c.toml: the server can run with it\n"
    Path("c.toml").write_text(CONFIG.replace("port = 0", "port = -1").replace("true", "1"))
    monkeypatch.setenv("IROH_DNS__PKARR_PUT_RATE_LIMIT", "hard")
    assert cli.main(["check", "c.toml"]) == 1
    places = [line.split(": ")[:2] for line in capsys.readouterr().out.splitlines()]
    assert places == [
        ["IROH_DNS__PKARR_PUT_RATE_LIMIT", "pkarr_put_rate_limit"],
        ["c.toml:3", "http.port"],
        ["c.toml:6", "dns.port"],
        ["c.toml:12", "metrics.disabled"],
    ]
    Path("c.toml").write_bytes(b"\xff")
    assert cli.main(["check", "c.toml"]) == 2
    assert capsys.readouterr().err == "iroh-dns-server: c.toml: is not UTF-8 text\n"


async def test_hangup_reads_the_settings_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    publisher: Callable[[int], Any],
    query: Callable[..., bytes],
    ask_udp: Callable[..., Any],
) -> None:
    """An origin comes and the rate limit goes; a bad file changes nothing; the log is JSON."""
    path, who = tmp_path / "c.toml", publisher(1)
    path.write_text(CONFIG.replace('"."', '"one.example."'))
    monkeypatch.setenv("IROH_DNS__METRICS", '{ bind_addr = "127.0.0.1:0" }')
    monkeypatch.setenv("IROH_DNS_LOG", "INFO")
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "-c", str(path), "--data-dir", str(tmp_path / "d"), "--log-format", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession() as session:
            lines = [(await process.stdout.readline()).decode() for _ in range(4)]
            url, metrics = lines[0].split()[-1], lines[2].split()[-1]
            host, _, port = lines[1].split()[-1].rpartition(":")
            ask = query(f"x.{who.z32}.two.example.")

            async def statuses() -> list[int]:
                found = []
                for _ in range(3):
                    async with session.put(f"{url}/pkarr/{who.z32}", data=who.txt("x")) as reply:
                        found.append(reply.status)
                return found

            assert await statuses() == [204, 204, 429]
            assert (await ask_udp((host, int(port)), ask))[3] & 15 == 5  # REFUSED
            path.write_text("[")
            process.send_signal(signal.SIGHUP)
            entry = json.loads(await process.stderr.readline())
            assert (entry["level"], entry["logger"]) == ("WARNING", "iroh_dns_server")
            assert "c.toml: not valid TOML" in entry["message"]
            text = CONFIG.replace('"."', '"one.example.", "two.example."')
            path.write_text(
                'pkarr_put_rate_limit = "disabled"' + text.replace("port = 0", "port = 1")
            )
            process.send_signal(signal.SIGHUP)
            entry = json.loads(await process.stderr.readline())
            assert "; http.port, dns.port: only a restart changes it" in entry["message"]
            assert await statuses() == [204, 204, 204]
            assert (await ask_udp((host, int(port)), ask))[3] & 15 == 3  # NXDOMAIN
            async with session.get(f"{metrics}/metrics") as reply:
                assert "dns_server_pkarr_publish_update_total 5\n" in await reply.text()
        process.terminate()
        _, rest = await process.communicate()
        assert (process.returncode, rest) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


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
