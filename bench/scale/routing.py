"""What every node knows of who owns what: memory of the table, and news of changes on the wire."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Final

from eventstore.log import TopicPartition
from spawn.mesh.conversation import Conversation
from spawn.mesh.link import Ended, Link, MeshCounts
from spawn.mesh.wire import (
    FRAME_MESSAGES_MAX,
    LEAST_VERSION,
    VERSION,
    Hello,
    Message,
    Owner,
    OwnerNews,
    decode_frame,
    encode_frame,
)
from spawn.routing.owners import OwnerTable

__all__ = ["measure"]

_TARGET_BYTES: Final = 50_000_000


def _endpoint(node: int) -> str:
    """Return the longest that is usual: a pod's name in Kubernetes."""
    return f"spawn-shop-{node}.spawn-shop.default.svc.cluster.local:7400"


def _owners(nodes: int, partitions: int) -> list[Owner]:
    """Return who owns what, each text an object of its own, as frames bring them."""
    topics = 100
    return [
        Owner(f"spawn.shop.Type{n % topics}Of", n // topics, 1 + n % 300, _endpoint(n * 7 % nodes))
        for n in range(partitions)
    ]


def _learn(table: OwnerTable, owners: Sequence[Owner]) -> None:
    for each in owners:
        table.learn(TopicPartition(each.topic, each.partition), each.epoch, each.endpoint)


def _each_us(count: int, work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) / count * 1e6


class _Nobody:
    """Takes nothing."""

    def opened(self, link: Link) -> None:
        """Nothing to do."""

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        """Nothing to do."""

    def ended(self, link: Link, ended: Ended) -> None:
        """Nothing to do."""


def _links(count: int) -> list[Conversation]:
    """Return links without a network that have greeted."""
    links = []
    for number in range(count):
        ours = Hello(VERSION, LEAST_VERSION, "shop", "a", _endpoint(0), "0.2.0")
        theirs = Hello(VERSION, LEAST_VERSION, "shop", f"b{number}", _endpoint(number), "0.2.0")
        link = Conversation(
            ours, _Nobody(), MeshCounts(), lambda: None, 0.0, endpoint=theirs.endpoint
        )
        link.cut()
        link.receive(encode_frame([theirs]))
        links.append(link)
    return links


def _memory(nodes: int, partitions: int) -> None:
    owners = _owners(nodes, partitions)
    gc.collect()
    tracemalloc.start()
    table = OwnerTable()
    _learn(table, owners)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    met = "met" if used < _TARGET_BYTES else "MISSED"
    print(
        f"table of {partitions:,} partitions, {nodes:,} endpoints: {used / 1e6:.1f} MB,"
        f" {used / partitions:.0f} bytes a partition (target 50 MB: {met})"
    )
    again = OwnerTable()
    places = [TopicPartition(o.topic, o.partition) for o in owners]
    print(f"learn {_each_us(partitions, lambda: _learn(again, owners)):.1f} us a partition", end="")
    print(f", look up {_each_us(partitions, lambda: [table.of(p) for p in places]):.2f} us", end="")
    one = _each_us(1, lambda: list(table.owned_by(_endpoint(7))))
    print(f", all of one node's {one / 1e3:.1f} ms\n")


def _news(nodes: int, partitions: int) -> None:
    owners = _owners(nodes, partitions)
    each = partitions // nodes
    frame = encode_frame([OwnerNews(owners[:1])])
    print("| news | bytes in one message | as one message a partition |")
    print("| --- | --- | --- |")
    for what, count in (
        ("one partition moved", 1),
        (f"a link opens: all {each} that a node owns", each),
        ("a tenth of all nodes lost", partitions // 10),
        ("everything", partitions),
    ):
        together = len(encode_frame([OwnerNews(owners[:count])]))
        print(f"| {what} | {together:,} | {count * len(frame):,} |")
    links = _links(nodes - 1)
    news = OwnerNews(owners[:1])

    def post() -> None:
        for link in links:
            link.post(news)
            link.cut()

    took = _each_us(len(links), post)
    print(f"\ntelling {len(links)} links of one change, without the network: {took:.1f} us a link")
    some = [OwnerNews([owner]) for owner in owners[:FRAME_MESSAGES_MAX]]
    singles = encode_frame(some)
    took = _each_us(len(some), lambda: decode_frame(singles))
    print(f"reading a change in a full frame: {took:.1f} us")


def measure(nodes: int, partitions: int, _rounds: int) -> None:
    """Print memory, times, bytes."""
    print(f"routing: {nodes:,} nodes, {partitions:,} partitions\n")
    _memory(nodes, partitions)
    _news(nodes, partitions)
