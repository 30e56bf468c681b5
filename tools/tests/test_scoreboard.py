"""The scoreboard's own parts: the cases are complete, and one of them works against our engine."""

from pathlib import Path

import pytest

from reliability import links, report
from reliability.cases import ALSO_RIGHT, all_cases, in_words
from reliability.victims import Usage, Victim


def test_the_cases_are_complete() -> None:
    cases = all_cases()
    assert sum(case.group == "h3spec" for case in cases) == 34
    assert len({(case.group, case.name) for case in cases}) == len(cases)
    assert sum(case.group == "advisory" for case in cases) >= 20


def test_outcomes_in_words() -> None:
    assert in_words("0xa") == "PROTOCOL_VIOLATION"
    assert in_words("0x10a") == "TLS alert 10"
    assert in_words("open") == "open"


def cell(right: bool, friend: bool = True) -> report.Cell:
    return report.Cell("open", right, 0.01, 1_000_000, friend)


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        report.Row("h3spec", "one", "open", {"ours": cell(True), "rust": cell(True)}),
        report.Row("h3spec", "two", "open", {"ours": cell(True), "rust": cell(False, False)}),
    ]
    versions = {"ours": "ours 1", "rust": "rust 2"}
    assert "h3spec, ours 1: 2 of 2 right" in report.as_text(rows, versions)
    text = report.as_markdown(rows, versions)
    assert "h3spec, rust 2: 1 of 2 right" in text
    assert "| h3spec: two |" in text
    assert "| h3spec: one |" not in text
    assert "NOT served" in text
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin hostile -->\nold\n<!-- end hostile -->\nb\n")
    monkeypatch.setattr(report, "PAGE", page)
    report.write_hostile(rows, versions)
    assert page.read_text().startswith("a\n<!-- begin hostile -->\n\n- h3spec, ours 1")
    assert page.read_text().endswith("<!-- end hostile -->\nb\n")
    assert "old" not in page.read_text()
    with pytest.raises(SystemExit):
        report.write("other", "x")


def test_a_link_is_measured() -> None:
    assert 0.1 < links.seconds_of(50_000, links.LINK, 0) < 2.0


@pytest.mark.skipif(not Path("/proc").exists(), reason="what a process costs is read from /proc")
def test_a_victim_is_measured_while_it_lives() -> None:
    with Victim("ours") as victim:
        usage = victim.usage()
        assert victim.is_alive()
        assert isinstance(usage, Usage)
        assert usage.cpu > 0
        assert usage.memory > 1 << 20
    assert not victim.is_alive()


def test_what_is_right_beside_the_tested_code_belongs_to_a_case() -> None:
    names = {case.name for case in all_cases() if case.group == "frames"}
    assert ALSO_RIGHT.keys() <= names
