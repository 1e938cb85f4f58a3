"""What user code raised, as text for callers, log and record.

Whatever it is: classes of the user's have texts of their own, which may be none, endless or raise.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Final

__all__ = ["cause", "goes_on", "is_ctrl_c", "refusal_text", "shortened", "text_of"]

_LENGTH_MAX: Final = 1_000
"""Characters of a foreign exception's text that go into record and answer."""

_REFUSAL_MAX: Final = 10_000
"""Characters of a refusal's code or text, which user code has written for its callers."""


def cause(error: BaseException) -> str:
    """Return `ValueError: what it says`, shortened."""
    text = f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")
    return shortened(text)


def shortened(text: str) -> str:
    """Return a text as it goes into record and answer: its first 1,000 characters."""
    return text if len(text) <= _LENGTH_MAX else text[: _LENGTH_MAX - 3] + "..."


def refusal_text(value: object) -> str:
    """Return what a refusal says, at most 10,000 characters of it: it is stored with the record."""
    text = text_of(value)
    return text if len(text) <= _REFUSAL_MAX else text[: _REFUSAL_MAX - 3] + "..."


def text_of(value: object) -> str:
    """Return `str(value)` as text that UTF-8 can hold; what has no text is said to have none."""
    try:
        text = str(value)
    except BaseException as error:  # noqa: BLE001 - only a text is lost
        return f"(its text can't be made: {type(error).__name__})"
    if type(text) is not str:
        text = str.__str__(text)
    return text if text.isascii() else text.encode(errors="replace").decode()


def is_ctrl_c(error: BaseException) -> bool:
    """Tell whether it may be that somebody wants this process to stop.

    A node takes signals in one place, and threads get none: there user code has raised it itself.
    A debugger lets its user leave by it.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    by_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return by_default or sys.gettrace() is not None


def goes_on(error: BaseException) -> bool:
    """Tell whether what came out of async user code is not its own: it is to be raised again.

    That is Ctrl-C, and the end of the task (or of an abandoned coroutine). A CancelledError or
    GeneratorExit that user code has raised itself is an error like any other.
    """
    if is_ctrl_c(error):
        return True
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return True
    return task is None or task.cancelling() > 0
