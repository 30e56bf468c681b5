"""The program as a process: what its caller has closed, and signals."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from iroh import EndpointAddr, EndpointTicket, SecretKey

KEY = SecretKey.from_bytes(bytes(range(32)))
NOBODY = str(EndpointTicket(EndpointAddr(KEY.public(), None, ["127.0.0.1:9"])))
posix = pytest.mark.skipif(os.name != "posix", reason="descriptors and signals of POSIX systems")
WORDS = [sys.executable, "-m", "iroh"]


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run `iroh` as a shell does, `$IROH`."""
    environment = {**os.environ, "IROH": " ".join(WORDS)}
    return subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, check=False
    )


@posix
def test_closed_descriptors_and_a_full_disk(tmp_path) -> None:
    """Each is open again, on /dev/null; an output that is full is an error and no traceback."""
    key = tmp_path / "key"
    make = shell(f"$IROH id --secret-file {key} >&-")
    assert (make.returncode, make.stderr) == (0, f"made a new secret key: {key}\n")
    script = f"$IROH id --secret-file {key} <&- 2>&-; $IROH ping 2>&-; echo $?"
    done = shell(script)
    assert done.stdout.splitlines()[1:] == ["2"]
    if os.path.exists("/dev/full"):
        full = shell(f"$IROH id --secret-file {key} > /dev/full")
        assert full.returncode == 5
        assert full.stderr.startswith("iroh: No space left on device")
        assert full.stderr.count("\n") == 1
    piped = shell(f"$IROH completion bash | true; $IROH id --secret-file {key} | cat")
    assert "Traceback" not in piped.stderr


@posix
async def test_a_closed_input_is_an_empty_one_and_no_socket_of_ours(start, bind) -> None:
    """What is opened next would get the number 0, and its data would be sent on."""
    listen = await start("-q", "listen")
    ticket = await listen.line("stderr")
    script = f"{' '.join(WORDS)} connect --preset minimal --bind 127.0.0.1:0 {ticket} <&-"
    connect = await asyncio.create_subprocess_exec(
        "sh", "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    status, out, _ = await listen.end(b"hello")
    assert (status, out) == (0, "")
    assert (await connect.communicate())[0] == b"hello"
    assert connect.returncode == 0


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_every_command_in_order(start, number) -> None:
    """While it dials, and while it waits: 128 + the signal, or 0 of what serves until then."""
    cases = [
        (("--json", "connect", "--reconnect", "--timeout", "0.01", NOBODY), "retry", 128 + number),
        (("--json", "listen"), "listening", 128 + number),
        (("--json", "ping", "--listen"), "listening", 0),
    ]
    for arguments, event, status in cases:
        program = await start(*arguments)
        piped = arguments[1] in ("listen", "connect")
        await program.event(event, "stderr" if piped else "stdout")
        program.signal(number)
        program.signal(number)  # somebody is impatient
        ended, out, err = await program.end()
        assert (ended, err if not piped else "") == (status, "")
        for line in (out + err).splitlines():
            json.loads(line)
