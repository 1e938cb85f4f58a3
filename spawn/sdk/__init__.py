"""The Python SDK: actor classes, typed references to them, and how a class becomes a `Behavior`.

User code imports the names in `spawn`, not from here. Forbidden here: clients of servers (Kafka,
Postgres, HTTP, NATS), clocks and randomness; `import spawn` loads neither a client nor fastavro.
"""
