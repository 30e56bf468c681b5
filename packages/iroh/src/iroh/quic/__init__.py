"""The QUIC engine: sans-IO, no socket, no clock, no event loop. `api` is the seam to it."""
