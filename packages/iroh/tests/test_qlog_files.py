"""QLOGDIR: a file for each connection."""

import json
import logging

from iroh.qlog import qlog_from_environment

from .conftest import ALPN, meet


def test_nobody_asks():
    assert qlog_from_environment({}) is None
    assert qlog_from_environment({"QLOGDIR": ""}) is None


def test_a_file_for_each_end(tmp_path):
    folder = tmp_path / "logs" / "new"
    open_log = qlog_from_environment({"QLOGDIR": str(folder)})
    assert open_log is not None
    client, server = open_log(b"\x01\xab", True), open_log(b"\x01\xab", False)
    assert not folder.exists()
    client(b"one")
    client(b"two")
    server(b"three")
    assert (folder / "01ab_client.sqlog").read_bytes() == b"onetwo"
    assert (folder / "01ab_server.sqlog").read_bytes() == b"three"


def test_a_folder_that_cannot_be_is_told_once(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    for name in (str(tmp_path / "file"), "\0"):
        caplog.clear()
        open_log = qlog_from_environment({"QLOGDIR": name})
        assert open_log is not None
        sink = open_log(b"\x01", True)
        with caplog.at_level(logging.WARNING):
            sink(b"a")
            sink(b"b")
        assert len(caplog.records) == 1


async def test_endpoints_write_both_logs(bind, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    monkeypatch.setenv("QLOGDIR", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    server, client = await bind(alpns=[ALPN]), await bind()
    dialled, accepted = await meet(client, server)
    dialled.close(7, b"done")
    await accepted.closed()
    one, other = sorted(tmp_path.glob("*.sqlog"))
    assert one.name.removesuffix("_client.sqlog") == other.name.removesuffix("_server.sqlog")
    for path in (one, other):
        records = [json.loads(record) for record in path.read_bytes().split(b"\x1e")[1:]]
        names = {record.get("name") for record in records}
        assert {"quic:connection_started", "quic:packet_sent", "quic:connection_closed"} <= names
    assert len(keys.read_text().splitlines()) == 10  # five secrets, by each end
