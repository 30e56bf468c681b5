"""The program as its users run it: a process, its one line, its exit status."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from iroh_relay import __version__
from iroh_relay.cli import raise_descriptor_limit

PATIENCE = 30.0


async def start(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "iroh_relay", *arguments, stdout=PIPE, stderr=PIPE
    )


async def run(*arguments: str) -> tuple[int | None, str, str]:
    """Exit status, standard output and standard error of a run that ends by itself."""
    process = await start(*arguments)
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def listening(process: Process) -> tuple[str, int]:
    """Host and port out of the line that says the relay is ready."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while line := (await process.stdout.readline()).decode():
            match = re.search(r"^iroh-relay listening on http://(\S+):(\d+)$", line)
            if match:
                return match[1].strip("[]"), int(match[2])
    raise AssertionError("the program ended before it listened")


async def failed(*arguments: str) -> str:
    """The one line of a run that could not do what was asked."""
    status, out, err = await run(*arguments)
    assert (status, out) == (2, "")
    assert err.endswith("\n")
    [line] = err.splitlines()
    assert line.startswith("iroh-relay: ")
    return line


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serves_until_a_signal(number: signal.Signals) -> None:
    process = await start("--dev", "--http-bind-addr", "127.0.0.1:0")
    host, port = await listening(process)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b'"status":"ok"' in await reader.read()
    writer.close()
    await writer.wait_closed()
    process.send_signal(number)
    async with asyncio.timeout(PATIENCE):
        _, err = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_the_file_says_where(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('http_bind_addr = "127.0.0.1:0"\nenable_metrics = false\ncolour = "blue"\n')
    process = await start("-c", str(file))
    host, _ = await listening(process)
    assert host == "127.0.0.1"
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


async def test_address_discovery_says_where_it_is_and_who_vouches_for_it(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('http_bind_addr = "127.0.0.1:0"\nenable_quic_addr_discovery = true\n')
    process = await start(
        "--dev", "--config-path", str(file), "--quic-bind-addr", "127.0.0.1:0"
    )  # fmt: skip
    await listening(process)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    shape = (
        r"iroh-relay address discovery on UDP 127.0.0.1:\d+, certificate SHA-256 [0-9A-F:]{95}\n"
    )
    assert re.fullmatch(shape, line)
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


async def test_version_and_help() -> None:
    assert await run("-V") == (0, f"iroh-relay {__version__}\n", "")
    status, out, _ = await run("--help")
    assert status == 0
    assert "--dev" in out
    assert "--config-path" in out


async def test_without_a_file_it_says_what_to_give(tmp_path: Path) -> None:
    assert "give a configuration file" in await failed()
    assert "iroh-relay --dev" in await failed("--http-bind-addr", "127.0.0.1:0")
    file = tmp_path / "relay.toml"
    file.write_text(f'[tls]\ncert_mode = "Manual"\ncert_dir = "{tmp_path}"\n')
    assert f"cannot read {tmp_path}/default.crt: No such file" in await failed("-c", str(file))


async def test_check_names_each_problem_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('enable_relay = 1\n\ncolour = "blue"\naccess = "nobody"\n')
    status, out, err = await run("check", str(file))
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f"{file}:1: enable_relay must be a boolean, not an integer",
        f"{file}:3: warning: colour is no key of a relay and has no effect",
        f"{file}:4: access must be one of everyone, allowlist, denylist, shared_token, http, "
        "not 'nobody'",
    ]
    file.write_text('access.shared_token = ["a"]\n')
    assert await run("check", str(file)) == (0, f"{file}: the relay can run with it\n", "")
    assert "cannot read" in await failed("check", str(tmp_path / "none.toml"))


@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_a_file_that_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    address = 'http_bind_addr = "127.0.0.1:0"\nenable_metrics = false\n'
    file.write_text(address)
    process = await start("-c", str(file), "--log-format", "json")
    await listening(process)
    for text, news in (
        ("access.allowlist = []\n", "configuration read again, 0 connections ended"),
        ("access = 1\n", "relay.toml:3: access must be a table, not an integer; everything stays"),
        ("enable_quic_addr_discovery = true\n", "of the changes only `access` and"),
    ):
        file.write_text(address + text)
        process.send_signal(signal.SIGHUP)
        assert news in await logged(process)
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


async def logged(process: Process) -> str:
    """The message of the next line of a log in JSON."""
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        entry = json.loads(await process.stderr.readline())
    assert entry.keys() == {"time", "level", "logger", "message"}
    return str(entry["message"])


async def test_a_port_in_use() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    line = await failed("--dev", "--http-bind-addr", f"127.0.0.1:{port}")
    assert "already in use; stop the program that has it, or choose another port" in line
    server.close()
    await server.wait_closed()


async def test_wrong_arguments_and_files(tmp_path: Path) -> None:
    assert "must be an IP address and a port" in await failed("--dev", "--http-bind-addr", "here")
    file = tmp_path / "relay.toml"
    file.write_text("enable_relay = false\n")
    assert "there is nothing to serve" in await failed("--dev", "--config", str(file))
    file.write_text('[tls]\ncert_mode = "LetsEncrypt"\nhostname = "a"\ncontact = "b"\n')
    assert "--dev gets no certificates" in await failed(
        "--dev", "-c", str(file), "--quic-bind-addr", "127.0.0.1:0"
    )
    file.write_text("= 1\n")
    assert "is not valid TOML" in await failed("--dev", "--config-path", str(file))


@pytest.mark.skipif(sys.platform == "win32", reason="the limit of descriptors is POSIX's")
def test_a_relay_takes_as_many_descriptors_as_it_may() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, before[1]), before[1]))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_rust_log_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    for wanted in ("error", "error,iroh_relay::server=debug", "iroh_relay=loud"):
        monkeypatch.setenv("RUST_LOG", wanted)
        process = await start("--dev", "--http-bind-addr", "127.0.0.1:0")
        await listening(process)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            _, err = await process.communicate()
        seen[wanted] = err.decode()
    assert seen["error"] == ""
    assert "DEBUG relay serves http on 127.0.0.1" in seen["error,iroh_relay::server=debug"]
    assert "WARNING RUST_LOG: 'iroh_relay=loud' is ignored" in seen["iroh_relay=loud"]


async def test_another_acme_server_and_its_ca_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(
        f"""
        http_bind_addr = "127.0.0.1:0"
        enable_metrics = false
        [tls]
        cert_mode = "LetsEncrypt"
        hostname = "localhost"
        contact = "me@example.org"
        cert_dir = '{tmp_path}'
        """
    )
    monkeypatch.setenv("RUST_LOG", "error")
    monkeypatch.setenv("IROH_RELAY_ACME_URL", "https://127.0.0.1:1/dir")
    monkeypatch.setenv("IROH_RELAY_ACME_CA", f"{tmp_path}/nowhere.pem")
    line = await failed("--config-path", str(file))
    assert "from https://127.0.0.1:1/dir" in line
    assert "nowhere.pem" in line
