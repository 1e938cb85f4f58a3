"""What `spawn run` writes to stderr."""

from __future__ import annotations

import json

from tests.integration.node.servers import NewNodes


async def test_a_pipe_gets_one_object_a_line(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Take-overs with their place and claim, and what people are told on a terminal."""
    node = await new_nodes(tansu, postgres_dsn).start(KAFKA_PARTITIONS="2").serving()
    assert await node.stop() == 0
    lines = [json.loads(line) for line in node.text.splitlines()]
    assert all(list(line)[:4] == ["time", "level", "logger", "message"] for line in lines)
    assert any(line["message"].startswith("serving at http://") for line in lines)
    taken = [line for line in lines if "taken over" in line["message"]]
    assert [line["partition"] for line in taken] == [0, 1]
    assert all(line["logger"] == "spawn.partition" and len(line["claim"]) == 32 for line in taken)
    messages = [line["message"] for line in lines]
    assert len(set(messages)) == len(messages)


async def test_text_and_level_can_be_asked_for(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Words as on a terminal, without colour; nothing below the level."""
    nodes = new_nodes(tansu, postgres_dsn)
    node = await nodes.start(LOG_FORMAT="text", LOG_LEVEL="warning").serving()
    assert await node.stop() == 0
    assert "\nserving at http://" in node.text
    assert "taken over" not in node.text
    assert "\x1b" not in node.text
