"""The first door: runs a session on a machine that has nothing but Python 3.11 or newer.

    python3 tools/run.py demo            python3 tools/run.py tests -k ticket

It makes `.venv` in the root of the checkout, installs nox (and uv, where uv has a build for this
machine) into it, runs `nox -s SESSION -- ARGUMENTS...` and exits with nox's status. A second run
finds a stamp in `.venv` and starts nox at once. Standard library only; Linux, macOS and Windows.

The version check stands before everything else and in syntax that old Pythons can read, so that
they answer with one line instead of a traceback.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (the check is for the Pythons we do not support)
    sys.exit(
        "tools/run.py needs Python 3.11 or newer, but {} is {}.{}; "
        "try: python3.11 tools/run.py".format(sys.executable, *sys.version_info)
    )

import argparse
import importlib.util
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".iroh-door"
NOX = "nox>=2026.4"
FAST = "uv>=0.9"
"""uv makes the sessions' environments fast; without it nox uses virtualenv, which it brings."""


class DoorError(Exception):
    """One line that says what is missing and what to do about it."""


def venv_python(venv: Path) -> Path:
    """Give the interpreter of a virtual environment."""
    if os.name == "nt":
        return venv / "Scripts" / "python.exe"
    return venv / "bin" / "python"


def stamp_text() -> str:
    """Say what `.venv` was made from; any change makes it again."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    return f"{VENV}\n{sys.base_prefix}\n{version}\n{NOX}\n{FAST}\n"


def is_ready() -> bool:
    """Say whether an earlier run finished making `.venv` with this Python."""
    try:
        return STAMP.read_text() == stamp_text() and venv_python(VENV).is_file()
    except OSError:
        return False


def make_venv() -> None:
    """Make `.venv` anew with pip in it. Raises DoorError."""
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise DoorError(
                f"this Python ({sys.executable}) has no module '{module}'; "
                "on Debian and Ubuntu: apt install python3-venv"
            )
    print(f"run.py: making {VENV}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise DoorError(f"cannot make {VENV}: {' '.join(done.stdout.split()) or 'venv failed'}")


def pip_install(*requirements: str) -> bool:
    """Install into `.venv`; say whether pip succeeded (it prints its own reasons)."""
    command = [str(venv_python(VENV)), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", *requirements]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0


def prepare() -> None:
    """Bring `.venv` to the state that `stamp_text` describes. Raises DoorError."""
    if is_ready():
        return
    make_venv()
    print("run.py: installing nox and uv", flush=True)
    if not pip_install(NOX, FAST):
        print("run.py: no uv for this machine; going on with virtualenv", flush=True)
        if not pip_install(NOX):
            raise DoorError("pip could not install nox (its own message is above)")
    STAMP.write_text(stamp_text())


def parse(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Split the command line into the session and what belongs to it."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Run a session of noxfile.py; everything it needs is installed into .venv "
        "and .nox in this checkout.",
        epilog="Sessions people want: demo, tests, lint, types, interop. "
        "Without a session: the list of all. What follows SESSION is handed to it, "
        "for example: run.py tests -k ticket",
        allow_abbrev=False,
    )
    parser.add_argument("session", nargs="?", metavar="SESSION", help="what to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENTS")
    known = parser.parse_args(arguments)
    rest: list[str] = known.arguments
    return known.session, rest[1:] if rest[:1] == ["--"] else rest


def nox_command(session: str | None, rest: list[str]) -> list[str]:
    """Build the command line for nox."""
    command = [str(venv_python(VENV)), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py")]
    if session is None:
        return [*command, "--list"]
    command += ["--session", session]
    return [*command, "--", *rest] if rest else command


def environment() -> dict[str, str]:
    """Give nox our `.venv` on PATH and none of the caller's Python settings."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
    env["VIRTUAL_ENV"] = str(VENV)
    env["PATH"] = os.pathsep.join([str(venv_python(VENV).parent), env.get("PATH", os.defpath)])
    return env


def main(arguments: list[str]) -> int:
    """Prepare `.venv`, hand over to nox and give its exit status."""
    session, rest = parse(arguments)
    try:
        prepare()
    except DoorError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    done = subprocess.run(nox_command(session, rest), check=False, cwd=ROOT, env=environment())
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
