"""The sqlite store: which packet wins, what survives, and what it says when it cannot work."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_dns_server import PutOutcome, SqliteStore, StoreBusyError, StoreError
from iroh_dns_server.store.sqlite import DATABASE_NAME

KEY = bytes(32)


def payload(timestamp: int, message: bytes = b"dns", signature: int = 0) -> bytes:
    return bytes((signature,)) * 64 + timestamp.to_bytes(8) + message


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path)
    yield opened
    await opened.close()


async def test_put_and_get(store: SqliteStore) -> None:
    assert await store.get(KEY) is None
    assert await store.put(KEY, payload(5)) is PutOutcome.INSERTED
    assert await store.get(KEY) == payload(5)
    assert await store.put(KEY, payload(6)) is PutOutcome.UPDATED
    assert await store.put(KEY, payload(5)) is PutOutcome.STALE
    assert await store.get(KEY) == payload(6)
    assert await store.get(bytes(31) + b"\1") is None


async def test_equal_timestamps_are_decided_by_the_message(store: SqliteStore) -> None:
    await store.put(KEY, payload(5, b"bb"))
    assert await store.put(KEY, payload(5, b"ba", 255)) is PutOutcome.STALE
    assert await store.put(KEY, payload(5, b"b", 255)) is PutOutcome.STALE
    assert await store.put(KEY, payload(5, b"bb", 1)) is PutOutcome.UPDATED
    assert await store.put(KEY, payload(5, b"bb\0")) is PutOutcome.UPDATED
    assert await store.put(KEY, payload(5, b"\xff")) is PutOutcome.UPDATED


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.binary(max_size=3)), max_size=30)
)
async def test_the_newest_packet_is_kept_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[int, int, bytes]]
) -> None:
    store = SqliteStore.open(tmp_path_factory.mktemp("store"), max_batch=4)
    try:
        outcomes = await asyncio.gather(
            *(store.put(bytes((key,)), payload(time, message)) for key, time, message in puts)
        )
        model: dict[int, tuple[int, bytes]] = {}
        for (key, time, message), outcome in zip(puts, outcomes, strict=True):
            old = model.get(key)
            if old is None:
                assert outcome is PutOutcome.INSERTED
            else:
                newer = (time, message) >= old
                assert outcome is (PutOutcome.UPDATED if newer else PutOutcome.STALE)
            if old is None or (time, message) >= old:
                model[key] = (time, message)
        for key in range(4):
            expected = payload(*model[key]) if key in model else None
            assert await store.get(bytes((key,))) == expected
    finally:
        await store.close()


async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await asyncio.gather(*(store.put(bytes((n,)), payload(n)) for n in range(200)))
    await store.close()
    store = SqliteStore.open(tmp_path)
    assert [await store.get(bytes((n,))) for n in range(200)] == [payload(n) for n in range(200)]
    assert await store.put(b"\0", payload(0)) is PutOutcome.UPDATED
    await store.close()
    assert sorted(os.listdir(tmp_path)) == [  # no log is left behind
        "signed-packets-1.lock",
        "signed-packets-1.sqlite",
    ]


async def test_an_answered_put_is_visible_to_another_process(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store.put(KEY, payload(5))
    other = sqlite3.connect(tmp_path / DATABASE_NAME)
    try:
        assert other.execute("SELECT count(*) FROM signed_packets").fetchone() == (1,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        other.close()


async def test_expiry_is_oldest_first_and_bounded(store: SqliteStore) -> None:
    for timestamp in (30, 10, 20, 40):
        await store.put(bytes((timestamp,)), payload(timestamp))
    assert await store.expire(10, 10) == ([], False)
    assert await store.expire(35, 2) == ([b"\x0a", b"\x14"], True)
    assert await store.expire(35, 2) == ([b"\x1e"], False)
    assert await store.get(b"\x28") is not None


async def test_timestamps_beyond_63_bits_are_refused_alone(store: SqliteStore) -> None:
    results = await asyncio.gather(
        store.put(b"a", payload(1)), store.put(b"b", payload(2**64 - 1)), return_exceptions=True
    )
    assert results[0] is PutOutcome.INSERTED
    assert isinstance(results[1], StoreError)
    assert await store.put(b"c", payload(2**63 - 1)) is PutOutcome.INSERTED


async def test_too_many_waiting_writes_are_refused(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path, max_queue=2)
    blocker = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    try:
        blocker.execute("BEGIN IMMEDIATE")  # the writer has to wait for this one
        puts = [asyncio.ensure_future(store.put(bytes((n,)), payload(n))) for n in range(20)]
        results = await asyncio.wait_for(
            asyncio.gather(*(p for p in puts[5:]), return_exceptions=True), 5
        )
        assert sum(isinstance(r, StoreBusyError) for r in results) >= 13
        assert await store.get(KEY) is None  # readers do not wait
        blocker.execute("ROLLBACK")
        await asyncio.gather(*puts, return_exceptions=True)
        assert await store.put(b"z", payload(1)) is PutOutcome.INSERTED
    finally:
        blocker.close()
        await store.close()


async def test_a_failed_write_is_reported_to_everyone_it_took_down(
    store: SqliteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    try:
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON signed_packets WHEN NEW.public_key = x'62'"
            " BEGIN SELECT RAISE(ROLLBACK, 'disk full'); END"
        )
        results = await asyncio.gather(
            *(store.put(key, payload(1)) for key in (b"a", b"b")), return_exceptions=True
        )
        assert isinstance(results[1], StoreError)
        assert "disk full" in str(results[1])
        assert (await store.get(b"a") is not None) == (results[0] is PutOutcome.INSERTED)
        other.execute("DROP TRIGGER full")
    finally:
        other.close()
    assert await store.put(b"b", payload(1)) is PutOutcome.INSERTED
    assert caplog.text.count("writes began to fail: disk full") == 1
    assert caplog.text.count("writes work again") == 1


async def test_a_cancelled_put_disturbs_nobody(store: SqliteStore) -> None:
    first = asyncio.ensure_future(store.put(b"a", payload(1)))
    await asyncio.sleep(0)
    first.cancel()
    assert await store.put(b"b", payload(1)) is PutOutcome.INSERTED
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    puts = [asyncio.ensure_future(store.put(bytes((n,)), payload(n))) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert all(outcome is PutOutcome.INSERTED for outcome in await asyncio.gather(*puts))
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.put(KEY, payload(1))
    with pytest.raises(StoreError, match="closed"):
        await store.get(KEY)


async def test_a_second_server_is_kept_out(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="in use by another"):
        SqliteStore.open(tmp_path)


async def test_directories_are_made(tmp_path: Path) -> None:
    await SqliteStore.open(tmp_path / "a" / "b").close()


async def test_what_cannot_be_a_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be created .*--data-dir"):
        SqliteStore.open(tmp_path / "file")
    (tmp_path / "lock" / "signed-packets-1.lock").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot be written .*--data-dir"):
        SqliteStore.open(tmp_path / "lock")


async def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    path.write_bytes(b"not a database, not even close" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore.open(tmp_path)
    assert path.read_bytes().startswith(b"not a database")
    path.unlink()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 9")
    newer.close()
    with pytest.raises(StoreError, match="another version"):
        SqliteStore.open(tmp_path)
    path.unlink()
    await SqliteStore.open(tmp_path).close()  # the lock was given back each time


async def test_reads_that_fail_are_our_error_and_told_once(
    store: SqliteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    try:
        other.execute("ALTER TABLE signed_packets RENAME TO gone")
        for _ in range(3):
            with pytest.raises(StoreError, match="cannot be read"):
                await store.get(KEY)
        other.execute("ALTER TABLE gone RENAME TO signed_packets")
    finally:
        other.close()
    assert await store.get(KEY) is None
    assert caplog.text.count("reads began to fail") == 1
    assert caplog.text.count("reads work again") == 1
