"""What is wrong with an installation and how to mend it: `spawn doctor`, as a library.

Each check looks at one thing and never raises for what it finds. Nothing is changed, except that
the write probe makes a scratch topic when it is asked for.
"""

from __future__ import annotations

from spawn.doctor.check import Check
from spawn.doctor.examination import examine

__all__ = ["Check", "examine"]
