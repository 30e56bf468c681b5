"""Keys and Hypothesis strategies that the tests of the protocol share."""

from hypothesis import strategies as st

from iroh_base.keys import PublicKey, SecretKey

SECRET = SecretKey.from_bytes(b"\x2a" * 32)
KEY = SECRET.public()
OTHER = SecretKey.from_bytes(b"\x2b" * 32).public()
NO_POINT = bytes((2,)) + bytes(31)
"""32 bytes that are no point of the curve."""

ids: st.SearchStrategy[PublicKey] = st.sampled_from(
    [SecretKey.from_bytes(bytes((seed,)) * 32).public() for seed in range(8)]
)
"""A few valid ids: making one costs a scalar multiplication."""
