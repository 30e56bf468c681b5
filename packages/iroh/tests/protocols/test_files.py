import asyncio
import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from iroh import ConnectionLostError, StreamError
from iroh.protocols.files import (
    BusyError,
    Collection,
    DamagedError,
    Download,
    Entry,
    Existing,
    ExistsError,
    FilesError,
    FullError,
    Kind,
    collect,
)
from iroh.protocols.files.download import _File
from iroh.protocols.files.wire import contents_hash, encode_contents, encode_request

posix = pytest.mark.skipif(os.name != "posix", reason="links and modes of POSIX systems")
BIG = os.urandom(3_000_000)


@pytest.fixture
def tree(tmp_path) -> Path:
    """A folder with all sorts of files."""
    top = tmp_path / "from" / "tree"
    (top / "empty").mkdir(parents=True)
    (top / "sub").mkdir()
    (top / "big").write_bytes(BIG)
    (top / "zero").write_bytes(b"")
    for number in range(50):
        (top / "sub" / f"{number} ä").write_text(f"file {number}")
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    return top


def contents(folder: Path) -> dict[str, bytes | None]:
    """What is below a folder: contents of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


async def get(conn, collection: Collection, folder: Path, **settings) -> list[Path]:
    with Download(collection.hash, folder, **settings) as download:
        await download.prepare(conn)
        await download.run(conn)
        return download.finish()


async def test_a_folder_arrives_as_it_is(sharing, tree, tmp_path) -> None:
    events: asyncio.Queue = asyncio.Queue()
    collection, goal = collect([tree]), tmp_path / "to"
    conn = await sharing(collection, events.put_nowait)
    counted: list[int] = []
    assert await get(conn, collection, goal, progress=counted.append) == [goal / "tree"]
    assert contents(goal / "tree") == contents(tree)
    assert os.listdir(goal) == ["tree"]
    if os.name == "posix":
        assert os.access(goal / "tree" / "run", os.X_OK)
        assert not os.access(goal / "tree" / "zero", os.X_OK)
    assert sum(counted) == collection.size
    conn.close(0, b"done")
    kinds = []
    while not kinds or kinds[-1] != "done":
        kinds.append((await events.get()).kind)
    assert kinds[0] == "opened"
    assert "sent" in kinds


async def test_a_download_goes_on_where_it_was_cut(sharing, tree, tmp_path) -> None:
    collection, goal = collect([tree]), tmp_path / "to"
    conn = await sharing(collection)
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    with Download(collection.hash, goal) as download:
        await download.prepare(conn)
        download._progress = lambda _bytes: loop.call_soon_threadsafe(enough.set)
        work = asyncio.create_task(download.run(conn))
        await enough.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert os.listdir(goal) == [f".iroh-{collection.hash.hex()[:32]}"]
    with Download(collection.hash, goal) as download:
        await download.prepare(conn)
        assert 0 < download.found <= collection.size
        await download.run(conn)
        download.finish()
    assert contents(goal / "tree") == contents(tree)


async def test_in_one_program_it_goes_on_over_another_connection(sharing, tree, tmp_path) -> None:
    collection = collect([tree])
    first, second = await sharing(collection), await sharing(collection)
    with Download(collection.hash, tmp_path / "to") as download:
        await download.prepare(first)
        download._progress = lambda _bytes: first.close()
        with pytest.raises((StreamError, ConnectionLostError)):
            await download.run(first)
        download._progress = lambda _bytes: None
        await download.run(second)
        download.finish()
    assert contents(tmp_path / "to" / "tree") == contents(tree)


async def test_what_was_left_and_is_wrong_is_fetched_again(sharing, tree, tmp_path) -> None:
    collection, goal = collect([tree]), tmp_path / "to"
    data = goal / f".iroh-{collection.hash.hex()[:32]}" / "data" / "tree"
    data.mkdir(parents=True)
    (data / "big").write_bytes(b"wrong" + BIG[5:10_000])  # short: noticed at its end
    (data / "run").write_bytes(b"#!/bin/zz\n")  # whole: noticed at once
    (data / "zero").write_bytes(b"too long")
    await get(await sharing(collection), collection, goal)
    assert contents(goal / "tree") == contents(tree)


async def test_existing_destinations(sharing, tree, tmp_path) -> None:
    collection, goal = collect([tree, tree / "run"]), tmp_path / "to"
    conn = await sharing(collection)
    (goal / "tree").mkdir(parents=True)
    (goal / "run").write_text("old")
    with pytest.raises(ExistsError, match="run exists already"):
        await get(conn, collection, goal)
    assert sorted(os.listdir(goal)) == ["run", "tree"]
    placed = await get(conn, collection, goal, existing=Existing.RENAME)
    assert placed == [goal / "run (1)", goal / "tree (1)"]
    assert (goal / "run").read_text() == "old"
    assert await get(conn, collection, goal, existing=Existing.OVERWRITE)
    assert (goal / "run").read_text() == "#!/bin/sh\n"
    assert contents(goal / "tree") == contents(tree)
    assert sorted(os.listdir(goal)) == ["run", "run (1)", "tree", "tree (1)"]


async def test_a_disk_without_room_is_seen_before(sharing, tree, tmp_path, monkeypatch) -> None:
    collection = collect([tree])
    usage = namedtuple("usage", "total used free")(0, 0, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(FullError, match="1000 are free"):
        await get(await sharing(collection), collection, tmp_path / "to")


async def test_a_disk_that_fills_up_meanwhile(sharing, tree, tmp_path, monkeypatch) -> None:
    collection, conn = collect([tree]), None
    conn = await sharing(collection)
    real = _File.open

    def full(_self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_File, "open", full)
    with pytest.raises(OSError, match="No space left"):
        await get(conn, collection, tmp_path / "to")
    monkeypatch.setattr(_File, "open", real)
    await get(conn, collection, tmp_path / "to")
    assert contents(tmp_path / "to" / "tree") == contents(tree)


@posix
async def test_two_downloads_into_one_folder_do_not_mix(tree, tmp_path) -> None:
    collection = collect([tree])
    with (
        Download(collection.hash, tmp_path),
        pytest.raises(BusyError, match="another iroh recv of the same is at it"),
        Download(collection.hash, tmp_path),
    ):
        pass


async def test_a_file_that_is_changed_is_not_served(sharing, tree, tmp_path) -> None:
    collection = collect([tree])
    (tree / "big").write_bytes(b"new")
    with pytest.raises(FilesError, match="changed at the sender"):
        await get(await sharing(collection), collection, tmp_path / "to")


async def test_who_does_not_know_the_hash_gets_nothing(sharing, tree, tmp_path) -> None:
    collection = collect([tree])
    conn = await sharing(collection)
    download = Download(bytes(32), tmp_path / "to")
    with download, pytest.raises(FilesError, match="does not share this"):
        await download.prepare(conn)


@pytest.mark.parametrize("wanted", [[(9999, 0)], [(0, 0)], [(1, 10**12)], [(1, 0)] * 1000], ids=str)
async def test_requests_that_make_no_sense_are_reset(sharing, tree, wanted) -> None:
    collection = collect([tree])
    send, recv = await (await sharing(collection)).open_bi()
    await send.write_all(encode_request(collection.hash, wanted))
    await send.finish()
    with pytest.raises(StreamError):
        await recv.read_to_end(10_000_000)


def forged(*entries: Entry) -> Collection:
    data = encode_contents(list(entries))
    return Collection(list(entries), [], [], data, contents_hash(data))


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "a/../../evil"])
async def test_a_hostile_sender_writes_nowhere_else(sharing, tmp_path, path) -> None:
    collection = forged(Entry(Kind.FILE, path, 1, bytes(32)))
    with pytest.raises(FilesError, match="leads elsewhere"):
        await get(await sharing(collection), collection, tmp_path / "to")
    assert contents(tmp_path) == {"to": None}


async def test_a_sender_that_lies_about_the_contents(sharing, tree, tmp_path) -> None:
    collection = collect([tree])
    real = collection.hash
    collection.contents += b"x"
    conn, download = await sharing(collection), Download(real, tmp_path / "to")
    with download, pytest.raises(DamagedError, match="not the one of the ticket"):
        await download.prepare(conn)


async def test_a_sender_that_lies_about_a_file(sharing, tree, tmp_path) -> None:
    collection = collect([tree / "run"])
    lie = forged(Entry(Kind.FILE, "run", collection.size, bytes(32)))
    lie.places = collection.places
    with pytest.raises(DamagedError, match="run came with a wrong checksum"):
        await get(await sharing(lie), lie, tmp_path / "to")
    assert not (tmp_path / "to" / "run").exists()


@posix
def test_links_are_left_out_or_followed(tree) -> None:
    (tree / "link").symlink_to(tree / "big")
    (tree / "broken").symlink_to(tree / "nowhere")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "fifo")
    plain = collect([tree])
    assert {path.name: why for path, why in plain.skipped} == {
        **dict.fromkeys(("link", "broken", "loop"), "a symbolic link"),
        "fifo": "neither file nor folder",
    }
    followed = collect([tree], follow_links=True)
    assert {path.name for path, _ in followed.skipped} == {"broken", "loop", "fifo"}
    assert "tree/link" in {entry.path for entry in followed.entries}
    (alone,) = collect([tree / "link"]).entries  # whoever names a link means what it leads to
    assert alone.size == len(BIG)


@posix
def test_names_that_cannot_be_sent(tree) -> None:
    (tree / "back\\slash").write_text("x")
    assert "characters" in collect([tree]).skipped[0][1]
    with pytest.raises(FilesError):
        collect([tree / "back\\slash"])
    with pytest.raises(FilesError, match="called 'run'"):
        collect([tree / "run", tree / "run"])
    with pytest.raises(FileNotFoundError):
        collect([tree / "nothing"])
