"""The interop harness believes no peer without proof, and never waits for ever."""

import asyncio
import datetime
import sys
from pathlib import Path
from typing import Any

import pytest

from interop import peer as harness
from interop import results
from interop.peer import NotProven, Peer, PeerError, PeerGone, prove
from interop.results import Result

RUST: dict[str, Any] = {
    "version": "1.2.0",
    "module": "/rust/lib/iroh/__init__.py",
    "library": {
        "path": "/rust/lib/iroh/libiroh_ffi.so",
        "sha256": "ab" * 32,
        "size": 18_000_000,
        "mapped": True,
    },
    "importable": [],
    "prefix": "/rust",
    "python": "3.11.7",
}
OURS: dict[str, Any] = {
    "version": "0.1.0",
    "module": "/ours/iroh/__init__.py",
    "engine": "iroh.quic.endpoint.Endpoint",
    "library": None,
    "importable": ["iroh_base", "iroh_relay", "iroh_dns_server"],
    "prefix": "/ours",
    "python": "3.11.7",
}


def with_library(**changes: Any) -> dict[str, Any]:
    return {"library": {**RUST["library"], **changes}}


def test_good_peers() -> None:
    proof = prove("rust", RUST)
    assert all(part in proof for part in ("1.2.0", "18000000 bytes", "ab" * 32, "not met before"))
    ours = "iroh in Python 0.1.0, engine iroh.quic.endpoint.Endpoint, CPython 3.11.7"
    assert prove("ours", OURS) == ours
    assert prove("rust", {**RUST, **with_library(mapped=None)})  # a platform without /proc


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.1.0"},
        {"library": None},
        with_library(size=1000),
        with_library(mapped=False),
        with_library(path="/elsewhere/libiroh_ffi.so"),
        {"module": "/elsewhere/iroh/__init__.py"},
        {"importable": ["iroh_base"]},
        {"prefix": sys.prefix, "module": f"{sys.prefix}/iroh.py"}
        | with_library(path=f"{sys.prefix}/libiroh_ffi.so"),
    ],
)
def test_a_rust_peer_without_proof(change: dict[str, Any]) -> None:
    with pytest.raises(NotProven):
        prove("rust", {**RUST, **change})


@pytest.mark.parametrize(
    "change",
    [{"library": RUST["library"]}, {"importable": ["iroh_base"]}, {"engine": "aioquic"}],
)
def test_our_peer_without_proof(change: dict[str, Any]) -> None:
    with pytest.raises(NotProven):
        prove("ours", {**OURS, **change})


def test_there_is_no_default_rust_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IROH_RUST_PYTHON", raising=False)
    with pytest.raises(NotProven, match=r"run\.py interop"):
        harness.rust_python()


# -- the pipe, with a program that only pretends -----------------------------------------------

FAKE = """
import json, sys
hello = {hello!r}
for line in sys.stdin:
    request = json.loads(line)
    reply = {{"id": request["id"], "ok": request["with"]}}
    if request["do"] == "hello":
        reply["ok"] = hello
    elif request["do"] == "fail":
        told = dict(type="IrohError", repr="IrohError(x)", message="first\\n  cause", kind="ALPN")
        reply = {{"id": request["id"], "error": told}}
    elif request["do"] == "silence":
        continue
    elif request["do"] == "die":
        sys.exit("last words")
    print(json.dumps(reply), flush=True)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a program that is no endpoint in the place of ours."""
    program = tmp_path / "fake.py"
    program.write_text(FAKE.format(hello=OURS))
    monkeypatch.setattr(harness, "PROGRAMS", dict.fromkeys(("rust", "ours"), program))


@pytest.mark.usefixtures("fake")
async def test_calls_are_matched_with_their_answers() -> None:
    async with await Peer.spawn("ours") as peer:
        told = await asyncio.gather(*(peer.call("echo", number=n) for n in range(20)))
        assert [answer["number"] for answer in told] == list(range(20))


@pytest.mark.usefixtures("fake")
async def test_an_error_at_the_peer() -> None:
    async with await Peer.spawn("ours") as peer:
        with pytest.raises(PeerError, match="IrohError") as caught:
            await peer.call("fail")
        assert (caught.value.kind, caught.value.last_line) == ("ALPN", "cause")


@pytest.mark.usefixtures("fake")
async def test_no_answer_in_time() -> None:
    async with await Peer.spawn("ours") as peer:
        with pytest.raises(PeerGone, match=r"no answer to silence in 0\.05 s"):
            await peer.call("silence", within=0.05)
        assert await peer.call("echo", still="there") == {"still": "there"}


@pytest.mark.usefixtures("fake")
async def test_a_peer_that_dies() -> None:
    async with await Peer.spawn("ours") as peer:
        waiting = peer.begin("silence")
        with pytest.raises(PeerGone, match="process ended"):
            await peer.call("die")
        with pytest.raises(PeerGone, match="process ended"):
            await waiting


@pytest.mark.usefixtures("fake")
async def test_a_stranger_is_refused_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IROH_RUST_PYTHON", sys.executable)
    with pytest.raises(NotProven):
        await Peer.spawn("rust")


# -- the table ---------------------------------------------------------------------------------


def result(pair: str = "ours-rust", outcome: str = "passed", proofs: int = 2) -> Result:
    given = ("iroh in Python 0.1.0", "PyPI iroh 1.2.0")[:proofs]
    return Result("Direct", "ticket", "It works", pair, outcome, ("9 ms",), given)


def test_a_pass_needs_two_proofs() -> None:
    assert results.is_green([result(), result("rust-ours", "skipped", 0)])
    assert not results.is_green([result(proofs=1)])
    assert not results.is_green([result(outcome="failed")])
    assert results.is_complete([result()])
    assert not results.is_complete([])
    assert not results.is_complete([result(), result("rust-ours", "skipped")])


def test_table() -> None:
    table = [result(), result("rust-ours", "failed"), result("rust-rust", proofs=0)]
    text = results.markdown(table, datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC))
    assert "| ticket | It works | pass | **FAIL** | **UNPROVEN** |" in text
    assert "- PyPI iroh 1.2.0\n" in text
    assert "Run on 2026-11-22" in text
    line = results.terminal(table)[1]
    assert line.split() == ["Direct:", "ticket", "pass", "FAIL", "UNPROVEN", "9", "ms"]
