"""The configuration file: what is taken, and how well it is explained what is not."""

import re
import sys
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_dns_server import (
    CertMode,
    ConfigError,
    HttpConfig,
    HttpsConfig,
    MetricsConfig,
    PostgresConfig,
    RateLimit,
    config,
    load_config,
    parse_config,
)
from iroh_dns_server.config_toml import check_config, parse_duration

FULL = """
pkarr_put_rate_limit = "smart"
trusted_proxies = ["10.0.0.0/8", "::1"]
data_dir = "/srv/iroh"
[http]
port = 80
bind_addr = "192.0.2.1"
listen_backlog = 7
[dns]
port = 53
bind_addr = "::1"
default_soa = "a. b. 0 1 2 3 4"
default_ttl = 30
origins = ["dns.example.org.", "."]
rr_a = "192.0.2.1"
rr_aaaa = "2001:db8::1"
rr_ns = "ns1.example.org."
[zone_store]
max_batch_size = 100
max_batch_time = "100ms"
eviction = "2days 1h"
eviction_interval = "5s"
max_future = "2h"
[metrics]
disabled = true
[mainline]
enabled = false
"""
SMALL = """
[http]
port = 8080
[dns]
port = 5300
default_soa = "a. b. 0 1 2 3 4"
default_ttl = 900
origins = ["."]
"""


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_key() -> None:
    full = parse_config(FULL)
    assert full.pkarr_put_rate_limit is RateLimit.SMART
    assert full.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert full.data_dir == Path("/srv/iroh")
    assert full.http is not None
    assert (full.http.port, full.http.bind_addr) == (80, IPv4Address("192.0.2.1"))
    assert full.http.listen_backlog == 7
    assert (full.dns.port, full.dns.bind_addr) == (53, IPv6Address("::1"))
    assert full.dns.origins == ("dns.example.org.", ".")
    assert (full.dns.default_soa, full.dns.default_ttl) == ("a. b. 0 1 2 3 4", 30)
    assert full.dns.rr_a == IPv4Address("192.0.2.1")
    assert full.dns.rr_aaaa == IPv6Address("2001:db8::1")
    assert full.dns.rr_ns == "ns1.example.org."
    assert full.zone_store.max_batch_size == 100
    assert full.zone_store.max_batch_time == pytest.approx(0.1)
    assert full.zone_store.eviction == 49 * 3600
    assert full.zone_store.eviction_interval == 5
    assert full.zone_store.max_future == 7200
    assert full.metrics is None


def test_what_may_be_left_out() -> None:
    small = parse_config(SMALL)
    assert small.pkarr_put_rate_limit is RateLimit.SIMPLE
    assert small.http == HttpConfig(port=8080)
    assert (small.https, small.data_dir, small.dns.bind_addr) == (None, None, None)
    assert (small.dns.rr_a, small.dns.rr_aaaa, small.dns.rr_ns) == (None, None, None)
    assert small.zone_store.eviction == 7 * 86400
    assert small.zone_store.eviction_interval == 10
    assert small.zone_store.max_future == 86400
    assert small.metrics == MetricsConfig(port=9117, bind_addr=IPv4Address("127.0.0.1"))
    text = SMALL + '[metrics]\nbind_addr = "[::1]:9"'
    assert parse_config(text).metrics == MetricsConfig(port=9, bind_addr=IPv6Address("::1"))


@pytest.mark.parametrize(
    ("old", "new", "start", "also"),
    [
        ("[http]", "[http", "not valid TOML:", "line"),
        ("port = 8080", "port = 80808", "http.port: expected a whole number", "80808"),
        ("port = 8080", 'port = "8080"', "http.port: expected a whole number", "text '8080'"),
        ("port = 8080", "port = true", "http.port:", "true or false"),
        ("port = 8080", "", "http.port: is missing", ""),
        ("port = 8080", "port = 1\nbind_adr = 1", "http.bind_adr: no such key", "bind_addr"),
        ("port = 8080", 'port = 1\nbind_addr = "localhost"', "http.bind_addr:", "IP address"),
        ("port = 8080", "port = 1\nlisten_backlog = 0", "http.listen_backlog:", "from 1"),
        ("port = 5300", "port = -1", "dns.port:", "-1"),
        ("default_ttl = 900", "", "dns.default_ttl: is missing", ""),
        ("default_ttl = 900", "default_ttl = 1.5", "dns.default_ttl:", "float 1.5"),
        ('["."]', '"."', "dns.origins: expected a list", "'.'"),
        ('["."]', "[]", "dns.origins: expected a list", ""),
        ('["."]', '[".", 5]', "dns.origins[1]: expected text", "int 5"),
        ('["."]', '["."]\nrr_a = "::1"', "dns.rr_a:", "IPv4"),
        ('["."]', '["."]\nrr_aaaa = "1.2.3.4"', "dns.rr_aaaa:", "IPv6"),
        ('["."]', '["."]\nrr_ns = 5', "dns.rr_ns: expected text", ""),
        ("[http]", "dns = 5\n[http]", "not valid TOML:", ""),
        ("[http]", "data_dir = 5\n[http]", "data_dir: expected text", "int 5"),
        ("[http]", 'data_dir = ""\n[http]', "data_dir: expected a directory", ""),
        ("[http]", 'pkarr_put_rate_limit = "hard"\n[http]', "pkarr_put_rate_limit:", "'smart'"),
        ("[http]", "pkarr_put_rate_limit = []\n[http]", "pkarr_put_rate_limit:", "[]"),
        ("[http]", 'trusted_proxies = "::1"\n[http]', "trusted_proxies: expected a list", "'::1'"),
        ("[http]", 'trusted_proxies = ["10.0.0.1/8"]\n[http]', "trusted_proxies:", "host bits"),
        ("[http]", "trusted_proxies = [5]\n[http]", "trusted_proxies[0]: expected text", "int 5"),
        ("[http]", "extra = 1\n[http]", "extra: no such key", "zone_store"),
        ("[http]", '[zone_store]\neviction = "7"\n[http]', "zone_store.eviction:", "7days"),
        ("[http]", '[zone_store]\neviction = "7 moons"\n[http]', "zone_store.eviction:", "unit"),
        ("[http]", "[zone_store]\neviction = 7\n[http]", "zone_store.eviction: expected text", ""),
        ("[http]", '[zone_store]\neviction_interval = "0s"\n[http]',
         "zone_store.eviction_interval:", "millisecond"),
        ("[http]", "[https]\nport = 1\n[http]", "https.cert_mode: is missing", ""),
        ("[http]", '[https]\nport = 1\ncert_mode = "x"\ndomains = ["a"]\n[http]',
         "https.cert_mode: expected one of", "'self_signed'"),
        ("[http]", '[https]\nport = 1\ncert_mode = "manual"\ndomains = ["a", "b"]\n[http]',
         "https.domains: with cert_mode manual", "exactly one"),
        ("[http]", '[https]\nport = 1\ncert_mode = "lets_encrypt"\ndomains = ["a"]\n[http]',
         "https.letsencrypt_contact: is missing", "e-mail"),
        ("[http]\nport = 8080\n", '[https]\nport = 1\ncert_mode = "lets_encrypt"\ndomains = ["a"]\n'
         'letsencrypt_contact = "me@example.org"\n', "http: the section is missing", "port 80"),
        ("[http]", "[mainline]\n[http]", "mainline.enabled: is missing", ""),
        ("[http]", '[mainline]\nenabled = true\nbootstrap = ["x"]\n[http]',
         "mainline.bootstrap: 'x' is no host:port", ""),
        ("[http]", "[metrics]\ndisabled = 0\n[http]", "metrics.disabled: expected true or", ""),
        ("[http]", '[metrics]\nbind_addr = "[::]"\n[http]', "metrics.bind_addr:", "9117"),
        ("a. b. 0 1 2 3 4", "a. b.", "dns.default_soa:", "hostmaster"),
        ('["."]', '["."]\nrr_ns = "a..b"', "dns.rr_ns: 'a..b' is no domain name", ""),
    ],
)  # fmt: skip
def test_complaints_name_the_key_and_the_cure(old: str, new: str, start: str, also: str) -> None:
    assert old in SMALL
    text = complaint(SMALL.replace(old, new, 1))
    assert text.startswith(start)
    assert also in text


def test_lets_encrypt() -> None:
    text = (
        '[https]\nport = 443\ncert_mode = "lets_encrypt"\ndomains = ["a.example", "b.example"]\n'
        'letsencrypt_contact = "me@example.org"\nletsencrypt_prod = true\n'
        'acme_directory = "https://ca.example/dir"\nacme_ca = "/etc/ca.pem"\n[http]'
    )
    read = parse_config(SMALL.replace("[http]", text, 1)).https
    assert read is not None
    assert read.cert_mode is CertMode.LETS_ENCRYPT
    assert (read.letsencrypt_contact, read.letsencrypt_prod) == ("me@example.org", True)
    assert (read.acme_directory, read.acme_ca) == ("https://ca.example/dir", Path("/etc/ca.pem"))


def test_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://iroh:secret@db.example/iroh"
    environment = {"IROH_DNS__POSTGRES__URL": url}
    read = parse_config(SMALL, environment).postgres
    assert read == PostgresConfig(url=url)
    assert "secret" not in repr(read)
    assert parse_config(SMALL).postgres is None
    for wrong in ("mysql://iroh:secret@db.example", "5"):
        with pytest.raises(ConfigError, match=r"postgres\.url: expected") as caught:
            parse_config(SMALL, {"IROH_DNS__POSTGRES__URL": wrong})
        assert "secret" not in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'iroh-dns-server\[postgres\]'"):
        parse_config(SMALL, environment)


def test_https_alone() -> None:
    text = '[https]\nport = 443\ndomains = ["a.example"]\ncert_mode = "manual"\n'
    read = parse_config(SMALL.replace("[http]\nport = 8080\n", text))
    assert read.http is None
    assert read.https == HttpsConfig(port=443, domains=("a.example",), cert_mode=CertMode.MANUAL)


def test_missing_sections() -> None:
    assert complaint("").startswith("http: the section is missing")
    assert complaint("[http]\nport = 1").startswith("dns: the section is missing")
    assert complaint("http = 5\n[dns]").startswith("http: expected a section [http], got int 5")


def test_the_environment_wins() -> None:
    environment = {
        "IROH_DNS__HTTP__PORT": "1",
        "IROH_DNS__DNS__ORIGINS": '["a.example."]',
        "IROH_DNS__DATA_DIR": "/data",
        "IROH_DNS__ZONE_STORE__MAX_FUTURE": "1h",
        "IROH_DNS_DATA_DIR": "/not/this",
    }
    read = parse_config(SMALL, environment)
    assert read.http == HttpConfig(port=1)
    assert read.dns.origins == ("a.example.",)
    assert (read.data_dir, read.zone_store.max_future) == (Path("/data"), 3600)
    for variable, value, says in (
        ("IROH_DNS__HTTP__PORT", "x", "http.port: expected a whole number"),
        ("IROH_DNS__HTTP__PORT__X", "1", "http.port.x: port is no section"),
        ("IROH_DNS__NOPE", "1", "nope: no such key"),
    ):
        _, problems = check_config(SMALL, {variable: value})
        assert next(problem.located("c.toml") for problem in problems).startswith(
            f"{variable}: {says}"
        )


def test_every_problem_with_its_line() -> None:
    text = SMALL.replace("8080", "-1").replace('"."', '".", "a..b"') + "[zone_store]\neviction = 1"
    _, problems = check_config(text)
    assert [problem.line for problem in problems] == [3, 8, 10]
    with pytest.raises(ConfigError, match=r"^f:3: http\.port: .* \(and 2 more: `iroh-dns-server"):
        parse_config(text, name="f")


@given(st.text(max_size=80))
def test_arbitrary_text_is_refused_with_our_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text)


ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "packages/iroh-dns-server/README.md", ROOT / "docs/howto/self-host-a-dns-server.md")


@pytest.mark.skipif(not PAGES[1].exists(), reason="the pages are in the checkout")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_of_the_documentation_can_be_used(page: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    _, problems = check_config(text)
    assert problems == []


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(ConfigError, match=r"c\.toml: cannot be read \(No such file"):
        load_config(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(path)
    path.write_text(SMALL.replace("8080", "x"))
    with pytest.raises(ConfigError, match=r"c\.toml: not valid TOML"):
        load_config(path)
    path.write_text(SMALL)
    assert load_config(path).http == HttpConfig(port=8080)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7days", 604800), ("10s", 10), ("1h 30m", 5400), ("1h30m", 5400), ("2 weeks", 1209600),
     ("500ms", 0.5), ("1M", 2630016), ("0", 0), (" 3 min ", 180)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 x", "-1s", "1.5s", "1s,", "9" * 400 + "y"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_duration(text)


def test_the_default_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IROH_DNS_DATA_DIR", "/named")
    assert config.default_data_dir() == Path("/named")
    monkeypatch.delenv("IROH_DNS_DATA_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert config.default_data_dir() == Path("/xdg/iroh-dns")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert config.default_data_dir() == Path("/home/me/.local/share/iroh-dns")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert config.default_data_dir() == Path("/home/me/Library/Application Support/iroh-dns")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", "/appdata")
    assert config.default_data_dir() == Path("/appdata/iroh-dns")
