"""Settings: what there is, and where each value comes from.

Precedence: flags, environment, what a running `spawn dev` says (for commands that read), the file
`spawn.toml`, defaults. One name serves all: the key `http.port` is the flag `--http-port`, the
variable `SPAWN_HTTP_PORT` and `port` in the table `[http]` of the file; `system` stands above the
tables. An empty variable counts as not set. Durations are written `250ms`, `5s`, `2m`, `1h` or in
plain seconds, sizes `64KiB`, `1MiB`, `2GiB` or in plain bytes.

This is the only module that reads the environment; all others are handed values. Everything is
checked at once, and every problem names where the value came from (style rule 19). Over 400 lines:
a setting, its check, its names and its explanation stand in one place.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from spawn.core.ids import NAME_PATTERN
from spawn.errors import InvalidSettings

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
    "node_token",
    "node_url",
    "parse_duration_s",
    "shown_size",
    "token_of",
    "wants_colour",
    "with_servers",
]

FILE_NAME: Final = "spawn.toml"

Reader = Callable[[object], Any]
"""Makes a setting's value of what a source holds; ValueError says what it must be."""


class SecretUrl:
    """An address that may hold a password: shown without it, `reveal()` gives all of it."""

    __slots__ = ("_url",)

    def __init__(self, url: str = "") -> None:
        self._url = url

    def reveal(self) -> str:
        """Return the address as it was given; never print or log it."""
        return self._url

    def __str__(self) -> str:
        # Greedy up to the last @: rather a host too much masked than a letter of a password shown.
        shown = re.sub(r"://([^:@/?]*):.*@", r"://\1:***@", self._url, flags=re.DOTALL)
        if shown == self._url and not shown.startswith("postgres"):
            shown = re.sub(r"://[^/?]*@", "://***@", shown)
        return re.sub(r"(?i)(password|token)=[^&]*", r"\1=***", shown)

    def __repr__(self) -> str:
        return repr(str(self))

    def __bool__(self) -> bool:
        return bool(self._url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)


class Secret:
    """A token: never shown, `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return it; never print or log it."""
        return self._text

    def __str__(self) -> str:
        return "***" if self._text else ""

    def __repr__(self) -> str:
        return repr(str(self))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def _integer(least: int, most: int) -> Reader:
    def read(value: object) -> int:
        text = str(value).strip()
        if isinstance(value, bool | float) or not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError(f"must be a whole number, got {value!r}")
        if not least <= int(text) <= most:
            raise ValueError(f"must be from {least} to {most}, got {text}")
        return int(text)

    return read


def _duration(least_s: float, most_s: float) -> Reader:
    def read(value: object) -> float:
        seconds = parse_duration_s(value)
        if not least_s <= seconds <= most_s:
            raise ValueError(f"must be from {least_s:g}s to {most_s:g}s, got {value!r}")
        return seconds

    return read


def _size(least: int, most: int) -> Reader:
    units = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

    def read(value: object) -> int:
        match = re.fullmatch(r"([0-9]{1,18})\s*([A-Za-z]*)", str(value).strip())
        if isinstance(value, bool) or match is None or match[2] not in units:
            raise ValueError(f"must be a size like 64KiB, 1MiB, 2GiB or bytes, got {value!r}")
        size = int(match[1]) * units[match[2]]
        if not least <= size <= most:
            raise ValueError(
                f"must be from {shown_size(least)} to {shown_size(most)}, got {value!r}"
            )
        return size

    return read


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
        raise ValueError(
            "must begin with a letter and have at most 63 letters, digits, `-` and `_`, "
            f"got {value!r}"
        )
    return value


def _host(value: object) -> str:
    # One colon is a port; an IPv6 address has more.
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,253}", value)
        or value.count(":") == 1
    ):
        raise ValueError(f"must be a host name or an IP address without port, got {value!r}")
    return value


def _servers(value: object) -> str:
    servers = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    for server in servers or [str(value)]:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})", server)
        if match is None or not 1 <= int(match[2]) <= 65535:
            raise ValueError(f"must be host:port, several with commas between, got {server!r}")
    return ",".join(servers)


def _postgres_url(value: object) -> SecretUrl:
    if not isinstance(value, str) or not re.match(r"postgres(ql)?://", value):
        raise ValueError(
            "must be a libpq URI like postgresql://user@host:5432/database or, with a socket "
            "folder, postgresql:///database?host=/run/postgresql"
        )
    try:
        _ = urlsplit(value).port
    except ValueError:  # its text would show a part of the password
        raise ValueError(
            "must have a number as its port; in user and password write / as %2F, ? as %3F, "
            "# as %23, @ as %40, : as %3A"
        ) from None
    return SecretUrl(value)


def _one_of(*allowed: str) -> Reader:
    def read(value: object) -> str:
        text = str(value).strip().upper()
        if text not in allowed:
            raise ValueError(f"must be {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}")
        return text

    return read


def _line(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"must be a text of one line, got {value!r}")
    return value


def _password(value: object) -> Secret:
    # Not shown, whatever it is.
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("must be a text of one line; write it in quotes")
    return Secret(value)


def _token_url(value: object) -> str:
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an address like https://login.example.com/oauth2/token")
    if parts.scheme == "http" and not re.fullmatch(r"localhost|127\..*|::1", parts.hostname):
        raise ValueError("must be https: a secret is sent there")
    return parts.geturl()


def _extensions(value: object) -> tuple[str, ...]:
    parts = _list(value)
    for part in parts:
        if not re.fullmatch(r"(?!auth=)[A-Za-z]+=[!-~]+", part):
            raise ValueError(f"must be name=value, several with commas between, got {part!r}")
    return tuple(parts)


def _nats_url(value: object) -> SecretUrl:
    urls = value.split(",") if isinstance(value, str) else [""]
    if not all(re.match(r"(nats|tls|ws|wss)://.", url.strip()) for url in urls):
        raise ValueError("must be an address like nats://host:4222, several with commas between")
    return SecretUrl(str(value))


def _replication(value: object) -> int | None:
    return None if value == "auto" else int(_integer(1, 99)(value))


def _threads(value: object) -> int | None:
    return None if value == "auto" else int(_integer(1, 1_000)(value))


def token_of(text: str) -> Secret:
    """Return a token. Raises: ValueError - no header could carry it."""
    if not re.fullmatch(r"[!-~]{8,500}", text):
        raise ValueError("must have 8 to 500 letters, digits and signs of ASCII, without blanks")
    return Secret(text)


def _token(value: object) -> Secret:
    return token_of(str(value))


def _file(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"must be the path of a file, got {value!r}")
    return value


def _switch(value: object) -> bool:
    text = str(value).strip().lower()
    if text not in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        raise ValueError(f"must be true or false, got {value!r}")
    return text in ("true", "1", "yes", "on")


def _hosts(value: object) -> tuple[str, ...]:
    return tuple(_host(name) for name in _list(value))


def _origins(value: object) -> tuple[str, ...]:
    origins = _list(value)
    for origin in origins:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s]+/?", origin, re.IGNORECASE):
            raise ValueError(f"must be origins like https://shop.example.com, got {origin!r}")
    return tuple(origins)


def _list(value: object) -> list[str]:
    parts = value if isinstance(value, list) else str(value).split(",")
    return [text for part in parts if (text := str(part).strip())]


def _choice(*choices: str) -> Reader:
    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, got {value!r}")
        return str(value)

    return read


def _setting(default: Any, read: Reader, *, flag: str | None = None) -> Any:
    return field(default=default, metadata={"read": read, "flag": flag})


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """The event log."""

    bootstrap_servers: str = _setting("", _servers)
    """Brokers to begin with, as `host:port`, several with commas between. `spawn run` needs it: a
    guess could write into a log that is not meant."""
    partitions: int = _setting(16, _integer(1, 10_000))
    """Partitions of an actor type's topic, where the type does not say itself. Used when the topic
    is created; an existing topic keeps its number, since another one would move every actor. The
    default lets a few nodes share the work evenly and costs little."""
    replication: int | None = _setting(None, _replication)
    """Copies of each record, used when a topic is created. `auto`: 3, or as many as there are
    brokers when they are fewer. One copy is warned of: it is lost with its disk."""
    security_protocol: str = _setting(
        "PLAINTEXT", _one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    )
    """How to speak to the brokers, by Kafka's own names: `SSL` is TLS, `SASL_...` with a login. It
    must be that of the listener at `kafka.bootstrap_servers`."""
    tls_ca: str = _setting("", _file)
    """File with the certificates (PEM) of the authorities that the brokers' certificates are
    trusted from. Without one those of the system count."""
    tls_cert: str = _setting("", _file)
    """File with our own certificate (PEM, with those between it and its authority), where the
    brokers want one. This file and the others are read again when they change."""
    tls_key: str = _setting("", _file)
    """File with the private key of our own certificate (PEM); without one it is in the same
    file."""
    tls_key_password: Secret = _setting(Secret(), _password, flag="")  # noqa: RUF009 - a field()
    """Password of an encrypted private key."""
    tls_key_password_file: str = _setting("", _file)
    """File that holds the password of an encrypted private key."""
    tls_any_hostname: bool = _setting(False, _switch)
    """Accept a broker's certificate for another host than the one that we asked for. Then everybody
    whom the same authority trusts can pass for a broker."""
    sasl_mechanism: str = _setting(
        "", _one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
    )
    """How to log in: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512` with user and password, or
    `OAUTHBEARER` with a token. `PLAIN` shows the password to everybody on the way where there is no
    TLS."""
    username: str = _setting("", _line)
    """User to log in as."""
    password: Secret = _setting(Secret(), _password, flag="")  # noqa: RUF009 - a field()
    """Password of the user. Never shown or logged, and there is no flag for it."""
    password_file: str = _setting("", _file)
    """File that holds the password, without the line's end. It is read for each connection, so a
    password that is changed there is used from then on."""
    oauth_token_file: str = _setting("", _file)
    """File that holds a token, which somebody else keeps fresh. It is read for each connection."""
    oauth_token_url: str = _setting("", _token_url)
    """Token endpoint of an identity provider, which gives tokens for client id and secret (OAuth's
    client credentials)."""
    oauth_client_id: str = _setting("", _line)
    """Client id for the token endpoint."""
    oauth_client_secret: Secret = _setting(Secret(), _password, flag="")  # noqa: RUF009 - a field()
    """Client secret for the token endpoint. Never shown or logged, and there is no flag for it."""
    oauth_client_secret_file: str = _setting("", _file)
    """File that holds the client secret."""
    oauth_scope: str = _setting("", _line)
    """Scope to ask the token endpoint for, where the provider wants one."""
    oauth_extensions: tuple[str, ...] = _setting((), _extensions)
    """What brokers want besides the token, like `logicalCluster=lkc-1,identityPoolId=pool-2`."""
    oauth_tls_ca: str = _setting("", _file)
    """File with the certificates (PEM) that the token endpoint's is trusted from. Without one those
    of the system count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """The snapshot store."""

    dsn: SecretUrl = _setting(SecretUrl(), _postgres_url)  # noqa: RUF009 - a field()
    """libpq URI of the database. A socket folder is given as
    `postgresql:///spawn?host=/run/postgresql`. `spawn run` needs it. Its password is never shown or
    logged. TLS stands in it as libpq has it: `?sslmode=verify-full&sslrootcert=FILE`, with
    `sslcert=FILE&sslkey=FILE` for a certificate of our own. Without `sslmode` TLS is used where the
    server offers it, and its certificate is not looked at."""
    password_file: str = _setting("", _file)
    """File that holds the password of the URI's user, without the line's end. It is read for each
    connection. A file in libpq's own form is named by `passfile` in the URI, or by `PGPASSFILE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """Calls between systems."""

    url: SecretUrl = _setting(SecretUrl(), _nats_url)  # noqa: RUF009 - a field()
    """Address of a NATS server, like `nats://host:4222`, or `tls://host:4222`, which insists on
    TLS. Without one a node starts all the same and says that calls between systems are off."""
    tls_ca: str = _setting("", _file)
    """File with the certificates (PEM) of the authorities that the server's certificate is trusted
    from. Without one those of the system count."""
    tls_cert: str = _setting("", _file)
    """File with our own certificate (PEM), where the server wants one."""
    tls_key: str = _setting("", _file)
    """File with the private key of our own certificate (PEM, without a password)."""
    username: str = _setting("", _line)
    """User to log in as."""
    password: Secret = _setting(Secret(), _password, flag="")  # noqa: RUF009 - a field()
    """Password of the user. Never shown or logged, and there is no flag for it."""
    password_file: str = _setting("", _file)
    """File that holds the password, without the line's end."""
    token: Secret = _setting(Secret(), _password, flag="")  # noqa: RUF009 - a field()
    """Token to log in with, instead of a user."""
    token_file: str = _setting("", _file)
    """File that holds the token."""
    creds: str = _setting("", _file)
    """File with JWT and seed (`.creds`, as `nsc` writes it), instead of a user. It needs the
    package `nkeys`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The JSON API."""

    host: str = _setting("127.0.0.1", _host)
    """Address to listen on. The default is reached from this machine only. Another one needs a
    token and TLS files, unless `http.insecure` says that something else protects the node."""
    port: int = _setting(9001, _integer(0, 65535))
    """Port to listen on; 0 takes a free one."""
    token: Secret = _setting(Secret(), _token, flag="")  # noqa: RUF009 - a field()
    """What callers have to send as `Authorization: Bearer`; without one everybody who reaches the
    port may call. Never shown or logged, and there is no flag for it, since every user of a machine
    sees command lines."""
    token_file: str = _setting("", _file)
    """File that holds the token, read at the start; white space around it is left out."""
    tls_cert: str = _setting("", _file)
    """File with the certificate (PEM, with those between it and the authority): the node then
    serves HTTPS alone."""
    tls_key: str = _setting("", _file)
    """File with the certificate's private key (PEM, without a password)."""
    insecure: bool = _setting(False, _switch, flag="--insecure")
    """Listen on another address than loopback also without token or TLS. For a network that nobody
    else is on, or behind a proxy that sees to both."""
    allowed_hosts: tuple[str, ...] = _setting((), _hosts)
    """Names, with commas between, that callers may use for this node besides loopback's and
    `http.host`, like `spawn.example.com`. Others are refused, so that no website can have its own
    name lead here."""
    allowed_origins: tuple[str, ...] = _setting((), _origins)
    """Websites, with commas between, whose pages may call this node from a browser, like
    `https://shop.example.com`. Those of loopback and of `http.allowed_hosts` may."""
    body_limit_bytes: int = _setting(1024**2, _size(1024, 4 * 1024**2))
    """The largest request body. A commit holds body, events and reply and has at most 6 MiB, so
    this can't be raised much."""
    timeout_s: float = _setting(60.0, _duration(0.001, 3600))
    """How long a call without `Spawn-Timeout` waits for its outcome."""
    timeout_max_s: float = _setting(600.0, _duration(60, 86_400))
    """The largest `Spawn-Timeout` that a caller may ask for: each wait holds a connection and
    memory. `spawn.Client` asks for up to a minute at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """Calls between the nodes of a system."""

    port: int = _setting(9101, _integer(0, 65535))
    """Port for other nodes; 0 takes a free one. Nothing listens there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSettings:
    """Actors in memory."""

    memory_limit_bytes: int = _setting(1024**3, _size(16 * 1024**2, 1024**5))
    """How much memory actors' states may take. Above it the least recently used actors leave
    memory; their states are in snapshot and log. It is an estimate of the states alone: leave the
    process two to three times as much."""
    threads: int | None = _setting(None, _threads)
    """How many actions that block (`@action(blocking=True)`) run at once, each in a thread; more of
    them wait. `auto`: four more than there are processors, at most 32. Other actions need none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSettings:
    """Writing states behind the log."""

    flush_interval_s: float = _setting(5.0, _duration(0.1, 3600))
    """The longest that a change stays out of the database. A longer one saves writes, and makes
    the tail longer that a takeover reads."""
    flush_actors: int = _setting(10_000, _integer(1, 1_000_000))
    """So many changed actors of one partition start a flush at once, whatever the interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The node as a whole."""

    calls_max: int = _setting(20_000, _integer(1, 1_000_000))
    """Calls that a node holds at once, waiting, running or not acknowledged by the log yet. One
    more is refused (`too-many-waiting`). It bounds the memory of a node whose log is away."""
    start_wait_s: float = _setting(10.0, _duration(0, 3600))
    """How long a start waits for broker and database before it gives up."""
    stop_grace_s: float = _setting(10.0, _duration(0, 3600))
    """How long a stop waits for calls under way and for the last flush. Kubernetes kills after 30 s
    unless told otherwise, so stay below that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What a node writes to stderr."""

    level: str = _setting("info", _choice("debug", "info", "warning", "error"))
    """The least level that is written: `debug`, `info`, `warning` or `error`. No level logs single
    commits."""
    format: str = _setting("auto", _choice("auto", "json", "text"))
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

    system: str = _setting("spawn-system", _name)
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

_OTHER_VARIABLES: Final = ("SPAWN_URL", "SPAWN_REQUIRE_KAFKA")
_FOREIGN_VARIABLES: Final = re.compile(
    r"SPAWN_\w+_BIN|SPAWN_.*SERVICE_(HOST|PORT).*|SPAWN_.*PORT_\d.*"
)
"""Programs of the embedded stack, and what Kubernetes sets for a service that is named spawn."""


def load_settings(
    *,
    flags: Mapping[str, object] | None = None,
    config: Path | None = None,
    development: Mapping[str, str] | None = None,
    required: Collection[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Put the settings together and check them all.

    `flags` and `development` are by key; None and empty values count as not given. `config` is a
    file that must be there; without it `spawn.toml` of the current folder is read if it exists.
    `required` are keys that must not be left empty.

    Raises: InvalidSettings - its text lists every problem with its source.
    """
    environ = os.environ if environ is None else environ
    problems: list[_Problem] = []
    found: dict[str, tuple[object, Source]] = {}
    found.update(_from_file(config, problems))
    for key, value in (development or {}).items():
        if value:
            found[key] = (value, Source("development", f"{key} of the running spawn dev"))
    for setting in SETTINGS.values():
        if environ.get(setting.variable):
            source = Source("environment", f"{setting.variable} (environment)")
            found[setting.key] = (environ[setting.variable], source)
    for key, flag_value in (flags or {}).items():
        if flag_value not in (None, ""):
            found[key] = (flag_value, Source("flag", f"{SETTINGS[key].flag} (flag)"))
    for key in [key for key in found if _is_of_other_server(key, found)]:
        del found[key]
    values = _checked(found, problems)
    problems += [_missing(key) for key in required if key not in found]
    problems += _conflicts(values, found)
    if problems:
        raise _invalid(problems)
    sources = {key: source for key, (_, source) in found.items()}
    return _built(values, sources, tuple(_unknown_variables(environ)))


def node_url(environ: Mapping[str, str] | None = None) -> str:
    """Return `SPAWN_URL`, the address of a node for commands that call one; empty: not set."""
    return (os.environ if environ is None else environ).get("SPAWN_URL", "")


def node_token(environ: Mapping[str, str] | None = None) -> Secret:
    """Return what commands send to a node: `SPAWN_HTTP_TOKEN`, else what `..._FILE` names.

    Raises: ValueError - no header could carry it; OSError - the file can't be read.
    """
    environ = os.environ if environ is None else environ
    if token := environ.get("SPAWN_HTTP_TOKEN"):
        return token_of(token)
    file = environ.get("SPAWN_HTTP_TOKEN_FILE")
    return token_of(Path(file).read_text(encoding="utf-8").strip()) if file else Secret()


def wants_colour(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the environment lets us colour (https://no-color.org)."""
    environ = os.environ if environ is None else environ
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def parse_duration_s(value: object) -> float:
    """Return seconds from `250ms`, `5s`, `2m`, `1h` or plain seconds. Raises: ValueError."""
    units = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", str(value).strip())
    if isinstance(value, bool) or match is None or match[2] not in units:
        raise ValueError(f"must be a duration like 250ms, 5s, 2m or seconds, got {value!r}")
    seconds = float(match[1]) * units[match[2]]
    if not math.isfinite(seconds):
        raise ValueError(f"must be a finite duration, got {value!r}")
    return seconds


_ADDRESSES: Final = {
    "kafka": "kafka.bootstrap_servers",
    "postgres": "postgres.dsn",
    "nats": "nats.url",
}
_OF_TOPICS: Final = ("kafka.partitions", "kafka.replication")


def connection_keys() -> tuple[str, ...]:
    """Return the keys of all that says how to reach log, database and NATS."""
    return tuple(
        key for key, each in SETTINGS.items() if each.group in _ADDRESSES and key not in _OF_TOPICS
    )


def with_servers(settings: Settings, *, kafka: str, postgres: str, nats: str) -> Settings:
    """Return the settings with other servers, which want neither TLS nor login."""
    return replace(
        settings,
        kafka=KafkaSettings(
            bootstrap_servers=kafka,
            partitions=settings.kafka.partitions,
            replication=settings.kafka.replication,
        ),
        postgres=PostgresSettings(dsn=SecretUrl(postgres)),
        nats=NatsSettings(url=SecretUrl(nats)),
    )


def _is_of_other_server(key: str, found: Mapping[str, tuple[object, Source]]) -> bool:
    """Whether a setting tells how to reach a server, and the address is a `spawn dev`'s."""
    address = _ADDRESSES.get(SETTINGS[key].group)
    if address is None or key == address or key in _OF_TOPICS or address not in found:
        return False
    return found[address][1].kind == "development"


class _Problem(NamedTuple):
    text: str
    at: str = ""
    hint: str = ""


def _checked(
    found: Mapping[str, tuple[object, Source]], problems: list[_Problem]
) -> Mapping[str, Any]:
    values: dict[str, Any] = {}
    for key, setting in SETTINGS.items():
        values[key] = setting.default
        if key not in found:
            continue
        value, source = found[key]
        try:
            values[key] = setting.read(value)
        except ValueError as error:
            service = isinstance(value, str) and value.startswith("tcp://")
            hint = (
                "Kubernetes set it for a service: set enableServiceLinks: false" if service else ""
            )
            problems.append(_Problem(f"{key} {error}", source.name, hint))
    return values


def _missing(key: str) -> _Problem:
    setting = SETTINGS[key]
    table, _, name = key.rpartition(".")
    return _Problem(
        f"{key} is not set",
        "",
        f"set {setting.variable}, {setting.flag}, or {name} in [{table}] of {FILE_NAME}; "
        "for a local try: spawn dev",
    )


def _conflicts(
    values: Mapping[str, Any], found: Mapping[str, tuple[object, Source]]
) -> Iterator[_Problem]:
    def at(*keys: str) -> str:
        return ", ".join(found[key][1].name for key in keys if key in found)

    if values["http.timeout"] > values["http.timeout_max"]:
        yield _Problem(
            f"http.timeout ({values['http.timeout']:g}s) is over http.timeout_max "
            f"({values['http.timeout_max']:g}s)",
            at("http.timeout", "http.timeout_max"),
        )
    yield from _connection_conflicts(values, at)
    if values["http.token"] and values["http.token_file"]:
        yield _Problem(
            "http.token and http.token_file are both set", at("http.token", "http.token_file")
        )
    for one, other in (("http.tls_cert", "http.tls_key"), ("http.tls_key", "http.tls_cert")):
        if values[one] and not values[other]:
            yield _Problem(f"{one} is set, but {other} is not", at(one), "TLS needs both")
    if values["http.port"] == values["mesh.port"] != 0:
        yield _Problem(
            f"http.port and mesh.port are both {values['http.port']}", at("http.port", "mesh.port")
        )


def _connection_conflicts(values: Mapping[str, Any], at: Callable[..., str]) -> Iterator[_Problem]:
    """Yield what does not go together; above all, what would be without effect."""
    for one in (
        *("kafka.tls_key_password", "kafka.password", "kafka.oauth_client_secret"),
        *("nats.password", "nats.token"),
    ):
        if values[one] and values[f"{one}_file"]:
            yield _Problem(f"{one} and {one}_file are both set", at(one, f"{one}_file"))
    for name in ("kafka", "nats"):
        if values[f"{name}.tls_key"] and not values[f"{name}.tls_cert"]:
            yield _Problem(
                f"{name}.tls_key is set, but {name}.tls_cert is not", at(f"{name}.tls_key")
            )
    yield from _kafka_conflicts(values, at)
    dsn = urlsplit(values["postgres.dsn"].reveal())
    if values["postgres.password_file"] and (
        dsn.password or "password" in parse_qs(dsn.query) or "passfile" in parse_qs(dsn.query)
    ):
        yield _Problem(
            "postgres.password_file is set, and postgres.dsn has a password too",
            at("postgres.password_file", "postgres.dsn"),
        )
    ways = [
        key
        for key in ("nats.username", "nats.creds", "nats.token", "nats.token_file")
        if values[key]
    ]
    if len(ways) > 1:
        yield _Problem(f"{' and '.join(ways)} are both set: one way to log in", at(*ways))


def _kafka_conflicts(values: Mapping[str, Any], at: Callable[..., str]) -> Iterator[_Problem]:
    protocol, mechanism = values["kafka.security_protocol"], values["kafka.sasl_mechanism"]
    of_tls = [key for key in values if key.startswith("kafka.tls_") and values[key]]
    if of_tls and not protocol.endswith("SSL"):
        wanted = "SASL_SSL" if protocol.startswith("SASL") else "SSL"
        yield _Problem(
            f"{of_tls[0]} is set, but kafka.security_protocol is {protocol}",
            at(of_tls[0], "kafka.security_protocol"),
            f"for TLS set SPAWN_KAFKA_SECURITY_PROTOCOL={wanted}",
        )
    of_login = ("kafka.username", "kafka.password", "kafka.password_file")
    of_token = tuple(key for key in values if key.startswith("kafka.oauth_"))
    given = [key for key in ("kafka.sasl_mechanism", *of_login, *of_token) if values[key]]
    if given and not protocol.startswith("SASL"):
        wanted = "SASL_SSL" if protocol == "SSL" else "SASL_SSL, or SASL_PLAINTEXT without TLS"
        yield _Problem(
            f"{given[0]} is set, but kafka.security_protocol is {protocol}",
            at(given[0], "kafka.security_protocol"),
            f"for a login set SPAWN_KAFKA_SECURITY_PROTOCOL={wanted}",
        )
    elif protocol.startswith("SASL") and not mechanism:
        yield _Problem(
            f"kafka.security_protocol is {protocol}, but kafka.sasl_mechanism is not set",
            at("kafka.security_protocol"),
            "set SPAWN_KAFKA_SASL_MECHANISM to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
        )
    elif mechanism == "OAUTHBEARER":
        yield from _token_conflicts(values, at)
    elif mechanism:
        lacking = [] if values["kafka.username"] else ["kafka.username"]
        if not (values["kafka.password"] or values["kafka.password_file"]):
            lacking.append("kafka.password (or kafka.password_file)")
        if lacking:
            yield _Problem(
                f"kafka.sasl_mechanism is {mechanism}, but {' and '.join(lacking)} "
                f"{'is' if len(lacking) == 1 else 'are'} not set",
                at("kafka.sasl_mechanism"),
            )


def _token_conflicts(values: Mapping[str, Any], at: Callable[..., str]) -> Iterator[_Problem]:
    file, url = values["kafka.oauth_token_file"], values["kafka.oauth_token_url"]
    if bool(file) == bool(url):
        yield _Problem(
            "kafka.oauth_token_file and kafka.oauth_token_url are both set"
            if file
            else "kafka.sasl_mechanism is OAUTHBEARER, but neither kafka.oauth_token_file nor "
            "kafka.oauth_token_url is set",
            at("kafka.oauth_token_file", "kafka.oauth_token_url", "kafka.sasl_mechanism"),
            "a token comes from a file or from a provider",
        )
    elif url and not (
        values["kafka.oauth_client_id"]
        and (values["kafka.oauth_client_secret"] or values["kafka.oauth_client_secret_file"])
    ):
        yield _Problem(
            "kafka.oauth_token_url is set, but kafka.oauth_client_id and kafka.oauth_client_secret "
            "(or kafka.oauth_client_secret_file) are not",
            at("kafka.oauth_token_url"),
        )


def _invalid(problems: list[_Problem]) -> InvalidSettings:
    if len(problems) == 1:
        [problem] = problems
        return InvalidSettings(problem.text, at=problem.at, hint=problem.hint)
    lines = [f"{len(problems)} settings are wrong"]
    for problem in problems:
        place = f", at {problem.at}" if problem.at else ""
        hint = f" ({problem.hint})" if problem.hint else ""
        lines.append(f"  {problem.text}{place}{hint}")
    return InvalidSettings("\n".join(lines))


def _built(
    values: Mapping[str, Any], sources: Mapping[str, Source], warnings: tuple[str, ...]
) -> Settings:
    groups: dict[str, dict[str, Any]] = {}
    for key, setting in SETTINGS.items():
        groups.setdefault(setting.group, {})[setting.attribute] = values[key]
    made: dict[str, Any] = {
        name: type(getattr(Settings(), name))(**members) for name, members in groups.items() if name
    }
    return Settings(**groups[""], **made, sources=sources, warnings=warnings)


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = {setting.variable for setting in SETTINGS.values()} | set(_OTHER_VARIABLES)
    for name in sorted(environ):
        if not name.startswith("SPAWN_") or name in known or _FOREIGN_VARIABLES.fullmatch(name):
            continue
        yield f"{name} (environment) is no setting and is ignored{_nearest(name, known)}"


def _nearest(name: str, names: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _from_file(
    config: Path | None, problems: list[_Problem]
) -> Iterator[tuple[str, tuple[object, Source]]]:
    path = config or Path(FILE_NAME)
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        if config is not None:
            problems.append(_Problem(f"there is no file {config}", "--config (flag)"))
        return
    except (OSError, UnicodeDecodeError) as error:
        problems.append(_Problem(f"{path} can't be read: {error}"))
        return
    except tomllib.TOMLDecodeError as error:
        problems.append(_Problem(f"{path} is not TOML: {error}"))
        return
    lines = _line_numbers(text)
    for key, value in _flat(document, problems, str(path)):
        place = f"{path} line {lines[key]}, {key}" if key in lines else f"{path}, {key}"
        if key in SETTINGS:
            yield key, (value, Source("file", place))
        else:
            problems.append(_Problem(f"there is no setting {key}{_nearest(key, SETTINGS)}", place))


def _flat(
    document: Mapping[str, Any], problems: list[_Problem], path: str
) -> Iterator[tuple[str, object]]:
    tables = {setting.group for setting in SETTINGS.values()} - {""}
    for name, value in document.items():
        if isinstance(value, dict) and name in tables:
            yield from ((f"{name}.{inner}", inner_value) for inner, inner_value in value.items())
        elif isinstance(value, dict):
            problems.append(_Problem(f"there is no table [{name}]{_nearest(name, tables)}", path))
        elif name in tables:
            problems.append(_Problem(f"{name} must be a table: write [{name}]", path))
        else:
            yield name, value


def _line_numbers(text: str) -> Mapping[str, int]:
    """Return the line of each key; a guess by looking at the lines, since tomllib keeps none."""
    table = ""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            table = header[1] + "."
        elif key := re.match(r"\s*([\w.-]+)\s*=", line):
            found.setdefault(table + key[1], number)
    return found


def shown_size(size: int) -> str:
    """Return bytes as one would write them in a setting."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size % factor == 0 and size:
            return f"{size // factor}{unit}"
    return str(size)
