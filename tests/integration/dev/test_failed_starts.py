"""A stack that can't start says what failed, where, and how to mend it."""

from pathlib import Path

import pytest

from spawn.dev import EmbeddedStack, FolderUnusable, PartFailed, StackError


def program(path: Path, text: str) -> str:
    """Write a program that takes a server's place."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_a_server_that_ends_at_once(tmp_path: Path) -> None:
    """The error names the part, how it ended and its log, and closes with the log's last lines."""
    text = '[ "$1" = --version ] && echo "nats-server: v2.15.1" && exit\necho no luck >&2; exit 7'
    fake = {"SPAWN_NATS_BIN": program(tmp_path / "fake", text)}
    with pytest.raises(PartFailed) as failed:
        await EmbeddedStack(tmp_path / "data", kafka=False, postgres=False, environ=fake).start()
    log = tmp_path / "data" / "logs" / "nats.log"
    assert str(failed.value) == (
        "nats ended with exit code 7; the last lines of its log:\n    no luck"
    )
    assert failed.value.at == str(log)


async def test_a_server_that_never_answers(tmp_path: Path) -> None:
    """After its time is up a silent server is killed, and the error says so."""
    text = '[ "$1" = --version ] && echo "nats-server: v2.15.1" && exit\nexec sleep 60'
    fake = {"SPAWN_NATS_BIN": program(tmp_path / "fake", text)}
    stack = EmbeddedStack(
        tmp_path / "data", kafka=False, postgres=False, environ=fake, start_timeout_s=0.3
    )
    with pytest.raises(PartFailed, match=r"nats did not answer within 0\.3 s; its log is empty"):
        await stack.start()


async def test_a_program_of_another_kind(tmp_path: Path) -> None:
    """What the program says of itself decides, before anything is started."""
    fake = {"SPAWN_NATS_BIN": program(tmp_path / "fake", "echo netcat 1.10")}
    with pytest.raises(StackError, match=r"fake is not nats-server 2: it says 'netcat 1\.10'"):
        await EmbeddedStack(tmp_path / "data", kafka=False, postgres=False, environ=fake).start()


async def test_data_of_another_version(tmp_path: Path) -> None:
    """Data that another PostgreSQL has made is refused with both versions named."""
    data = tmp_path / "data" / "pg"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(FolderUnusable, match="made by PostgreSQL 15, and this is 18") as refused:
        await EmbeddedStack(tmp_path / "data", kafka=False, nats=False).start()
    assert refused.value.at == str(data)


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is named."""
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FolderUnusable, match="the data folder can't be used: File exists") as error:
        await EmbeddedStack(file / "data").start()
    assert error.value.at == str(file)
