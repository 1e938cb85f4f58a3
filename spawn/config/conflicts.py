"""What does not go together in settings that are right one by one (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from spawn.config.settings import Source

__all__ = ["Problem", "conflicts"]


class Problem(NamedTuple):
    """What is wrong with a setting."""

    text: str
    at: str = ""
    """Where it came from, for people."""
    hint: str = ""


def conflicts(
    values: Mapping[str, Any], found: Mapping[str, tuple[object, Source]]
) -> Iterator[Problem]:
    """Yield what does not go together; `found` tells where the values came from."""

    def at(*keys: str) -> str:
        return ", ".join(found[key][1].name for key in keys if key in found)

    if values["http.timeout"] > values["http.timeout_max"]:
        yield Problem(
            f"http.timeout ({values['http.timeout']:g}s) is over http.timeout_max "
            f"({values['http.timeout_max']:g}s)",
            at("http.timeout", "http.timeout_max"),
        )
    yield from _connection_conflicts(values, at)
    if values["http.token"] and values["http.token_file"]:
        yield Problem(
            "http.token and http.token_file are both set", at("http.token", "http.token_file")
        )
    for one, other in (("http.tls_cert", "http.tls_key"), ("http.tls_key", "http.tls_cert")):
        if values[one] and not values[other]:
            yield Problem(f"{one} is set, but {other} is not", at(one), "TLS needs both")
    of_mesh = ("mesh.tls_ca", "mesh.tls_cert", "mesh.tls_key")
    given, lacking = [key for key in of_mesh if values[key]], [k for k in of_mesh if not values[k]]
    if given and lacking:
        yield Problem(
            f"{given[0]} is set, but {' and '.join(lacking)} "
            f"{'is' if len(lacking) == 1 else 'are'} not",
            at(*given),
            "TLS between nodes is mutual: it needs all three",
        )
    if values["http.port"] == values["mesh.port"] != 0:
        yield Problem(
            f"http.port and mesh.port are both {values['http.port']}", at("http.port", "mesh.port")
        )


def _connection_conflicts(values: Mapping[str, Any], at: Callable[..., str]) -> Iterator[Problem]:
    """Yield what does not go together; above all, what would be without effect."""
    for one in (
        *("kafka.tls_key_password", "kafka.password", "kafka.oauth_client_secret"),
        *("nats.password", "nats.token"),
    ):
        if values[one] and values[f"{one}_file"]:
            yield Problem(f"{one} and {one}_file are both set", at(one, f"{one}_file"))
    for name in ("kafka", "nats"):
        if values[f"{name}.tls_key"] and not values[f"{name}.tls_cert"]:
            yield Problem(
                f"{name}.tls_key is set, but {name}.tls_cert is not", at(f"{name}.tls_key")
            )
    yield from _kafka_conflicts(values, at)
    dsn = urlsplit(values["postgres.dsn"].reveal())
    if values["postgres.password_file"] and (
        dsn.password or "password" in parse_qs(dsn.query) or "passfile" in parse_qs(dsn.query)
    ):
        yield Problem(
            "postgres.password_file is set, and postgres.dsn has a password too",
            at("postgres.password_file", "postgres.dsn"),
        )
    ways = [
        key
        for key in ("nats.username", "nats.creds", "nats.token", "nats.token_file")
        if values[key]
    ]
    if len(ways) > 1:
        yield Problem(f"{' and '.join(ways)} are both set: one way to log in", at(*ways))


def _kafka_conflicts(values: Mapping[str, Any], at: Callable[..., str]) -> Iterator[Problem]:
    protocol, mechanism = values["kafka.security_protocol"], values["kafka.sasl_mechanism"]
    of_tls = [key for key in values if key.startswith("kafka.tls_") and values[key]]
    if of_tls and not protocol.endswith("SSL"):
        wanted = "SASL_SSL" if protocol.startswith("SASL") else "SSL"
        yield Problem(
            f"{of_tls[0]} is set, but kafka.security_protocol is {protocol}",
            at(of_tls[0], "kafka.security_protocol"),
            f"for TLS set SPAWN_KAFKA_SECURITY_PROTOCOL={wanted}",
        )
    of_login = ("kafka.username", "kafka.password", "kafka.password_file")
    of_token = tuple(key for key in values if key.startswith("kafka.oauth_"))
    given = [key for key in ("kafka.sasl_mechanism", *of_login, *of_token) if values[key]]
    if given and not protocol.startswith("SASL"):
        wanted = "SASL_SSL" if protocol == "SSL" else "SASL_SSL, or SASL_PLAINTEXT without TLS"
        yield Problem(
            f"{given[0]} is set, but kafka.security_protocol is {protocol}",
            at(given[0], "kafka.security_protocol"),
            f"for a login set SPAWN_KAFKA_SECURITY_PROTOCOL={wanted}",
        )
    elif protocol.startswith("SASL") and not mechanism:
        yield Problem(
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
            yield Problem(
                f"kafka.sasl_mechanism is {mechanism}, but {' and '.join(lacking)} "
                f"{'is' if len(lacking) == 1 else 'are'} not set",
                at("kafka.sasl_mechanism"),
            )


def _token_conflicts(values: Mapping[str, Any], at: Callable[..., str]) -> Iterator[Problem]:
    file, url = values["kafka.oauth_token_file"], values["kafka.oauth_token_url"]
    if bool(file) == bool(url):
        yield Problem(
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
        yield Problem(
            "kafka.oauth_token_url is set, but kafka.oauth_client_id and kafka.oauth_client_secret "
            "(or kafka.oauth_client_secret_file) are not",
            at("kafka.oauth_token_url"),
        )
