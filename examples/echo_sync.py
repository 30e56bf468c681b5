"""An echo server and its client, without async.

python examples/echo_sync.py                    both, in two threads of one process
python examples/echo_sync.py serve              prints a ticket, serves until Ctrl-C
python examples/echo_sync.py dial TICKET WORDS  says the words, prints what comes back
"""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

from iroh import ConnectionLostError, EndpointAddr, EndpointTicket, IrohError, presets
from iroh.sync import BiStream, Endpoint, Incoming

ALPN = b"iroh-example/echo/0"


def echo(stream: BiStream) -> None:
    """Send back what comes, as one file is copied to another."""
    send, recv = stream
    with recv.makefile() as source, send.makefile() as target:
        shutil.copyfileobj(source, target)


def serve_one(incoming: Incoming) -> None:
    """Serve one peer until it closes the connection."""
    try:
        connection = incoming.establish(timeout=10)
        while True:
            echo(connection.accept_bi())
    except ConnectionLostError:
        return
    except (IrohError, OSError) as error:
        print(f"a peer failed: {error}", file=sys.stderr)


def serve(endpoint: Endpoint) -> None:
    """Serve every peer in a thread of its own, until the endpoint is closed."""
    with ThreadPoolExecutor(max_workers=100) as pool:
        for incoming in endpoint.incoming():
            pool.submit(serve_one, incoming)


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
    with (
        ThreadPoolExecutor(max_workers=1) as thread,
        Endpoint.bind(presets.Minimal, alpns=[ALPN]) as endpoint,
    ):
        if arguments != ["serve"]:
            thread.submit(serve, endpoint)
            print(dial(endpoint.addr(), "hello without async"))
            return
        print(EndpointTicket.from_addr(endpoint.addr()), flush=True)
        try:
            serve(endpoint)
        except KeyboardInterrupt:
            print("bye")


if __name__ == "__main__":
    main(sys.argv[1:])
