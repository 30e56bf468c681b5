import argparse
import asyncio
import io
import os
import signal
import socket

import pytest

from iroh.cli.console import Console
from iroh.cli.progress import Progress
from iroh.cli.recv import SILENCE, _Receiver

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")


async def test_send_once_and_receive(start, tmp_path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    send = await start("-q", "send", "--once", str(folder))
    ticket = await send.line()
    recv = await start("recv", "-o", str(tmp_path / "to"), ticket)
    status, out, _ = await recv.end()
    assert status == 0
    assert out.startswith(f"received {tmp_path}/to/letters: 1 file, 5 B, ")
    assert (tmp_path / "to" / "letters" / "a.txt").read_text() == "hello"
    assert await send.end() == (0, "", "")
    late = await start("recv", "--timeout", "0.2", "-o", str(tmp_path / "to2"), ticket)
    assert (await late.end())[0] == 3


@posix
async def test_interrupted_and_killed_on_either_side_and_gone_on_with(start, tmp_path) -> None:
    """Ctrl-C, then kill -9 of both ends; the new ticket goes on with what is there."""
    file, goal = tmp_path / "big", tmp_path / "to"
    file.write_bytes(os.urandom(1_000_000) * 120)
    key = ("--secret-file", str(tmp_path / "key"))
    send = await start("--json", "send", *key, str(file))
    ticket = (await send.event("sharing"))["ticket"]
    options = ("--json", "recv", "-o", str(goal))

    part = goal / f".iroh-{'?' * 32}" / "data" / "big"

    async def until_some_is_there() -> int:
        while True:
            for found in goal.glob(str(part.relative_to(goal))):
                if size := found.stat().st_size:
                    return size
            await asyncio.sleep(0.005)  # another process: there is no event to wait for

    recv = await start(*options, ticket)
    had = await until_some_is_there()
    recv.signal(signal.SIGINT)
    status, out, _ = await recv.end()
    assert (status, '"interrupted"' in out) == (130, True)
    recv = await start(*options, ticket)
    assert (await recv.event("resumed"))["bytes"] >= had
    for program in (recv, send):
        program.process.kill()
        await program.process.wait()
    send = await start("--json", "send", "--once", *key, str(file))
    again = (await send.event("sharing"))["ticket"]
    recv = await start(*options, again)
    received = await recv.event("received")
    assert received["resumed"] >= had
    assert [(await program.end())[0] for program in (recv, send)] == [0, 0]
    assert (goal / "big").read_bytes() == file.read_bytes()
    assert os.listdir(goal) == ["big"]


@posix
async def test_a_sender_that_is_killed_and_back_is_dialled_again(start, tmp_path) -> None:
    """kill -9 says no good-bye; the same key, at the same address, is dialled until it is there."""
    file, goal = tmp_path / "big", tmp_path / "to"
    file.write_bytes(os.urandom(1_000_000) * 120)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    key = ("--secret-file", str(tmp_path / "key"), "--preset", "minimal", "--bind", where)
    send = await start("--json", "send", *key, str(file), network=False)
    ticket = (await send.event("sharing"))["ticket"]
    recv = await start("--json", "recv", "--idle-timeout", "1", "-o", str(goal), ticket)
    await recv.event("receiving")
    send.process.kill()
    await send.process.wait()
    assert "nothing comes from the peer any more" in (await recv.event("retry"))["message"]
    send = await start("-q", "send", "--once", *key, str(file), network=False)
    assert (await recv.event("received"))["bytes"] == 120_000_000
    assert [(await program.end())[0] for program in (recv, send)] == [0, 0]
    assert (goal / "big").read_bytes() == file.read_bytes()


async def test_silence_is_said_once(monkeypatch) -> None:
    told: list[str] = []
    turns = 0

    async def sleep(_seconds: float) -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            progress.count += 1
        if turns == 3 * SILENCE:
            raise asyncio.CancelledError

    console = Console()
    monkeypatch.setattr(console, "tell", lambda event, _text, **_facts: told.append(event))
    progress = Progress(console, "receiving", 0)
    receiver = _Receiver(None, argparse.Namespace(idle_timeout=10), console, None, progress)
    receiver._connected = True
    monkeypatch.setattr("iroh.cli.recv.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await receiver._tell_silence()
    assert told == ["silent"]


@posix
async def test_interrupting_a_sender_is_its_normal_end(start, tmp_path) -> None:
    (tmp_path / "a").write_text("x")
    for options, status in (((), 0), (("--once",), 130)):
        send = await start("-q", "send", *options, str(tmp_path / "a"))
        await send.line()
        send.signal(signal.SIGINT)
        assert (await send.end())[0] == status


async def test_errors_have_statuses(start, tmp_path) -> None:
    missing = await start("send", str(tmp_path / "none"))
    status, _, said = await missing.end()
    assert (status, "No such file" in said, said.count("\n")) == (5, True, 1)
    (tmp_path / "a").write_text("x")
    send = await start("-q", "send", str(tmp_path / "a"))
    ticket = await send.line()
    recv = await start("recv", "-o", str(tmp_path), ticket)
    status, _, said = await recv.end()
    assert (status, "a exists already; see --overwrite" in said) == (5, True)
    wrong = await start("recv", "endpointabc")
    status, _, said = await wrong.end()
    assert (status, "no whole ticket of `iroh send`" in said) == (2, True)


def test_the_bar(monkeypatch) -> None:
    now = [0.0]
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    bar = Progress(Console(), "receiving", 4_000_000, lambda: now[0])
    bar.begin()
    now[0] = 0.5
    bar.add(1_000_000)
    assert bar.text() == (
        "receiving  25% [======>                 ] 1.0 MB of 4.0 MB, 2.0 MB/s, 2 s left"
    )
    bar.end()
    bar.end()
    assert terminal.getvalue() == f"\r{bar.text()}\x1b[K\r\x1b[K"
    bar.add(3_000_000)
    assert "100% [========================]" in bar.text()
    assert Progress(Console(), "sending", 0).text().startswith("sending 100%")
