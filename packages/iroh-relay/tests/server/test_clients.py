"""The registry: the Rust tests of `clients.rs`, the table of its docstring, and the bounds."""

from iroh_relay.protos.frames import EndpointGone, encode_datagrams
from iroh_relay.server.clients import Clients
from iroh_relay.server.metrics import RelayMetrics

from .fakes import FakeClient


def registry(max_inactive: int = 4, max_sent_to: int = 4) -> tuple[Clients, RelayMetrics]:
    metrics = RelayMetrics()
    return Clients(metrics, max_inactive=max_inactive, max_sent_to=max_sent_to), metrics


def to(client: FakeClient, data: bytes = b"hello world!") -> bytes:
    return encode_datagrams(bytes(client.endpoint_id), data)


def test_register_send_and_leave() -> None:
    clients, _ = registry()
    a, b = FakeClient(1), FakeClient(2)
    clients.register(a)
    clients.register(b)
    assert (len(clients), list(clients.connections())) == (2, [a, b])
    assert clients.forward(b, to(a))
    [(frame, size)] = a.packets
    assert frame == b"\x06" + bytes(b.endpoint_id) + b"\x00hello world!"
    assert size == 12
    clients.unregister(a)
    assert bytes(a.endpoint_id) not in clients
    assert not clients.forward(b, to(a))


def test_nobody_is_told_about_an_unknown_destination() -> None:
    clients, _ = registry()
    a = FakeClient(1)
    clients.register(a)
    assert not clients.forward(a, to(FakeClient(2)))
    assert a.control == []


def test_a_second_connection_takes_over_and_gives_back() -> None:
    clients, metrics = registry()
    old, new, other = FakeClient(1, 1), FakeClient(1, 2), FakeClient(2, 3)
    for client in (old, other, new):
        clients.register(client)
    assert old.statuses == [1]
    assert new.statuses == []
    clients.forward(other, to(old, b"for the new one"))
    assert (len(old.packets), len(new.packets)) == (0, 1)
    clients.forward(old, to(other))  # a displaced one may still send
    assert len(other.packets) == 1
    clients.unregister(new)
    assert old.statuses == [1, 0]
    clients.forward(other, to(old, b"for the old one"))
    assert len(old.packets) == 1
    assert other.control == []  # the endpoint is still there
    assert (metrics.clients_inactive_added, metrics.clients_inactive_removed) == (1, 1)


def test_the_most_recent_of_the_displaced_comes_back() -> None:
    clients, _ = registry()
    first, second, third = (FakeClient(1, number) for number in range(3))
    for client in (first, second, third):
        clients.register(client)
    clients.unregister(third)
    assert (first.statuses, second.statuses) == ([1], [1, 0])


def test_a_displaced_connection_may_end() -> None:
    clients, metrics = registry()
    old, new = FakeClient(1, 1), FakeClient(1, 2)
    clients.register(old)
    clients.register(new)
    clients.unregister(old)
    assert list(clients.connections()) == [new]
    assert new.statuses == []
    assert metrics.clients_inactive_removed == 1
    clients.unregister(old)  # harmless
    assert metrics.clients_inactive_removed == 1
    clients.unregister(new)
    assert len(clients) == 0
    clients.unregister(new)


def test_too_many_displaced_connections_lose_the_oldest() -> None:
    clients, metrics = registry(max_inactive=2)
    all_of_them = [FakeClient(1, number) for number in range(5)]
    for client in all_of_them:
        clients.register(client)
    assert [client.stopped for client in all_of_them] == [True, True, False, False, False]
    assert metrics.inactive_evicted == 2
    for client in all_of_them:
        clients.unregister(client)
    assert metrics.clients_inactive_added == metrics.clients_inactive_removed
    assert len(clients) == 0


def test_peers_that_were_sent_to_hear_of_the_end() -> None:
    clients, _ = registry()
    a, b, c = FakeClient(1), FakeClient(2), FakeClient(3)
    for client in (a, b, c):
        clients.register(client)
    clients.forward(a, to(b))
    clients.forward(a, to(b))
    clients.unregister(a)
    assert b.control == [EndpointGone(a.endpoint_id).encode()]
    assert c.control == []


def test_a_peer_that_is_gone_or_busy_is_not_told() -> None:
    clients, _ = registry()
    a, b, c = FakeClient(1), FakeClient(2), FakeClient(3)
    for client in (a, b, c):
        clients.register(client)
    clients.forward(a, to(b))
    clients.forward(a, to(c))
    clients.unregister(b)
    c.full = True
    clients.unregister(a)
    assert (b.control, c.control) == ([], [])


def test_the_memory_of_peers_is_bounded() -> None:
    clients, _ = registry(max_sent_to=2)
    a, b, c, d = (FakeClient(seed) for seed in range(1, 5))
    for client in (a, b, c, d):
        clients.register(client)
    for client in (b, c, d):
        clients.forward(a, to(client))
    clients.unregister(a)
    assert [len(client.control) for client in (b, c, d)] == [0, 1, 1]


def test_a_full_recipient_is_counted_and_is_no_peer() -> None:
    clients, metrics = registry()
    a, b = FakeClient(1), FakeClient(2)
    clients.register(a)
    clients.register(b)
    b.full = True
    assert clients.forward(a, to(b))
    assert metrics.send_packets_dropped_full == 1
    b.full = False
    clients.unregister(a)
    assert b.control == []


def test_disconnect_one_or_all() -> None:
    clients, _ = registry()
    old, new = FakeClient(1, 7), FakeClient(1, 8)
    clients.register(old)
    clients.register(new)
    assert not clients.disconnect(FakeClient(2).endpoint_id)
    assert not clients.disconnect(old.endpoint_id, 99)
    assert clients.disconnect(old.endpoint_id, 7)
    assert (old.stopped, new.stopped) == (True, False)
    assert clients.disconnect(old.endpoint_id)
    assert new.stopped


def test_shutdown_ends_all_and_tells_nobody() -> None:
    clients, _ = registry()
    a, b = FakeClient(1), FakeClient(2)
    clients.register(a)
    clients.register(b)
    clients.forward(a, to(b))
    clients.shutdown()
    assert (a.stopped, b.stopped, len(clients)) == (True, True, 0)
    clients.unregister(a)
    assert b.control == []
