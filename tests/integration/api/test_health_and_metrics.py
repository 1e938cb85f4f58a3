"""What probes and Prometheus see."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.api.fake_ingress import statistics
from tests.integration.api.wire import Served

PARTITION = {"topic": "spawn.shop.Counter", "partition": "3"}


@dataclass
class Page:
    """A scraped page."""

    text: str

    def value(self, name: str, **labels: str) -> float:
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        raise KeyError((name, labels))


async def scrape(served: Served) -> Page:
    reply = await served.wire.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    return Page(reply.body.decode())


async def test_a_node_is_alive_from_the_start(served: Served) -> None:
    """Liveness asks nothing of log and database."""
    served.ingress.statistics_now = statistics(ready=False, reasons=["starting"])
    reply = await served.wire.ask("GET", "/health/live")
    assert (reply.status, reply.json()) == (200, {"live": True})


async def test_readiness_names_what_is_missing(served: Served) -> None:
    """200 when the node serves, else 503 and why."""
    reply = await served.wire.ask("GET", "/health/ready")
    assert (reply.status, reply.json()) == (200, {"ready": True, "reasons": []})
    reasons = ["partition spawn.shop.Counter/3 is being taken over"]
    served.ingress.statistics_now = statistics(ready=False, reasons=reasons)
    reply = await served.wire.ask("GET", "/health/ready")
    assert (reply.status, reply.json()) == (503, {"ready": False, "reasons": reasons})


async def test_metrics_show_the_nodes_statistics(served: Served) -> None:
    """Each value under its name, with topic and partition."""
    page = await scrape(served)
    assert page.value("spawn_node_info", system="shop", owner="c0ffee") == 1
    assert page.value("spawn_ready") == 1
    assert page.value("spawn_loop_lag_seconds") == 0.003
    expected = {
        "spawn_commits_total": 900,
        "spawn_batches_total": 300,
        "spawn_barriers_total": 2,
        "spawn_fences_total": 1,
        "spawn_actors": 70,
        "spawn_dirty_actors": 50,
        "spawn_uncommitted_commands": 6,
        "spawn_waiting_calls": 5,
        "spawn_epoch": 4,
        "spawn_position": 1200,
        "spawn_checkpoint_position": 1000,
        "spawn_checkpoint_lag_records": 200,
    }
    assert {name: page.value(name, **PARTITION) for name in expected} == expected
    assert page.value("spawn_partition_phase", phase="active", **PARTITION) == 1


async def test_commit_latencies_are_a_cumulative_histogram(served: Served) -> None:
    """Prometheus wants counts up to a bound, the node counts per bucket."""
    page = await scrape(served)
    assert page.value("spawn_commit_seconds_bucket", le="0.0005") == 1
    assert page.value("spawn_commit_seconds_bucket", le="0.001") == 3
    assert page.value("spawn_commit_seconds_bucket", le="10.0") == 3
    assert page.value("spawn_commit_seconds_bucket", le="+Inf") == 4
    assert page.value("spawn_commit_seconds_count") == 4
    assert page.value("spawn_commit_seconds_sum") == 12.5


async def test_requests_are_counted_by_route_and_status(served: Served) -> None:
    """What leads nowhere and what is no HTTP too; no label holds what a caller chose."""
    for n in range(3):
        await served.wire.ask("POST", f"/v1/actors/Counter/{n}/add", b"1")
    await served.wire.ask("POST", "/v1/actors/Counter/a/ad", b"1")
    await served.wire.ask("GET", "/v1/actors/Counter/a")
    await served.wire.ask("GET", "/nothing")
    async with served.connect() as wire:
        wire.send(b"nonsense\r\n\r\n")
        await wire.reply()
    page = await scrape(served)
    name = "spawn_http_requests_total"
    assert page.value(name, route="invoke", status="200") == 3
    assert page.value(name, route="invoke", status="404") == 1
    assert page.value(name, route="state", status="200") == 1
    assert page.value(name, route="none", status="404") == 1
    assert page.value(name, route="none", status="400") == 1
    assert page.value("spawn_http_requests_in_progress") == 1


async def test_metrics_of_the_process_are_there(served: Served) -> None:
    """Memory and CPU, as every exporter has them."""
    assert (await scrape(served)).value("process_resident_memory_bytes") > 0
