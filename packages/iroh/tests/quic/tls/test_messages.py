"""The messages' decoders, and the derivations below them against other implementations."""

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st
from tls_kit import make_client, make_server

from iroh.quic import hkdf
from iroh.quic.tls import HANDSHAKE, INITIAL, alerts, groups
from iroh.quic.tls import messages as ms

EXTENSIONS = st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=20), max_size=5)
U16 = st.integers(0, 0xFFFF)
DECODERS = [
    *(ms.decode_client_hello, ms.decode_server_hello, ms.decode_encrypted_extensions),
    *(ms.decode_certificate, ms.decode_certificate_request, ms.decode_verify, ms.decode_ticket),
    *(ms.decode_alpn, ms.decode_shares, ms.decode_offer, lambda data: ms.numbers(data, 1)),
]


@pytest.mark.parametrize("decode", DECODERS)
@given(noise=st.binary(max_size=150))
def test_noise_raises_only_what_it_may(decode, noise):
    with suppress(alerts.Alert, alerts.Malformed):
        decode(noise)
    assert ms.offers_raw_keys({19: noise, 20: noise}) in (True, False)


def flight(of_client: bool) -> list[bytes]:
    """All messages of one side of a handshake."""
    client, server = make_client(), make_server()
    client.start()
    hello = client.take(INITIAL)
    server.receive(INITIAL, hello)
    answer, rest = server.take(INITIAL), server.take(HANDSHAKE)
    client.receive(INITIAL, answer)
    client.receive(HANDSHAKE, rest)
    last = client.take(HANDSHAKE)
    data = hello + last if of_client else answer + rest
    found = []
    while data:
        end = 4 + int.from_bytes(data[1:4], "big")
        found.append(data[:end])
        data = data[end:]
    return found


BY_KIND = dict(zip((1, 2, 8, 11, 13, 15, 4), DECODERS, strict=False)) | {
    13: ms.decode_certificate_request,
    15: ms.decode_verify,
}


@pytest.mark.parametrize("of_client", [True, False])
def test_a_message_that_is_cut_short_is_malformed(of_client):
    for message in flight(of_client):
        decode = BY_KIND.get(message[0])
        if decode is None:
            continue
        decode(message)
        for end in range(4, len(message)):
            with pytest.raises((alerts.Malformed, alerts.Alert)):
                decode(message[:end])
        with pytest.raises(alerts.Malformed):
            decode(message + b"\0")


@given(st.binary(min_size=32, max_size=32), st.lists(U16, max_size=5), EXTENSIONS)
def test_a_client_hello(random, suites, extensions):
    extensions.pop(41, None)
    data = ms.encode_hello(random, suites, extensions)
    assert ms.decode_client_hello(data) == (random, b"", tuple(suites), b"\0", extensions)


def test_a_ticket_offer_has_to_be_last():
    data = ms.encode_hello(bytes(32), [0x1302], {41: b"", 42: b""})
    with pytest.raises(alerts.Alert) as caught:
        ms.decode_client_hello(data)
    assert caught.value.code == alerts.ILLEGAL_PARAMETER


@given(st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=5))
def test_alpns(names):
    assert ms.decode_alpn(ms.encode_alpn(names)) == names


@given(st.lists(st.tuples(U16, st.binary(max_size=99)), max_size=5))
def test_key_shares(shares):
    assert ms.decode_shares(ms.encode_shares(shares)) == shares


@given(
    *(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=255)),
    *(st.binary(max_size=300), st.none() | st.integers(0, 2**32 - 1)),
)
def test_tickets(lifetime, age_add, nonce, ticket, early_data):
    offer = ms.TicketOffer(lifetime, age_add, nonce, ticket, early_data)
    assert ms.decode_ticket(ms.encode_ticket(offer)) == offer


@given(st.lists(st.binary(max_size=60), max_size=3), st.binary(max_size=9))
def test_certificates(entries, context):
    assert ms.decode_certificate(ms.encode_certificate(context, entries)) == entries


@pytest.mark.parametrize(
    ("digest", "algorithm"), [("sha256", hashes.SHA256()), ("sha384", hashes.SHA384())]
)
@given(
    secret=st.binary(min_size=32, max_size=48),
    label=st.binary(max_size=12),
    context=st.binary(max_size=48),
    length=st.integers(1, 500),
)
def test_hkdf(digest, algorithm, secret, label, context, length):
    full = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(full),)) + full + bytes((len(context),)) + context
    expected = HKDFExpand(algorithm, length, info).derive(secret)
    assert hkdf.expand_label_long(secret, label, length, digest, context) == expected
    if length <= algorithm.digest_size:
        assert hkdf.expand_label(secret, label, length, digest, context) == expected


# -- key agreement -------------------------------------------------------------------------------

GROUPS = [groups.X25519, groups.SECP256R1, groups.SECP384R1]
if groups.has_hybrid():
    GROUPS.append(groups.X25519MLKEM768)


@pytest.mark.parametrize("group", GROUPS)
def test_both_ends_agree(group):
    share, finish = groups.offer(group)
    answer, secret = groups.answer(group, share)
    assert finish(answer) == secret
    assert secret != groups.answer(group, share)[1]


@pytest.mark.parametrize("group", GROUPS)
def test_shares_that_cannot_be(group):
    share, finish = groups.offer(group)
    answer, _ = groups.answer(group, share)
    for bad in (b"", share[:-1], share + b"\0", bytes(len(share)), b"\xff" * len(share)):
        if group != groups.X25519 or len(bad) != 32 or bad == bytes(32):
            with pytest.raises(ValueError):
                groups.answer(group, bad)
    for bad in (b"", answer[:-1], answer + b"\0"):
        with pytest.raises(ValueError):
            finish(bad)


@pytest.mark.parametrize(
    "point",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ],
)
def test_points_of_small_order(point):
    """They would make a secret that everybody knows (RFC 7748 section 6.1)."""
    with pytest.raises(ValueError):
        groups.answer(groups.X25519, bytes.fromhex(point))
