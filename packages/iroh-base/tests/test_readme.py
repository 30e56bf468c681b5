"""The README's examples run, in order, and print what they say."""

import contextlib
import io
import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMENTED_PRINT = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def test_examples() -> None:
    assert len(EXAMPLES) >= 5
    scope: dict[str, object] = {}
    for example in EXAMPLES:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(example, "README.md", "exec"), scope)
        assert output.getvalue().splitlines() == COMMENTED_PRINT.findall(example)
