"""The logs of a node's process: one line for each record, JSON for programs, text for people.

All of our own code, the libraries, warnings and user code log with the standard library (or with
structlog, which is led there); only here, and only in a process that is a node, it is decided how
that is written. Imported as a library, Spawn sets nothing up.

A record's fields stand in its `extra` under fixed names: `topic`, `partition`, `offset`, `claim`,
`epoch`, `actor` (`Type/id`), `type`, `action`, `revision`. Passwords in addresses and tokens are
masked in everything that is written, wherever it came from.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["configure_logs", "spoken"]

_MASK: Final = "***"
_SECRETS: Final = (
    # Greedy up to the last @: rather a host too much masked than a letter of a password shown. In
    # the path of a web address an @ is nothing special.
    (re.compile(r"(?i)(\b(?!https?:)\w+://[^:@/?\s]*):\S*@"), rf"\1:{_MASK}@"),
    (re.compile(r"(?i)(\bhttps?://[^:@/?\s]*):[^/\s]*@"), rf"\1:{_MASK}@"),
    (re.compile(r"(?i)((?:password|passwd|token|secret)['\"]?\s*[=:]\s*)[^\s&,;]+"), rf"\1{_MASK}"),
    (re.compile(r"(?i)\b(bearer|basic) [\w.~+/=-]{4,}"), rf"\1 {_MASK}"),
)
_SECRET_FIELD: Final = re.compile(r"(?i)password|passwd|secret|token|authorization|dsn")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TEXT_MAX: Final = 20_000
"""Characters of one field of a record; an exception of user code may have a text of any length."""
_STAMP: Final = "%Y-%m-%d %H:%M:%S"


def configure_logs(
    level: str,
    form: str,
    *,
    colour: bool = False,
    stream: TextIO | None = None,
    quiet: Sequence[str] = (),
) -> bool:
    """Send the logs of this process to stderr (or `stream`); return whether they are JSON.

    `level` and `form` are what `log.level` and `log.format` may be; `auto` is text on a terminal
    and JSON elsewhere. `colour` is for text. Of the loggers named in `quiet` only warnings are
    written. What was set up before is replaced, so that no line comes twice.
    """
    stream = stream or sys.stderr
    as_json = form == "json" or (form == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json_end() if as_json else _text_end(colour)),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if not structlog.is_configured():
        _lead_structlog()
    return as_json


def spoken(logger: str) -> Callable[[str], None]:
    """Return a function that logs what a node says to people: `error: ...` as an error, and so on.

    For JSON, where words beside the lines would be no JSON.
    """
    log = logging.getLogger(logger)
    levels = {"error: ": logging.ERROR, "warning: ": logging.WARNING}

    def say(text: str) -> None:
        for prefix, level in levels.items():
            if text.startswith(prefix):
                log.log(level, "%s", text.removeprefix(prefix))
                return
        log.info("%s", text)

    return say


def _lead_structlog() -> None:
    """Lead what user code logs with structlog into the standard library's loggers."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]


def _json_end() -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        structlog.processors.StackInfoRenderer(),
        _cut_long,
        _mask_secrets,
        _in_order,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _text_end(colour: bool) -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt=_STAMP, utc=False, key="timestamp"),
        structlog.processors.format_exc_info,
        _cut_long,
        _mask_secrets,
        _show_controls,
        structlog.dev.ConsoleRenderer(
            colors=colour, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _to_json(fields: Any, **_: Any) -> str:
    return json.dumps(fields, default=repr, ensure_ascii=False)


def _in_order(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Put first what every line has, and call the text `message` as log collectors do."""
    first = {
        "time": fields.pop("time", ""),
        "level": fields.pop("level", ""),
        "logger": fields.pop("logger", ""),
        "message": fields.pop("event", ""),
    }
    return {**first, **fields}


def _cut_long(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Leave out the middle of what is too long: a traceback says most at its two ends."""
    for name, value in fields.items():
        if isinstance(value, str) and len(value) > _TEXT_MAX:
            half = _TEXT_MAX // 2
            # Whole words, and two more behind the cut: no secret is divided, or loses its name.
            head = value[:half].rpartition(" ")[0] or value[:half]
            tail = value[-half:].split(" ", 3)[-1]
            left_out = len(value) - len(head) - len(tail)
            fields[name] = f"{head}\n... ({left_out:,} characters left out)\n{tail}"
    return fields


def _mask_secrets(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    for name, value in fields.items():
        if name not in ("event", "exception") and _SECRET_FIELD.search(name):
            fields[name] = _MASK
        elif isinstance(value, str):
            fields[name] = _masked(value)
        elif not isinstance(value, int | float | None):
            shown = repr(value)
            if (masked := _masked(shown)) != shown:
                fields[name] = masked
    return fields


def _masked(text: str) -> str:
    for pattern, mask in _SECRETS:
        text = pattern.sub(mask, text)
    return text


def _show_controls(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Show what would move a terminal's cursor, and indent further lines: none can be forged."""
    for name, value in fields.items():
        if isinstance(value, str):
            shown = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
            fields[name] = shown if name == "exception" else shown.replace("\n", "\n    ")
    return fields
