"""The snapshot store over TLS, with passwords and certificates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from eventstore.errors import SnapshotError, SnapshotsNotAdmitted, SnapshotsUnavailable
from eventstore.log import TopicPartition
from eventstore.postgres_snapshots import PostgresSnapshots
from tests.services.secure_postgres import SecurePostgres

_NO_WITHIN_S = 5.0
_PLACE = TopicPartition("spawn.test", 0)

Open = Callable[..., PostgresSnapshots]


def dsn(database: SecurePostgres, user: str = "spawn", password: str = "", **query: object) -> str:
    """Return an address with TLS checked in full, unless `query` says otherwise."""
    query = {"sslmode": "verify-full", "sslrootcert": database.authority.cert, **query}
    text = "&".join(f"{key}={value}" for key, value in query.items() if value is not None)
    login = f"{user}:{quote(password, safe='')}" if password else user
    return f"postgresql://{login}@127.0.0.1:{database.port}/spawn?{text}"


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens stores; all are closed at the end."""
    stores: list[PostgresSnapshots] = []

    def open_store(address: str, **options: Any) -> PostgresSnapshots:
        stores.append(PostgresSnapshots(address, "demo", **options))
        return stores[-1]

    yield open_store
    for store in stores:
        await store.close()
    # asyncpg does not wait for the end of a TLS connection on which the login was refused.
    await asyncio.sleep(0.1)


async def test_a_password_in_the_address(database: SecurePostgres, opened: Open) -> None:
    """With all the signs that a password may have."""
    store = opened(dsn(database, password=database.password))
    await store.migrate()
    assert await store.checkpoint(_PLACE) is None


async def test_a_password_that_is_asked_for_each_connection(
    database: SecurePostgres, opened: Open
) -> None:
    """It may change: a refused one is followed by the right one, with a pause between."""
    passwords = ["s3cret-wrong"]
    store = opened(dsn(database), password=lambda: passwords[-1])
    with pytest.raises(SnapshotsNotAdmitted) as caught:
        await store.ping()
    assert caught.value.concerns == "login"
    assert "s3cret" not in str(caught.value)
    passwords.append(database.password)
    with pytest.raises(SnapshotsNotAdmitted):
        await store.ping()  # not tried: the pause
    await asyncio.sleep(1.1)
    await store.ping()


async def test_a_file_in_the_form_of_libpq(
    database: SecurePostgres, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named in the address, or by PGPASSFILE."""
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{database.port}:*:filer:{database.plain_password}\n")
    file.chmod(0o600)
    await opened(dsn(database, "filer", passfile=file)).ping()
    monkeypatch.setenv("PGPASSFILE", str(file))
    await opened(dsn(database, "filer")).ping()


async def test_a_certificate_instead_of_a_password(database: SecurePostgres, opened: Open) -> None:
    """Its common name is the user."""
    robot = database.robot
    store = opened(dsn(database, "robot", sslcert=robot.cert, sslkey=robot.key))
    await store.ping()


@pytest.mark.parametrize(
    ("wrong", "query", "concerns", "text"),
    [
        ("password", {}, "login", "password authentication failed"),
        ("user", {}, "login", "nobody"),
        ("", {"sslmode": "disable", "sslrootcert": None}, "protocol", "wants TLS"),
        ("authority", {}, "trust", "is not trusted"),
        ("robot", {}, "client-certificate", "without a certificate"),
        ("certificate", {}, "login", 'user "spawn"'),
    ],
)
async def test_a_no_is_told_at_once(
    database: SecurePostgres,
    opened: Open,
    wrong: str,
    query: dict[str, Any],
    concerns: str,
    text: str,
) -> None:
    """What is wrong, by its name, and no password in it."""
    if wrong == "authority":
        query = {"sslrootcert": database.other_authority.cert}
    if wrong == "certificate":
        query = {"sslcert": database.robot.cert, "sslkey": database.robot.key}
    user = {"user": "nobody", "robot": "robot"}.get(wrong, "spawn")
    password = "s3cret-wrong" if wrong in ("password", "certificate") else database.password
    began = time.monotonic()
    with pytest.raises(SnapshotsNotAdmitted) as caught:
        await opened(dsn(database, user, password, **query)).ping()
    assert time.monotonic() - began < _NO_WITHIN_S
    assert (caught.value.concerns, text in str(caught.value)) == (concerns, True), caught.value
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "concerns", "text"),
    [
        ("expired", "trust", "has expired"),
        ("elsewhere", "host", "is for another host"),
        ("none", "protocol", "has no TLS"),
    ],
)
async def test_the_servers_own_side_is_wrong(
    database: SecurePostgres, opened: Open, state: str, concerns: str, text: str
) -> None:
    """Its certificate has expired or is for another host, or it has no TLS at all."""
    pairs = {"expired": database.expired, "elsewhere": database.elsewhere, "none": None}
    await asyncio.to_thread(database.use, pairs[state])
    began = time.monotonic()
    with pytest.raises(SnapshotsNotAdmitted) as caught:
        await opened(dsn(database, password=database.password)).ping()
    assert time.monotonic() - began < _NO_WITHIN_S
    assert (caught.value.concerns, text in str(caught.value)) == (concerns, True), caught.value
    if state == "elsewhere":  # the check of the name can be given up
        await opened(dsn(database, password=database.password, sslmode="verify-ca")).ping()


async def test_a_database_that_is_not_there_is_another_matter(
    database: SecurePostgres, opened: Open
) -> None:
    """Neither login nor TLS: the name."""
    address = dsn(database, password=database.password).replace("/spawn?", "/nothing?")
    with pytest.raises(SnapshotError, match="nothing") as caught:
        await opened(address).ping()
    assert not isinstance(caught.value, SnapshotsUnavailable)


async def test_after_a_restart_of_the_server_all_goes_on(
    database: SecurePostgres, opened: Open
) -> None:
    """With TLS and login anew."""
    store = opened(dsn(database, password=database.password))
    await store.ping()
    await asyncio.to_thread(database.restart)
    deadline = time.monotonic() + 15
    while True:
        try:
            await store.ping()
            return
        except SnapshotsNotAdmitted:
            raise
        except SnapshotsUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
