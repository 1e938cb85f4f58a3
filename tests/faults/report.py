"""A case's verdict, and the table of all of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.checker import COLUMNS, Flaw, Kind, check
from tests.faults.figures import Measure, Operation, Watch, operations_of, percentile, value_of
from tests.faults.history import NEVER, Attempt, Outcome
from tests.faults.stage import Played

__all__ = ["Expected", "Row", "judge", "lines_of", "table"]

_FLAWS_SHOWN: Final = 4
"""Of each kind."""
_SLOW_SEND_MS: Final = 20.0
"""A load that sends so late measures itself."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A figure beside what it has to be."""

    name: str
    measure: Measure
    values: Sequence[float]
    limit: float | None

    @property
    def worst(self) -> float:
        """The largest value; NaN if one is unknown."""
        return math.nan if any(map(math.isnan, self.values)) else max(self.values)

    def is_met(self, slack: float) -> bool:
        """Whether all values are within the limit, times `slack`; a count has none."""
        if self.limit is None:
            return True
        limit = self.limit if self.measure is Measure.FAILED else self.limit * slack
        return self.worst <= limit

    def text(self, slack: float) -> str:
        """Return it in words."""
        worst = _number(self.worst, self.measure)
        several = ""
        if len(self.values) > 1:
            middle = sorted(self.values)[len(self.values) // 2]
            several = f" (largest of {len(self.values)}, median {_number(middle, self.measure)})"
        limit = ""
        if self.limit is not None:
            limit = f"; at most {_number(self.limit, self.measure)}"
            limit += (
                ""
                if self.is_met(1.0)
                else " MISSED" + (f", but within {slack:g} times" if self.is_met(slack) else "")
            )
        return f"{self.name}: {worst}{several}{limit}"


@dataclass(slots=True)
class Row:
    """What one case came to."""

    case: str
    operations: int = 0
    faults: int = 0
    failed: int = 0
    unknown: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    """By column."""
    gap_s: float = math.nan
    key_gap_s: float = math.nan
    p99_ms: float = math.nan
    expected: list[Expected] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    """Why it was not played."""

    @property
    def is_safe(self) -> bool:
        """Whether nothing contradicts the guarantees."""
        return not self.flaws

    def is_good(self, slack: float) -> bool:
        """Whether it is safe, came to its end, and met what was expected."""
        met = all(each.is_met(slack) for each in self.expected)
        return self.is_safe and met and not self.problems


def judge(case: str, played: Played, timeout_s: float) -> Row:
    """Work out what a case came to."""
    attempts, audit = played.attempts, played.audit
    flaws = check(attempts, audit.actors)
    operations = operations_of(attempts, timeout_s)
    counted = [each for each in operations if played.began <= each.intended < played.ended]
    row = Row(
        case,
        operations=len(operations),
        faults=len(played.faults),
        failed=sum(each.succeeded == NEVER for each in counted),
        unknown=len(_unknown(attempts)),
        wrong=Counter(flaw.kind.column for flaw in flaws),
        flaws=flaws,
        problems=[*played.problems, *audit.problems],
    )
    row.gap_s, row.key_gap_s, row.p99_ms = (
        value_of(
            Watch(name="", measure=each, began=played.began, ended=played.ended, limit=None),
            counted,
        )
        for each in (Measure.GAP, Measure.KEY_GAP, Measure.P99)
    )
    by_name: defaultdict[tuple[str, Measure, float | None], list[float]] = defaultdict(list)
    for watch in played.watches:
        key = (watch.name, watch.measure, watch.limit)
        by_name[key].append(value_of(watch, operations))
    row.expected = [Expected(*key[:2], values, key[2]) for key, values in by_name.items()]
    row.notes = _notes(played, counted)
    return row


def _unknown(attempts: Sequence[Attempt]) -> set[int]:
    """Return the writes of which nobody was told whether they took effect."""
    known = {each.operation for each in attempts if each.is_write and each.outcome is Outcome.DONE}
    silent = {
        each.operation for each in attempts if each.is_write and each.outcome is Outcome.UNKNOWN
    }
    return silent - known


def _notes(played: Played, operations: Sequence[Operation]) -> list[str]:
    records = ", ".join(f"{count} {name}" for name, count in sorted(played.audit.records.items()))
    codes = Counter(
        each.code for each in played.attempts if each.outcome is not Outcome.DONE and each.code
    )
    notes = [f"log: {records}"]
    if codes:
        told = ", ".join(f"{count} {code}" for code, count in codes.most_common())
        notes.append(f"attempts without success: {told}")
    late = [(each.sent - each.intended) * 1000 for each in operations if each.succeeded < NEVER]
    if (slow := percentile(late, 0.5)) > _SLOW_SEND_MS:
        notes.append(f"half of the operations were sent more than {slow:.0f} ms late: busy machine")
    return notes


def _number(value: float, measure: Measure) -> str:
    if math.isnan(value):
        return "nothing seen"
    if math.isinf(value):
        return "never"
    if measure is Measure.FAILED:
        return f"{value:g}"
    return f"{value:.0f} ms" if measure is Measure.P99 else f"{value:.2f} s"


_TITLES: Final = (
    *("case", "operations", "faults", "failed", "unknown", *COLUMNS),
    *("longest gap", "of a key", "p99", ""),
)


def table(rows: Sequence[Row], slack: float) -> str:
    """Return the table of all cases."""
    cells = [_TITLES, *(_cells(row, slack) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_TITLES))]
    lines = [
        "  ".join(
            text.ljust(width) if column in (0, len(_TITLES) - 1) else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _cells(row: Row, slack: float) -> tuple[str, ...]:
    if row.skipped:
        return (row.case, *[""] * (len(_TITLES) - 2), f"not played: {row.skipped}")
    verdict = "ok" if row.is_good(slack) else "FAILED" if row.is_safe else "UNSAFE"
    return (
        row.case,
        *(f"{number:,}" for number in (row.operations, row.faults, row.failed, row.unknown)),
        *(str(row.wrong[column]) for column in COLUMNS),
        _number(row.gap_s, Measure.GAP),
        _number(row.key_gap_s, Measure.KEY_GAP),
        _number(row.p99_ms, Measure.P99),
        verdict,
    )


def lines_of(row: Row, slack: float) -> list[str]:
    """Return what there is to say of a case besides its row."""
    said = [f"  {each.text(slack)}" for each in row.expected]
    for kind in Kind:
        found = [flaw for flaw in row.flaws if flaw.kind is kind]
        said += [f"  FLAW {flaw}" for flaw in found[:_FLAWS_SHOWN]]
        if len(found) > _FLAWS_SHOWN:
            said.append(f"  ... and {len(found) - _FLAWS_SHOWN} more: {kind.text}")
    said += [f"  PROBLEM {problem}" for problem in row.problems]
    said += [f"  {note}" for note in row.notes]
    return said
