"""Lets the tests here import evil_kit, and prints their score."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
HERE = "quic/hostile/"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many hostile cases ended as they must."""

    def count(outcome: str, part: str = "") -> int:
        reports = terminalreporter.stats.get(outcome, ())
        nodes = {getattr(report, "nodeid", "") for report in reports}
        return sum(HERE in node and part in node for node in nodes)

    passed, failed = count("passed"), count("failed") + count("error")
    if passed + failed:
        spec = count("passed", "test_h3spec")
        terminalreporter.write_line(
            f"hostile: {passed} of {passed + failed} (h3spec {spec}, others {passed - spec})"
        )
