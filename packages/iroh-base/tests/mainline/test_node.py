"""Whole networks of nodes in virtual time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_base import SecretKey
from iroh_base.mainline import Contact, DhtNode, GetResult, MutableItem, PutResult, krpc
from iroh_base.mainline.bencode import decode
from iroh_base.mainline.lookup import MAX_CANDIDATES, MAX_QUESTIONS, Lookup

from .network import Network

SECRET = SecretKey(bytes([7]) * 32)
KEY = bytes(SECRET.public())


def item(seq: int, value: bytes = b"value") -> MutableItem:
    return MutableItem.sign(SECRET, seq, value)


def put(network: Network, addr, seq: int, **more) -> PutResult:
    result = network.finish(addr, network.nodes[addr].put(item(seq), network.now, **more))
    assert isinstance(result, PutResult)
    return result


def get(network: Network, addr, **more) -> MutableItem | None:
    result = network.finish(addr, network.nodes[addr].get(KEY, network.now, **more))
    assert isinstance(result, GetResult)
    return result.item


def test_put_by_one_client_and_got_by_another() -> None:
    network = Network()
    network.grow(60)
    ours, theirs = network.add(server=False), network.add(server=False)
    assert put(network, ours, 5) == PutResult(8)
    assert get(network, theirs) == item(5)
    result = network.finish(theirs, network.nodes[theirs].get(bytes(32), network.now))
    assert isinstance(result, GetResult)
    assert result.item is None
    assert result.answered >= 8


def test_stored_at_the_nodes_nearest_to_the_target() -> None:
    network = Network(3)
    servers = network.grow(80)
    client = network.add(server=False)
    put(network, client, 1)
    target = item(1).target
    holders = {addr for addr in servers if network.nodes[addr].store.get(target, network.now)}
    nearest = sorted(
        servers, key=lambda a: int.from_bytes(network.nodes[a].id) ^ int.from_bytes(target)
    )
    assert len(holders & set(nearest[:10])) == 8


def test_a_newer_item_wins_everywhere() -> None:
    network = Network()
    network.grow(30)
    client = network.add(server=False)
    put(network, client, 5)
    assert put(network, client, 6) == PutResult(8)
    assert put(network, client, 5) == PutResult(0, {}, item(6))
    assert get(network, client) == item(6)


def test_compare_and_swap() -> None:
    network = Network()
    network.grow(20)
    client = network.add(server=False)
    put(network, client, 5)
    assert put(network, client, 7, cas=6) == PutResult(0, {301: 8})
    assert put(network, client, 7, cas=5) == PutResult(8)


def test_half_of_the_datagrams_are_lost() -> None:
    network = Network()
    network.grow(40)
    client = network.add(server=False)
    network.lose = lambda data, source, target: network.random.random() < 0.3
    assert put(network, client, 5).stored >= 1
    network.lose = lambda data, source, target: False
    assert get(network, client) == item(5)


def test_most_nodes_die() -> None:
    network = Network()
    servers = network.grow(40)
    client = network.add(server=False)
    put(network, client, 5)
    for addr in servers[1:]:
        if not network.nodes[addr].store.get(item(5).target, network.now):
            del network.nodes[addr]
    assert get(network, network.add(server=False)) == item(5)
    # who knew the dead forgets them, after two questions each
    network.run(network.now + 3600)
    assert len(network.nodes[client].table) <= len(network.nodes)


def test_nobody_is_there() -> None:
    node = DhtNode(0.0, bytes)
    number = node.get(KEY, 0.0)
    assert node.take_results() == [(number, GetResult(None, 0))]
    number = node.put(item(1), 0.0)
    assert node.take_results() == [(number, PutResult(0))]
    network = Network()
    client = network.add(server=False)
    network.nodes[client].set_entrances([("10.9.9.9", 1)])
    assert get(network, client) is None
    assert network.now == 2.0


def test_a_cancelled_operation_gives_no_result() -> None:
    network = Network()
    network.grow(10)
    client = network.add(server=False)
    node = network.nodes[client]
    number = node.get(KEY, network.now)
    node.cancel(number)
    node.cancel(number)
    network.run(network.now + 10)
    assert (client, number) not in network._results


def test_operations_are_bounded() -> None:
    network = Network()
    node = DhtNode(0.0, network.random.randbytes)
    node.set_entrances([("10.9.9.9", 1)])
    for _ in range(64):
        node.get(KEY, 0.0)
    with pytest.raises(RuntimeError, match="64 operations"):
        node.get(KEY, 0.0)


# -- liars -------------------------------------------------------------------------------------


def answer_with(network: Network, addr, **fields) -> bytes:
    """What a node says to the last question that was sent to it."""
    (question,) = [data for data, to in network.nodes[addr].take_datagrams()]
    values = {b"id": b"x" * 20, b"token": b"t", **{k.encode(): v for k, v in fields.items()}}
    return krpc.write_response(decode(question)[b"t"], values, ("10.0.0.9", 1))


def asking(entrance: tuple[str, int]) -> tuple[Network, DhtNode, int]:
    network = Network()
    addr = network.add(server=False)
    node = network.nodes[addr]
    node.set_entrances([entrance])
    return network, node, node.get(KEY, 0.0)


LIAR = ("10.0.0.9", 1)


@pytest.mark.parametrize(
    "lie",
    [
        item(9)._replace(seq=10),
        item(9)._replace(value=b"other"),
        MutableItem.sign(SecretKey(bytes(32)), 9, b"another's"),
    ],
)
def test_a_forged_item_is_not_believed(lie: MutableItem) -> None:
    network, node, number = asking(LIAR)
    fields = {key.decode(): value for key, value in lie.fields().items()}
    node.receive(answer_with(network, next(iter(network.nodes)), **fields), LIAR, 0.1)
    assert node.take_results() == [(number, GetResult(None, 1))]
    assert node.stats.forged == 1


def test_an_answer_from_elsewhere_is_none() -> None:
    network, node, _ = asking(LIAR)
    answer = answer_with(network, next(iter(network.nodes)))
    node.receive(answer, ("10.0.0.8", 1), 0.1)
    assert node.take_results() == []
    assert node.stats.unexpected == 1
    node.receive(answer, LIAR, 0.1)
    node.receive(answer, LIAR, 0.1)  # once is enough
    assert len(node.take_results()) == 1
    assert node.stats.unexpected == 2


def test_a_lookup_ends_whatever_the_network_says() -> None:
    """Each node asked knows 32 nearer ones, for ever."""
    target = bytes(20)
    lookup = Lookup(target, b"o" * 20, [], [("10.0.0.1", 1)])
    number = 1 << 159
    port = 2
    while addrs := lookup.next_addrs():
        for addr in addrs:
            nodes = []
            for _ in range(32):
                number, port = number - (1 << 140), port + 1
                nodes.append(Contact(number.to_bytes(20), ("10.0.0.1", port)))
            lookup.answer(Contact(number.to_bytes(20), addr), nodes, b"t")
    assert lookup.asked == MAX_QUESTIONS
    assert lookup.done
    assert len(lookup._candidates) <= MAX_QUESTIONS + MAX_CANDIDATES


def test_a_public_node_does_not_send_us_into_private_networks() -> None:
    lookup = Lookup(bytes(20), b"o" * 20, [], [("8.8.8.8", 1)])
    assert lookup.next_addrs() == [("8.8.8.8", 1)]
    inside = Contact(b"1" * 20, ("192.168.0.1", 80))
    outside = Contact(b"2" * 20, ("9.9.9.9", 80))
    lookup.answer(Contact(b"3" * 20, ("8.8.8.8", 1)), [inside, outside], None)
    assert lookup.next_addrs() == [("9.9.9.9", 80)]


# -- answering ---------------------------------------------------------------------------------


def ask(node: DhtNode, method: bytes, args: dict | None = None, now: float = 0.0):
    asker = {b"id": b"a" * 20, **(args or {})}
    node.receive(krpc.write_query(b"q", method, asker, read_only=True), ("10.1.1.1", 1), now)
    ((data, to),) = node.take_datagrams()
    assert to == ("10.1.1.1", 1)
    return krpc.read(data)


def test_what_a_server_answers() -> None:
    node = DhtNode(0.0, Network().random.randbytes, server=True)
    for method, args in (
        (b"ping", {}),
        (b"find_node", {b"target": bytes(20)}),
        (b"get_peers", {b"info_hash": bytes(20)}),
    ):
        answer = ask(node, method, args)
        assert isinstance(answer, krpc.Response)
        assert answer.sender == node.id
    target = {b"target": item(5).target}
    got = ask(node, b"get", target)
    assert b"v" not in got.values
    token = {b"token": got.values[b"token"], **target}
    assert isinstance(ask(node, b"put", {**token, **item(5).fields()}), krpc.Response)
    assert MutableItem.read(ask(node, b"get", target).values) == item(5)
    assert MutableItem.read(ask(node, b"get", {**target, b"seq": 4}).values) == item(5)
    known = ask(node, b"get", {**target, b"seq": 5}).values
    assert known[b"seq"] == 5
    assert b"v" not in known


@pytest.mark.parametrize(
    ("method", "args", "code"),
    [
        (b"find_node", {}, 203),
        (b"get", {b"target": b"short"}, 203),
        (b"put", item(5).fields(), 203),
        (b"announce_peer", {}, 204),
    ],
)
def test_what_a_server_refuses(method: bytes, args: dict, code: int) -> None:
    node = DhtNode(0.0, Network().random.randbytes, server=True)
    refusal = ask(node, method, args)
    assert isinstance(refusal, krpc.ErrorReply)
    assert refusal.code == code
    assert node.stats.refused == 1


def test_a_client_answers_nobody() -> None:
    node = DhtNode(0.0, Network().random.randbytes)
    node.receive(krpc.write_query(b"q", b"ping", {b"id": b"a" * 20}, read_only=False), LIAR, 0.0)
    assert node.take_datagrams() == []
    assert node.stats.queries == 1


def test_a_server_gets_to_know_who_asks_by_asking() -> None:
    node = DhtNode(0.0, Network().random.randbytes, server=True)
    query = krpc.write_query(b"q", b"ping", {b"id": b"a" * 20}, read_only=False)
    node.receive(query, LIAR, 0.0)
    node.receive(query, LIAR, 0.0)
    datagrams = [krpc.read(data) for data, _ in node.take_datagrams()]
    (ping,) = [message for message in datagrams if isinstance(message, krpc.Query)]
    assert len(node.table) == 0
    node.receive(krpc.write_response(ping.transaction, {b"id": b"a" * 20}, LIAR), LIAR, 0.1)
    assert node.table.closest(bytes(20)) == [Contact(b"a" * 20, LIAR)]


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=120), max_size=5), st.booleans())
def test_arbitrary_datagrams(datagrams: list[bytes], server: bool) -> None:
    node = DhtNode(0.0, Network().random.randbytes, server=server)
    for data in datagrams:
        node.receive(data, LIAR, 0.0)
    assert node.stats.received == len(datagrams)


@settings(max_examples=100)
@given(st.data())
def test_mutated_queries(data: st.DataObject) -> None:
    """A server answers each with at most one small datagram, or not at all."""
    node = DhtNode(0.0, Network().random.randbytes, server=True)
    args = {b"id": b"a" * 20, b"token": b"t", b"target": bytes(20), **item(5).fields()}
    method = data.draw(st.sampled_from([b"ping", b"find_node", b"get", b"put"]))
    damaged = bytearray(krpc.write_query(b"q", method, args, read_only=True))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    node.receive(bytes(damaged), LIAR, 0.0)
    node.handle_timeout(5.0)
    assert len([d for d, _ in node.take_datagrams() if len(d) < 400]) <= 2
