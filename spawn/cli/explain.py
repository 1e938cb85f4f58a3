"""`spawn explain CODE`: an error's page, offline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from spawn import error_pages
from spawn.cli import console, exit_codes, render
from spawn.cli.subjects import UsageError, nearest
from spawn.dev.errors import StackError
from spawn.errors import Rejected, SpawnError

__all__ = ["Facts", "error_types", "explain", "facts_of"]


class Facts(NamedTuple):
    """What else there is to say of a code, from the tables that decide it."""

    http_status: int | None
    """None: it never comes over HTTP."""
    retryable: bool
    exit_code: int


def explain(
    code: Annotated[
        str | None, Parameter(name="CODE", help="The code in brackets; none: all are listed.")
    ] = None,
    /,
    *,
    json: Annotated[
        bool, Parameter(help="One line of JSON; of the list, one for each code.", negative="")
    ] = False,
) -> None:
    """Explain an error code: what it means, how to confirm it, how to mend it."""
    if code is None:
        _list(as_json=json)
        return
    wanted = code.strip("[] ").lower()
    page = error_pages.page(wanted)
    if page is None:
        raise UsageError(
            f"there is no error code `{code}`",
            hint=nearest(wanted, error_pages.codes())
            or "`spawn explain` lists all; a code of user code is the actor's own: see `rejected`",
        )
    if json:
        console.data(render.json_line(_value(wanted) | {"page": page}))
    else:
        title, _, rest = page.partition("\n")
        console.markdown(f"{title}\n\n{_shown(facts_of(wanted))}\n{rest}".rstrip())


def error_types() -> Iterator[type[SpawnError]]:
    """Yield every class of error that a person can meet, a command's own included."""
    waiting: list[type[SpawnError]] = [SpawnError, StackError, UsageError]
    found: set[type[SpawnError]] = set()
    while waiting:
        kind = waiting.pop(0)
        if kind not in found:
            found.add(kind)
            waiting += kind.__subclasses__()
            if kind.__module__.startswith("spawn."):
                yield kind


def facts_of(code: str) -> Facts:
    """Return what HTTP, the CLI and callers make of a code."""
    from spawn.api.problems import STATUSES

    status = STATUSES[code].status if code in STATUSES else None
    if code == "rejected":
        return Facts(status, Rejected.retryable, exit_codes.FAILED)
    kind = next(kind for kind in error_types() if kind.code == code)
    error = SpawnError("")
    error.code = code
    return Facts(status, kind.retryable, exit_codes.of(error))


def _list(*, as_json: bool) -> None:
    if as_json:
        for code in error_pages.codes():
            console.data(render.json_line(_value(code)))
    else:
        rows = [[code, error_pages.meaning(code)] for code in error_pages.codes()]
        console.data("\n".join(render.table(rows)))


def _value(code: str) -> dict[str, Any]:
    return {"code": code, "meaning": error_pages.meaning(code), **facts_of(code)._asdict()}


def _shown(facts: Facts) -> str:
    over_http = f"HTTP {facts.http_status}" if facts.http_status else "Not over HTTP"
    again = "the same call may succeed later" if facts.retryable else "not to be retried blindly"
    return f"{over_http}; {again}; exit code {facts.exit_code}."
