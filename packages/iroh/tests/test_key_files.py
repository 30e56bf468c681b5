"""Secret keys in files and in the environment."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from iroh import SecretKey, load_secret_key, save_secret_key, secret_key_from_env
from iroh.errors import KeyFileError
from iroh_base.encoding import base32_encode

KEY = SecretKey(bytes(range(32)))
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")


def test_a_key_is_made_once(tmp_path) -> None:
    path = tmp_path / "folder" / "key"
    key = load_secret_key(path)
    assert load_secret_key(str(path)) == key
    assert path.read_text() == key.to_bytes().hex() + "\n"
    assert [each.name for each in path.parent.iterdir()] == ["key"]


@posix
def test_only_the_owner_can_read_it_whatever_the_umask(tmp_path) -> None:
    before = os.umask(0)
    try:
        load_secret_key(tmp_path / "new" / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_read_is_refused_with_a_remedy(tmp_path, mode) -> None:
    path = tmp_path / "key"
    save_secret_key(path, KEY)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"{mode:04o}.*chmod 600 {path}"):
        load_secret_key(path)
    path.chmod(0o600)
    assert load_secret_key(path) == KEY


def test_programs_that_start_together_agree(tmp_path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(load_secret_key, [tmp_path / "key"] * 32))
    assert len({key.to_bytes() for key in keys}) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_nothing_is_overwritten(tmp_path) -> None:
    save_secret_key(tmp_path / "key", KEY)
    with pytest.raises(FileExistsError):
        save_secret_key(tmp_path / "key", SecretKey.generate())
    assert load_secret_key(tmp_path / "key") == KEY
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_no_file_is_made_unasked(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        load_secret_key(tmp_path / "key", create=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [KEY.to_bytes(), KEY.to_bytes().hex().encode(), base32_encode(KEY.to_bytes()).encode() + b"\n"],
)
def test_other_writings_are_read(tmp_path, content) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert load_secret_key(path) == KEY


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 64, b"a" * 10_000])
def test_what_is_no_key_is_not_quoted(tmp_path, content) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="holds no secret key") as caught:
        load_secret_key(path)
    assert "nonsense" not in str(caught.value)


def test_the_environment(monkeypatch) -> None:
    monkeypatch.delenv("SOME_SECRET", raising=False)
    assert secret_key_from_env("SOME_SECRET") is None
    monkeypatch.setenv("SOME_SECRET", KEY.to_bytes().hex())
    assert secret_key_from_env("SOME_SECRET") == KEY
    monkeypatch.setenv("SOME_SECRET", "nonsense")
    with pytest.raises(KeyFileError, match="SOME_SECRET"):
        secret_key_from_env("SOME_SECRET")
