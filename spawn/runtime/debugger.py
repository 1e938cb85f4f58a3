"""Whether somebody looks at this process with a debugger: then time that stood still counts not."""

from __future__ import annotations

import sys
from typing import Any, Final

__all__ = ["Debugger"]

_FILES: Final = ("/bdb.py", "/pdb.py", "/debugpy/", "/pydevd/", "/_pydevd_bundle/")
_BREAKPOINTS: Final = frozenset(("builtins.breakpoint", "pdb.Pdb"))


class Debugger:
    """Notices debuggers of this process: pdb by `breakpoint()`, tracers, debugpy (editors)."""

    def __init__(self) -> None:
        self._was_met = False

    def notice_breakpoints(self) -> None:
        """Remember `breakpoint()` from now on, since pdb leaves no trace when it goes on.

        For a node in development: it adds an audit hook to the process, which stays.
        """

        def audit(event: str, _arguments: tuple[Any, ...]) -> None:
            if event in _BREAKPOINTS:
                self._was_met = True

        sys.addaudithook(audit)

    @property
    def is_attached(self) -> bool:
        """Tell whether a debugger is there, or was there at a breakpoint."""
        if self._was_met or sys.gettrace() is not None:
            return True
        debugpy: Any = sys.modules.get("debugpy")
        return debugpy is not None and bool(debugpy.is_client_connected())

    @staticmethod
    def is_of_one(file: str) -> bool:
        """Tell whether code of that file is a debugger's: a stack with it stands at a breakpoint.

        For other threads than the one that is looked at, where `is_attached` sees no tracer.
        """
        return any(part in file for part in _FILES)
