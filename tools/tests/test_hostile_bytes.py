"""Ten thousand mutated inputs; `nox -s reliability` gives a million."""

import random

import pytest

from reliability import hostile_bytes


def test_nothing_foreign_comes_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert hostile_bytes.main(["--count", "10000", "--seed", "1"]) == 0
    assert "10000 inputs, 0 foreign exceptions" in capsys.readouterr().out


def test_nothing_foreign_comes_out_of_the_dns_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert hostile_bytes.main(["--count", "10000", "--seed", "1", "--only", "dns"]) == 0
    assert "10000 inputs, 0 foreign exceptions" in capsys.readouterr().out


def test_what_is_foreign_is_told() -> None:
    def target(data: bytes, rng: random.Random) -> None:
        raise LookupError("foreign")

    score = hostile_bytes.run("mine", target, [b"seed"], 3, 1)
    assert len(score.foreign) == 3
    assert "LookupError" in score.foreign[0]


def test_mutations_change_most_inputs_and_never_fail() -> None:
    rng = random.Random(1)
    seeds = [b"", b"a", bytes(100)]
    changed = [hostile_bytes.mutate(seeds[n % 3], seeds, rng) for n in range(3000)]
    assert sum(data != seeds[n % 3] for n, data in enumerate(changed)) > 1500
