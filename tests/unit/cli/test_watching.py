"""What counts as a change of nodes and partitions, and what of it fits a terminal."""

from __future__ import annotations

from typing import Any

from spawn.cli.watching import Look, fitting, node_changes, partition_changes


def node(name: str, standing: str = "serving", partitions: int = 1) -> dict[str, Any]:
    return {
        "id": name * 8, "http": f"http://{name}", "mesh": f"{name}:9101",
        "standing": standing, "partitions": partitions,
    }  # fmt: skip


def line(owner: str | None, epoch: int) -> dict[str, Any]:
    url = owner and f"http://{owner}"
    return {"owner": owner, "http": url, "mesh": owner, "epoch": epoch}


def test_nodes_that_come_go_or_stand_otherwise_are_changes() -> None:
    """How many partitions one has is none: `spawn partitions --watch` tells of them."""
    before = {"a": node("a"), "b": node("b"), "c": node("c")}
    after = {"a": node("a", partitions=9), "b": node("b", "leaving"), "d": node("d", "unmet")}
    assert [each.text for each in node_changes(before, after)] == [
        "node cccccccc at http://c is gone",
        "node bbbbbbbb at http://b is leaving",
        "node dddddddd at http://d is new, unmet",
    ]


def test_partitions_that_are_taken_over_or_claimed_again_are_changes() -> None:
    """Nobody between two owners is told as such."""
    before = {"t/0": line("a", 1), "t/1": line("a", 1), "t/2": line(None, 0), "t/3": line("a", 4)}
    after = {"t/0": line("b", 2), "t/1": line("a", 1), "t/2": line("a", 1), "t/3": line(None, 4)}
    after["t/9"] = line("b", 1)
    assert [each.text for each in partition_changes(before, after)] == [
        "t/0  http://a -> http://b  epoch 2",
        "t/2  nobody -> http://a  epoch 1",
        "t/3  http://a -> nobody  epoch 4",
    ]
    again = partition_changes({"t/0": line("a", 1)}, {"t/0": line("a", 2)})
    assert [each.text for each in again] == ["t/0  http://a again  epoch 2"]


def test_what_changed_is_shown_before_what_does_not_fit() -> None:
    """With a mark, not by colour alone, and in its place."""
    items: dict[str, Any] = {f"t/{n}": {} for n in range(100)}
    look = Look(items, ["part"], [[str(n)] for n in range(100)], right=[0])
    shown = fitting(look, {"t/50": (), "t/2": ()}, 7)
    assert shown == [
        ("  part", False), ("     0", False), ("     1", False), (">    2", True),
        ("     3", False), (">   50", True), ("  ... and 95 more, of which nothing is new", False),
    ]  # fmt: skip
    assert len(fitting(look, {}, 1000)) == 101
    assert fitting(look, {f"t/{n}": () for n in range(9)}, 7)[-1] == ("  ... and 95 more", False)
