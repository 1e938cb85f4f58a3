"""Where the values of settings come from, and what is wrong with them."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from spawn.config.conflicts import Problem, conflicts
from spawn.config.readers import token_of
from spawn.config.secret import Secret, SecretUrl
from spawn.config.settings import (
    FILE_NAME,
    SETTINGS,
    KafkaSettings,
    NatsSettings,
    PostgresSettings,
    Settings,
    Source,
)
from spawn.errors import InvalidSettings

__all__ = [
    "connection_keys",
    "load_settings",
    "node_ca",
    "node_token",
    "node_url",
    "wants_colour",
    "with_servers",
]

_OTHER_VARIABLES: Final = ("SPAWN_URL", "SPAWN_HTTP_CA", "SPAWN_REQUIRE_KAFKA")

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
    problems: list[Problem] = []
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
    problems += conflicts(values, found)
    if problems:
        raise _invalid(problems)
    sources = {key: source for key, (_, source) in found.items()}
    return _built(values, sources, tuple(_unknown_variables(environ)))


def node_url(environ: Mapping[str, str] | None = None) -> str:
    """Return `SPAWN_URL`, the address of a node for commands that call one; empty: not set."""
    return (os.environ if environ is None else environ).get("SPAWN_URL", "")


def node_ca(environ: Mapping[str, str] | None = None) -> str:
    """Return `SPAWN_HTTP_CA`, the file with the authorities that commands trust; empty: not set."""
    return (os.environ if environ is None else environ).get("SPAWN_HTTP_CA", "")


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


def _checked(
    found: Mapping[str, tuple[object, Source]], problems: list[Problem]
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
            problems.append(Problem(f"{key} {error}", source.name, hint))
    return values


def _missing(key: str) -> Problem:
    setting = SETTINGS[key]
    table, _, name = key.rpartition(".")
    return Problem(
        f"{key} is not set",
        "",
        f"set {setting.variable}, {setting.flag}, or {name} in [{table}] of {FILE_NAME}; "
        "for a local try: spawn dev",
    )


def _invalid(problems: list[Problem]) -> InvalidSettings:
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
    config: Path | None, problems: list[Problem]
) -> Iterator[tuple[str, tuple[object, Source]]]:
    path = config or Path(FILE_NAME)
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        if config is not None:
            problems.append(Problem(f"there is no file {config}", "--config (flag)"))
        return
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"{path} can't be read: {error}"))
        return
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(f"{path} is not TOML: {error}"))
        return
    lines = _line_numbers(text)
    for key, value in _flat(document, problems, str(path)):
        place = f"{path} line {lines[key]}, {key}" if key in lines else f"{path}, {key}"
        if key in SETTINGS:
            yield key, (value, Source("file", place))
        else:
            problems.append(Problem(f"there is no setting {key}{_nearest(key, SETTINGS)}", place))


def _flat(
    document: Mapping[str, Any], problems: list[Problem], path: str
) -> Iterator[tuple[str, object]]:
    tables = {setting.group for setting in SETTINGS.values()} - {""}
    for name, value in document.items():
        if isinstance(value, dict) and name in tables:
            yield from ((f"{name}.{inner}", inner_value) for inner, inner_value in value.items())
        elif isinstance(value, dict):
            problems.append(Problem(f"there is no table [{name}]{_nearest(name, tables)}", path))
        elif name in tables:
            problems.append(Problem(f"{name} must be a table: write [{name}]", path))
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
