"""docs/reference/sdk.md is what the docstrings say."""

from __future__ import annotations

import spawn
import spawn.testing
from tests.docs.pages import ROOT
from tests.docs.sdk_reference import sdk_page


def test_the_page_is_current() -> None:
    """To write it again: `python -m tests.docs.sdk_reference > docs/reference/sdk.md`."""
    page = (ROOT / "docs" / "reference" / "sdk.md").read_text(encoding="utf-8")
    assert page == sdk_page()


def test_every_exported_name_is_documented() -> None:
    """With more than its name."""
    page = sdk_page()
    for name in (*spawn.__all__, *spawn.testing.__all__):
        assert f"`{name}`" in page, name
