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
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from spawn.core.ids import NAME_PATTERN
from spawn.errors import InvalidSettings

__all__ = [
    "FILE_NAME",
    "SETTINGS",
    "ActorSettings",
    "HttpSettings",
    "KafkaSettings",
    "MeshSettings",
    "NatsSettings",
    "NodeSettings",
    "PostgresSettings",
    "SecretUrl",
    "Setting",
    "Settings",
    "SnapshotSettings",
    "Source",
    "load_settings",
    "node_url",
    "parse_duration_s",
    "shown_size",
    "wants_colour",
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
    return SecretUrl(value)


def _nats_url(value: object) -> SecretUrl:
    urls = value.split(",") if isinstance(value, str) else [""]
    if not all(re.match(r"(nats|tls|ws|wss)://.", url.strip()) for url in urls):
        raise ValueError("must be an address like nats://host:4222, several with commas between")
    return SecretUrl(str(value))


def _replication(value: object) -> int | None:
    return None if value == "auto" else int(_integer(1, 99)(value))


def _setting(default: Any, read: Reader) -> Any:
    return field(default=default, metadata={"read": read})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """The snapshot store."""

    dsn: SecretUrl = _setting(SecretUrl(), _postgres_url)  # noqa: RUF009 - a field()
    """libpq URI of the database. A socket folder is given as
    `postgresql:///spawn?host=/run/postgresql`. `spawn run` needs it. Its password is never shown or
    logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """Calls between systems."""

    url: SecretUrl = _setting(SecretUrl(), _nats_url)  # noqa: RUF009 - a field()
    """Address of a NATS server, like `nats://host:4222`. Without one a node starts all the same and
    says that calls between systems are off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The JSON API."""

    host: str = _setting("127.0.0.1", _host)
    """Address to listen on. The default is reached from this machine only, since nobody has to log
    in yet."""
    port: int = _setting(9001, _integer(0, 65535))
    """Port to listen on; 0 takes a free one."""
    body_limit_bytes: int = _setting(1024**2, _size(1024, 4 * 1024**2))
    """The largest request body. A commit holds body, events and reply and has at most 6 MiB, so
    this can't be raised much."""
    timeout_s: float = _setting(60.0, _duration(0.001, 3600))
    """How long a call without `Spawn-Timeout` waits for its outcome."""
    timeout_max_s: float = _setting(600.0, _duration(1, 86_400))
    """The largest `Spawn-Timeout` that a caller may ask for: each wait holds a connection and
    memory."""


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
                "--" + key.replace(".", "-").replace("_", "-"),
                group.name if inner is not None else "",
                member.name,
                member.default,
                member.metadata["read"],
            )


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
    if values["http.port"] == values["mesh.port"] != 0:
        yield _Problem(
            f"http.port and mesh.port are both {values['http.port']}", at("http.port", "mesh.port")
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
