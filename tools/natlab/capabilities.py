"""What this machine can do for a lab, found by trying."""

import os
import shutil
import subprocess
import sys

PACKAGES = {"ip": "iproute2", "nft": "nftables", "conntrack": "conntrack", "sysctl": "procps"}
"""Program -> Debian package."""
TRIES: dict[str, tuple[list[str], str | None]] = {
    "veth pairs": (["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], None),
    "bridges": (["ip", "link", "add", "b0", "type", "bridge"], None),
    "TAP devices": (["ip", "tuntap", "add", "dev", "t0", "mode", "tap"], None),
    "nftables with NAT": (
        ["nft", "-f", "-"],
        "table ip t {\nchain c {\ntype nat hook postrouting priority 100\n"
        "masquerade fully-random\n}\n}\n",
    ),
    "nftables maps that learn": (
        ["nft", "-f", "-"],
        "table ip m {\nmap o {\ntype inet_service : ipv4_addr . inet_service\n"
        "flags dynamic,timeout\ntimeout 5s\n}\n}\n",
    ),
    "flushing conntrack": (["conntrack", "-F"], None),
}


def install() -> None:
    """Install the missing programs from Debian's packages, as root; elsewhere do nothing."""
    packages = sorted({p for tool, p in PACKAGES.items() if shutil.which(tool) is None})
    if not packages or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"natlab: installing {' '.join(packages)}", file=sys.stderr, flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "-qq", *arguments], env=env, check=False, stdout=sys.stderr)


def missing() -> list[str]:
    """Say what this machine lacks; empty when a lab can be built."""
    if not sys.platform.startswith("linux"):
        return ["Linux"]
    lacks = [f"the program {tool}" for tool in PACKAGES if shutil.which(tool) is None]
    if os.geteuid() != 0:
        lacks.insert(0, "root")
    if lacks:
        return lacks
    namespace = f"natlab-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", namespace], capture_output=True, check=False)
    if made.returncode:
        return ["network namespaces"]
    try:
        return [name for name, (words, text) in TRIES.items() if not works(namespace, words, text)]
    finally:
        subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def works(namespace: str, words: list[str], text: str | None) -> bool:
    """Try one thing in a namespace."""
    command = ["ip", "netns", "exec", namespace, *words]
    tried = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    return tried.returncode == 0
