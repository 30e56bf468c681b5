"""This project: the API is the bindings', so is the adapter."""

from bench.impl_iroh_ffi import bind, serve

DISTS = ("iroh", "iroh-base", "cryptography")

__all__ = ["DISTS", "bind", "serve"]
