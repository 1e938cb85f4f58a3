"""How a node's process writes its logs."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from spawn.config import SETTINGS
from spawn.config.settings import LOG_FORMATS, LOG_LEVELS
from spawn.logs import configure_logs, spoken


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def set_up_anew() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in ("spawn.partition", "spawn.node")}
    yield
    root.handlers[:] = before
    root.setLevel(level)
    for name, its in quiet.items():
        logging.getLogger(name).setLevel(its)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return what was written, each line an object."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_where_nobody_looks() -> None:
    """Time, level, logger and message first; the fields of the record as they are."""
    stream = io.StringIO()
    assert configure_logs("info", "auto", stream=stream)
    fields = {"topic": "spawn.shop.Counter", "partition": 3, "offset": 7, "claim": "ab12"}
    logging.getLogger("spawn.partition").warning("%s: claiming again", "x/3", extra=fields)
    [line] = lines(stream)
    assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert line["time"].endswith("Z")
    del line["time"]
    assert line == {
        "level": "warning",
        "logger": "spawn.partition",
        "message": "x/3: claiming again",
        **fields,
    }


def test_text_on_a_terminal() -> None:
    """In colour where it may be; the fields behind the text."""
    for colour in (False, True):
        stream = Terminal()
        assert not configure_logs("info", "auto", colour=colour, stream=stream)
        logging.getLogger("spawn.node").info("here", extra={"partition": 3})
        assert "here" in stream.getvalue()
        assert ("\x1b[" in stream.getvalue()) == colour
        assert colour or "partition=3" in stream.getvalue()


def test_the_format_can_be_chosen() -> None:
    """Whatever the stream is."""
    assert configure_logs("info", "json", stream=Terminal())
    assert not configure_logs("info", "text", stream=io.StringIO())
    assert SETTINGS["log.format"].default == LOG_FORMATS[0]
    for value in LOG_FORMATS:
        SETTINGS["log.format"].read(value)
    for value in LOG_LEVELS:
        assert configure_logs(SETTINGS["log.level"].read(value), "json", stream=io.StringIO())


def test_below_the_level_nothing_is_written() -> None:
    """Quiet loggers say warnings only."""
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream, quiet=["spawn.partition"])
    logging.getLogger("spawn.node").debug("not this")
    logging.getLogger("spawn.partition").info("nor this")
    logging.getLogger("spawn.partition").warning("this")
    assert [line["message"] for line in lines(stream)] == ["this"]


def test_no_line_comes_twice() -> None:
    """Neither after a second call, nor where somebody had set logging up."""
    logging.getLogger().addHandler(logging.StreamHandler(io.StringIO()))
    configure_logs("info", "json", stream=io.StringIO())
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream)
    logging.getLogger("spawn.node").info("once")
    assert len(lines(stream)) == 1
    assert len(logging.getLogger().handlers) == 1


def test_an_exception_is_a_field_with_its_traceback() -> None:
    """In text it follows the line."""
    for form in ("json", "text"):
        stream = io.StringIO()
        configure_logs("info", form, stream=stream)
        try:
            raise LookupError("gone")
        except LookupError:
            logging.getLogger("spawn.api").exception("failed")
        if form == "text":
            assert stream.getvalue().endswith("LookupError: gone\n")
            continue
        [line] = lines(stream)
        assert line["message"] == "failed"
        assert line["exception"].startswith("Traceback (most recent call last):")
        assert line["exception"].endswith("LookupError: gone")


def test_libraries_warnings_and_structlog_take_the_same_way() -> None:
    """All that a process says is in one form."""
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream)
    logging.getLogger("asyncio").error("a task is lost")
    structlog.get_logger("shop").info("sold", pieces=3)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    found = [(line["logger"], line["level"]) for line in lines(stream)]
    assert found == [("asyncio", "error"), ("shop", "info"), ("py.warnings", "warning")]
    assert lines(stream)[1]["pieces"] == 3


@pytest.mark.parametrize(
    "text",
    [
        "no answer from postgresql://spawn:hunter2@db/spawn",
        "postgres://spawn:hun@hunter2@db",
        "dsn host=db password=hunter2 user=spawn",
        "{'token': 'hunter2'}",
        "Authorization: Bearer hunter2hunter2",
        "https://idp/token?client_secret=hunter2&grant=x",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    """In the text, in fields, in exceptions, in both forms."""
    for form in ("json", "text"):
        stream = io.StringIO()
        configure_logs("info", form, stream=stream)
        log = logging.getLogger("spawn.node")
        log.warning("it said %s", text, extra={"cause": text, "parts": [text], "password": 7})
        try:
            raise OSError(text)
        except OSError:
            log.exception("failed")
        assert "hunter2" not in stream.getvalue()
        assert "***" in stream.getvalue()
        assert "password=7" not in stream.getvalue()


def test_what_is_no_secret_stays() -> None:
    """Addresses without a password, and words that only sound so."""
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream)
    text = "http://127.0.0.1:9001/a@b: the token was refused; passwords are never shown"
    logging.getLogger("spawn.node").info(text)
    assert lines(stream)[0]["message"] == text


def test_nobody_forges_a_line() -> None:
    """An id may hold anything; nothing moves the cursor or begins a line of its own."""
    name = "a\x1b[2J\r\n2026-11-24 10:00:00 [error    ] forged"
    for form in ("json", "text"):
        stream = io.StringIO()
        configure_logs("info", form, stream=stream)
        logging.getLogger("spawn.actor").warning("%s failed", name, extra={"actor": name})
        written = stream.getvalue()
        assert "\x1b" not in written
        assert "\r" not in written
        assert not any(line.startswith("2026-11-24 10:00") for line in written.splitlines())


def test_a_field_that_json_does_not_know_is_shown_as_python_does() -> None:
    """A log line is never lost for its fields."""
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream)
    logging.getLogger("shop").info("here", extra={"seen": {1}, "odd": "\udcff"})
    assert lines(stream)[0]["seen"] == "{1}"


def test_words_for_people_become_lines_with_a_level() -> None:
    """`spawn run` says them as text on a terminal, and as JSON elsewhere."""
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream)
    say = spoken("spawn.node")
    say("serving at http://127.0.0.1:9001")
    say("warning: one copy of each record: 100 % of them")
    say("error: it stopped [partition-stopped]")
    found = [(line["level"], line["message"]) for line in lines(stream)]
    assert found == [
        ("info", "serving at http://127.0.0.1:9001"),
        ("warning", "one copy of each record: 100 % of them"),
        ("error", "it stopped [partition-stopped]"),
    ]


def test_a_library_sets_nothing_up() -> None:
    """A program around `System`, and a test run with the kit, have their own logging."""
    program = (
        "import logging, spawn, spawn.testing, spawn.runtime.node, sys\n"
        "assert not logging.getLogger().handlers, logging.getLogger().handlers\n"
        "assert logging.getLogger().level == logging.WARNING\n"
        "assert 'structlog' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=9)


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_is_endless_is_cut_and_its_secrets_stay_masked(form: str) -> None:
    """An exception of user code may have a text of any length; both of its ends are shown."""
    stream = io.StringIO()
    configure_logs("info", form, stream=stream)
    for shift in range(0, 40, 7):
        # Wherever the cuts are, one of these stands there.
        text = "begin" + "x" * shift + " postgres://u:hushhush@h/d" * 100_000 + "the end"
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("spawn.actor").exception("it failed: %s", text)
    written = stream.getvalue()
    assert len(written) < 6 * 2 * 25_000
    assert "characters left out" in written
    assert "the end" in written
    assert "hush" not in written
