import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_relay.protos.http import captive_response
from iroh_relay.protos.versions import SUPPORTED_VERSIONS, ProtocolVersion, negotiate, offer


def test_the_list_of_versions_is_complete_and_parses_back() -> None:
    assert set(SUPPORTED_VERSIONS) == set(ProtocolVersion)
    for version in ProtocolVersion:
        assert ProtocolVersion.from_subprotocol(version.subprotocol) is version


def test_the_offer_is_that_of_the_rust_client() -> None:
    assert offer() == "iroh-relay-v2, iroh-relay-v1"


@pytest.mark.parametrize(
    "header",
    [
        "iroh-relay-v2, iroh-relay-v1",
        "iroh-relay-v1, iroh-relay-v2",
        "iroh-relay-v1,iroh-relay-v2 ,foo",
        "foo, iroh-relay-v3, iroh-relay-v2",
    ],
)
def test_the_newest_common_version_wins_in_any_order(header: str) -> None:
    assert negotiate(header) is ProtocolVersion.V2


def test_old_clients_get_the_old_version() -> None:
    assert negotiate("bar, iroh-relay-v1") is ProtocolVersion.V1


@pytest.mark.parametrize("header", ["", ",", "iroh-relay-v3", "IROH-RELAY-V2", "iroh-relay-v2;"])
def test_no_common_version(header: str) -> None:
    assert negotiate(header) is None


@given(st.text())
def test_negotiating_never_raises(header: str) -> None:
    negotiate(header)


ALLOWED = string.ascii_letters + string.digits + "._-"


@given(st.text(ALLOWED, min_size=1, max_size=63))
def test_a_proper_challenge_is_echoed(challenge: str) -> None:
    assert captive_response(challenge) == f"response {challenge}"


@pytest.mark.parametrize("challenge", [None, "", "a" * 64, "a b", "a\n", "é", "a/b", "٣"])
def test_other_challenges_get_no_answer(challenge: str | None) -> None:
    assert captive_response(challenge) is None
