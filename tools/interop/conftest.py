"""Fixtures of the interop session, and the table it prints; the scenarios are in test_*.py."""

import asyncio
import datetime
import os
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from interop import relays, results, servers
from interop.peer import NotProven, Peer, rust_python

ROOT = Path(__file__).resolve().parents[2]
COLLECTED = pytest.StashKey[list[results.Result]]()
FILES = pytest.StashKey[set[Path]]()
"""The test files that gave tests."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Who dials and who listens in a scenario."""

    dialer: Peer
    listener: Peer


@pytest.fixture(params=results.PAIRS)
async def pair(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> AsyncIterator[Pair]:
    """Two proven peers, in processes of their own, for each combination."""
    async with AsyncExitStack() as stack:
        yield await spawn_pair(stack, request.param, record_property)


async def spawn_pair(
    stack: AsyncExitStack,
    names: str,
    record_property: Callable[[str, object], None],
    prefix: tuple[str, ...] = (),
) -> Pair:
    """Start both peers of a pair at once; they end with the stack."""
    started = await asyncio.gather(
        *(Peer.spawn(kind, prefix) for kind in names.split("-")), return_exceptions=True
    )
    peers = [await stack.enter_async_context(p) for p in started if isinstance(p, Peer)]
    for failure in started:
        if isinstance(failure, BaseException):
            raise failure
    for peer in peers:
        record_property(results.PROOF, peer.proof)
    return Pair(*peers)


@pytest.fixture
def evidence(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Note a figure or a text that was seen; it stands in the table."""
    return lambda text: record_property(results.EVIDENCE, text)


@pytest.fixture
async def relay() -> AsyncIterator[servers.Server]:
    """Our relay, in a process of its own."""
    async with servers.running("relay") as server:
        yield server


# -- collecting the results --------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this session."""
    parser.addoption("--write", action="store_true", help="renew COMPATIBILITY.md when all passed")
    parser.addoption("--rust-relay", action="store_true", help="also the Rust relay and client")
    parser.addoption("--rust-dns", action="store_true", help="also the Rust DNS server")
    parser.addoption("--rust-lookup", action="store_true", help="also Rust's mDNS and DHT lookup")
    parser.addoption("--dumbpipe", action="store_true", help="also n0's program dumbpipe")
    parser.addoption("--ffi-tests", metavar="DIR", help="folder python of n0-computer/iroh-ffi")
    parser.addoption("--libtorrent", action="store_true", help="also the DHT of libtorrent")
    parser.addoption("--long", action="store_true", help="also what takes minutes or a gigabyte")


def pytest_configure(config: pytest.Config) -> None:
    """Start with an empty table, and not without a Rust peer. Raises UsageError."""
    config.stash[COLLECTED] = []
    config.stash[FILES] = set()
    config.addinivalue_line("markers", "long: only with --long")
    config.addinivalue_line("markers", "rust_relay: only with --rust-relay, and Rust programs")
    config.addinivalue_line("markers", "rust_dns: only with --rust-dns, and Rust programs")
    config.addinivalue_line("markers", "rust_lookup: only with --rust-lookup, and a Rust program")
    config.addinivalue_line("markers", "dumbpipe: only with --dumbpipe, and the Rust program")
    try:
        rust_python()
    except NotProven as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless asked for."""
    config.stash[FILES] = {item.path for item in items}
    missing, no_lookup = missing_rust(config), missing_lookup(config)
    no_dumbpipe, no_dns = missing_dumbpipe(config), missing_dns(config)
    for item in items:
        if no_dumbpipe and item.get_closest_marker("dumbpipe"):
            item.add_marker(pytest.mark.skip(no_dumbpipe))
        if no_dns and item.get_closest_marker("rust_dns"):
            item.add_marker(pytest.mark.skip(no_dns))
        if no_lookup and item.get_closest_marker("rust_lookup"):
            item.add_marker(pytest.mark.skip(no_lookup))
        if missing and item.get_closest_marker("rust_relay"):
            item.add_marker(pytest.mark.skip(missing))
    if config.getoption("--long"):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def missing_rust(config: pytest.Config) -> str:
    """Say why the Rust relay and the Rust client cannot take part; empty if they can."""
    if not config.getoption("--rust-relay"):
        return "not asked for: nox -s interop -- --rust-relay"
    missing = [
        name for name in (relays.RELAY_VARIABLE, relays.PEER_VARIABLE) if not os.environ.get(name)
    ]
    return f"no Rust toolchain built them: {' '.join(missing)}" if missing else ""


def missing_dns(config: pytest.Config) -> str:
    """Say why the Rust DNS server and its clients cannot take part; empty if they can."""
    if not config.getoption("--rust-dns"):
        return "not asked for: nox -s interop -- --rust-dns"
    missing = [name for name in ("IROH_RUST_DNS", relays.PEER_VARIABLE) if not os.environ.get(name)]
    return f"no Rust toolchain built them: {' '.join(missing)}" if missing else ""


def missing_lookup(config: pytest.Config) -> str:
    """Say why Rust's mDNS and DHT lookup cannot take part; empty if they can."""
    if not config.getoption("--rust-lookup"):
        return "not asked for: nox -s interop -- --rust-lookup"
    if not os.environ.get("IROH_RUST_LOOKUP"):
        return "no Rust toolchain built tools/rust_lookup"
    return ""


def missing_dumbpipe(config: pytest.Config) -> str:
    """Say why dumbpipe cannot take part; empty if it can."""
    if not config.getoption("--dumbpipe"):
        return "not asked for: nox -s interop -- --dumbpipe"
    return "" if os.environ.get("IROH_DUMBPIPE") else "no Rust toolchain built dumbpipe"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note each outcome with its evidence: the call, or a set-up or tear-down that went wrong."""
    report = yield
    if item.get_closest_marker("interop") and (report.when == "call" or not report.passed):
        collected = item.config.stash[COLLECTED]
        if report.when == "teardown":
            collected.pop()  # the call passed, but what it left behind failed
        collected.append(result_of(item, report))
    return report


def result_of(item: pytest.Item, report: pytest.TestReport) -> results.Result:
    """Read a result off a test and its report."""
    assert isinstance(item, pytest.Function)
    told = {key: [] for key in (results.PROOF, results.EVIDENCE)}  # type: dict[str, list[str]]
    for key, value in report.user_properties:
        told[key].append(str(value))
    group, _, _ = (item.module.__doc__ or "").partition(":")
    return results.Result(
        group=group,
        scenario=item.originalname.removeprefix("test_").replace("_", " "),
        meaning=" ".join((item.function.__doc__ or "").split()).rstrip("."),
        pair=item.callspec.id,
        outcome=report.outcome,
        evidence=tuple(told[results.EVIDENCE]),
        proofs=tuple(told[results.PROOF]),
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table, and write it when asked to and entitled to."""
    collected = config.stash[COLLECTED]
    if not collected:
        return
    terminalreporter.section("interop")
    for line in results.terminal(collected):
        terminalreporter.write_line(line)
    skipped = sum(result.outcome == "skipped" for result in collected)
    if skipped and (missing := missing_rust(config)):
        terminalreporter.write_line(f"SKIPPED {skipped}: the Rust relay: {missing}", yellow=True)
    if not config.getoption("--write"):
        return
    files = set(Path(__file__).parent.glob("test_*.py"))
    all_ran = not config.getoption("-k") and config.stash[FILES] == files
    if all_ran and results.is_complete(collected):
        text = results.markdown(collected, datetime.datetime.now(datetime.UTC))
        (ROOT / "COMPATIBILITY.md").write_text(text, "utf-8")
        terminalreporter.write_line("COMPATIBILITY.md written")
    else:
        terminalreporter.write_line("COMPATIBILITY.md left as it is: not all ran and passed")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A pass without proof fails the session."""
    collected = session.config.stash[COLLECTED]
    if not results.is_green(collected):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
