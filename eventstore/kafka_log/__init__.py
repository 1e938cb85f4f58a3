"""The event log on a Kafka-compatible broker, by aiokafka's connections (log protocol 1, 5, 6).

**Appends** (`appends`, `connection`, `produce`) are produce requests of our own, in a third of the
CPU time that aiokafka's producer takes. What is to be appended at one broker at the same moment
shares a request. A batch is sent again only when it was certainly not stored: it never left the
process, or the broker answered that it does not lead or lacks replicas. An answer that is neither
an offset nor a refusal is `LogUnavailable`, as is none. So a batch is stored once at most, perhaps
late, and the offset returned is that of the only copy. After a time-out its connection takes no
more appends, so that a claim never queues behind the lost batch.

**Reads** (`fetches`) ask the partition's leader with plain Fetch and ListOffsets requests, each on
a connection that nothing else uses at that moment (`requests`), rather than with aiokafka's
consumer: that one fetches ahead of what was asked, polls on when nobody reads, and hides an offset
out of range.

**TLS and login** (`security`, `tokens`, `client`): certificates, passwords and tokens are read for
each connection, so that they may change. What keeps a broker and us apart for good (`admission`) is
`LogNotAdmitted`, raised at once and never waited for; a refused login is tried again at longer and
longer intervals only (`eventstore.door`).

What brokers do, and this package lives with:

- Tansu 0.6 never answers a fetch that may wait 0 ms, finds nothing when it may wait a few, and its
  ListOffsets counts the last batch as one record: the end is taken from a fetch's high watermark.
- Asking for the metadata of a missing topic may create it, with the broker's settings instead of
  ours: so every topic is looked up once without that, and one that is not there is `TopicMissing`.
  A topic seen before that the broker no longer knows is `LogUnavailable`: a broker that is just
  starting says so too.
- A broker that was deposed and does not know it yet takes offsets for out of range which are there.
- A leader that is deposed while it waits for its followers says "not leader" of a batch that it has
  appended, and tells the base offset with it; of one that it has not, it tells -1.
- A produce request has one batch for each partition; what brokers do with two is not specified.
"""

from __future__ import annotations

from eventstore.kafka_log.admin import KafkaAdmin
from eventstore.kafka_log.log import KafkaLog
from eventstore.kafka_log.security import PasswordLogin, Security, TokenLogin
from eventstore.kafka_log.settings import KafkaSettings
from eventstore.kafka_log.tokens import ClientCredentials, FileToken

__all__ = [
    "ClientCredentials",
    "FileToken",
    "KafkaAdmin",
    "KafkaLog",
    "KafkaSettings",
    "PasswordLogin",
    "Security",
    "TokenLogin",
]
