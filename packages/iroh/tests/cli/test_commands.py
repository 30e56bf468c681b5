"""What needs no network: keys, tickets, options, errors."""

import argparse
import ast
import errno
import json
import logging
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from iroh import EndpointAddr, EndpointTicket, SecretKey
from iroh.cli import exits, log, main, options
from iroh.cli.console import Console, size_text
from iroh.errors import StreamLostError, StreamResetError, StreamStoppedError
from iroh.quic.errors import TimedOut

KEY = SecretKey.from_bytes(bytes(range(32)))
ID = str(KEY.public())


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch) -> None:
    monkeypatch.delenv("IROH_SECRET", raising=False)


def test_id_makes_a_key_that_only_we_can_read_and_shows_it_again(tmp_path, capsys) -> None:
    file = tmp_path / "key"
    assert main(["id", "--secret-file", str(file)]) == 0
    shown, told = capsys.readouterr()
    assert told == f"made a new secret key: {file}\n"
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["id", "--secret-file", str(file)]) == 0
    assert capsys.readouterr() == (shown, "")
    assert SecretKey.from_string(file.read_text().strip()).public() == options.endpoint_id(
        shown.strip()
    )


def test_id_of_the_environment_and_in_other_forms(capsys, monkeypatch) -> None:
    monkeypatch.setenv("IROH_SECRET", KEY.to_bytes().hex())
    assert main(["id"]) == 0
    assert main(["id", "--format", "z32"]) == 0
    assert main(["id", "--format", "short", ID]) == 0
    assert main(["--json", "id"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [ID, KEY.public().to_z32(), KEY.public().fmt_short()]
    assert json.loads(said[3]) == {"event": "id", "id": ID, "z32": said[1]}


def test_no_key_is_an_error_with_a_remedy(capsys) -> None:
    assert main(["id"]) == exits.USAGE
    assert "give --secret-file FILE" in capsys.readouterr().err
    assert main(["ticket", "make"]) == exits.USAGE


@pytest.mark.skipif(os.name != "posix", reason="modes are a thing of POSIX systems")
def test_a_key_that_others_can_read_is_refused(tmp_path, capsys) -> None:
    file = tmp_path / "key"
    file.write_text(KEY.to_bytes().hex())
    file.chmod(0o644)
    assert main(["id", "--secret-file", str(file)]) == exits.LOCAL_FILE
    assert f"chmod 600 {file}" in capsys.readouterr().err


def test_a_bad_key_says_where_it_stands(tmp_path, capsys, monkeypatch) -> None:
    file = tmp_path / "key"
    file.write_text("ab" * 30)
    file.chmod(0o600)
    assert main(["id", "--secret-file", str(file)]) == exits.LOCAL_FILE
    assert f"{file} holds no secret key" in capsys.readouterr().err
    monkeypatch.setenv("IROH_SECRET", "x")
    assert main(["id"]) == exits.LOCAL_FILE
    assert "the environment's IROH_SECRET holds no" in capsys.readouterr().err


def test_tickets_are_made_and_looked_into(capsys) -> None:
    relay, addr = "https://relay.example.org/", "192.0.2.1:4433"
    assert main(["ticket", "make", ID, "--relay", relay, "--addr", addr]) == 0
    ticket = capsys.readouterr().out.strip()
    assert EndpointTicket.from_string(ticket).endpoint_addr() == EndpointAddr(
        KEY.public(), relay, [addr]
    )
    assert main(["ticket", "show", ticket]) == 0
    assert capsys.readouterr().out == f"id      {ID}\nrelay   {relay}\ndirect  {addr}\n"
    assert main(["ticket", "show", ticket, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["addrs"] == [addr]
    assert main(["ticket", "show", ID]) == 0
    assert "no addresses" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "neither a ticket (endpoint...) nor an endpoint id"),
        ("endpointabc", "no whole ticket"),
        ("x" * 100, "'" + "x" * 30 + "…'"),
    ],
)
def test_a_wrong_target_is_one_line(text, said, capsys) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["connect", text])
    assert raised.value.code == exits.USAGE
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_no_command_shows_the_help(capsys) -> None:
    assert main([]) == exits.USAGE
    assert "exit status:\n    0  done" in capsys.readouterr().err


COMMANDS = ("id", "ticket show", "ticket make", "listen", "connect", "send", "recv", "ping")


@pytest.mark.parametrize("command", [*COMMANDS, "doctor", "completion", ""])
def test_every_help_fits_and_has_examples_and_the_statuses(command, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as raised:
        main([*command.split(), "--help"])
    assert raised.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert f"iroh {command}" in text.partition("examples:")[2]
    statuses = text.partition("exit status:")[2].split()
    known = {value for value in vars(exits).values() if type(value) is int and value < 200}
    assert {int(word) for word in statuses if word.isdecimal()} - {0, 130, 143} == known - {0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("listen --bind nonsense", "IP:PORT"),
        ("listen --bind ::1:22", "IP:PORT"),
        ("listen --relay nonsense", "https://host/"),
        ("listen --relay https://[x]/", "https://[x]/"),
        ("listen --pkarr nonsense", "https://host/"),
        ("listen --proxy nonsense", "http://host:port"),
        (f"ping -c -1 {ID}", "no number from 0 on"),
        (f"ping -c ² {ID}", "no number from 0 on"),
        ("ticket make --addr nonsense", "IP:PORT"),
        ("ticket make --relay nonsense", "https://host/"),
        ("ticket show @/nowhere", "@/nowhere: No such file"),
        ("ticket show \x1b[2J", r"'\x1b[2J'"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_option(arguments, said, capsys) -> None:
    """And an event with --json."""
    with pytest.raises(SystemExit) as raised:
        main(arguments.split())
    assert raised.value.code == exits.USAGE
    error = capsys.readouterr().err
    assert (said in error, error.count("\n"), "\x1b" in error) == (True, 1, False)
    with pytest.raises(SystemExit):
        main([*arguments.split(), "--json"])
    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["status"]) == ("error", 2)


def test_a_ticket_stands_in_a_file_or_on_standard_input(tmp_path, capsys) -> None:
    file = tmp_path / "ticket"
    file.write_text(f"\n  {ID}\n\n")
    assert main(["ticket", "show", f"@{file}"]) == 0
    file.write_text(f"{ID}\nnot for us")
    saved = os.dup(0)
    try:
        with file.open() as source:
            os.dup2(source.fileno(), 0)
            assert main(["ticket", "show", "-"]) == 0
            assert os.read(0, 100) == b"not for us"  # a pipe's data may follow
            with pytest.raises(SystemExit):
                main(["ticket", "show", "-"])
    finally:
        os.dup2(saved, 0)
        os.close(saved)
    out, err = capsys.readouterr()
    assert out.count(ID) == 2
    assert "is empty" in err


def test_nothing_that_is_said_moves_the_cursor(capsys) -> None:
    """Whatever a peer calls its files, whatever reason it gives."""
    console = Console()
    bad = "a\x1b[2J\rb\u202ec\x9bd\ud800"
    console.result("x", f"first\n{bad}")
    console.tell("x", bad)
    console.warn(f"{bad}\nb")
    console.fail(f"{bad}\nb")
    out, err = capsys.readouterr()
    shown = r"a\x1b[2J\rb\u202ec\x9bd\ud800"
    assert out == f"first\n{shown}\n"
    assert err == f"{shown}\niroh: warning: {shown}\\nb\niroh: {shown}\\nb\n"
    Console(quiet=True).warn("x")
    Console(quiet=True).tell("x", "y")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_log_record_is_one_line(as_json) -> None:
    try:
        raise ValueError("deep\ndown")
    except ValueError:
        raised = sys.exc_info()
    record = logging.LogRecord("iroh", logging.ERROR, "", 0, "it\x1b %s", ("broke",), raised)
    text = log.Formatter(as_json=as_json, tracebacks=False).format(record)
    if as_json:
        assert json.loads(text) == {
            **{"event": "log", "level": "ERROR", "logger": "iroh"},
            "message": "it\x1b broke: ValueError: deep\ndown",
        }
    else:
        assert text.endswith(r" ERROR iroh: it\x1b broke: ValueError: deep\ndown")
    assert "Traceback" in log.Formatter(as_json=as_json, tracebacks=True).format(record)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("22", ("localhost", 22)),
        (":22", ("localhost", 22)),
        ("h:1", ("h", 1)),
        ("[::1]:2", ("::1", 2)),
    ],
)
def test_host_and_port(text, found) -> None:
    assert options.host_port(text) == found


@pytest.mark.parametrize("text", ["", "h", "h:", "h:99999", "::1:22", "h:²"])
def test_what_is_no_host_and_port(text) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.host_port(text)


def test_alpns_are_written_as_for_dumbpipe() -> None:
    assert options.alpn("utf8:my/1") == b"my/1"
    assert options.alpn("ff00") == b"\xff\x00"
    for wrong in ("my/1", "", "utf8:", "00" * 256):
        with pytest.raises(argparse.ArgumentTypeError):
            options.alpn(wrong)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x"])
def test_what_is_no_number_of_seconds(text) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.seconds(text)


def test_sizes_in_words() -> None:
    assert [size_text(n) for n in (0, 999, 1500, 2e6, 3e9, 4e15)] == [
        *("0 B", "999 B", "1.5 kB", "2.0 MB", "3.0 GB", "4000.0 TB")
    ]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OSError(errno.ENOSPC, "No space left", "x"), exits.LOCAL_FILE, "make room"),
        (PermissionError(errno.EACCES, "Denied", "x"), exits.LOCAL_FILE, "x: Denied"),
        (OSError(errno.EADDRINUSE, "In use"), exits.FAILED, "choose another"),
        (ValueError("two\nlines"), exits.FAILED, "two"),
        (StreamResetError(0), exits.FAILED, "broken off"),
        (StreamStoppedError(0), exits.FAILED, "takes no more"),
        (StreamLostError(TimedOut()), exits.FAILED, "nothing comes from the peer"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), exits.LOCAL_FILE, "too long"),
        (ValueError(), exits.FAILED, "ValueError"),
    ],
)
def test_errors_in_words(error, status, said) -> None:
    told = exits.in_words(error)
    assert told.status == status
    assert said in str(told)
    assert exits.in_words(told) is told


def documented() -> dict[str, set[str]]:
    """The events that the how-to names, with their fields."""
    page = Path(__file__).parents[4] / "docs" / "howto" / "use-the-command-line.md"
    found: dict[str, set[str]] = {}
    for row in page.read_text().partition("| event |")[2].splitlines()[2:]:
        if not row.startswith("|"):
            break
        events, _, fields = (set(re.findall(r"`(\w+)`", cell)) for cell in row.split("|")[1:4])
        found |= dict.fromkeys(events, fields)
    return found


def test_every_event_is_documented_with_its_fields() -> None:
    """As the calls of the console have them; `**facts` are those of `report`, `summary`, ..."""
    known, said = documented(), {"error", "warning", "log", "progress"}
    verbs = {"result", "tell", "ticket", "warn"}
    for file in Path(options.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in verbs or "console" not in ast.unparse(node.func.value):
                continue
            event = "warning" if node.func.attr == "warn" else ast.literal_eval(node.args[0])
            said.add(event)
            fields = {keyword.arg for keyword in node.keywords} - {None}
            assert fields <= known[event], (file.name, event)
    assert said == set(known)
