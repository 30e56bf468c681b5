"""Dial any machine by its public key.

    import asyncio
    from iroh import Endpoint, presets

    async def main():
        async with Endpoint.bind(presets.N0, alpns=[b"my/protocol/1"]) as endpoint:
            conn = await endpoint.connect(peer_id, b"my/protocol/1")
            send, recv = await conn.open_bi()
            await send.write_all(b"hello")
            await send.finish()
            print(await recv.read_to_end(1000))

Endpoint        an identity that dials and accepts       Connection  streams and datagrams
Router          serves protocols by ALPN                 presets     bundles of settings
address_lookup  how peers are found                      protocols   echo, ping, pipe, files
iroh.sync       the same without async                   iroh.trio   the same for trio
iroh.testing    servers, NATs and time to test with      python -m iroh --help

Every error is an IrohError, and the built-in exception that fits. help(iroh.Endpoint) goes on.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iroh import iroh_ffi as iroh_ffi
    from iroh.iroh_ffi import *  # noqa: F403
    from iroh.public import *  # noqa: F403
    from iroh.public import __all__ as __all__

__version__ = "0.1.0"


if not TYPE_CHECKING:  # a checker shall know a name that there is not

    def __getattr__(name: str) -> object:
        """Import the public names when the first is asked for, and `iroh.iroh_ffi` when it is."""
        if name == "iroh_ffi":
            return importlib.import_module("iroh.iroh_ffi")
        if name.startswith("__") and name != "__all__":  # asked of every module, by many
            raise AttributeError(f"module 'iroh' has no attribute {name!r}")
        public = importlib.import_module("iroh.public")
        here = globals()
        here.update(
            {each: getattr(public, each) for each in public.__all__}, __all__=public.__all__
        )
        if name in here:  # also a submodule that came along, as `iroh.address_lookup`
            return here[name]
        twins = importlib.import_module("iroh.iroh_ffi")  # as in the bindings
        if name in twins.__all__:
            return getattr(twins, name)
        raise AttributeError(f"module 'iroh' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, too."""
    public = importlib.import_module("iroh.public")
    return sorted({*globals(), *public.__all__})
