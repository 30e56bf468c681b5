"""The relay map, held against what the bindings iroh 1.2.0 do."""

import pytest

from iroh_base.errors import InvalidInputError, IrohError, IrohErrorKind
from iroh_base.relay_url import RelayUrl
from iroh_relay.relay_map import RelayConfig, RelayMap

BAD = ["bad", "", "https://", "b.example", "http://[::1"]


def test_config_is_a_mutable_value() -> None:
    config = RelayConfig(url="https://b.example/", quic_port=7842)
    assert config == RelayConfig(url="https://b.example/", quic_port=7842, auth_token=None)
    config.auth_token = "secret"
    assert config != RelayConfig(url="https://b.example/", quic_port=7842)
    with pytest.raises(TypeError, match="unhashable"):
        hash(config)
    with pytest.raises(TypeError):
        RelayConfig("https://b.example/")  # type: ignore[call-arg]
    assert str(config) == ("RelayConfig(url=https://b.example/, quic_port=7842, auth_token=secret)")
    assert "secret" not in repr(config)


def test_from_urls_normalises_sorts_and_merges() -> None:
    relays = RelayMap.from_urls(
        [
            "https://b.example",
            "http://A.example:80/x?y=1",
            "https://b.example/",
            "https://c.example./",
        ]
    )
    urls = ["http://a.example/x?y=1", "https://b.example/", "https://c.example./"]
    assert relays.urls() == urls
    assert [config.url for config in relays] == urls
    assert (relays.len(), len(relays), relays.is_empty()) == (3, 3, False)
    assert str(relays) == f"RelayMap([{', '.join(urls)}])"
    assert relays.get("https://b.example") == RelayConfig(url="https://b.example/", quic_port=7842)


def test_empty() -> None:
    relays = RelayMap.empty()
    assert (relays.urls(), relays.len(), relays.is_empty(), str(relays)) == (
        [], 0, True, "RelayMap([])",
    )  # fmt: skip
    assert relays
    assert relays != RelayMap.empty()


def test_insert_replaces_and_keeps_a_copy() -> None:
    relays = RelayMap.from_urls(["https://b.example"])
    config = RelayConfig(url="https://b.example", auth_token="t")
    relays.insert(config)
    config.auth_token = "other"
    found = relays.get("https://b.example/")
    assert found == RelayConfig(url="https://b.example/", quic_port=None, auth_token="t")
    found.auth_token = "zz"
    assert relays.get("https://b.example/") != found
    assert len(relays) == 1
    assert config.url == "https://b.example"


def test_remove_and_contains() -> None:
    relays = RelayMap.from_urls(["https://b.example", "ftp://x"])
    assert relays.contains("https://B.example")
    assert "https://b.example/" in relays
    assert RelayUrl("https://b.example") in relays
    assert relays.get(RelayUrl("https://b.example")) == relays.get("https://b.example/")
    assert 5 not in relays
    assert relays.remove("https://b.example")
    assert not relays.remove("https://b.example")
    assert relays.get("https://b.example") is None
    assert relays.urls() == ["ftp://x/"]


@pytest.mark.parametrize("url", BAD)
def test_bad_urls(url: str) -> None:
    relays = RelayMap.empty()
    calls = (
        lambda: RelayMap.from_urls([url]),
        lambda: relays.insert(RelayConfig(url=url)),
        lambda: relays.remove(url),
        lambda: relays.contains(url),
        lambda: relays.get(url),
    )
    for call in calls:
        with pytest.raises(IrohError) as caught:
            call()
        assert caught.value.kind() is IrohErrorKind.INTERNAL
        assert caught.value.message() == "Failed to parse relay URL"


def test_bad_types_and_ports() -> None:
    relays = RelayMap.empty()
    with pytest.raises(TypeError, match="argument must be str, not int"):
        relays.contains(5)  # type: ignore[arg-type]
    for port in (-1, 65536):
        with pytest.raises(InvalidInputError, match="0 <= value < 65536"):
            relays.insert(RelayConfig(url="https://b.example", quic_port=port))
    relays.insert(RelayConfig(url="https://b.example", quic_port=0))


def test_watching() -> None:
    relays = RelayMap.empty()
    seen: list[list[str]] = []
    unsubscribe = relays.subscribe(lambda: seen.append(relays.urls()))
    version = relays.version
    relays.insert(RelayConfig(url="https://b.example"))
    relays.insert(RelayConfig(url="https://b.example/"))  # no change
    relays.remove("https://nobody.example")
    relays.remove("https://b.example")
    assert seen == [["https://b.example/"], []]
    assert relays.version == version + 2
    unsubscribe()
    unsubscribe()
    relays.insert(RelayConfig(url="https://b.example"))
    assert len(seen) == 2
