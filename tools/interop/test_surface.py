"""Surface: what a program written for the bindings finds here, name by name and error by error.

surface.py and behaviour.py run with the bindings and with ours; whatever they tell must be the
same, but for what DELIBERATE names, and for additions: a parameter may be left out here that must
be given there, and more may be given. Each entry of DELIBERATE must still be true.
"""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from interop.peer import rust_python

HERE = Path(__file__).parent
DELIBERATE = {
    "Endpoint.bind": "it gives an awaitable that is also an async context manager",
    "pending to itself": "CONNECT, as connect() says; there INTERNAL",
    "positional record": "records of figures may be made by position",
    "an incoming address": "texts stand in quotes",
    "a level": "TypeError for what is no LogLevel; there ValueError",
    "read of a reset stream": "read_exact says as read does: Reset(9)",
    "write on a closed connection": "a stream that was reset before says so",
    "paths of a closed connection": "none are left",
}
DEBUG_KINDS = ("CONNECTION", "STREAM", "DATAGRAM", "CLOSED")
"""Their messages are Rust's Debug texts, on which programs match; the others are for people."""


@cache
def told(script: str, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a script with the bindings and with ours. surface.py asks ours for what theirs has."""
    theirs = run([str(rust_python())], script)
    if script == "surface.py":
        records = [name for name, each in theirs.items() if each["kind"] == "record"]
        arguments = (json.dumps({"names": list(theirs), "records": records}),)
    return theirs, run([sys.executable], script, *arguments)


def run(python: list[str], script: str, *arguments: str) -> dict[str, Any]:
    """Run a script to its end; read its JSON."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [*python, "-P", str(HERE / script), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


Parameters = list[list[Any]]
"""Name, how it is given, and the default's text or None: see surface.py."""


def lacks(theirs: Parameters, ours: Parameters | None) -> str | None:
    """Say which call that is right with the bindings would be wrong with ours."""
    if ours is None:
        return "it is missing"
    known = {str(name): (place, how, default) for place, (name, how, default) in enumerate(ours)}
    for place, (name, how, default) in enumerate(theirs):
        if name not in known:
            return f"parameter {name}"
        here = known[name]
        if here[1] not in ("any", how) or (how == "any" and here[0] != place):
            return f"parameter {name} is given by {here[1]} in place {here[0]}"
        if default is not None and here[2] != default:
            return f"the default of {name} is {here[2]}, not {default}"
    names = {name for name, _, _ in theirs}
    for name, (_, how, default) in known.items():
        if name not in names and default is None and not how.startswith("*"):
            return f"parameter {name} must be given"
    return None


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, str]:
    """Name all that differs between two surfaces."""
    found: dict[str, str] = {}
    for name, there in theirs.items():
        here = ours[name]
        if here["kind"] != there["kind"]:
            found[name] = f"a {here['kind']}, not a {there['kind']}"
            continue
        for aspect in ("members", "bases"):
            if not _within(there.get(aspect, {}), here.get(aspect, {})):
                found[name] = f"{aspect}: {here[aspect]}, not {there[aspect]}"
        signatures = [(name, there.get(key), here.get(key)) for key in ("fields", "parameters")]
        signatures += [
            (f"{name}.{variant}", there["variants"][variant], here["variants"].get(variant))
            for variant in there.get("variants", ())
        ]
        for method, how in there.get("methods", {}).items():
            mine = here["methods"].get(method, {})
            if mine and (how["async"], how["bound"]) != (mine["async"], mine["bound"]):
                found[f"{name}.{method}"] = f"async or bound otherwise: {mine}, not {how}"
            signatures.append((f"{name}.{method}", how["parameters"], mine.get("parameters")))
        for what, declared, mine in signatures:
            if declared is not None and (lack := lacks(declared, mine)):
                found[what] = lack
    return found


def _within(there: Any, here: Any) -> bool:
    if isinstance(there, dict):
        return bool(there == here)
    return set(there) <= set(here)


def misbehaves(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """Say how ours behaves otherwise, where a program can tell."""
    if "gives" in there or "gives" in here:
        return None if there == here else f"{here}, not {there}"
    if there["raises"][0] not in here["raises"]:
        return f"raises {here['raises'][0]}, which is no {there['raises'][0]}"
    if "kind" in there and here.get("kind") != there["kind"]:
        return f"kind {here.get('kind')}, not {there['kind']}"
    if there.get("kind") in DEBUG_KINDS and here["message"] != _bare(there["message"]):
        return f"{here['message']!r}, not {there['message']!r}"
    return None


def _bare(message: str) -> str:
    """Leave out where in the Rust sources an error was made."""
    return re.sub(r" \(/\S+\.rs:\d+:\d+\)", "", message)


def unexpected(found: dict[str, str]) -> str:
    """Name the differences that nobody decided on, a line each."""
    return "\n".join(f"{name}: {what}" for name, what in found.items() if name not in DELIBERATE)


def test_every_name_signature_and_default() -> None:
    """Whatever the bindings export is here, and takes at least what it takes there."""
    theirs, ours = told("surface.py")
    assert len(theirs) > 70
    found = differences(theirs, ours)
    assert not unexpected(found)


def test_every_error_kind_and_result() -> None:
    """Misused in 80 ways, ours raises what the bindings raise."""
    theirs, ours = told("behaviour.py")
    assert theirs.keys() == ours.keys()
    assert len(theirs) > 80
    found = {
        name: what for name in theirs if (what := misbehaves(theirs[name], ours[name])) is not None
    }
    assert not unexpected(found)


def test_the_deliberate_differences_are_there() -> None:
    """What is said to differ does differ."""
    shapes, behaviours = told("surface.py"), told("behaviour.py")
    found = set(differences(*shapes))
    found |= {
        name for name in behaviours[0] if misbehaves(behaviours[0][name], behaviours[1][name])
    }
    assert found == DELIBERATE.keys()


def test_a_difference_would_be_named() -> None:
    """The comparison itself: each kind of lack is told."""
    one: Parameters = [["a", "any", None], ["b", "any", "1"]]
    assert lacks(one, None) == "it is missing"
    assert lacks(one, one[:1]) == "parameter b"
    assert lacks(one, one[::-1]) == "parameter a is given by any in place 1"
    assert lacks(one, [one[0], ["b", "any", "2"]]) == "the default of b is 2, not 1"
    assert lacks(one, [*one, ["c", "any", None]]) == "parameter c must be given"
    assert lacks(one, [*one, ["c", "any", "3"], ["more", "**", None]]) is None
    missing = differences({"X": {"kind": "class"}}, {"X": {"kind": "missing"}})
    assert missing == {"X": "a missing, not a class"}


# -- the bindings' own tests and example ------------------------------------------------------


@pytest.fixture
def ffi_tests(request: pytest.FixtureRequest) -> Path:
    """The folder `python` of n0-computer/iroh-ffi; skips, and says why, when it is not given."""
    given = request.config.getoption("--ffi-tests") or os.environ.get("IROH_FFI_TESTS")
    if not given:
        pytest.skip(
            "the bindings' own tests are on no package index: give the folder `python` of "
            "n0-computer/iroh-ffi by --ffi-tests DIR or IROH_FFI_TESTS"
        )
    return Path(given).resolve()


def test_the_bindings_own_tests_pass_unchanged(ffi_tests: Path, tmp_path: Path) -> None:
    """Their pytest suite, as it is, with ours installed."""
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\nasyncio_mode = auto\npython_files = *_test.py\n")
    command = [sys.executable, "-m", "pytest", "-c", str(settings), "--rootdir", str(ffi_tests)]
    command += ["-q", "-p", "no:cacheprovider", "-rs", str(ffi_tests)]
    done = subprocess.run(command, cwd=ffi_tests, capture_output=True, text=True, timeout=120)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed in", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) >= 21


@pytest.mark.parametrize("pair", ["ours-rust", "rust-ours", "ours-ours", "rust-rust"])
def test_the_bindings_example(ffi_tests: Path, pair: str) -> None:
    """Their main.py at both ends, the dialler first: `hello` is echoed."""
    pythons = {"ours": sys.executable, "rust": str(rust_python())}
    dialler, listener = pair.split("-")
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    example = str(ffi_tests / "main.py")
    command = [pythons[listener], "-P", example, "accept"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as accept:
        assert accept.stdout is not None
        ticket = ""
        for line in accept.stdout:
            if line.startswith("ticket: "):
                ticket = line.split()[1]
                break
        connect = [pythons[dialler], "-P", example, "connect", ticket]
        done = subprocess.run(connect, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "dial side received: hello" in done.stdout
        assert "echo side received: hello" in accept.stdout.read()
    assert accept.returncode == 0
