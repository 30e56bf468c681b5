"""The PostgreSQL store, as far as it needs no database (`nox -s deploy` has one)."""

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_dns_server import Config, DnsServer, Metrics, SharedStore, SqliteStore, StoreError
from iroh_dns_server.config import PostgresConfig
from iroh_dns_server.dns.zones import ZoneCache
from iroh_dns_server.store.postgres import PostgresStore, Put, heard_keys, take_group


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 7))
async def test_groups_hold_a_key_once_and_keep_its_order(keys: list[int], limit: int) -> None:
    puts = [Put(bytes((key,)), bytes(64) + n.to_bytes(8)) for n, key in enumerate(keys)]
    queue = deque(puts)
    taken: list[Put] = []
    while group := take_group(queue, limit):
        assert len(group) <= limit
        assert len({put.public_key for put in group}) == len(group)
        taken += group
    assert sorted(put.timestamp for put in taken) == list(range(len(keys)))
    for key in set(keys):
        times = [put.timestamp for put in taken if put.public_key == bytes((key,))]
        assert times == sorted(times)
    for put in puts:
        put.future.cancel()


@given(st.text(max_size=200) | st.binary(max_size=200).map(bytes.hex))
def test_any_notification_is_understood_or_nothing(text: str) -> None:
    for key in heard_keys(text):
        assert len(key) <= 32


def test_notifications_name_keys() -> None:
    keys = [bytes([n]) * 32 for n in range(3)]
    assert heard_keys(b"".join(keys).hex()) == keys


async def test_who_cannot_hear_of_changes_remembers_nothing(
    tmp_path: Path, publisher: Callable[[int], Any]
) -> None:
    store = SqliteStore.open(tmp_path)
    try:
        assert not isinstance(store, SharedStore)
        zones, who = ZoneCache(store, Metrics()), publisher(1)
        key = who.key.to_bytes()
        await store.put(key, who.txt("x"))
        first = await zones.load(key)
        assert first is not None
        assert zones.peek(key) is first
        zones.suspend()
        assert not first.alive
        second = await zones.load(key)
        assert second is not None
        assert not second.alive
        assert zones.peek(key) is None
        zones.resume()
        assert await zones.load(key) is zones.peek(key) is not None
    finally:
        await store.close()


async def test_without_the_package_or_a_database_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    url = f"postgresql://iroh:secret@127.0.0.1:{free_port}/iroh"
    with pytest.raises(StoreError, match="postgres: cannot connect") as caught:
        await DnsServer(Config(postgres=PostgresConfig(url=url))).start()
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreError, match="postgres: cannot connect"):
        await PostgresStore.open("postgresql://127.0.0.1:port/iroh")
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreError, match=r"pip install 'iroh-dns-server\[postgres\]'"):
        await PostgresStore.open(url)
