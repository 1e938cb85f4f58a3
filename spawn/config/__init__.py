"""Settings: what there is, and where each value comes from.

Precedence: flags, environment, what a running `spawn dev` says (for commands that read), the file
`spawn.toml`, defaults. One name serves all: the key `http.port` is the flag `--http-port`, the
variable `SPAWN_HTTP_PORT` and `port` in the table `[http]` of the file; `system` stands above the
tables. An empty variable counts as not set. Durations are written `250ms`, `5s`, `2m`, `1h` or in
plain seconds, sizes `64KiB`, `1MiB`, `2GiB` or in plain bytes.

`spawn.config.loading` is the only module that reads the environment; all others are handed values.
Everything is checked at once, and every problem names where the value came from (style rule 19).
"""

from spawn.config.loading import (
    connection_keys,
    load_settings,
    node_ca,
    node_token,
    node_url,
    wants_colour,
    with_servers,
)
from spawn.config.readers import parse_duration_s, shown_size, token_of
from spawn.config.secret import Secret, SecretUrl
from spawn.config.settings import (
    FILE_NAME,
    SETTINGS,
    ActorSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    MeshSettings,
    NatsSettings,
    NodeSettings,
    PostgresSettings,
    Setting,
    Settings,
    SnapshotSettings,
    Source,
)

__all__ = [
    "FILE_NAME",
    "SETTINGS",
    "ActorSettings",
    "HttpSettings",
    "KafkaSettings",
    "LogSettings",
    "MeshSettings",
    "NatsSettings",
    "NodeSettings",
    "PostgresSettings",
    "Secret",
    "SecretUrl",
    "Setting",
    "Settings",
    "SnapshotSettings",
    "Source",
    "connection_keys",
    "load_settings",
    "node_ca",
    "node_token",
    "node_url",
    "parse_duration_s",
    "shown_size",
    "token_of",
    "wants_colour",
    "with_servers",
]
