"""How the text of a setting becomes its value (pure).

A reader raises ValueError, whose text says what the value must be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from spawn.config.secret import Secret, SecretUrl
from spawn.core.ids import NAME_PATTERN

__all__ = [
    "Reader",
    "choice",
    "duration",
    "extensions",
    "file",
    "host",
    "hosts",
    "integer",
    "line",
    "listed",
    "name",
    "nats_url",
    "one_of",
    "origins",
    "parse_duration_s",
    "password",
    "postgres_url",
    "replication",
    "servers",
    "shown_size",
    "size",
    "switch",
    "threads",
    "token",
    "token_of",
    "token_url",
]

Reader = Callable[[object], Any]
"""Makes a setting's value of what a source holds; ValueError says what it must be."""


def integer(least: int, most: int) -> Reader:
    """Return a reader of whole numbers in a range."""

    def read(value: object) -> int:
        text = str(value).strip()
        if isinstance(value, bool | float) or not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError(f"must be a whole number, got {value!r}")
        if not least <= int(text) <= most:
            raise ValueError(f"must be from {least} to {most}, got {text}")
        return int(text)

    return read


def duration(least_s: float, most_s: float) -> Reader:
    """Return a reader of durations in a range, as seconds."""

    def read(value: object) -> float:
        seconds = parse_duration_s(value)
        if not least_s <= seconds <= most_s:
            raise ValueError(f"must be from {least_s:g}s to {most_s:g}s, got {value!r}")
        return seconds

    return read


def size(least: int, most: int) -> Reader:
    """Return a reader of sizes in a range, as bytes."""
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


def name(value: object) -> str:
    """Read the name of a system."""
    if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
        raise ValueError(
            "must begin with a letter and have at most 63 letters, digits, `-` and `_`, "
            f"got {value!r}"
        )
    return value


def host(value: object) -> str:
    """Read a host name or an address, without a port."""
    # One colon is a port; an IPv6 address has more.
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,253}", value)
        or value.count(":") == 1
    ):
        raise ValueError(f"must be a host name or an IP address without port, got {value!r}")
    return value


def endpoint(value: object) -> str:
    """Read one `host:port`, an IPv6 address in brackets."""
    if "," in str(value):
        raise ValueError(f"must be one host:port, got {value!r}")
    return servers(value)


def servers(value: object) -> str:
    """Read brokers, `host:port` with commas between."""
    servers = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    for server in servers or [str(value)]:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})", server)
        if match is None or not 1 <= int(match[2]) <= 65535:
            raise ValueError(f"must be host:port, several with commas between, got {server!r}")
    return ",".join(servers)


def postgres_url(value: object) -> SecretUrl:
    """Read the address of a PostgreSQL database."""
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


def one_of(*allowed: str) -> Reader:
    """Return a reader of one of some words, in capitals or not."""

    def read(value: object) -> str:
        text = str(value).strip().upper()
        if text not in allowed:
            raise ValueError(f"must be {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}")
        return text

    return read


def line(value: object) -> str:
    """Read a text of one line."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"must be a text of one line, got {value!r}")
    return value


def password(value: object) -> Secret:
    """Read a password."""
    # Not shown, whatever it is.
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("must be a text of one line; write it in quotes")
    return Secret(value)


def token_url(value: object) -> str:
    """Read the address at which tokens are given."""
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an address like https://login.example.com/oauth2/token")
    if parts.scheme == "http" and not re.fullmatch(r"localhost|127\..*|::1", parts.hostname):
        raise ValueError("must be https: a secret is sent there")
    return parts.geturl()


def extensions(value: object) -> tuple[str, ...]:
    """Read what a request for a token has besides, `name=value` with commas between."""
    parts = listed(value)
    for part in parts:
        if not re.fullmatch(r"(?!auth=)[A-Za-z]+=[!-~]+", part):
            raise ValueError(f"must be name=value, several with commas between, got {part!r}")
    return tuple(parts)


def nats_url(value: object) -> SecretUrl:
    """Read addresses of NATS, with commas between."""
    urls = value.split(",") if isinstance(value, str) else [""]
    if not all(re.match(r"(nats|tls|ws|wss)://.", url.strip()) for url in urls):
        raise ValueError("must be an address like nats://host:4222, several with commas between")
    return SecretUrl(str(value))


def replication(value: object) -> int | None:
    """Read a number of copies; None is `auto`."""
    return None if value == "auto" else int(integer(1, 99)(value))


def threads(value: object) -> int | None:
    """Read a number of threads; None is `auto`."""
    return None if value == "auto" else int(integer(1, 1_000)(value))


def token_of(text: str) -> Secret:
    """Return a token. Raises: ValueError - no header could carry it."""
    if not re.fullmatch(r"[!-~]{8,500}", text):
        raise ValueError("must have 8 to 500 letters, digits and signs of ASCII, without blanks")
    return Secret(text)


def token(value: object) -> Secret:
    """Read a token that callers send."""
    return token_of(str(value))


def file(value: object) -> str:
    """Read the path of a file; it need not be there."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"must be the path of a file, got {value!r}")
    return value


def switch(value: object) -> bool:
    """Read yes or no."""
    text = str(value).strip().lower()
    if text not in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        raise ValueError(f"must be true or false, got {value!r}")
    return text in ("true", "1", "yes", "on")


def hosts(value: object) -> tuple[str, ...]:
    """Read host names, with commas between."""
    return tuple(host(name) for name in listed(value))


def origins(value: object) -> tuple[str, ...]:
    """Read the origins of websites, with commas between."""
    origins = listed(value)
    for origin in origins:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s]+/?", origin, re.IGNORECASE):
            raise ValueError(f"must be origins like https://shop.example.com, got {origin!r}")
    return tuple(origins)


def listed(value: object) -> list[str]:
    """Return the parts of a list, or of a text with commas between."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [text for part in parts if (text := str(part).strip())]


def choice(*choices: str) -> Reader:
    """Return a reader of one of some words, as they are written."""

    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, got {value!r}")
        return str(value)

    return read


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


def shown_size(size: int) -> str:
    """Return bytes as one would write them in a setting."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size % factor == 0 and size:
            return f"{size // factor}{unit}"
    return str(size)
