"""Who watches whom, and what it costs a node."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Final

from spawn.mesh.health import OBSERVERS, PING_S, Detector, watched_by, watchers_of

__all__ = ["measure"]

_TICKS: Final = 2_000


def _names(nodes: int) -> list[str]:
    return [(n * 2_654_435_761 % 2**32).to_bytes(4, "big").hex() * 4 for n in range(nodes)]


def measure(nodes: int, _partitions: int, _rounds: int) -> None:
    """Print how the watching is spread, what a change of members costs, and what pings do."""
    print(f"watching: {OBSERVERS} watch each, a ping each {PING_S:g} s\n")
    print(
        "| nodes | a node watches: mean, most | pings sent and answered a node, per s, most |",
        end="",
    )
    print(" who watches whom, anew: ms |")
    print("| --- | --- | --- | --- |")
    for count in sorted({3, 10, 100, nodes}):
        names = _names(count)
        watched = Counter(each for name in names for each in watchers_of(name, names))
        loads = [watched[name] for name in names]
        began = time.process_time()
        watched_by(names[0], names)
        took_ms = (time.process_time() - began) * 1e3
        mean, most = statistics.mean(loads), max(loads)
        observers = min(OBSERVERS, count - 1)
        print(
            f"| {count:,} | {mean:.1f}, {most}"
            f" | {(mean + observers) / PING_S:.0f}, {(most + observers) / PING_S:.0f}"
            f" | {took_ms:.1f} |"
        )
    for watched_nodes in (3, 10):
        detector = Detector(0.0)
        detector.watch(_names(watched_nodes), 0.0)
        began, now = time.process_time(), 0.0
        for _ in range(_TICKS):
            now += PING_S
            for name, nonce in detector.tick(now).pings:
                detector.answered(name, nonce)
        took = (time.process_time() - began) / _TICKS / PING_S
        print(f"\nthe detector, {watched_nodes} watched: {took:.3%} of a core", end="")
    print("; what a ping costs over the network: `links`")
