"""Links lead somewhere: between pages, to headings, from error texts and from the code."""

from __future__ import annotations

import re
from pathlib import Path

from spawn import error_pages, errors
from tests.docs.pages import ROOT, all_pages, read_page

_OTHERS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md")
_SHIPPED = ("spawn", "eventstore", "schemas")


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    """Relative ones of all Markdown of ours; those to other hosts are few and not asked for."""
    pages = {page.name: page for page in all_pages()}
    pages |= {name: read_page(ROOT / name) for name in _OTHERS}
    dead = []
    for page in pages.values():
        for line, link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            file = (ROOT / page.name).parent / path if path else ROOT / page.name
            if not file.exists():
                dead.append(f"{page.name}:{line}: {link}: no such file")
            elif anchor and anchor not in read_page(file.resolve()).anchors:
                dead.append(f"{page.name}:{line}: {link}: no such heading")
    assert not dead, "\n".join(dead)


def test_every_page_can_be_reached_from_the_index() -> None:
    """docs/index.md leads to every page, over others or at once."""
    links = {
        page.name: {
            ((ROOT / page.name).parent / link.partition("#")[0]).resolve()
            for _, link in page.links
            if not re.match(r"[a-z]+:|#", link)
        }
        for page in all_pages()
    }
    reached, wanted = set[str](), {"docs/index.md"}
    while wanted:
        name = wanted.pop()
        reached.add(name)
        names = {path.relative_to(ROOT).as_posix() for path in links[name] if ROOT in path.parents}
        wanted |= (names & set(links)) - reached
    assert set(links) - reached - {"README.md"} == set()


def test_every_error_code_has_a_page() -> None:
    """What stands in `type` of a problem body, `/errors/CODE`, is a page that is shipped."""
    codes = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.SpawnError)
    }
    assert codes <= set(error_pages.codes())


def test_pages_that_code_and_error_pages_name_are_there() -> None:
    """`docs/reference/brokers.md` in a text of ours is a file."""
    dead = []
    files = [f for package in _SHIPPED for f in (ROOT / package).rglob("*") if f.is_file()]
    for file in files:
        if file.suffix in {".py", ".md", ".txt"}:
            named = re.findall(r"\bdocs/[\w./-]+\.md", file.read_text(encoding="utf-8"))
            dead += [
                f"{file.relative_to(ROOT)}: {one}" for one in named if not (ROOT / one).is_file()
            ]
    assert not dead, "\n".join(dead)


def test_llms_txt_leads_to_every_page() -> None:
    """Its links are to files that are there, and no page is missing."""
    text = (ROOT / "llms.txt").read_text(encoding="utf-8")
    linked = {Path(link).as_posix() for link in re.findall(r"\]\(([^)#\s]+)\)", text)}
    assert all((ROOT / link).is_file() for link in linked), linked
    assert {page.name for page in all_pages()} <= linked
