"""Keys and signatures against the vectors of real Rust endpoints."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base import keys
from iroh_base.encoding import base32_encode, z32_encode
from iroh_base.errors import InvalidInputError, IrohErrorKind, KeyParsingError, SignatureError
from iroh_base.keys import EndpointId, PublicKey, SecretKey, Signature

# The order of the base point, RFC 8032 section 5.1.
L = 2**252 + 27742317777372353535851937790883648493
KEY = SecretKey(bytes(range(32)))


def load(name: str) -> Any:
    return json.loads((Path(__file__).parent / "vectors" / name).read_text())


@pytest.mark.parametrize("case", load("keys.json")["keys"], ids=lambda c: c["secret_hex"][:8])
def test_keys(case: dict[str, str]) -> None:
    secret = SecretKey.from_bytes(bytes.fromhex(case["secret_hex"]))
    public = secret.public()
    assert str(public) == case["public_hex"]
    assert public.fmt_short() == case["fmt_short"]
    assert base32_encode(bytes(public)) == case["public_base32_lower_py"]
    assert public.to_z32() == case["public_z32_py"]
    assert EndpointId.from_z32(case["public_z32_py"]) == public
    assert EndpointId.from_string(case["public_base32_lower_py"]) == public
    for text in (case["secret_base32_lower_py"], case["secret_hex"]):
        assert SecretKey.from_string(text).to_bytes() == secret.to_bytes()


@pytest.mark.parametrize(
    "case", load("signatures.json")["signatures"], ids=lambda c: c["sig_hex"][:8]
)
def test_signatures(case: dict[str, str]) -> None:
    secret = SecretKey.from_string(case["secret_hex"])
    message = bytes.fromhex(case["msg_hex"])
    signature = secret.sign(message)
    assert signature.to_bytes().hex() == case["sig_hex"]
    assert str(signature) == case["sig_display"]
    PublicKey.from_string(case["public_hex"]).verify(message, signature)


@pytest.mark.parametrize("case", load("verify_strict.json")["cases"], ids=lambda c: c["name"])
def test_strict_verification(case: dict[str, str]) -> None:
    public = PublicKey.from_string(case["public_hex"])
    signature = Signature.from_bytes(bytes.fromhex(case["sig_hex"]))
    if case["result"] == "ok":
        public.verify(bytes.fromhex(case["msg_hex"]), signature)
        return
    with pytest.raises(SignatureError, match="signature verification failed") as caught:
        public.verify(bytes.fromhex(case["msg_hex"]), signature)
    assert caught.value.is_kind(IrohErrorKind.INTERNAL)


EDGES = [bytes([n]) + bytes([fill]) * 30 + bytes([end]) for n in range(256)
         for fill, end in ((0, 0), (0, 0x80), (0xFF, 0x7F), (0xFF, 0xFF))]  # fmt: skip


@given(st.binary(min_size=32, max_size=32) | st.sampled_from(EDGES))
def test_points_are_found_by_libsodium_and_by_arithmetic_alike(key: bytes) -> None:
    assert keys._is_point.__wrapped__(key) == keys._is_point_slowly(key)


def test_points_without_that_function_of_libsodium(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "has_crypto_core_ed25519", False)
    for case in load("point_validity.json")["cases"]:
        raw = bytes.fromhex(case["hex"])
        assert keys._is_point.__wrapped__(raw) == keys._is_point_slowly(raw)


@pytest.mark.parametrize("case", load("point_validity.json")["cases"], ids=lambda c: c["hex"])
def test_point_validity(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    if case["valid"]:
        assert PublicKey(data).to_bytes() == data  # as given, canonical or not
        return
    with pytest.raises(KeyParsingError, match="not a valid public key"):
        PublicKey(data)


@pytest.mark.parametrize("case", load("id_text.json")["cases"], ids=lambda c: c["name"])
def test_id_text(case: dict[str, Any]) -> None:
    if case["ok"]:
        assert str(EndpointId.from_string(case["input"])) == case["id"]
        return
    with pytest.raises(KeyParsingError) as caught:
        EndpointId.from_string(case["input"])
    assert str(caught.value).startswith(case["message"])
    assert str(caught.value.kind()) == case["kind"]


def test_z32_is_no_text_form_of_an_id() -> None:
    with pytest.raises(KeyParsingError):
        EndpointId.from_string(KEY.public().to_z32())
    for bad in (KEY.public().to_z32().upper(), "y" * 51, "", "y" * 53, "yy", "0" * 52):
        with pytest.raises(KeyParsingError):
            EndpointId.from_z32(bad)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_wrong_lengths(length: int) -> None:
    for make in (PublicKey, PublicKey.from_bytes, SecretKey.from_bytes):
        with pytest.raises(InvalidInputError, match="32 bytes"):
            make(bytes(length))
    with pytest.raises(InvalidInputError, match="64 bytes"):
        Signature.from_bytes(bytes(length + 1))


def test_wrong_types() -> None:
    for make in (PublicKey, SecretKey, Signature):
        with pytest.raises(TypeError):
            make("0" * 32)  # type: ignore[arg-type]
    for parse in (PublicKey.from_string, PublicKey.from_z32, SecretKey.from_string):
        with pytest.raises(TypeError):
            parse(b"0" * 64)  # type: ignore[arg-type]


def test_public_key_as_a_value() -> None:
    low, high = sorted(SecretKey(bytes([n]) * 32).public() for n in (1, 2))
    assert low < high
    assert high >= low
    assert low != high
    assert low == PublicKey(bytearray(low.to_bytes()))
    assert len({low, high, PublicKey(low.to_bytes())}) == 2
    assert low != low.to_bytes()
    assert repr(low) == f"PublicKey({low})"
    assert pickle.loads(pickle.dumps(low)) == low
    assert EndpointId is PublicKey
    with pytest.raises(TypeError):
        assert low < "a"  # type: ignore[operator]


def test_signature_as_a_value() -> None:
    signature = KEY.sign(b"m")
    assert signature == Signature(bytes(signature))
    assert signature != KEY.sign(b"n")
    assert signature != bytes(signature)
    assert len({signature, Signature(bytes(signature))}) == 1
    assert repr(signature) == f"Signature({signature})"


def test_a_secret_key_does_not_show_itself() -> None:
    assert repr(KEY) == str(KEY) == f"{KEY}" == "SecretKey(..)"
    text = KEY.to_bytes().hex()
    with pytest.raises(KeyParsingError) as caught:
        SecretKey.from_string(text[:-1] + "X")
    assert text[:16] not in repr(caught.value)
    assert SecretKey(bytes(KEY.to_bytes())) == KEY
    assert SecretKey(bytes(32)) != KEY
    assert KEY.to_bytes() != KEY
    assert hash(SecretKey(KEY.to_bytes())) == hash(KEY)


def test_generate_takes_its_randomness() -> None:
    assert SecretKey.generate(lambda n: b"\7" * n) == SecretKey(b"\7" * 32)
    assert SecretKey.generate() != SecretKey.generate()


@given(st.binary(max_size=80) | st.binary(min_size=32, max_size=32))
def test_any_bytes(data: bytes) -> None:
    try:
        key = PublicKey(data)
    except (InvalidInputError, KeyParsingError):
        return
    assert bytes(key) == data
    assert PublicKey.from_string(str(key)) == PublicKey.from_z32(key.to_z32()) == key
    assert PublicKey.from_string(base32_encode(data).upper()) == key


@given(st.text(max_size=70) | st.text(alphabet="0123456789abcdef", min_size=64, max_size=64))
def test_any_text(text: str) -> None:
    for parse in (PublicKey.from_string, PublicKey.from_z32, SecretKey.from_string):
        try:
            parse(text)
        except KeyParsingError:
            continue


@given(st.binary(max_size=50), st.integers(0, 511), st.binary(min_size=1, max_size=5))
def test_signatures_hold_for_one_message_only(message: bytes, bit: int, more: bytes) -> None:
    signature = KEY.sign(message)
    KEY.public().verify(message, signature)
    flipped = bytearray(signature.to_bytes())
    flipped[bit // 8] ^= 1 << bit % 8
    above = int.from_bytes(signature.to_bytes()[32:], "little") + L  # S must be below L
    for wrong, text in [
        (Signature(bytes(flipped)), message),
        (signature, message + more),
        (Signature(signature.to_bytes()[:32] + above.to_bytes(32, "little")), message),
    ]:
        with pytest.raises(SignatureError):
            KEY.public().verify(text, wrong)


def test_z32_of_a_key_is_52_characters() -> None:
    assert len(z32_encode(bytes(32))) == 52
