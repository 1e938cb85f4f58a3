"""Dashboards and alert rules: they name metrics and places that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spawn.api.metric_catalogue import CATALOGUE, FOREIGN, Described
from spawn.api.metrics_reference import shown_name

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "docs" / "observability"
_RULES = _FOLDER / "alerts.yaml"
_BOARDS = sorted(_FOLDER.glob("*.json"))
_GUIDE = _ROOT / "docs" / "guides" / "observability.md"

_OF_PROMETHEUS = {"up"}
"""Series that a scrape itself makes."""
_WORDS = {
    *("and", "or", "unless", "on", "ignoring", "group_left", "group_right", "bool", "offset"),
    *("by", "without", "inf", "nan"),
}
_FUNCTIONS = {
    *("absent", "avg", "changes", "count", "delta", "deriv", "histogram_quantile", "increase"),
    *("label_values", "max", "min", "rate", "sum", "time", "vector"),
}


def _series() -> dict[str, set[str]]:
    """Return every series that a scrape has, and its labels."""
    found: dict[str, set[str]] = {name: {"job"} for name in _OF_PROMETHEUS}
    for name, described in {**CATALOGUE, **FOREIGN}.items():
        labels = {*described.labels, "instance", "job"}
        for series in _series_of(name, described):
            found[series] = labels | ({"le"} if series.endswith("_bucket") else set())
    return found


def _series_of(name: str, described: Described) -> list[str]:
    if described.kind == "histogram":
        return [f"{name}_bucket", f"{name}_sum", f"{name}_count"]
    return [shown_name(name, described)]


_SERIES = _series()


def _names(expression: str) -> set[str]:
    """Return the series that a PromQL expression names, and functions it does not know."""
    text = re.sub(r'"[^"]*"', '""', expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    called = set(re.findall(r"([a-zA-Z_]\w*)\s*\(", text))
    words = set(re.findall(r"(?<![\w.$])[a-zA-Z_:][\w:]*", text))
    if expression.startswith("label_values("):
        words = {re.split(r"[(,)]", expression)[1].strip()}
    return (words - called - _WORDS) | (called - _FUNCTIONS)


def _labels(expression: str) -> Iterator[tuple[str, str]]:
    """Yield (series, label) for the labels that it is selected by."""
    for series, selected in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selected):
            yield series, label


def _wrong(expression: str) -> list[str]:
    wrong = sorted(_names(expression) - set(_SERIES))
    wrong += [f"{s}{{{label}}}" for s, label in _labels(expression) if label not in _SERIES[s]]
    grouped = re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expression)
    known = set().union(*(_SERIES[name] for name in _names(expression) & set(_SERIES)))
    wrong += [f"by ({each})" for g in grouped for each in re.split(r"\W+", g) if each not in known]
    if expression.count("(") != expression.count(")"):
        wrong.append("parentheses")
    return wrong


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _anchors(page: Path) -> set[str]:
    """Return the places of a Markdown page that a link may name, as GitHub makes them."""
    text = re.sub(r"(?s)^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titles = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _panels(board: Path) -> list[dict[str, Any]]:
    panels = json.loads(board.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in panels if panel["type"] != "row"]


def test_a_wrong_metric_or_label_is_found() -> None:
    """The tests below would tell."""
    assert _wrong("sum by (instance) (rate(spawn_commits_total[5m])) > 1e6") == []
    assert _wrong("spawn_commits > 0") == ["spawn_commits"]
    assert _wrong('up{job="x"} == 0 or vector(0)') == []
    assert _wrong('spawn_ready{topic="x"}') == ["spawn_ready{topic}"]
    assert _wrong("sum by (tpoic) (spawn_epoch)") == ["by (tpoic)"]
    assert _wrong("histogramm(spawn_ready)") == ["histogramm"]


@pytest.mark.parametrize("board", _BOARDS, ids=lambda board: board.stem)
def test_panels_name_metrics_that_exist(board: Path) -> None:
    """Every expression of a dashboard, its variables too."""
    panels = _panels(board)
    wrong = [
        f"{panel['title']}: {each}"
        for panel in panels
        for target in panel["targets"]
        for each in _wrong(target["expr"])
    ]
    for variable in json.loads(board.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            wrong += _wrong(variable["query"]["query"])
    assert not wrong, "\n".join(wrong)
    assert all(panel["description"] and panel["targets"] for panel in panels)


@pytest.mark.parametrize("board", _BOARDS, ids=lambda board: board.stem)
def test_panels_lie_side_by_side(board: Path) -> None:
    """None covers another one, none is wider than the page, each has an id of its own."""
    panels = json.loads(board.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_there_are_the_two_dashboards() -> None:
    """One for whether, one for why; both can be told apart."""
    boards = [json.loads(board.read_text()) for board in _BOARDS]
    assert {board["uid"] for board in boards} == {"spawn-overview", "spawn-internals"}


def test_every_metric_worth_a_look_is_on_a_dashboard() -> None:
    """A metric that nobody shows and no rule reads is forgotten."""
    texts = [target["expr"] for b in _BOARDS for p in _panels(b) for target in p["targets"]]
    shown = set().union(*(_names(text) for text in [*texts, *(r["expr"] for r in _rules())]))
    forgotten = [
        name
        for name, described in CATALOGUE.items()
        if not shown & set(_series_of(name, described))
    ]
    # Both are told relative to another one, which is shown.
    assert forgotten == ["spawn_actors", "spawn_checkpoint_position"]


def test_rules_name_metrics_that_exist() -> None:
    """Every expression of an alert."""
    wrong = [f"{rule['alert']}: {each}" for rule in _rules() for each in _wrong(rule["expr"])]
    assert not wrong, "\n".join(wrong)


def test_every_rule_has_a_runbook_that_is_there() -> None:
    """A summary, a severity, and a place in docs/ that says what to do."""
    for rule in _rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in _anchors(_ROOT / page), f"{rule['alert']}: no {page}#{anchor}"
    names = [rule["alert"] for rule in _rules()]
    assert len(set(names)) == len(names)


def test_summaries_name_labels_that_the_alert_has() -> None:
    """Else the page that wakes somebody has holes."""
    for rule in _rules():
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        grouped = re.findall(r"\bby\s*\(([^)]*)\)", rule["expr"])
        if grouped:
            kept = set(re.split(r"\W+", grouped[0]))
        else:
            names = _names(rule["expr"]) & set(_SERIES)
            kept = set().union(*(_SERIES[name] for name in names)) | {"instance"}
        assert used <= kept, rule["alert"]


def test_the_guide_names_metrics_that_exist() -> None:
    """Also where it only mentions one."""
    text = _GUIDE.read_text(encoding="utf-8")
    named = set(re.findall(r"`(spawn_\w+|process_\w+)`", text))
    known = set(_SERIES) | set(CATALOGUE)
    assert not named - known
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= _anchors(_GUIDE)


def test_the_guides_blocks_can_be_read() -> None:
    """The scrape configuration is YAML, the log line is one of ours."""
    blocks = dict(re.findall(r"(?s)```(yaml|json)\n(.*?)```", _GUIDE.read_text(encoding="utf-8")))
    scrape = yaml.safe_load(blocks["yaml"])
    assert scrape["scrape_configs"][0]["job_name"] == "spawn"
    assert scrape["rule_files"] == [_RULES.name]
    assert list(json.loads(blocks["json"]))[:4] == ["time", "level", "logger", "message"]
