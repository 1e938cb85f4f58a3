"""The stack's folders: private ones, a short one for sockets, one stack at a time in each."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from spawn.dev.errors import FolderInUse, FolderUnusable

__all__ = ["lock_folder", "make_data_folder", "make_private", "own_tree", "socket_folder"]

_SOCKET_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103
"""What `sockaddr_un` holds besides its closing zero byte; a longer path can't be bound."""

_LOCK_POLL_S = 0.05


def make_data_folder(folder: Path) -> Path:
    """Make the data folder, out of version control, and return its absolute path.

    Raises: FolderUnusable.
    """
    folder = folder.absolute()
    try:
        if not folder.exists():
            make_private(folder)
            (folder / ".gitignore").write_text("*\n")
        make_private(folder / "logs")
    except OSError as error:
        raise unusable(folder, error) from error
    return folder


def make_private(folder: Path) -> None:
    """Make a folder that only we can enter; parents too, with the usual mode."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def unusable(folder: Path, error: OSError) -> FolderUnusable:
    """Return the error for a folder on which the system refused something."""
    return FolderUnusable(
        f"the data folder can't be used: {error.strerror}",
        at=error.filename or str(folder),
        hint="was it made by another user (root)? Remove it, or name another folder",
    )


async def lock_folder(folder: Path, wait_s: float) -> int:
    """Lock the data folder and return the lock's file descriptor; all its copies hold the lock.

    An earlier stack whose owner was killed holds it until its servers have ended: hence the wait.

    Raises: FolderInUse - another stack holds it after `wait_s` seconds. FolderUnusable.
    """
    path = folder / "lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(folder, error) from error
    deadline = asyncio.get_running_loop().time() + wait_s
    try:
        while not _try_lock(fd):
            if asyncio.get_running_loop().time() >= deadline:
                raise FolderInUse(
                    f"another stack, of process {_read(fd) or 'unknown'}, uses the data folder",
                    at=str(folder),
                    hint="end that process, or name another folder",
                )
            await asyncio.sleep(_LOCK_POLL_S)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> str:
    return os.pread(fd, 32, 0).decode(errors="replace").strip()


def socket_folder(data_folder: Path, socket_name: str) -> Path:
    """Return a private folder in which a socket of that name can be bound.

    It is `run` in the data folder. Where its path would be too long for a socket, or holds what a
    list of folders can't, it is a folder in the system's place for temporary files instead, always
    the same one for the same data folder.

    Raises: FolderUnusable.
    """
    folder = data_folder / "run"
    try:
        make_private(folder)
        folder.chmod(0o700)
        if _can_hold_socket(folder, socket_name):
            return folder
        return _short_folder(data_folder, socket_name)
    except OSError as error:
        raise unusable(data_folder, error) from error


def _can_hold_socket(folder: Path, socket_name: str) -> bool:
    text = str(folder)
    fits = len(os.fsencode(folder / socket_name)) <= _SOCKET_PATH_BYTES_MAX
    # PostgreSQL and its clients take a comma for the end of a folder's name.
    return fits and text.isprintable() and not any(char in text for char in ',"\\')


def _short_folder(data_folder: Path, socket_name: str) -> Path:
    digest = hashlib.sha256(os.fsencode(data_folder)).hexdigest()[:10]
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):
        folder = parent / f"spawn-{os.geteuid()}-{digest}"
        if _can_hold_socket(folder, socket_name) and _make_ours(folder):
            return folder
    # Somebody else sits on the name.
    return Path(tempfile.mkdtemp(prefix="spawn-", dir="/tmp"))


def _make_ours(folder: Path) -> bool:
    """Make the folder or find it as ours; false when it belongs to somebody else or is a link."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (os.geteuid() and found.st_uid != os.geteuid()):
        return False
    if found.st_uid != os.geteuid():
        # Root, and from an earlier start with another identity; a stranger's would be no safer
        # kept.
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
    folder.chmod(0o700)
    return True


def own_tree(folder: Path, uid: int, gid: int) -> None:
    """Give a folder and all in it to a user; nothing to do when the folder is that user's."""
    if folder.stat().st_uid == uid:
        return
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, uid, gid, follow_symlinks=False)
    # Last, so that an interrupted walk is done again.
    os.chown(folder, uid, gid)
