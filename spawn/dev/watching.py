"""Noticing that files of the target have changed, by looking at them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["FileWatch", "target_files"]

_LOOK_S: Final = 0.1
_QUIET_LOOKS: Final = 1
"""Looks without a further change before it counts: editors write in several steps."""


class FileWatch:
    """A set of files as they were when they were last loaded."""

    def __init__(self, files: Iterable[str]) -> None:
        self._seen: Mapping[str, object] = {}
        self.watch(files)

    def watch(self, files: Iterable[str]) -> None:
        """Look at these files from now on; what changed of them since the last change is one."""
        self._seen = {
            name: self._seen[name] if name in self._seen else _mark(name) for name in files
        }

    @property
    def files(self) -> Collection[str]:
        """What is looked at."""
        return self._seen

    async def changed(self) -> Sequence[str]:
        """Wait for a change; return the names of the files that changed, without their folders."""
        quiet, before = 0, self._seen
        while True:
            await asyncio.sleep(_LOOK_S)
            now = {name: _mark(name) for name in self._seen}
            if now == self._seen:
                before = now
                continue
            quiet = quiet + 1 if now == before else 0
            before = now
            if quiet >= _QUIET_LOOKS:
                names = [Path(name).name for name in now if now[name] != self._seen[name]]
                self._seen = now
                return names


def target_files(target: str) -> Sequence[str]:
    """Return the file that a target names, if it names one: what to look at until it is loaded."""
    place = target.partition(":")[0]
    return [str(Path(place).resolve())] if place.endswith(".py") or "/" in place else []


def _mark(name: str) -> object:
    try:
        status = Path(name).stat()
    except OSError:
        return None  # an editor is replacing it
    return status.st_mtime_ns, status.st_size, status.st_ino
