"""The first door, without installing anything: what it says, what it starts, what it gives back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import run


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with an empty noxfile; nothing is made or installed in it yet."""
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(run, "STAMP", tmp_path / ".venv" / ".iroh-door")
    return tmp_path


def fake_python(checkout: Path, script: str) -> None:
    """Put a shell script where the environment's interpreter would be."""
    python = run.venv_python(checkout / ".venv")
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tests"], ("tests", [])),
        (["tests", "-k", "ticket"], ("tests", ["-k", "ticket"])),
        (["tests", "--", "-x"], ("tests", ["-x"])),
        (["tests", "-x", "--", "y"], ("tests", ["-x", "--", "y"])),
        ([], (None, [])),
    ],
)
def test_arguments(arguments: list[str], expected: tuple[str | None, list[str]]) -> None:
    assert run.parse(arguments) == expected


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run.parse(["--help"])
    assert caught.value.code == 0
    assert "demo, tests" in capsys.readouterr().out


def test_unknown_option_of_its_own() -> None:
    with pytest.raises(SystemExit) as caught:
        run.parse(["--fast", "tests"])
    assert caught.value.code == 2


def test_nox_command(checkout: Path) -> None:
    start = [str(run.venv_python(checkout / ".venv")), "-m", "nox"]
    start += ["--noxfile", str(checkout / "noxfile.py")]
    assert run.nox_command(None, []) == [*start, "--list"]
    assert run.nox_command("tests", []) == [*start, "--session", "tests"]
    assert run.nox_command("tests", ["-x"]) == [*start, "--session", "tests", "--", "-x"]


def test_a_missing_module_is_one_line(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run.main(["tests"]) == 1
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert "apt install python3-venv" in output


def test_the_stamp_decides(checkout: Path) -> None:
    assert not run.is_ready()
    fake_python(checkout, "exit 0")
    assert not run.is_ready()
    run.STAMP.write_text(run.stamp_text())
    assert run.is_ready()
    run.STAMP.write_text(run.stamp_text().replace("nox", "box"))
    assert not run.is_ready()


@pytest.mark.skipif(os.name == "nt", reason="the fake interpreter is a shell script")
@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)]
)
def test_the_exit_status_is_passed_through(checkout: Path, script: str, status: int) -> None:
    fake_python(checkout, script)
    run.STAMP.write_text(run.stamp_text())
    assert run.main(["tests"]) == status


@pytest.mark.skipif(os.name == "nt", reason="the fake interpreter is a shell script")
def test_without_uv_it_goes_on(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refuse_uv = r'case "$*" in *uv\>*) exit 1;; *) echo "$*" >> log; exit 0;; esac'
    monkeypatch.setattr(run, "make_venv", lambda: fake_python(checkout, refuse_uv))
    monkeypatch.chdir(checkout)
    assert run.main(["tests"]) == 0
    assert run.is_ready()
    log = (checkout / "log").read_text()
    assert "-m pip install" in log
    assert "uv>" not in log
    assert "going on with virtualenv" in capfd.readouterr().out


def test_nox_gets_a_clean_environment(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    env = run.environment()
    assert "PYTHONPATH" not in env
    assert env["PATH"].startswith(str(run.venv_python(checkout / ".venv").parent))
    assert env["VIRTUAL_ENV"] == str(checkout / ".venv")


def test_an_old_python_gets_one_line() -> None:
    source = Path(run.__file__).read_text("utf-8")
    head = source[: source.index("import argparse")]
    code = head.replace("import sys", "import sys\nsys.version_info = (3, 10, 4)", 1)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "needs Python 3.11 or newer" in done.stderr
