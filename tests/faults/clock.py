"""Wall clocks that jump: a small library in front of the C library's, made with `cc` on demand."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["VARIABLE", "Clock", "library", "missing"]

VARIABLE: Final = "FAULTS_CLOCK"
_SOURCE: Final = Path(__file__).with_name("clock.c")
_COMPILE_S: Final = 60.0


def missing() -> str:
    """Return what this machine lacks for it; empty: nothing."""
    if sys.platform != "linux":
        return "clocks jump by LD_PRELOAD, which Linux has"
    return "" if shutil.which("cc") else "no C compiler (cc) makes the library with the clock"


def library(folder: Path) -> Path:
    """Make the library. Raises: RuntimeError - with what the compiler said."""
    made = folder / "clock.so"
    done = subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", "-o", str(made), str(_SOURCE), "-ldl"],
        capture_output=True,
        text=True,
        timeout=_COMPILE_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"cc failed: {done.stderr}")
    return made


class Clock:
    """How far the wall clock of one process is off."""

    def __init__(self, file: Path) -> None:
        """`file` is what the process finds in `VARIABLE`; it is made, unless it is there."""
        self.file = file
        if not file.exists():
            self.set(0.0)

    def set(self, seconds: float) -> None:
        """Let it differ by so much from now on."""
        # Written in place: who maps it sees the new value.
        with self.file.open("r+b" if self.file.exists() else "wb") as content:
            content.write(struct.pack("=q", int(seconds * 1e9)))
