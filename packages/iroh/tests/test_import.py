"""What `import iroh` imports, and what it does not."""

import subprocess
import sys

import pytest


def python(code: str) -> str:
    """Run code in a fresh interpreter; what it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_import_alone_takes_nothing_along() -> None:
    """Neither the event loop nor the engine: the command line starts without them."""
    code = "import sys, iroh; print([m for m in sys.modules if m in ('asyncio', 'iroh.quic')])"
    assert python(code) == "[]"


def test_the_public_names_do_without_what_only_some_need() -> None:
    """Nor is a heavy library there before an endpoint is bound."""
    late = (
        *("aiohttp", "aioquic", "cryptography", "dns", "OpenSSL"),
        *("iroh.address_lookup.mdns", "iroh.address_lookup.mainline", "iroh_base.mainline"),
        "iroh.quic.recovery",  # the inside of a connection
    )
    code = f"import sys; from iroh import Endpoint; print(set({late}) & set(sys.modules))"
    assert python(code) == "set()"
    code = "import iroh.address_lookup as a; print([hasattr(a, n) for n in a.__all__].count(False))"
    assert python(code) == "0"


@pytest.mark.parametrize(
    "code",
    [
        "import iroh; print(iroh.Endpoint.__name__)",
        "from iroh import Endpoint; print(Endpoint.__name__)",
        "from iroh import *; print(Endpoint.__name__)",
        "import iroh.endpoint; print(iroh.Endpoint.__name__)",
        "import iroh; 'Endpoint' in dir(iroh) and print('Endpoint')",
        "import iroh; print(iroh.iroh_ffi.Endpoint.__name__)",
        "import iroh; iroh.address_lookup; print(iroh.presets.__name__ and 'Endpoint')",
    ],
)
def test_the_public_names_are_there_when_asked_for(code: str) -> None:
    assert python(code) == "Endpoint"


def test_what_is_not_there_is_an_attribute_error() -> None:
    assert python("import iroh; print(hasattr(iroh, 'nothing'), hasattr(iroh, '__wrapped__'))") == (
        "False False"
    )
