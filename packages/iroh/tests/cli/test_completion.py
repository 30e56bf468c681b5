"""Completion, asked of the shells themselves where they are installed."""

import os
import shutil
import subprocess

import pytest

from iroh.cli import main

CASES = [
    ("iroh ti", "ticket"),
    ("iroh send --relay-mode st", "staging"),
    ("iroh ticket ma", "make"),
    ("iroh -q recv --ov", "--overwrite"),
    ("iroh completion f", "fish"),
]


def needs(shell: str) -> pytest.MarkDecorator:
    """Skip where a shell is not installed."""
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell}")


def script(shell: str, capsys) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_command(shell, capsys) -> None:
    text = script(shell, capsys)
    for name in ("listen", "recv", "--relay-mode", "disabled", "until-direct"):
        assert name in text


@needs("bash")
@pytest.mark.parametrize(("words", "found"), CASES)
def test_bash(words, found, capsys) -> None:
    asked = script("bash", capsys) + (
        f"\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _iroh"
        '\nprintf %s "${COMPREPLY[*]}"'
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (found, "")


@needs("fish")
def test_fish(capsys, tmp_path) -> None:
    asked = script("fish", capsys) + "".join(
        f"\necho '>' (complete -C '{words}' | string split -f 1 \\t)" for words, _ in CASES
    )
    done = subprocess.run(
        ["fish", "-c", asked],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:-1] == [f"> {found}" for _, found in CASES]


@needs("zsh")
def test_zsh(capsys, tmp_path) -> None:
    """At a terminal: only the line editor completes."""
    import pty

    start = tmp_path / ".zshrc"
    start.write_text(
        "PROMPT='> '\nautoload -U compinit && compinit -u -D\n" + script("zsh", capsys)
    )
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "ZDOTDIR": str(tmp_path)}
    shell = subprocess.Popen(
        ["zsh", "-d", "-i"], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        shown = ""
        while text not in shown:
            shown += os.read(ours, 4096).decode(errors="replace")

    try:
        until("> ")
        for words, found in CASES:
            os.write(ours, f"{words}\t".encode())
            until(f"{words.rpartition(' ')[0]} {found} ")
            os.write(ours, b"\x15")  # Ctrl-U: the next one
        os.write(ours, b"exit\n")
        assert shell.wait() == 0
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
