"""What lies in the folder of a download, whoever put it there, and what a kill leaves of it."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from iroh.protocols.files import (
    BusyError,
    Download,
    Existing,
    ExistsError,
    FilesError,
    HiddenNameError,
    collect,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes, modes of POSIX systems")


def killed(_path) -> None:
    """Whose work is not done, neither here nor on the way out."""
    raise OSError("killed")


@pytest.fixture
def two(tmp_path) -> list[Path]:
    """A folder and a file to send."""
    (tmp_path / "from" / "a" / "sub").mkdir(parents=True)
    (tmp_path / "from" / "a" / "sub" / "x").write_bytes(b"x" * 3_000_000)
    (tmp_path / "from" / "b").write_text("b")
    return [tmp_path / "from" / "a", tmp_path / "from" / "b"]


async def test_whatever_lies_in_the_way_is_cleared(sharing, two, tmp_path) -> None:
    """A pipe hangs nobody, a link leads nowhere, a file becomes the folder that it has to be."""
    collection, goal = collect(two), tmp_path / "to"
    outside = tmp_path / "outside"
    outside.mkdir()
    part = goal / f".iroh-{collection.hash.hex()[:32]}"
    (part / "data").mkdir(parents=True)
    conn = await sharing(collection)
    os.mkfifo(part / "data" / "b")
    (part / "data" / "a").symlink_to(outside)
    with Download(collection.hash, goal) as download:
        await download.prepare(conn)
    (part / "data" / "b").mkdir()
    (part / "data" / "b" / "in it").write_text("?")
    (part / "data" / "a" / "sub").rmdir()
    (part / "data" / "a" / "sub").write_text("a file")
    with Download(collection.hash, goal) as download:
        await download.prepare(conn)
        await download.run(conn)
        download.finish()
    assert os.listdir(outside) == []
    assert sorted(os.listdir(goal)) == ["a", "b"]
    assert (goal / "a" / "sub" / "x").stat().st_size == 3_000_000


@pytest.mark.parametrize("kind", ["link", "file", "foreign"])
async def test_a_folder_that_is_not_ours_is_not_used(two, tmp_path, kind, monkeypatch) -> None:
    """In /tmp, for one, others could make it before us, and put links into it."""
    collection = collect(two)
    part = tmp_path / f".iroh-{collection.hash.hex()[:32]}"
    if kind == "link":
        part.symlink_to(tmp_path / "from")
    elif kind == "file":
        part.write_text("")
    else:
        part.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with (
        pytest.raises(BusyError, match="not a folder of ours"),
        Download(collection.hash, tmp_path),
    ):
        pass


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("existing", [Existing.REFUSE, Existing.OVERWRITE, Existing.RENAME])
async def test_killed_while_things_get_their_names(
    sharing, two, tmp_path, monkeypatch, after, existing
) -> None:
    collection, goal = collect(two), tmp_path / "to"
    conn = await sharing(collection)
    goal.mkdir()
    if existing is not Existing.REFUSE:
        (goal / "a").write_text("old")
    real, left = Download._place, [after]

    def place(self, name, where):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(self, name, where)

    monkeypatch.setattr(Download, "_place", place)
    with Download(collection.hash, goal, existing=existing) as download:
        await download.prepare(conn)
        await download.run(conn)
        if after < 2:
            with pytest.raises(KeyboardInterrupt):
                download.finish()
        else:
            monkeypatch.setattr("shutil.rmtree", killed)
            with pytest.raises(OSError, match="killed"):
                download.finish()
    monkeypatch.undo()
    with Download(collection.hash, goal, existing=existing) as download:
        await download.prepare(conn)
        assert download.found == download.size
        await download.run(conn)
        placed = download.finish()
    names = ["a (1)", "b"] if existing is Existing.RENAME else ["a", "b"]
    assert [path.name for path in placed] == names
    assert sorted(os.listdir(goal)) == sorted({*names, "a"})
    assert (goal / names[0] / "sub" / "x").stat().st_size == 3_000_000


async def test_what_got_its_name_and_was_taken_away_is_fetched_again(
    sharing, two, tmp_path, monkeypatch
) -> None:
    collection, goal = collect(two), tmp_path / "to"
    conn = await sharing(collection)
    with Download(collection.hash, goal) as download:
        await download.prepare(conn)
        await download.run(conn)
        monkeypatch.setattr("shutil.rmtree", killed)
        with pytest.raises(OSError, match="killed"):
            download.finish()
    monkeypatch.undo()
    (goal / "b").unlink()
    os.rename(goal / "a", goal / "mine")
    with Download(collection.hash, goal) as download:
        await download.prepare(conn)
        await download.run(conn)
        assert len(download.finish()) == 2
    assert sorted(os.listdir(goal)) == ["a", "b", "mine"]


async def test_a_destination_that_appears_in_the_last_moment(sharing, two, tmp_path) -> None:
    collection, goal = collect(two), tmp_path / "to"
    conn = await sharing(collection)
    with Download(collection.hash, goal) as download:
        await download.prepare(conn)
        await download.run(conn)
        (goal / "b").write_text("mine")
        with pytest.raises(ExistsError):
            download.finish()
        assert sorted(os.listdir(goal))[1:] == ["b"]  # nothing was moved
    with Download(collection.hash, goal, existing=Existing.RENAME) as download:
        await download.prepare(conn)
        assert [path.name for path in download.finish()] == ["a", "b (1)"]
    assert (goal / "b").read_text() == "mine"


async def test_what_would_be_hidden_has_to_be_allowed(sharing, tmp_path) -> None:
    file = tmp_path / "from" / ".profile"
    file.parent.mkdir()
    file.write_text("echo evil")
    collection = collect([file])
    conn = await sharing(collection)
    with pytest.raises(HiddenNameError), Download(collection.hash, tmp_path / "to") as download:
        await download.prepare(conn)
    assert os.listdir(tmp_path / "to") == []
    with Download(collection.hash, tmp_path / "to", hidden=True) as download:
        await download.prepare(conn)
        await download.run(conn)
        assert download.finish() == [tmp_path / "to" / ".profile"]


async def test_hashing_what_is_there_ends_when_it_is_cancelled(sharing, two, tmp_path) -> None:
    collection, goal = collect(two), tmp_path / "to"
    conn = await sharing(collection)
    place = goal / f".iroh-{collection.hash.hex()[:32]}" / "data" / "a" / "sub" / "x"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x" * 2_500_000)
    at_it, go_on, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()
    counted = []

    def progress(size: int) -> None:
        counted.append(size)
        loop.call_soon_threadsafe(at_it.set)
        go_on.wait()

    with Download(collection.hash, goal, progress=progress) as download:
        task = asyncio.create_task(download.prepare(conn))
        await at_it.wait()
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(counted) == 1


async def test_a_pipe_in_place_of_a_shared_file_hangs_nobody(sharing, two, tmp_path) -> None:
    told: asyncio.Queue = asyncio.Queue()
    collection = collect(two)
    conn = await sharing(collection, told.put_nowait)
    two[1].unlink()
    os.mkfifo(two[1])
    with Download(collection.hash, tmp_path / "to") as download:
        await download.prepare(conn)
        with pytest.raises(FilesError, match="changed at the sender"):
            await download.run(conn)
    while (event := await told.get()).kind != "unreadable":
        pass
    assert "b was changed" in event.why


def test_a_file_that_is_not_as_long_as_it_says(tmp_path) -> None:
    """Those of /proc say 0."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("no /proc")
    with pytest.raises(FilesError, match="being changed"):
        collect(["/proc/self/status"])
