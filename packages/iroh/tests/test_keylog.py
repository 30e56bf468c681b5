"""SSLKEYLOGFILE: a private file with the secrets of both ends."""

import logging
import os
import stat

from iroh.keylog import KeyLogFile, keylog_from_environment


def test_nobody_asks():
    assert keylog_from_environment({}) is None
    assert keylog_from_environment({"SSLKEYLOGFILE": ""}) is None


def test_lines_are_appended_to_a_private_file(tmp_path):
    path = tmp_path / "keys"
    before = os.umask(0)
    try:
        keylog = keylog_from_environment({"SSLKEYLOGFILE": str(path)})
        assert keylog is not None
        assert not path.exists()
        keylog("A 00 11")
        KeyLogFile(str(path))("B 22 33")
    finally:
        os.umask(before)
    assert path.read_text() == "A 00 11\nB 22 33\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_told_once(tmp_path, caplog):
    for name in (str(tmp_path / "no" / "such" / "folder"), "\0"):
        caplog.clear()
        keylog = KeyLogFile(name)
        with caplog.at_level(logging.WARNING):
            keylog("A")
            keylog("B")
        assert len(caplog.records) == 1
