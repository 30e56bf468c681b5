"""What RUST_LOG means here."""

import logging

import pytest

from iroh_relay.logs import levels


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("", {}),
        ("warn", {None: logging.WARNING}),
        ("DEBUG", {None: logging.DEBUG}),
        ("info, iroh_relay=trace", {None: logging.INFO, "iroh_relay": logging.DEBUG}),
        ("iroh_relay::server=error", {"iroh_relay.server": logging.ERROR}),
        ("off,hyper=warn", {None: logging.CRITICAL + 1, "hyper": logging.WARNING}),
        ("iroh_relay", {"iroh_relay": logging.DEBUG}),
    ],
)
def test_levels(wanted: str, chosen: dict[str | None, int]) -> None:
    assert levels(wanted) == (chosen, [])


def test_what_cannot_be_understood_is_named() -> None:
    assert levels("iroh_relay=loud,warn,[span]=x") == (
        {None: logging.WARNING},
        ["iroh_relay=loud", "[span]=x"],
    )
