"""The gate itself, and that the public API passes it."""

import pytest

import docstrings


def test_the_public_api_says_what_cancelling_does_and_what_is_raised() -> None:
    assert docstrings.problems() == []


class Bad(LookupError):
    """An error."""


def fail() -> None:
    """Fail."""
    raise Bad


class Example:
    """Methods that say enough, and some that do not."""

    async def says(self) -> None:
        """Wait. Cancelling it is harmless. Raises LookupError."""
        raise Bad

    async def refers(self) -> None:
        """See `says`."""
        raise Bad

    async def delegates(self) -> None:
        """Wait. Cancelling it is harmless."""
        fail()

    async def catches(self) -> None:
        """Wait. Cancelling it is harmless."""
        try:
            fail()
        except Bad:
            return

    async def is_silent(self) -> None:
        """Wait."""
        raise Bad("text")


@pytest.mark.parametrize(
    ("name", "lacks", "unnamed"),
    [
        ("says", False, []),
        ("refers", False, []),
        ("is_silent", True, ["Bad"]),
        ("delegates", False, ["Bad"]),
        ("catches", False, []),
    ],
)
def test_what_is_missing_is_found(name: str, lacks: bool, unnamed: list[str]) -> None:
    found = docstrings.Function(f"x.Example.{name}", getattr(Example, name), Example)
    assert docstrings.lacks_cancellation(found) is lacks
    assert docstrings.unnamed_exceptions(found) == unnamed


def test_hundreds_are_looked_at() -> None:
    assert len(list(docstrings.public_functions())) > 300
