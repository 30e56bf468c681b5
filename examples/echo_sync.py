"""An echo server and its client, without async.

python examples/echo_sync.py                    both, in one process
python examples/echo_sync.py serve              prints a ticket, serves until Ctrl-C
python examples/echo_sync.py dial TICKET WORDS  says the words, prints what comes back
"""

import shutil
import sys
import time

from iroh import EndpointAddr, EndpointTicket, presets
from iroh.sync import Connection, Endpoint

ALPN = b"iroh-example/echo/0"


def serve(connection: Connection) -> None:
    """Send back what comes, as one file is copied to another, until the peer closes."""
    while True:
        send, recv = connection.accept_bi()
        with recv.makefile() as source, send.makefile() as target:
            shutil.copyfileobj(source, target)


def dial(addr: EndpointAddr, words: str) -> str:
    with (
        Endpoint.bind(presets.Minimal) as endpoint,
        endpoint.connect(addr, ALPN, timeout=10) as connection,
    ):
        send, recv = connection.open_bi()
        send.write_all(words.encode())
        send.finish()
        return recv.read_to_end(1 << 20, timeout=10).decode()


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["dial"]:
        addr = EndpointTicket.from_string(arguments[1]).endpoint_addr()
        print(dial(addr, " ".join(arguments[2:])))
        return
    with Endpoint.bind(presets.Minimal, protocols={ALPN: serve}) as endpoint:
        if arguments != ["serve"]:
            print(dial(endpoint.addr(), "hello without async"))
            return
        print(EndpointTicket.from_addr(endpoint.addr()), flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print("bye")


if __name__ == "__main__":
    main(sys.argv[1:])
