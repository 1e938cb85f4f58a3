"""PostgreSQL with TLS, on loopback: the wheel's is built without it, so it is the system's own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from tests.services.certificates import Authority, Pair
from tests.services.keeper import KeptProcess
from tests.services.ports import free_port

__all__ = ["HOW_TO_GET_IT", "SecurePostgres", "programs"]

HOW_TO_GET_IT: Final = (
    "install PostgreSQL 14 or later (Debian, Ubuntu: apt-get install postgresql), or let "
    "SPAWN_TLS_POSTGRES_BIN name the folder of a postgres with TLS"
)
_START_S: Final = 30.0


def programs() -> Path | None:
    """Return the folder of a postgres with TLS; None: there is none."""
    given = os.environ.get("SPAWN_TLS_POSTGRES_BIN")
    folders = [Path(given)] if given else sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name)
    )  # fmt: skip
    found = [
        each for each in folders if (each / "postgres").exists() and (each / "initdb").exists()
    ]
    return found[-1] if found else None


class SecurePostgres:
    """Wants TLS: a password (SCRAM) of `spawn`, a certificate of `robot`; the database is `spawn`.

    `use` changes its certificate or takes TLS away, `lets_in_plain` is a user who needs none.
    """

    plain_password = "s3cret-of-filer"
    """Of `filer`. asyncpg does not undo the escapes in libpq's password file."""
    password = "s3cret-of-postgres/?#@:%"

    def __init__(self, folder: Path) -> None:
        """Make certificates and data."""
        self.authority = Authority(folder / "good")
        self.other_authority = Authority(folder / "other", "other authority")
        hosts = "DNS:localhost,IP:127.0.0.1"
        self.good = self.authority.sign("postgres", hosts=hosts)
        self.expired = self.authority.sign("postgres", hosts=hosts, days=-1, file="expired")
        self.elsewhere = self.authority.sign("elsewhere", hosts="DNS:db.example.com")
        self.robot = self.authority.sign("robot")
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="spawn-postgres-"))
        self._folder.chmod(0o755)
        self._data = self._folder / "data"
        self._data.mkdir()
        self._log = self._folder / "postgres.log"
        self._process: KeptProcess | None = None
        self._changes = 0

    def __enter__(self) -> Self:
        self._own(self._folder, self._data)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-N")
        (self._data / "pg_hba.conf").write_text(
            "local all all trust\n"
            "hostssl all robot 127.0.0.1/32 cert\n"
            "hostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        self._configure(self.good)
        self._start()
        literal = self.password.replace("'", "''")
        for statement in (
            f"create role spawn login password '{literal}'",
            f"create role filer login password '{self.plain_password}'",
            "create role robot login",
            "create database spawn owner spawn",
            "grant all on database spawn to robot",
        ):
            self._psql(statement)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def use(self, pair: Pair | None) -> None:
        """Take another certificate, or no TLS at all, for connections from now on."""
        self._configure(pair)
        self._run("pg_ctl", "reload", "-D", str(self._data))
        deadline = time.monotonic() + _START_S
        wanted = "off" if pair is None else f"tls-{self._changes}.cert"
        shown = "show ssl" if pair is None else "show ssl_cert_file"
        while wanted not in self._psql(shown):  # a reload says nothing when it is done
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def restart(self) -> None:
        """End all sessions and start again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        self._start()

    def _start(self) -> None:
        self._process = KeptProcess(
            [*_as_user(), str(self._bin / "postgres"), "-D", str(self._data)],
            log=self._log,
            remove_if_orphaned=self._folder,
        )
        self._wait()

    @property
    def _bin(self) -> Path:
        found = programs()
        assert found is not None
        return found

    def _psql(self, statement: str) -> str:
        return self._run(
            *("psql", "-X", "-q", "-t", "-h", str(self._folder), "-p", str(self.port)),
            *("-U", "postgres", "-c", statement),
        )

    def _configure(self, pair: Pair | None) -> None:
        self._changes += 1
        lines = {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self.port),
            "unix_socket_directories": f"'{self._folder}'",
            "fsync": "off",
            "ssl": "off" if pair is None else "on",
        }
        if pair is not None:
            for name, source in (
                ("cert", pair.cert),
                ("key", pair.key),
                ("ca", self.authority.cert),
            ):
                copy = self._data / f"tls-{self._changes}.{name}"
                copy.write_bytes(source.read_bytes())
                copy.chmod(0o600)
                self._own(copy)
                lines[f"ssl_{name}_file"] = f"'{copy}'"
        text = "".join(f"{key} = {value}\n" for key, value in lines.items())
        (self._data / "postgresql.conf").write_text(text)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [*_as_user(), str(self._bin / program), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self._run("pg_isready", "-h", str(self._folder), "-p", str(self.port))
            except AssertionError:
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.05)
            else:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return

    def _own(self, *paths: Path) -> None:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in paths:
                os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _as_user() -> tuple[str, ...]:
    """Return what runs a command as somebody whom PostgreSQL lets run it."""
    if os.geteuid() != 0:
        return ()
    nobody = pwd.getpwnam("nobody")
    return (
        "setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"
    )  # fmt: skip
