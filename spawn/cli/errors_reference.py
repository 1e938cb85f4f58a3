"""docs/reference/errors.md: every error code, from its page and the tables that decide on it."""

from __future__ import annotations

from typing import Final

from spawn import error_pages
from spawn.cli.explain import facts_of

__all__ = ["errors_page"]

_INTRODUCTION: Final = """\
# Error codes

Made by `spawn.cli.errors_reference`; a test keeps it current. The code is the same in an exception
(`.code`), in an HTTP answer, in the node's log and in the CLI, where it stands in brackets. Each
has a page, which `spawn explain CODE` shows offline. The codes of user code
(`raise Rejected(code)`) are the actor's own: they are HTTP 409, and `rejected` is true in the
answer.

`again` says whether the same call may succeed later unchanged.

| code | HTTP | again | exit code | what it means |
|---|---|---|---|---|
"""
_FOLDER: Final = "../../spawn/error_pages"


def errors_page() -> str:
    """Return the page."""
    rows = []
    for code in error_pages.codes():
        status, retryable, exit_code = facts_of(code)
        rows.append(
            f"| [`{code}`]({_FOLDER}/{code}.md) | {status or '-'} | {'yes' if retryable else 'no'} "
            f"| {exit_code} | {error_pages.meaning(code)} |"
        )
    return _INTRODUCTION + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(errors_page(), end="")
