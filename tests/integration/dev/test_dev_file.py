"""`.spawn/dev.json`: written whole, private, and believed only while its writer lives."""

import os
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from spawn.dev import DevFile, dev_file, rss_bytes
from spawn.dev.processes import start_token


def sample(**changes: object) -> DevFile:
    """Return a content with every member set."""
    content = DevFile(
        system="spawn-system",
        http_url="http://127.0.0.1:9001",
        started="2026-11-24T17:00:00+00:00",
        kafka_bootstrap="127.0.0.1:20001",
        postgres_dsn="postgresql://postgres@/postgres?host=/tmp/x&port=5432",
        nats_url="nats://127.0.0.1:20002",
        pids={"kafka": 1},
    )
    return msgspec.structs.replace(content, **changes)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """All members come back; only the owner can read the file; nothing else is left beside it."""
    folder = tmp_path / ".spawn"
    path = dev_file.write(folder, sample())
    assert dev_file.read(folder) == sample()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["dev.json"]
    dev_file.write(folder, sample(system="other"))
    found = dev_file.read(folder)
    assert found is not None
    assert found.system == "other"


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"system": 1}'])
def test_what_is_no_such_file_is_nothing(tmp_path: Path, content: bytes | None) -> None:
    """An absent, cut or foreign file means that nothing runs."""
    if content is not None:
        dev_file.dev_file_path(tmp_path).write_bytes(content)
    assert dev_file.read(tmp_path) is None


def test_a_dead_writer_is_not_believed(tmp_path: Path) -> None:
    """Neither a pid that is gone nor one that belongs to another process now."""
    with subprocess.Popen(["sleep", "60"]) as writer:
        token = start_token(writer.pid)
        dev_file.write(tmp_path, sample(pid=writer.pid, pid_token=token))
        assert dev_file.read(tmp_path) is not None
        # Of a process that lives, the file stays.
        dev_file.remove(tmp_path)
        assert dev_file.read(tmp_path) is not None
        writer.kill()
    assert dev_file.read(tmp_path) is None
    dev_file.write(tmp_path, sample(pid=os.getpid(), pid_token=token))
    assert dev_file.read(tmp_path) is None
    dev_file.remove(tmp_path)
    assert not dev_file.dev_file_path(tmp_path).exists()


def test_memory_of_a_process() -> None:
    """Resident bytes of a living process; None of one that is gone."""
    own = rss_bytes(os.getpid())
    assert own is not None
    assert own > 10 << 20
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert rss_bytes(gone.pid) is None
