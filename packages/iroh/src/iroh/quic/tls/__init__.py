"""TLS 1.3 as iroh uses it in QUIC: raw public keys on both ends, over aioquic's TLS."""
