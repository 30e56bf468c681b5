"""The TOML file: what it may say, and the one line it gets when it says something else."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.addr import SocketAddr
from iroh_relay.config_file import ConfigError, FileConfig, load_config, parse_config


def parse(text: str) -> FileConfig:
    return parse_config(text.encode(), "relay.toml")


def test_nothing_means_defaults() -> None:
    assert parse("") == FileConfig(enable_relay=True, http_bind_addr=None, has_tls=False)


@pytest.mark.parametrize("value", [True, False])
def test_enable_relay(value: bool) -> None:
    assert parse(f"enable_relay = {str(value).lower()}").enable_relay is value


def test_addresses() -> None:
    assert parse('http_bind_addr = "127.0.0.1:8080"').http_bind_addr == SocketAddr(
        "127.0.0.1", 8080
    )
    assert parse('http_bind_addr = "[::]:80"').http_bind_addr == SocketAddr("::", 80)


def test_unknown_keys_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    assert parse('colour = "blue"\n[sub]\nkey = 1\n') == FileConfig()
    assert caplog.records == []


def test_keys_of_later_versions_are_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    parse("enable_metrics = true\n[limits]\naccept_conn_limit = 3.0\n")
    assert [record.getMessage() for record in caplog.records] == [
        "relay.toml: `enable_metrics` has no effect in this version yet",
        "relay.toml: `limits` has no effect in this version yet",
    ]


def test_access_for_everyone_is_what_there_is() -> None:
    assert parse('access = "everyone"') == FileConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('enable_relay = "yes"', "relay.toml: enable_relay must be a boolean, not a string"),
        ("enable_relay = 1", "relay.toml: enable_relay must be a boolean, not an integer"),
        ("http_bind_addr = 80", "relay.toml: http_bind_addr must be a string, not an integer"),
        ("http_bind_addr = 1979-05-27", "must be a string, not a date or time"),
        ('http_bind_addr = "localhost"', "must be an IP address and a port like"),
        ('http_bind_addr = ":80"', "must be an IP address and a port like"),
        ("tls = true", "relay.toml: tls must be a table, not a boolean"),
        ("x = 1\nx = 2\n", "relay.toml is not valid TOML: .*line 2.*; correct it there"),
        ('access = { allowlist = ["x"] }', "access control is not in this version yet"),
        ('access.shared_token = ["x"]', "access control is not in this version yet"),
    ],
)
def test_one_line_that_says_what_to_do(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_not_text() -> None:
    with pytest.raises(ConfigError, match="not UTF-8"):
        parse_config(b"\xff\xfe", "relay.toml")


def test_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "relay.toml"
    assert load_config(file) == FileConfig()
    assert "does not exist, using defaults" in caplog.text
    file.write_text("[tls]\n")
    assert load_config(file).has_tls
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match=r"cannot read relay.toml: Permission denied; check"):
        load_config(Path("relay.toml"))


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_file_raises_only_its_own_error(raw: bytes) -> None:
    try:
        parse_config(raw, "relay.toml")
    except ConfigError:
        return
