"""miniupnpd on a router of a lab: the real daemon of home routers, for PCP, NAT-PMP and UPnP.

The program is taken out of Debian's packages and not installed: installing would start it as a
service of the machine. It maps ports by rules of its own in a table of ours. It refuses to work for
a router whose outside address is none of the public internet's, and the documentation range of the
lab is none; so it is told that it has 11.0.0.1, and in the lab it has.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from natlab import nat
from natlab.lab import Lab
from natlab.node import LabError, sh

PACKAGES = ("miniupnpd", "miniupnpd-nftables")
OUTSIDE = "11.0.0.1"
READY_WITHIN = 10.0
RULES = f"""
flush ruleset
table inet igd {{
chain forward {{
type filter hook forward priority 0
policy drop
ct state established,related accept
iifname {nat.LAN} accept
jump mapped
}}
chain mapped {{
}}
chain prerouting {{
type nat hook prerouting priority -100
jump redirected
}}
chain postrouting {{
type nat hook postrouting priority 100
oifname {nat.WAN} masquerade
jump returned
}}
chain redirected {{
}}
chain returned {{
}}
}}
"""
CONFIG = f"""
ext_ifname={nat.WAN}
ext_ip={OUTSIDE}
listening_ip={nat.LAN}
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
upnp_table_name=igd
upnp_nat_table_name=igd
upnp_forward_chain=mapped
upnp_nat_chain=redirected
upnp_nat_postrouting_chain=returned
allow 1024-65535 0.0.0.0/0 1024-65535
"""


def fetch(folder: Path) -> Path:
    """Download the daemon, at most once for a folder; give the program. Raises LabError."""
    program = folder / "tree" / "usr" / "sbin" / "miniupnpd"
    if not program.exists():
        if shutil.which("apt-get") is None:
            raise LabError("no apt-get: miniupnpd comes from Debian's packages")
        folder.mkdir(parents=True, exist_ok=True)
        for words in (("download", *PACKAGES), ("update",), ("download", *PACKAGES)):
            subprocess.run(("apt-get", "-qq", *words), cwd=folder, check=False, capture_output=True)
            if list(folder.glob("*.deb")):
                break
        for package in folder.glob("*.deb"):
            sh("dpkg", "-x", str(package), str(folder / "tree"))
    if not program.exists():
        raise LabError(f"Debian's packages {PACKAGES} could not be had")
    return program


class Igd:
    """The daemon on one router. Ends with the lab at the latest."""

    def __init__(self, lab: Lab, router: str, program: Path) -> None:
        self.node = lab[router]
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="natlab-igd-"))
        self.process: subprocess.Popen[str] | None = None
        self.node.ip("addr", "add", f"{OUTSIDE}/32", "dev", nat.WAN)
        lab["ix"].ip("route", "add", f"{OUTSIDE}/32", "via", self.node.four)
        self.folder.joinpath("conf").write_text(CONFIG)
        self.start()

    def start(self) -> None:
        """Start it, with no mapping. Raises LabError when it does not come up."""
        self.node.nft(RULES)
        pid = self.folder / "pid"
        words = [str(self.program), "-d", "-f", str(self.folder / "conf"), "-P", str(pid)]
        with self.folder.joinpath("log").open("a") as log:
            self.process = self.node.start(words, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + READY_WITHIN
        while ":5351" not in self.node.run("ss", "-lun"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"miniupnpd: {self.folder.joinpath('log').read_text()[-500:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, as when a router loses power: nothing is taken back."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ports(self) -> list[str]:
        """Give the lines of the rules that map a port."""
        listed = self.node.run("nft", "list", "chain", "inet", "igd", "redirected")
        return [line.strip() for line in listed.splitlines() if "dnat" in line]

    def close(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
