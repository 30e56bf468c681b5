"""A network namespace of its own for a scenario: loopback only, 127.0.0.1 as the name server.

`enter` gives the words that run a command inside (`nsenter ...`). The namespace lives as long as
the process that holds it, which is this file run under `unshare --net --mount`. Needs Linux, root,
and util-linux.
"""

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
"""From linux/sockios.h and linux/if.h."""
READY = "ready"


def missing() -> str | None:
    """Say what keeps this machine from making a namespace; None when nothing does."""
    if not sys.platform.startswith("linux"):
        return "network namespaces need Linux"
    for tool in ("unshare", "nsenter", "mount"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False
    )
    return None if tried.returncode == 0 else f"unshare: {tried.stderr.strip()}"


@asynccontextmanager
async def enter() -> AsyncIterator[tuple[str, ...]]:
    """Make a namespace; give the words that run a command in it. Raises RuntimeError."""
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "--mount"), sys.executable, "-I", __file__, stdin=pipe, stdout=pipe
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        if (await holder.stdout.readline()).decode().strip() != READY:
            raise RuntimeError("the namespace was not made (see stderr above)")
        yield ("nsenter", "--net", "--mount", "--target", str(holder.pid), "--")
    finally:
        holder.stdin.close()
        await holder.wait()


def raise_loopback() -> None:
    """Bring `lo` up, as `ip link set lo up` does, on machines without iproute2."""
    import fcntl  # here, because this file is imported where there is none, to say so

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def hold() -> None:
    """Set the namespace up from inside, and keep it until stdin ends."""
    raise_loopback()
    with tempfile.TemporaryDirectory() as folder:
        resolv = Path(folder, "resolv.conf")
        resolv.write_text("nameserver 127.0.0.1\n")
        subprocess.run(["mount", "--bind", str(resolv), "/etc/resolv.conf"], check=True)
        print(READY, flush=True)
        sys.stdin.read()
        subprocess.run(["umount", "/etc/resolv.conf"], check=True)


if __name__ == "__main__":
    hold()
