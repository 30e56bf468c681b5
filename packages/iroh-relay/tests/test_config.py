"""The TOML file: what it may say, and the line it gets when it says something else."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.addr import SocketAddr
from iroh_base.keys import SecretKey
from iroh_relay.config import (
    AccessChoice,
    AccessMode,
    CertMode,
    ConfigError,
    FileConfig,
    TlsChoice,
    check_config,
    load_config,
    parse_config,
)
from iroh_relay.qad.limits import QadLimits
from iroh_relay.server import AcceptLimit, RxLimit

ID = SecretKey.from_bytes(bytes(32)).public()

WHOLE = f"""
enable_relay = true
http_bind_addr = "[::1]:8080"
enable_quic_addr_discovery = true
enable_metrics = true
metrics_bind_addr = "127.0.0.1:9999"
key_cache_capacity = 100
access.allowlist = ["{ID}"]

[limits]
accept_conn_limit = 5.5
accept_conn_burst = 7

[limits.client.rx]
bytes_per_second = 1000
max_burst_bytes = 500

[tls]
cert_mode = "Reloading"
https_bind_addr = "[::1]:8443"
quic_bind_addr = "[::1]:7000"
hostname = ["a.example", "b.example"]
cert_dir = "/certs"
manual_key_path = "/keys/k.pem"
prod_tls = false
contact = "me@example.org"
"""


def parse(text: str, environment: Mapping[str, str] | None = None) -> FileConfig:
    return parse_config(text.encode(), "relay.toml", environment)


def problems(text: str) -> list[str]:
    _, found = check_config(text.encode())
    return [problem.located("relay.toml") for problem in found]


def test_nothing_means_defaults() -> None:
    config = parse("")
    assert config == FileConfig()
    assert config.http_addr() == SocketAddr("::", 80)
    assert config.http_addr(dev=True) == SocketAddr("::", 3340)
    assert config.metrics_addr() == SocketAddr("::", 9090)
    assert config.https_addr() == SocketAddr("::", 443)
    assert config.quic_addr() == SocketAddr("::", 7842)


def test_every_key_of_the_rust_relay() -> None:
    assert parse(WHOLE) == FileConfig(
        enable_relay=True,
        http_bind_addr=SocketAddr("::1", 8080),
        enable_quic_addr_discovery=True,
        enable_metrics=True,
        metrics_bind_addr=SocketAddr("127.0.0.1", 9999),
        key_cache_capacity=100,
        access=AccessChoice(mode=AccessMode.ALLOWLIST, ids=(ID,)),
        accept_limit=AcceptLimit(5.5, 7),
        rx_limit=RxLimit(1000, 500),
        tls=TlsChoice(
            cert_mode=CertMode.RELOADING,
            https_bind_addr=SocketAddr("::1", 8443),
            quic_bind_addr=SocketAddr("::1", 7000),
            hostnames=("a.example", "b.example"),
            cert_dir=Path("/certs"),
            manual_key_path=Path("/keys/k.pem"),
            prod_tls=False,
            contact="me@example.org",
        ),
    )


def test_bounds_of_address_discovery() -> None:
    config = parse("[limits.qad]\nmax_connections = 9\nmax_per_host = 3\n")
    assert config.qad_limits == QadLimits(max_connections=9, max_per_host=3)
    assert parse("[limits.qad]\n").qad_limits == QadLimits()
    assert "must be more than 0" in problems("limits.qad.max_per_host = 0")[0]


def test_defaults_that_follow_from_others() -> None:
    config = parse('http_bind_addr = "10.0.0.1:81"\n[tls]\ncert_mode = "Manual"\nhostname = "a"\n')
    assert config.metrics_addr() == SocketAddr("10.0.0.1", 9090)
    assert config.https_addr() == SocketAddr("10.0.0.1", 443)
    assert config.quic_addr() == SocketAddr("10.0.0.1", 7842)
    assert config.tls is not None
    assert config.tls.hostnames == ("a",)
    assert config.tls.cert_path == Path("default.crt")
    assert config.tls.key_path == Path("default.key")


def test_who_may_use_it() -> None:
    assert parse('access = "everyone"').access == AccessChoice()
    assert parse(f'access = {{ denylist = ["{ID}"] }}').access == AccessChoice(
        mode=AccessMode.DENYLIST, ids=(ID,)
    )
    tokens = parse('[access]\nshared_token = ["a", "b"]\n').access
    assert tokens == AccessChoice(mode=AccessMode.SHARED_TOKEN, tokens=("a", "b"))
    assert "'a'" not in repr(tokens)
    http = parse('access.http.url = "https://example.org/x?y=z"').access
    assert http == AccessChoice(mode=AccessMode.HTTP, url="https://example.org/x?y=z")


def test_the_environment_overrides_secrets() -> None:
    environment = {"IROH_RELAY_ACCESS_TOKEN": "a,b", "IROH_RELAY_HTTP_BEARER_TOKEN": "c"}
    assert parse('access.shared_token = ["x"]', environment).access.tokens == ("a,b",)
    assert parse("access.shared_token = []", environment).access.tokens == ("a,b",)
    http = 'access.http = { url = "http://a/", bearer_token = "x" }'
    assert parse(http).access.bearer_token == "x"
    assert parse(http, environment).access.bearer_token == "c"
    assert parse("", environment).access == AccessChoice()


def test_unknown_keys_are_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert parse('colour = "blue"\n').rx_limit is None
    assert caplog.messages == ["relay.toml:1: colour is no key of a relay and has no effect"]


def test_whole_numbers_of_connections() -> None:
    assert parse("limits.accept_conn_limit = 5").accept_limit == AcceptLimit(5.0, 5)
    assert parse("limits.accept_conn_limit = 0.5").accept_limit == AcceptLimit(0.5, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('enable_relay = "yes"', "relay.toml:1: enable_relay must be a boolean, not a string"),
        ("enable_relay = 1", "relay.toml:1: enable_relay must be a boolean, not an integer"),
        ("http_bind_addr = 80", "http_bind_addr must be a string, not an integer"),
        ("http_bind_addr = 1979-05-27", "must be a string, not a date or time"),
        ('http_bind_addr = "localhost"', "must be an IP address and a port like"),
        ('http_bind_addr = ":80"', "must be an IP address and a port like"),
        ("tls = true", "relay.toml:1: tls must be a table, not a boolean"),
        ("x = 1\nx = 2\n", "relay.toml: this is not valid TOML: .*line 2.*; correct it there"),
        ('access = { allowlist = ["x"] }', "access.allowlist has 'x', which is no endpoint id"),
        ("access.allowlist = 1", "access.allowlist must be an array, not an integer"),
        ("access.allowlist = [1]", "access.allowlist must be an array of strings"),
        ('access = "nobody"', "access must be one of everyone, allowlist, .*, not 'nobody'"),
        ("access = 1", "access must be a table, not an integer"),
        ("access = {}", "access must have exactly one of .*, not nothing"),
        ("access = { a = 1 }", "access must have exactly one of .*, not a"),
        ("access.shared_token = []", "access.shared_token must have tokens, and no empty ones"),
        ('access.shared_token = [""]', "access.shared_token must have tokens"),
        ("access.http = 1", "access.http must be a table"),
        ("access.http = {}", "access.http.url is missing: the web service to ask"),
        ('access.http.url = "ftp://x"', "access.http.url must be an http or https URL"),
        ("limits.accept_conn_limit = 0.0", "limits.accept_conn_limit must be more than 0"),
        ("limits.accept_conn_limit = true", "must be a float, not a boolean"),
        ("limits.accept_conn_burst = 1", "means nothing without accept_conn_limit"),
        ("limits.client.rx.bytes_per_second = 9", "rx.bytes_per_second must be at least 10"),
        ("limits.client.rx.bytes_per_second = 0", "must be more than 0, not 0"),
        ("limits.client.rx.max_burst_bytes = 9", "means nothing without bytes_per_second"),
        ("[tls]\n", 'relay.toml:1: tls.cert_mode is missing: one of "Manual", '),
        ('[tls]\ncert_mode = "manual"', "relay.toml:2: tls.cert_mode must be one of"),
        ('[tls]\ncert_mode = "LetsEncrypt"\ncontact = "a"', "tls.hostname is missing"),
        ('[tls]\ncert_mode = "LetsEncrypt"\nhostname = "a"', "tls.contact is missing"),
        ('[tls]\ncert_mode = "Manual"\nhostname = [1]', "tls.hostname must be an array of str"),
    ],
)
def test_one_line_that_says_what_to_do(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_all_problems_with_their_lines() -> None:
    text = """# a comment
enable_relay = 1
[limits.client.rx]   # per client
bytes_per_second = "many"

[limits]
accept_conn_limit = -1.0
[tls]
cert_mode = "Manual"
"cert_dir" = 5
access = { }
"""
    assert problems(text) == [
        "relay.toml:2: enable_relay must be a boolean, not an integer",
        "relay.toml:4: limits.client.rx.bytes_per_second must be an integer, not a string",
        "relay.toml:7: limits.accept_conn_limit must be more than 0, not -1.0",
        "relay.toml:10: tls.cert_dir must be a string, not an integer",
        "relay.toml:11: warning: tls.access is no key of [tls] and has no effect",
    ]
    with pytest.raises(ConfigError, match=r"relay.toml:2: .* \(and 3 more: `iroh-relay check`\)"):
        parse(text)


def test_not_text() -> None:
    with pytest.raises(ConfigError, match="not UTF-8"):
        parse_config(b"\xff\xfe", "relay.toml")


def test_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "relay.toml"
    assert load_config(file) == FileConfig()
    assert "does not exist, using defaults" in caplog.text
    file.write_text("enable_relay = false\n")
    assert not load_config(file).enable_relay
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match=r"cannot read relay.toml: Permission denied; check"):
        load_config(Path("relay.toml"))


KEYS = st.sampled_from(
    [
        "enable_relay",
        "http_bind_addr",
        "access",
        "access.http",
        "access.allowlist",
        "limits",
        "limits.client.rx",
        "limits.accept_conn_limit",
        "tls",
        "tls.cert_mode",
        "tls.hostname",
        "other",
    ]
)
VALUES = st.sampled_from(
    ["1", "-1.5", "nan", "true", '"x"', "[]", "[1]", "{}", "{ a = 1 }", '["x"]', '"[::]:1"']
)


@given(
    st.binary(max_size=80)
    | st.text(max_size=80).map(str.encode)
    | st.lists(st.tuples(KEYS, VALUES).map(" = ".join)).map("\n".join).map(str.encode)
)
def test_any_file_raises_only_its_own_error(raw: bytes) -> None:
    try:
        parse_config(raw, "relay.toml")
    except ConfigError:
        return
