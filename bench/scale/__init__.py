"""What grows when a cluster grows, beyond what one machine can run (docs/concepts/scale.md).

Parts are measured, the rest is computed from them:

    .venv/bin/python -m bench.scale [PART ...] [--nodes N] [--partitions N] [--rounds N]

Without servers: `assignment` (the leader's work and bytes), `routing` (the table of owners, news of
changes), `watching` (who pings whom), `links` (between two processes), `idle` (a node's partitions
that nobody uses), `model` (what saturates first, from the figures of bench/README.md). With Apache
Kafka, and only when named: `group` (a group of that size on a broker), `broker` (what appends and
take-overs cost there).
"""
