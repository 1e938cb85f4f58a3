"""PostgreSQL on a socket in a private folder; its data stays in the data folder.

There is no password and no TCP port: who may enter the folder with the socket (mode 0700) is logged
in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from spawn.dev.binaries import check_version
from spawn.dev.errors import FolderUnusable, PartFailed
from spawn.dev.folders import make_private, own_tree, socket_folder, unusable
from spawn.dev.identity import choose_identity, require_reachable
from spawn.dev.logs import with_last_lines
from spawn.dev.parts import Command, Identity, PartName
from spawn.dev.probes import postgres_serves
from spawn.dev.supervisor_link import SupervisorLink

__all__ = ["PostgresPart"]

_USER = "postgres"
_DATABASE = "postgres"

_PORT = 5432
"""No TCP port: only the socket's name ends in it, and it is what clients take for granted."""

_SOCKET_NAME = f".s.PGSQL.{_PORT}"

_INITDB_TIMEOUT_S = 60.0
"""It takes 1 s here; it writes 40 MB and waits until they are on the disk."""


class PostgresPart:
    """PostgreSQL with its data in `pg` of the data folder."""

    name: PartName = "postgres"
    port: int | None = None

    def __init__(self, programs: Path, data_folder: Path, log: Path) -> None:
        self._programs = programs
        self._data_folder = data_folder
        self._data = data_folder / "pg"
        self._sockets = data_folder
        self._log = log
        self._identity: Identity | None = None

    @property
    def dsn(self) -> str:
        """The address for clients, as a libpq URI."""
        folder = quote(str(self._sockets), safe="/")
        # The port must be named, or PGPORT of the client's environment would count.
        return f"postgresql://{_USER}@/{_DATABASE}?host={folder}&port={_PORT}"

    async def prepare(self, link: SupervisorLink) -> None:
        version = await check_version(
            self._programs / "postgres",
            r"\(PostgreSQL\) (1[4-9]|[2-9]\d)\b",
            "PostgreSQL 14 or later",
        )
        self._identity = await choose_identity(link)
        self._sockets = socket_folder(self._data_folder, _SOCKET_NAME)
        try:
            self._open_folders()
            if not self._data.exists():
                await self._make_data(link)
            own_tree(self._data, *self._owner)
        except OSError as error:
            raise unusable(self._data_folder, error) from error
        self._require_version(version)

    def _open_folders(self) -> None:
        """Let another user of the system in, where PostgreSQL has to run as one."""
        if self._identity is not None and self._identity.mode == "setuid":
            self._data_folder.chmod(0o711)
        require_reachable(self._identity, self._programs / "postgres", self._data)
        own_tree(self._sockets, *self._owner)

    @property
    def _owner(self) -> tuple[int, int]:
        if self._identity is not None and self._identity.mode == "setuid":
            return self._identity.uid, self._identity.gid
        return os.geteuid(), os.getegid()

    async def _make_data(self, link: SupervisorLink) -> None:
        """Run initdb in a folder beside and rename it: one that is killed leaves no half."""
        new = self._data_folder / "pg.new"
        if new.exists():
            shutil.rmtree(new)
        make_private(new)
        own_tree(new, *self._owner)
        command = Command(
            name="initdb",
            argv=(
                *(str(self._programs / "initdb"), "--pgdata", str(new), "--username", _USER),
                # Only the socket is served, and only its folder's owner reaches that.
                *("--auth", "trust"),
                # Not the locale of whoever starts it: sorting is by bytes, everywhere the same.
                *("--encoding", "UTF8", "--no-locale"),
            ),
            log=self._log.with_name("initdb.log"),
            identity=self._identity,
        )
        await link.start(command)
        ended = await link.wait_exit(command.name, _INITDB_TIMEOUT_S)
        if ended.code != 0:
            raise PartFailed(
                with_last_lines(f"initdb {ended}", command.log),
                at=str(command.log),
                hint="mend what its log names and start again",
            )
        new.rename(self._data)

    def _require_version(self, version: str) -> None:
        """Refuse data that another major version has made.

        Raises: FolderUnusable.
        """
        try:
            found = (self._data / "PG_VERSION").read_text().strip()
        except OSError as error:
            raise unusable(self._data, error) from error
        if found != version:
            raise FolderUnusable(
                f"the database was made by PostgreSQL {found}, and this is {version}",
                at=str(self._data),
                hint="remove it (the data of `spawn dev` goes with it), or let SPAWN_POSTGRES_BIN"
                f" name the programs of version {found}",
            )

    def use_port(self, port: int) -> None:
        raise AssertionError("PostgreSQL has no port")

    def command(self) -> Command:
        self._remove_stale_locks()
        settings = {
            "listen_addresses": "",
            "port": str(_PORT),
            "unix_socket_directories": f'"{self._sockets}"',
            "unix_socket_permissions": "0700",
            # The stack's log is its output.
            "logging_collector": "off",
            "log_destination": "stderr",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return Command(
            name=self.name,
            argv=(str(self._programs / "postgres"), "-D", str(self._data), *options),
            log=self._log,
            # "Fast": sessions are ended. SIGTERM would wait until the last client leaves.
            stop_signal=signal.SIGINT,
            identity=self._identity,
        )

    def _remove_stale_locks(self) -> None:
        """Remove the lock files of a server that was killed: of its data and of its socket.

        PostgreSQL does so itself unless the pid in them has meanwhile been given to another process
        of ours, or is a zombie's that nobody collects, as in many containers: both it takes for the
        server. The stack holds a lock of its own on the data folder, so nobody else serves it; if
        the killed server's own processes live on, PostgreSQL still finds out by its shared memory.
        """
        for lock in (self._data / "postmaster.pid", self._sockets / f"{_SOCKET_NAME}.lock"):
            try:
                pid = int(lock.read_text().split("\n", 1)[0])
            except FileNotFoundError:
                continue
            except ValueError:
                pid = 0
            if not (pid and _serves(pid, self._data)):
                lock.unlink(missing_ok=True)

    async def answers(self) -> bool:
        return await postgres_serves(self._sockets / _SOCKET_NAME, _USER, _DATABASE)


def _serves(pid: int, data: Path) -> bool:
    """Return whether this process is a PostgreSQL server on that folder, by its command line."""
    command_line = Path(f"/proc/{pid}/cmdline")
    if command_line.parent.parent.joinpath("self").exists():
        try:
            return os.fsencode(data) in command_line.read_bytes().split(b"\0")
        except OSError:
            return False
    listing = subprocess.run(
        ["/bin/ps", "-ww", "-p", str(pid), "-o", "command="],
        capture_output=True,
        check=False,
        timeout=5,
    )
    return os.fsencode(data) in listing.stdout
