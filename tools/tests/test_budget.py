"""The size gate finds what is too big, and an allow-list that grants too much."""

from pathlib import Path

import pytest

import budget

FUNCTION = "def f():\n" + "    x = 1\n" * budget.FUNCTION_LINES
CLASS = "class C:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(31))


def problems(text: str, grants: str = "") -> list[str]:
    return budget.judge(budget.measure("a.py", text), budget.read_grants(grants))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""Doc."""\nx = 1\n', []),
        ("", []),
        ("x = 1\n", ["a.py:1: missing module docstring (module)"]),
        ('"""Doc."""\n' + "x = 1\n" * 499, []),
        ('"""Doc."""\n' + "x = 1\n" * 500, ["a.py:1: 501 > 500 lines of file (module)"]),
        ('"""Doc."""\n' + FUNCTION, ["a.py:2: 61 > 60 lines of function (f)"]),
        ('"""Doc."""\nasync ' + FUNCTION, ["a.py:2: 61 > 60 lines of function (f)"]),
        ('"""Doc."""\n' + CLASS, ["a.py:2: 31 > 30 methods of class (C)"]),
    ],
)
def test_budgets(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_a_test_module_needs_no_docstring() -> None:
    assert list(budget.judge(budget.measure("packages/x/tests/test_y.py", "x = 1\n"), [])) == []


def test_functions_inside_functions_and_blocks_are_measured() -> None:
    body = "".join(f"        {line}\n" for line in FUNCTION.splitlines())
    text = f'"""Doc."""\nclass C:\n    if True:\n{body}'
    assert problems(text) == ["a.py:4: 61 > 60 lines of function (C.f)"]


def test_property_and_setter_are_one_method() -> None:
    pair = "    @property\n    def p(self): ...\n    @p.setter\n    def p(self, v): ...\n"
    assert problems('"""Doc."""\n' + CLASS.replace("    def m0(self): ...\n", "") + pair) == [
        "a.py:2: 31 > 30 methods of class (C)"
    ]


def test_a_grant_is_exact() -> None:
    text = '"""Doc."""\n' + FUNCTION
    assert problems(text, "# comment\n\na.py::f 61 a table\n") == []
    assert problems(text, "a.py::f 60 a table\n") == [
        "a.py:2: 61 > 60 lines of function (f)",
    ]
    assert problems(text, "a.py::f 70 a table\n") == [
        "budget_allow.txt:1: grants 70 to a.py::f, which needs 61"
    ]
    assert problems('"""Doc."""\n', "a.py::gone 70 a table\n") == [
        "budget_allow.txt:1: grants 70 to a.py::gone, which needs nothing"
    ]


@pytest.mark.parametrize("line", ["a.py 600", "a.py many reasons here", "a.py"])
def test_a_grant_needs_a_size_and_a_reason(line: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        budget.read_grants(line)


def test_the_allow_list_of_the_checkout_is_empty() -> None:
    assert budget.read_grants(budget.ALLOWED.read_text("utf-8")) == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, broken = (tmp_path / name for name in ("good.py", "bad.py", "broken.py"))
    good.write_text('"""Doc."""\n\n\ndef f():\n    return 1\n')
    bad.write_text("x = 1\n")
    broken.write_text("def\n")
    assert budget.main([str(good)]) == 0
    assert budget.main([str(good), str(bad)]) == 1
    assert "bad.py:1: missing module docstring" in capsys.readouterr().out
    assert budget.main([str(broken)]) == 1


def test_the_tools_keep_their_own_budget() -> None:
    assert budget.main([str(path) for path in Path(budget.__file__).parent.glob("*.py")]) == 0
