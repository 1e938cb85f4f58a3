"""What becomes of a played case: verdict, row, exit."""

from __future__ import annotations

import math

from tests.faults.audit import Audit
from tests.faults.checker import Kind
from tests.faults.figures import Measure, Watch
from tests.faults.report import Expected, Row, judge, lines_of, table
from tests.faults.stage import Played
from tests.unit.faults.histories import ACTOR, Story

SOUND = Story().write(1, 0, 0.1).read(2, 0.2, 0.3).write(3, 1, 1.1).read(4, 1.2, 1.3)


def played(story: Story, limit_s: float = 5.0, *problems: str) -> Played:
    """A case with this history, that expects a gap of at most so long."""
    expected = Watch(name="serves", measure=Measure.GAP, began=0, ended=1.5, limit=limit_s)
    audit = Audit(actors={ACTOR: list(story.log)})
    return Played(0, 2, story.attempts, audit, [expected], [(0.5, "kill")], list(problems))


def test_a_case_without_flaws_within_its_limits_is_good() -> None:
    """The row has all figures."""
    row = judge("kill", played(SOUND), 1.0)
    assert row.is_good(1.0)
    assert (row.operations, row.faults, row.failed, row.unknown) == (4, 1, 0, 0)
    assert "ok" in table([row], 1.0)


def test_a_flaw_makes_it_unsafe_whatever_the_slack() -> None:
    """It is named under the row, and counted in its column."""
    row = judge("kill", played(SOUND.with_log(1)), 1.0)
    assert not row.is_good(100)
    assert row.wrong == {"lost": 2}
    assert "UNSAFE" in table([row], 100)
    assert any(Kind.LOST.text in line for line in lines_of(row, 100))


def test_a_figure_over_its_limit_fails_unless_slack_allows_it() -> None:
    """What is within the slack only is told, too."""
    row = judge("kill", played(SOUND, 0.5), 1.0)
    assert row.is_safe
    assert not row.is_good(1.0)
    assert row.is_good(3.0)
    assert any("MISSED, but within 3 times" in line for line in lines_of(row, 3.0))


def test_counts_have_no_slack_and_nothing_seen_is_a_miss() -> None:
    """No failed request means none."""
    assert not Expected("failed", Measure.FAILED, [1], 0).is_met(100)
    assert Expected("failed", Measure.FAILED, [0, 0], 0).is_met(1)
    assert not Expected("gap", Measure.GAP, [0.1, math.nan], 1).is_met(1)
    assert Expected("gap", Measure.GAP, [7.0], None).is_met(1)


def test_a_case_that_came_to_no_end_is_not_good() -> None:
    """Nor is one whose log says what it should not."""
    assert not judge("kill", played(SOUND, 5.0, "NotInTime: still frozen"), 1.0).is_good(1)
    assert not Row("kill", problems=["no broker"]).is_good(1)


def test_the_worst_of_several_runs_counts() -> None:
    """And is told beside the median."""
    several = Expected("serves", Measure.GAP, [0.5, 0.75, 2.0], 1.0)
    assert several.worst == 2.0
    assert (
        several.text(1.0) == "serves: 2.00 s (largest of 3, median 0.75 s); at most 1.00 s MISSED"
    )
