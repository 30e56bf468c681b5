"""What needs no network: keys, tickets, options, errors."""

import argparse
import errno
import json
import os
import stat

import pytest

from iroh import EndpointAddr, EndpointTicket, SecretKey
from iroh.cli import exits, main, options
from iroh.cli.console import size_text

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
    assert main(["ticket", "make", ID, "--addr", "nonsense"]) == exits.FAILED
    assert capsys.readouterr().err.startswith("iroh: ")


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
    assert "exit status: 0 done" in capsys.readouterr().err


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
        (ValueError(), exits.FAILED, "ValueError"),
    ],
)
def test_errors_in_words(error, status, said) -> None:
    told = exits.in_words(error)
    assert told.status == status
    assert said in str(told)
    assert exits.in_words(told) is told
