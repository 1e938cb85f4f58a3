"""Every setting: its type, default, check and meaning in one place.

`SETTINGS` has them by key; the reference page is made from the docstrings here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, Literal, NamedTuple

from spawn.config import readers
from spawn.config.readers import Reader
from spawn.config.secret import Secret, SecretUrl

__all__ = [
    "FILE_NAME",
    "LOG_FORMATS",
    "LOG_LEVELS",
    "SETTINGS",
    "ActorSettings",
    "HttpSettings",
    "KafkaSettings",
    "LogSettings",
    "MeshSettings",
    "NatsSettings",
    "NodeSettings",
    "PostgresSettings",
    "Setting",
    "Settings",
    "SnapshotSettings",
    "Source",
]

FILE_NAME: Final = "spawn.toml"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("auto", "json", "text")
_NO_SECRET: Final = Secret()


def _setting(default: Any, read: Reader, *, flag: str | None = None) -> Any:
    return field(default=default, metadata={"read": read, "flag": flag})


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """The event log."""

    bootstrap_servers: str = _setting("", readers.servers)
    """Brokers to begin with, as `host:port`, several with commas between. `spawn run` needs it: a
    guess could write into a log that is not meant."""
    partitions: int = _setting(16, readers.integer(1, 10_000))
    """Partitions of an actor type's topic, where the type does not say itself. Used when the topic
    is created; an existing topic keeps its number, since another one would move every actor. The
    default lets a few nodes share the work evenly and costs little."""
    replication: int | None = _setting(None, readers.replication)
    """Copies of each record, used when a topic is created. `auto`: 3, or as many as there are
    brokers when they are fewer. One copy is warned of: it is lost with its disk."""
    unsafe_topics: Literal["auto", "refuse", "warn"] = _setting(
        "auto", readers.choice("auto", "refuse", "warn")
    )
    """What a start does about topics that can lose acknowledged events: by retention or compaction,
    unclean leader elections, or `min.insync.replicas=1` of three copies. `auto` refuses them where
    there are several copies, and warns where there is one, as in development. `refuse` wants three
    copies besides. `warn` only says what is wrong. Topics that Spawn makes are right."""
    security_protocol: str = _setting(
        "PLAINTEXT", readers.one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    )
    """How to speak to the brokers, by Kafka's own names: `SSL` is TLS, `SASL_...` with a login. It
    must be that of the listener at `kafka.bootstrap_servers`."""
    tls_ca: str = _setting("", readers.file)
    """File with the certificates (PEM) of the authorities that the brokers' certificates are
    trusted from. Without one those of the system count."""
    tls_cert: str = _setting("", readers.file)
    """File with our own certificate (PEM, with those between it and its authority), where the
    brokers want one. This file and the others are read again when they change."""
    tls_key: str = _setting("", readers.file)
    """File with the private key of our own certificate (PEM); without one it is in the same
    file."""
    tls_key_password: Secret = _setting(_NO_SECRET, readers.password, flag="")
    """Password of an encrypted private key."""
    tls_key_password_file: str = _setting("", readers.file)
    """File that holds the password of an encrypted private key."""
    tls_any_hostname: bool = _setting(False, readers.switch)
    """Accept a broker's certificate for another host than the one that we asked for. Then everybody
    whom the same authority trusts can pass for a broker."""
    sasl_mechanism: str = _setting(
        "", readers.one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
    )
    """How to log in: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512` with user and password, or
    `OAUTHBEARER` with a token. `PLAIN` shows the password to everybody on the way where there is no
    TLS."""
    username: str = _setting("", readers.line)
    """User to log in as."""
    password: Secret = _setting(_NO_SECRET, readers.password, flag="")
    """Password of the user. Never shown or logged, and there is no flag for it."""
    password_file: str = _setting("", readers.file)
    """File that holds the password, without the line's end. It is read for each connection, so a
    password that is changed there is used from then on."""
    oauth_token_file: str = _setting("", readers.file)
    """File that holds a token, which somebody else keeps fresh. It is read for each connection."""
    oauth_token_url: str = _setting("", readers.token_url)
    """Token endpoint of an identity provider, which gives tokens for client id and secret (OAuth's
    client credentials)."""
    oauth_client_id: str = _setting("", readers.line)
    """Client id for the token endpoint."""
    oauth_client_secret: Secret = _setting(_NO_SECRET, readers.password, flag="")
    """Client secret for the token endpoint. Never shown or logged, and there is no flag for it."""
    oauth_client_secret_file: str = _setting("", readers.file)
    """File that holds the client secret."""
    oauth_scope: str = _setting("", readers.line)
    """Scope to ask the token endpoint for, where the provider wants one."""
    oauth_extensions: tuple[str, ...] = _setting((), readers.extensions)
    """What brokers want besides the token, like `logicalCluster=lkc-1,identityPoolId=pool-2`."""
    oauth_tls_ca: str = _setting("", readers.file)
    """File with the certificates (PEM) that the token endpoint's is trusted from. Without one those
    of the system count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """The snapshot store."""

    dsn: SecretUrl = _setting(SecretUrl(), readers.postgres_url)
    """libpq URI of the database. A socket folder is given as
    `postgresql:///spawn?host=/run/postgresql`. `spawn run` needs it. Its password is never shown or
    logged. TLS stands in it as libpq has it: `?sslmode=verify-full&sslrootcert=FILE`, with
    `sslcert=FILE&sslkey=FILE` for a certificate of our own. Without `sslmode` TLS is used where the
    server offers it, and its certificate is not looked at."""
    password_file: str = _setting("", readers.file)
    """File that holds the password of the URI's user, without the line's end. It is read for each
    connection. A file in libpq's own form is named by `passfile` in the URI, or by `PGPASSFILE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """Calls between systems, which are not built yet."""

    url: SecretUrl = _setting(SecretUrl(), readers.nats_url)
    """Address of a NATS server, like `nats://host:4222`, or `tls://host:4222`, which insists on
    TLS. In this release only `spawn doctor` connects to it: calls between systems come later. A
    node starts with and without one."""
    tls_ca: str = _setting("", readers.file)
    """File with the certificates (PEM) of the authorities that the server's certificate is trusted
    from. Without one those of the system count."""
    tls_cert: str = _setting("", readers.file)
    """File with our own certificate (PEM), where the server wants one."""
    tls_key: str = _setting("", readers.file)
    """File with the private key of our own certificate (PEM, without a password)."""
    username: str = _setting("", readers.line)
    """User to log in as."""
    password: Secret = _setting(_NO_SECRET, readers.password, flag="")
    """Password of the user. Never shown or logged, and there is no flag for it."""
    password_file: str = _setting("", readers.file)
    """File that holds the password, without the line's end."""
    token: Secret = _setting(_NO_SECRET, readers.password, flag="")
    """Token to log in with, instead of a user."""
    token_file: str = _setting("", readers.file)
    """File that holds the token."""
    creds: str = _setting("", readers.file)
    """File with JWT and seed (`.creds`, as `nsc` writes it), instead of a user. It needs the
    package `nkeys`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The JSON API."""

    host: str = _setting("127.0.0.1", readers.host)
    """Address to listen on. The default is reached from this machine only. Another one needs a
    token and TLS files, unless `http.insecure` says that something else protects the node."""
    port: int = _setting(9001, readers.integer(0, 65535))
    """Port to listen on; 0 takes a free one."""
    advertise: str = _setting("", readers.endpoint)
    """Where programs reach this node, as `host:port`, if not at `http.host` and `http.port`: what
    it tells `spawn.Client` and other nodes. Without it one that listens on all addresses tells the
    host of `mesh.advertise`. Callers may use this name for it (`http.allowed_hosts`)."""
    token: Secret = _setting(_NO_SECRET, readers.token, flag="")
    """What callers have to send as `Authorization: Bearer`; without one everybody who reaches the
    port may call. Never shown or logged, and there is no flag for it, since every user of a machine
    sees command lines."""
    token_file: str = _setting("", readers.file)
    """File that holds the token, read at the start; white space around it is left out."""
    tls_cert: str = _setting("", readers.file)
    """File with the certificate (PEM, with those between it and the authority): the node then
    serves HTTPS alone. It is read again when it has changed, so a renewal needs no restart."""
    tls_key: str = _setting("", readers.file)
    """File with the certificate's private key (PEM, without a password)."""
    insecure: bool = _setting(False, readers.switch, flag="--insecure")
    """Listen on another address than loopback also without token or TLS. For a network that nobody
    else is on, or behind a proxy that sees to both."""
    allowed_hosts: tuple[str, ...] = _setting((), readers.hosts)
    """Names, with commas between, that callers may use for this node besides loopback's and
    `http.host`, like `spawn.example.com`. Others are refused, so that no website can have its own
    name lead here."""
    allowed_origins: tuple[str, ...] = _setting((), readers.origins)
    """Websites, with commas between, whose pages may call this node from a browser, like
    `https://shop.example.com`. Those of loopback and of `http.allowed_hosts` may."""
    body_limit_bytes: int = _setting(1024**2, readers.size(1024, 4 * 1024**2))
    """The largest request body. A commit holds body, events and reply and has at most 6 MiB, so
    this can't be raised much."""
    connections_max: int = _setting(10_000, readers.integer(1, 1_000_000))
    """Connections that a node holds at once, streams and waiting calls included. One more is
    answered 503 (`too-many-waiting`) and closed. Each needs a file of the process (`ulimit -n`)."""
    keep_alive_s: float = _setting(75.0, readers.duration(1, 3600))
    """How long a connection may be without a request before it is closed. Let it be longer than a
    proxy in front keeps its connections (mostly 60 s)."""
    timeout_s: float = _setting(60.0, readers.duration(0.001, 3600))
    """How long a call without `Spawn-Timeout` waits for its outcome."""
    timeout_max_s: float = _setting(600.0, readers.duration(60, 86_400))
    """The largest `Spawn-Timeout` that a caller may ask for: each wait holds a connection and
    memory. `spawn.Client` asks for up to a minute at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """Calls between the nodes of a system."""

    host: str = _setting("127.0.0.1", readers.host)
    """Address to listen on for other nodes. The default is reached from this machine only. Another
    one needs TLS files, unless `mesh.insecure` says that something else protects the node."""
    port: int = _setting(9101, readers.integer(0, 65535))
    """Port for other nodes; 0 takes a free one, and so does a node that finds the default taken."""
    advertise: str = _setting("", readers.endpoint)
    """Where other nodes reach this one, as `host:port`, if not at `mesh.host` and `mesh.port`. It
    is needed where `mesh.host` is `0.0.0.0` or `::`."""
    tls_ca: str = _setting("", readers.file)
    """File with the certificates (PEM) of the authorities that nodes' certificates are trusted
    from. Whoever has a certificate of one of them is let in as a node: take one that signs nothing
    else. This file and the others are read again when they change."""
    tls_cert: str = _setting("", readers.file)
    """File with this node's certificate (PEM, with those between it and the authority), for the
    host that other nodes call; it is shown to those that call and to those that are called."""
    tls_key: str = _setting("", readers.file)
    """File with the certificate's private key (PEM, without a password)."""
    insecure: bool = _setting(False, readers.switch)
    """Listen on another address than loopback also without TLS. For a network that nobody else is
    on: who reaches the port may call every actor and pass for a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSettings:
    """Actors in memory."""

    memory_limit_bytes: int = _setting(1024**3, readers.size(16 * 1024**2, 1024**5))
    """How much memory actors' states may take. Above it the least recently used actors leave
    memory; their states are in snapshot and log. It is an estimate of the states alone: leave the
    process two to three times as much."""
    threads: int | None = _setting(None, readers.threads)
    """How many actions that block (`@action(blocking=True)`) run at once, each in a thread; more of
    them wait. `auto`: four more than there are processors, at most 32. Other actions need none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSettings:
    """Writing states behind the log."""

    flush_interval_s: float = _setting(5.0, readers.duration(0.1, 3600))
    """The longest that a change stays out of the database. A longer one saves writes, and makes
    the tail longer that a takeover reads."""
    flush_actors: int = _setting(10_000, readers.integer(1, 1_000_000))
    """So many changed actors of one partition start a flush at once, whatever the interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The node as a whole."""

    calls_max: int = _setting(20_000, readers.integer(1, 1_000_000))
    """Calls that a node holds at once, waiting, running or not acknowledged by the log yet. One
    more is refused (`too-many-waiting`). It bounds the memory of a node whose log is away."""
    start_wait_s: float = _setting(10.0, readers.duration(0, 3600))
    """How long a start waits for broker and database before it gives up."""
    clock_limit_s: float = _setting(5.0, readers.duration(0.1, 86_400))
    """How far this machine's clock may be from the database's when a node starts; above it the
    start is refused (`clock-wrong`). Who may write is never decided by a clock, but the times of
    events, sessions and idempotency keys are its own, and one node that is far ahead raises the
    time of every partition that it writes. A node that runs already only warns."""
    stuck_s: float = _setting(30.0, readers.duration(0, 86_400))
    """How long code may block the event loop until the node ends itself (exit code 70, with the
    stacks of its threads on stderr), so that a supervisor starts it again; nothing acknowledged is
    lost. It serves nobody meanwhile, and other nodes take its partitions over. Not while a debugger
    is attached. 0: never."""
    stop_grace_s: float = _setting(10.0, readers.duration(0, 3600))
    """How long a stop waits for calls under way and for the last flush. Kubernetes kills after 30 s
    unless told otherwise, so stay below that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What a node writes to stderr."""

    level: str = _setting("info", readers.choice(*LOG_LEVELS))
    """The least level that is written: `debug`, `info`, `warning` or `error`. No level logs single
    commits."""
    format: str = _setting("auto", readers.choice(*LOG_FORMATS))
    """`json`: one object a line, for collectors. `text`: for people. `auto`: text on a terminal,
    JSON elsewhere."""


class Source(NamedTuple):
    """Where a value came from."""

    kind: str
    """`default`, `file`, `development` (a running `spawn dev`), `environment` or `flag`."""
    name: str
    """For people, to find it: `--http-port (flag)`, `spawn.toml line 3, http.port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked."""

    system: str = _setting("spawn-system", readers.name)
    """Name of the actor system. Topics are named after it, so two systems on one log need two
    names, and all nodes of one system the same."""
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    nats: NatsSettings = NatsSettings()
    http: HttpSettings = HttpSettings()
    mesh: MeshSettings = MeshSettings()
    actors: ActorSettings = ActorSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    node: NodeSettings = NodeSettings()
    log: LogSettings = LogSettings()
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False)
    """By key; a key that is missing has its default."""
    warnings: tuple[str, ...] = field(default=(), repr=False)
    """What is no error but was hardly meant, for the command to say."""

    def source(self, key: str) -> Source:
        """Return where a value came from; its name serves as `at` of errors that it leads to."""
        return self.sources.get(key, Source("default", f"{key} (default)"))


class Setting(NamedTuple):
    """One setting, its names in all sources, and how it is read."""

    key: str
    variable: str
    flag: str
    """Empty: there is none."""
    group: str
    """Name of its field in `Settings`; empty: it stands there itself."""
    attribute: str
    default: Any
    read: Reader


def _all_settings() -> Iterator[Setting]:
    for group in fields(Settings):
        inner: Any = group.default if is_dataclass(group.default) else None
        for member in fields(inner) if inner is not None else [group]:
            if "read" not in member.metadata:
                continue
            # The unit stands in the value, so the outer name goes without it.
            name = re.sub(r"_(s|bytes)$", "", member.name)
            key = f"{group.name}.{name}" if inner is not None else name
            yield Setting(
                key,
                "SPAWN_" + key.replace(".", "_").upper(),
                _flag_of(key, member.metadata["flag"]),
                group.name if inner is not None else "",
                member.name,
                member.default,
                member.metadata["read"],
            )


def _flag_of(key: str, given: str | None) -> str:
    return "--" + key.replace(".", "-").replace("_", "-") if given is None else given


SETTINGS: Final = {setting.key: setting for setting in _all_settings()}
"""Every setting by key, in the order of the reference page."""
