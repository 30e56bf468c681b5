"""Known nodes, tokens, kept items."""

import random

import pytest

from iroh_base import SecretKey
from iroh_base.mainline import Contact, MutableItem
from iroh_base.mainline.store import (
    ITEM_LIFETIME,
    MAX_ITEMS,
    TOKEN_ROTATION,
    ItemStore,
    Refusal,
    Tokens,
)
from iroh_base.mainline.table import BUCKET_SIZE, STALE_TIME, RoutingTable, distance

OWN = bytes(20)


def contact(number: int, where: int | None = None) -> Contact:
    return Contact(number.to_bytes(20), ("10.0.0.1", where or number % 65535 + 1))


def far(number: int) -> Contact:
    """One of the half of all ids that is farthest."""
    return contact((1 << 159) + number)


def test_the_nearest_are_found() -> None:
    table = RoutingTable(OWN)
    for number in (5, 1, 9, 3):
        table.answered(contact(number), 0.0)
    assert table.closest(OWN, 3) == [contact(1), contact(3), contact(5)]
    assert table.closest((9).to_bytes(20), 1) == [contact(9)]


def test_a_full_bucket_takes_no_more_while_its_nodes_are_fresh() -> None:
    table = RoutingTable(OWN)
    for number in range(BUCKET_SIZE + 1):
        table.answered(far(number), float(number))
    assert len(table) == BUCKET_SIZE
    assert not table.wants(far(99))
    table.answered(far(99), STALE_TIME + 0.5)
    assert far(99) in table.closest(OWN)
    assert far(0) not in table.closest(OWN)


def test_a_node_that_fails_twice_in_a_row_goes() -> None:
    table = RoutingTable(OWN)
    table.answered(contact(1), 0.0)
    table.failed(contact(1).addr)
    table.answered(contact(1), 1.0)
    table.failed(contact(1).addr)
    assert len(table) == 1
    table.failed(contact(1).addr)
    assert len(table) == 0
    table.failed(contact(1).addr)


def test_one_node_at_an_address_and_nobody_takes_an_id() -> None:
    table = RoutingTable(OWN)
    table.answered(contact(1, where=7), 0.0)
    table.answered(contact(2, where=7), 1.0)
    assert table.closest(OWN) == [contact(2, where=7)]
    table.answered(contact(2, where=8), 2.0)
    assert table.closest(OWN) == [contact(2, where=7)]
    table.answered(Contact(OWN, ("10.0.0.9", 9)), 3.0)
    assert len(table) == 1


def test_a_flood_of_nodes_is_bounded() -> None:
    table = RoutingTable(OWN)
    rng = random.Random(1)
    for number in range(20_000):
        table.answered(Contact(rng.randbytes(20), ("10.0.0.1", number + 1)), 0.0)
    assert len(table) <= 160 * BUCKET_SIZE
    assert table.stale(STALE_TIME) != []
    assert distance(table.closest(OWN)[0].id, OWN) < 1 << 150


def test_tokens_are_for_an_address_and_a_time() -> None:
    tokens = Tokens(random.Random(1).randbytes, 0.0)
    here, there = ("1.2.3.4", 5), ("1.2.3.5", 5)
    token = tokens.give(here, 0.0)
    assert tokens.good(token, here, 1.0)
    assert tokens.good(token, ("1.2.3.4", 6), TOKEN_ROTATION + 1)
    assert not tokens.good(token, there, 1.0)
    assert not tokens.good(token, here, 2 * TOKEN_ROTATION + 1)
    assert not tokens.good(tokens.give(here, 700.0), here, 700.0 + 3 * TOKEN_ROTATION)
    assert not tokens.good(None, here, 1.0)


SECRET = SecretKey(bytes(32))


def put(store: ItemStore, seq: int, value: bytes = b"v", now: float = 0.0, **change) -> None:
    fields = MutableItem.sign(SECRET, seq, value).fields()
    store.put(fields | {key.encode(): value for key, value in change.items()}, now)


def test_newer_items_win_and_old_ones_go() -> None:
    store = ItemStore()
    target = MutableItem.sign(SECRET, 1, b"").target
    put(store, 5)
    put(store, 5, now=1.0)
    put(store, 6, cas=5)
    for code, arguments in (
        (302, {"seq": 5}),
        (302, {"seq": 6, "value": b"u"}),
        (301, {"seq": 7, "cas": 5}),
        (206, {"seq": 7, "v": b"other"}),
        (205, {"seq": 7, "v": b"x" * 1001}),
        (207, {"seq": 7, "salt": b"x" * 65}),
        (207, {"seq": 7, "salt": 5}),
        (203, {"seq": 7, "k": b""}),
    ):
        with pytest.raises(Refusal) as caught:
            put(store, **arguments)
        assert caught.value.code == code
    kept = store.get(target, ITEM_LIFETIME - 1)
    assert kept is not None
    assert kept.seq == 6
    assert store.get(target, ITEM_LIFETIME) is None
    put(store, 1, now=ITEM_LIFETIME)  # what is too old stands in nobody's way


def test_the_store_is_bounded() -> None:
    store = ItemStore()
    for number in range(MAX_ITEMS + 3):
        item = MutableItem.sign(SECRET, 1, b"", number.to_bytes(2))
        store.put({**item.fields(), b"salt": item.salt}, 0.0)
    assert len(store) == MAX_ITEMS
    assert store.get(MutableItem.sign(SECRET, 1, b"", bytes(2)).target, 0.0) is None
