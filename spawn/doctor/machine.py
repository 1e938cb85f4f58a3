"""This machine and its Python."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import resource
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from spawn.config import Settings, shown_size
from spawn.doctor.check import Check, failed, ok, warning

__all__ = ["build_of", "examine_machine", "fits"]

_DISTRIBUTION: Final = "spawn-actors"
_FILES_MIN: Final = 4096
_DISK_MIN_BYTES: Final = 1024**3
_MEMORY_FACTOR: Final = 2.5
"""A process's memory beside the states that `actors.memory_limit` estimates."""


def examine_machine(settings: Settings | None, data: Path) -> Iterator[Check]:
    """Check Python, packages and limits; `data` is the folder of `spawn dev`."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("python", f"{version} at {sys.executable}")
    yield _build(build_of(sysconfig.get_config_vars(), sys.platform, sys.base_prefix))
    if importlib.util.find_spec("uvloop") is None:
        yield warning(
            "event loop",
            "uvloop is not installed: each commit costs more CPU time",
            f"pip install '{_DISTRIBUTION}[speed]'",
        )
    else:
        yield ok("event loop", f"uvloop {importlib.metadata.version('uvloop')}")
    yield _packages()
    yield _open_files()
    if settings is not None:
        yield _memory(settings.actors.memory_limit_bytes, _memory_bytes())
    yield _disk(data)


def build_of(variables: Mapping[str, Any], platform: str, prefix: str) -> str:
    """Tell how an interpreter was built: `optimised`, `debug` or `plain` (no profile was used).

    The flags say so, where they are kept. Linux distributions strip them, and all build with a
    profile: their interpreter lives in /usr. On Windows there are none, and python.org's uses one.
    """
    if variables.get("Py_DEBUG"):
        return "debug"
    flags = " ".join(
        str(variables.get(name) or "")
        for name in ("CONFIG_ARGS", "PY_CFLAGS", "PY_CORE_CFLAGS", "CFLAGS_NODIST")
    )
    if re.search(r"--enable-optimizations|-fprofile-(instr-)?use", flags):
        return "optimised"
    packaged = platform == "linux" and prefix == "/usr"
    return "optimised" if packaged or not variables.get("CONFIG_ARGS") else "plain"


def _build(build: str) -> Check:
    if build == "optimised":
        return ok("python build", "with profile-guided optimisation")
    mend = (
        "use your distribution's Python, python.org's or uv's; with pyenv: "
        "PYTHON_CONFIGURE_OPTS=--enable-optimizations pyenv install 3.11"
    )
    if build == "debug":
        return warning("python build", "a debug build: several times slower", mend)
    return warning(
        "python build",
        "without profile-guided optimisation: a commit needs about 1.25 times the CPU time, a "
        "task switch 1.9 times",
        mend,
    )


def _packages() -> Check:
    try:
        requirements = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return warning(
            "packages", f"{_DISTRIBUTION} is not installed, only found", "pip install it"
        )
    shown, wrong = [], []
    for requirement in requirements:
        match = re.match(r"([A-Za-z0-9_.-]+)\s*([^;]*)", requirement)
        if match is None or "extra ==" in requirement:
            continue
        name, wanted = match[1], match[2].strip()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing (wanted {wanted})")
            continue
        shown.append(f"{name} {version}")
        if not fits(version, wanted):
            wrong.append(f"{name} {version} is not {wanted}")
    if wrong:
        return failed("packages", "; ".join(wrong), f"pip install --upgrade {_DISTRIBUTION}")
    return ok("packages", f"{_DISTRIBUTION} {importlib.metadata.version(_DISTRIBUTION)}, "
              + ", ".join(shown))  # fmt: skip


def fits(version: str, wanted: str) -> bool:
    """Tell whether a version is within bounds like `>=0.14,<0.15`; unknown ones count as met."""
    has = _numbers(version)
    for bound in wanted.split(","):
        match = re.fullmatch(r"\s*\(?(>=|<=|==|<|>)\s*([0-9.]+)\)?\s*", bound)
        if match is None:
            continue
        limit = _numbers(match[2])
        size = max(len(has), len(limit))
        left, right = (each + (0,) * (size - len(each)) for each in (has, limit))
        met = {
            ">=": left >= right,
            "<=": left <= right,
            "==": left == right,
            "<": left < right,
            ">": left > right,
        }
        if not met[match[1]]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:4])


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES_MIN:
        return warning(
            "open files",
            f"at most {soft:,} (hard limit {hard:,}); each caller's connection needs one",
            f"ulimit -n {max(65_536, _FILES_MIN)}, or LimitNOFILE= of the service",
        )
    shown = "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft:,}"
    return ok("open files", shown)


def _memory(limit: int, has: int | None) -> Check:
    text = f"actors.memory_limit is {shown_size(limit)}"
    if has is None:
        return ok("memory", text)
    text += f", this machine or container has {has / 1024**3:.1f} GiB"
    if has < limit * _MEMORY_FACTOR:
        return warning(
            "memory",
            text + "; a process needs two to three times the states' memory",
            "lower actors.memory_limit (SPAWN_ACTORS_MEMORY_LIMIT), or give it more memory",
        )
    return ok("memory", text)


def _memory_bytes() -> int | None:
    """Return what this process may use: the machine's memory or its container's limit."""
    sizes = []
    try:
        match = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text("ascii"))
        sizes += [int(match[1]) * 1024] if match else []
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
        sizes += [int(limit)] if limit.isdigit() else []
    except (OSError, ValueError):
        pass
    return min(sizes, default=None)


def _disk(data: Path) -> Check:
    folder = data if data.exists() else data.resolve().parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free for {data}"
    if free < _DISK_MIN_BYTES:
        return warning("disk", text, "free some room: the servers of `spawn dev` keep data there")
    return ok("disk", text)
