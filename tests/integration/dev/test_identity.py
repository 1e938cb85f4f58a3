"""PostgreSQL where it refuses the user who starts it: root (so root has to run these tests)."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spawn.dev.binaries import postgres_folder
from spawn.dev.identity import require_reachable
from spawn.dev.parts import Identity

Hold = Callable[..., Any]

# Without this capability root may not map itself into a user namespace: as in most containers.
_NO_NAMESPACE = ("setpriv", "--bounding-set", "-setfcap", "--inh-caps", "-setfcap")

_NOBODY = Identity(mode="setuid", uid=65534, gid=65534)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="for root"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)"),
]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def owner(pid: int) -> int:
    """Return the user of a process, as the whole system sees it."""
    return Path(f"/proc/{pid}").stat().st_uid


def test_root_has_a_namespace(tmp_path: Path, hold: Hold) -> None:
    """In a user namespace PostgreSQL runs for root, and the files stay root's."""
    holder = hold(tmp_path / "data", "postgres")
    assert owner(holder.pids["postgres"]) == 0
    assert (tmp_path / "data" / "pg").stat().st_uid == 0


def test_root_without_namespaces_uses_nobody(open_folder: Path, hold: Hold) -> None:
    """Where namespaces are forbidden it runs as `nobody`, and later in a namespace again."""
    try:
        require_reachable(_NOBODY, postgres_folder() / "postgres")
    except Exception as error:  # noqa: BLE001 - any reason will do
        pytest.skip(str(error))
    data = open_folder / "data"
    holder = hold(data, "postgres", wrapper=_NO_NAMESPACE)
    assert owner(holder.pids["postgres"]) == 65534
    assert (data / "pg").stat().st_uid == 65534
    assert (data / "pg").stat().st_mode & 0o777 == 0o700
    holder.end()
    holder = hold(data, "postgres")
    assert owner(holder.pids["postgres"]) == 0
    assert (data / "pg").stat().st_uid == 0


def test_the_folder_in_the_way_is_named(tmp_path: Path, hold: Hold) -> None:
    """`nobody` can't enter pytest's folder: the error names it."""
    with pytest.raises(RuntimeError, match="as user nobody it can't enter /tmp/"):
        hold(tmp_path / "data", "postgres", wrapper=_NO_NAMESPACE)
