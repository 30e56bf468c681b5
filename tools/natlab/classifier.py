"""Which NAT of RFC 4787 am I behind? Two small programs, and the answers that the kinds must give.

    classifier.py reflect A1 A2      answers on both addresses, ports 3478 and 3479, as it is asked
    classifier.py classify A1 A2     asks, and writes one JSON line

A request `{"n": number, "reply": "same"|"port"|"addr"}` is answered from the socket that it
reached, from the other port, or from the other address, with the source address that was seen.
"""

import json
import random
import selectors
import socket
import sys
from typing import Any

PORTS = (3478, 3479)
WAIT = 0.5
"""Seconds; the lab's own round trip is below a millisecond."""

EXPECTED: dict[str, dict[str, Any]] = {
    "none": {"mapping": "EI", "filtering": "EI", "port": "kept"},
    "firewall": {"mapping": "EI", "filtering": "APD", "port": "kept"},
    "full-cone": {"mapping": "EI", "filtering": "EI", "port": "kept"},
    "address-restricted": {"mapping": "EI", "filtering": "AD", "port": "kept"},
    "port-restricted": {"mapping": "EI", "filtering": "APD", "port": "kept"},
    "symmetric": {"mapping": "APD", "filtering": "APD", "port": "changed"},
    "linux": {"mapping": "EI", "filtering": "APD", "port": "kept"},
}
"""EI: endpoint-independent; AD: address-dependent; APD: address- and port-dependent."""


def family(address: str) -> socket.AddressFamily:
    """Give the family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def reflect(addresses: list[str]) -> None:
    """Answer for ever."""
    selector = selectors.DefaultSelector()
    sockets: dict[tuple[int, int], socket.socket] = {}
    for one, address in enumerate(addresses):
        for two, port in enumerate(PORTS):
            sock = socket.socket(family(address), socket.SOCK_DGRAM)
            sock.bind((address, port))
            sockets[one, two] = sock
            selector.register(sock, selectors.EVENT_READ, (one, two))
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            one, two = key.data
            data, source = sockets[one, two].recvfrom(2048)
            asked = json.loads(data)
            out = {"same": (one, two), "port": (one, 1 - two), "addr": (1 - one, two)}
            answer = json.dumps({"n": asked["n"], "saw": source[:2]}).encode()
            sockets[out[asked["reply"]]].sendto(answer, source)


class Classifier:
    """Asks a reflector from behind a NAT."""

    def __init__(self, addresses: list[str]) -> None:
        self.first, self.second = addresses

    def open(self) -> socket.socket:
        """Open a socket on a port of its own."""
        sock = socket.socket(family(self.first), socket.SOCK_DGRAM)
        sock.bind(("::" if ":" in self.first else "0.0.0.0", 0))
        sock.settimeout(WAIT)
        return sock

    def ask(
        self, sock: socket.socket, address: str, port: int, reply: str = "same"
    ) -> tuple[str, int] | None:
        """Ask which source is seen; None when no answer comes."""
        for _ in range(2):
            number = random.random()
            sock.sendto(json.dumps({"n": number, "reply": reply}).encode(), (address, port))
            try:
                while True:
                    told = json.loads(sock.recv(2048))
                    if told["n"] == number:
                        return told["saw"][0], told["saw"][1]
            except (TimeoutError, ConnectionError):
                continue
        return None

    def classify(self) -> dict[str, Any]:
        """Find out everything."""
        sock = self.open()
        one = self.ask(sock, self.first, PORTS[0])
        if one is None:
            return {"udp": False}
        two = self.ask(sock, self.first, PORTS[1])
        three = self.ask(sock, self.second, PORTS[0])
        kept = one[1] == sock.getsockname()[1]
        return {
            "udp": True,
            "seen": one[0],
            "mapping": "EI" if one == two == three else "AD" if one == two else "APD",
            "port": "kept" if kept else "changed",
            "filtering": self.filtering(),
            "hairpin": self.hairpin(),
        }

    def filtering(self) -> str:
        """Find who else may answer to a socket that has spoken to one address and port only."""
        sock = self.open()
        if self.ask(sock, self.first, PORTS[0], "addr"):
            return "EI"
        return "AD" if self.ask(sock, self.first, PORTS[0], "port") else "APD"

    def hairpin(self) -> bool:
        """Find whether this host reaches itself by its outside address."""
        one, two = self.open(), self.open()
        outside = self.ask(one, self.first, PORTS[0])
        self.ask(two, self.first, PORTS[0])
        if outside is None:
            return False
        two.sendto(b"hairpin", outside)
        try:
            return one.recv(100) == b"hairpin"
        except TimeoutError:
            return False


if __name__ == "__main__":
    if sys.argv[1] == "reflect":
        reflect(sys.argv[2:])
    else:
        print(json.dumps(Classifier(sys.argv[2:]).classify()))
