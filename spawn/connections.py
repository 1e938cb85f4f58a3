"""How log, database and NATS are reached: settings with TLS and logins become what clients take.

Files are looked at here, all of them at once, before anything is asked of a server: a wrong one is
named with the setting that it stands in. Passwords are read for each connection.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from eventstore.errors import Admission, LogNotAdmitted, SnapshotsNotAdmitted
from eventstore.kafka_log import (
    ClientCredentials,
    FileToken,
    KafkaSettings,
    PasswordLogin,
    Security,
    TokenLogin,
)
from eventstore.postgres_snapshots import PostgresSnapshots
from eventstore.tls_files import TlsFiles
from spawn.api.access import is_loopback
from spawn.config import Secret, Settings
from spawn.errors import InvalidSettings, StartRefused

__all__ = [
    "check_files",
    "database_refusal",
    "log_refusal",
    "mend_of_database",
    "mend_of_log",
    "postgres_password",
    "snapshots",
    "to_kafka",
    "to_nats",
    "unprotected",
]

_SECRET_BYTES_MAX: Final = 64 * 1024
_SSLMODES_SAFE: Final = ("require", "verify-ca", "verify-full")
"""What insists on TLS; `prefer`, the default, goes on without it."""
_URI_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")


def to_kafka(settings: Settings, *, admin_timeout_s: float = 30.0) -> KafkaSettings:
    """Return the log's address with all that reaching it takes."""
    kafka = settings.kafka
    return KafkaSettings(
        servers=kafka.bootstrap_servers,
        admin_timeout_s=admin_timeout_s,
        security=Security(
            tls=_kafka_tls(settings) if kafka.security_protocol.endswith("SSL") else None,
            login=_kafka_login(settings) if kafka.security_protocol.startswith("SASL") else None,
        ),
    )


def _kafka_tls(settings: Settings) -> TlsFiles:
    kafka = settings.kafka
    return TlsFiles(
        ca=kafka.tls_ca,
        cert=kafka.tls_cert,
        key=kafka.tls_key,
        key_password=_secret(kafka.tls_key_password, kafka.tls_key_password_file),
        check_hostname=not kafka.tls_any_hostname,
    )


def _kafka_login(settings: Settings) -> PasswordLogin | TokenLogin:
    kafka = settings.kafka
    match kafka.sasl_mechanism:
        case "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" as mechanism:
            return PasswordLogin(
                mechanism=mechanism,
                username=kafka.username,
                password=_secret(kafka.password, kafka.password_file),
            )
    extensions = dict(part.split("=", 1) for part in kafka.oauth_extensions)
    if kafka.oauth_token_file:
        from_file = FileToken(kafka.oauth_token_file)
        return TokenLogin(
            token=from_file,
            forget=from_file.forget,
            extensions=extensions,
            who=f"the token in {kafka.oauth_token_file}",
        )
    credentials = ClientCredentials(
        kafka.oauth_token_url,
        kafka.oauth_client_id,
        _secret(kafka.oauth_client_secret, kafka.oauth_client_secret_file),
        scope=kafka.oauth_scope,
        tls=TlsFiles(ca=kafka.oauth_tls_ca),
    )
    return TokenLogin(
        token=credentials,
        forget=credentials.forget,
        extensions=extensions,
        who=f"client {kafka.oauth_client_id}",
    )


def snapshots(settings: Settings) -> PostgresSnapshots:
    """Return the snapshot store; it connects when it is used."""
    return PostgresSnapshots(
        settings.postgres.dsn.reveal(), settings.system, password=postgres_password(settings)
    )


def postgres_password(settings: Settings) -> Callable[[], str] | None:
    """Return what reads the password; None: it stands in the address, or where libpq looks."""
    file = settings.postgres.password_file
    return _secret(Secret(), file) if file else None


class _NatsOptions(NamedTuple):
    tls: TlsFiles | None
    login: dict[str, Any]


def to_nats(settings: Settings) -> dict[str, Any]:
    """Return the options of `nats.connect`, with passwords and files as they are now.

    Raises: OSError, ssl.SSLError - a file can't be used.
    """
    servers = [part.strip() for part in settings.nats.url.reveal().split(",")]
    tls, login = _nats_options(settings)
    options = {"servers": servers, **login}
    if tls is not None:
        options["tls"] = tls.context()
    return options


def _nats_options(settings: Settings) -> _NatsOptions:
    nats = settings.nats
    wants_tls = any(part.strip().startswith("tls:") for part in nats.url.reveal().split(","))
    files = TlsFiles(ca=nats.tls_ca, cert=nats.tls_cert, key=nats.tls_key)
    login: dict[str, Any] = {}
    if nats.username:
        login["user"] = nats.username
        login["password"] = _secret(nats.password, nats.password_file)()
    elif nats.token or nats.token_file:
        login["token"] = _secret(nats.token, nats.token_file)()
    elif nats.creds:
        login["user_credentials"] = nats.creds
    return _NatsOptions(files if wants_tls or nats.tls_ca or nats.tls_cert else None, login)


def check_files(settings: Settings) -> None:
    """Look at every file that the settings name for TLS and logins.

    Raises: InvalidSettings - its text lists every one that can't be used, with its setting.
    """
    problems = list(_file_problems(settings))
    if not problems:
        return
    keys = list(dict.fromkeys(key for key, _ in problems))
    places = ", ".join(settings.source(key).name for key in keys)
    texts = [text for _, text in problems]
    message = texts[0] if len(texts) == 1 else "\n  ".join(["files can't be used", *texts])
    raise InvalidSettings(message, at=places, hint="`spawn config` shows every setting")


def _file_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    kafka, nats = settings.kafka, settings.nats
    yield from _secret_problems(settings)
    if kafka.security_protocol.endswith("SSL"):
        for part, text in _kafka_tls(settings).problems():
            yield f"kafka.tls_{part}", text
    if kafka.oauth_token_url:
        for _, text in TlsFiles(ca=kafka.oauth_tls_ca).problems():
            yield "kafka.oauth_tls_ca", text
    for part, text in TlsFiles(ca=nats.tls_ca, cert=nats.tls_cert, key=nats.tls_key).problems():
        yield f"nats.tls_{part}", text
    query = parse_qs(urlsplit(settings.postgres.dsn.reveal()).query)
    for name in _URI_FILES:
        for path in query.get(name, []):
            try:
                Path(path).open("rb").close()
                if name == "passfile" and Path(path).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    yield "postgres.dsn", f"{name}: {path} must be for its owner only (chmod 600)"
            except OSError as error:
                text = f"{name}: {path} can't be read: {error.strerror or error}"
                yield "postgres.dsn", text


def _secret_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    files = {
        "kafka.tls_key_password_file": settings.kafka.tls_key_password_file,
        "kafka.password_file": settings.kafka.password_file,
        "kafka.oauth_token_file": settings.kafka.oauth_token_file,
        "kafka.oauth_client_secret_file": settings.kafka.oauth_client_secret_file,
        "postgres.password_file": settings.postgres.password_file,
        "nats.password_file": settings.nats.password_file,
        "nats.token_file": settings.nats.token_file,
        "nats.creds": settings.nats.creds,
    }
    for key, path in files.items():
        if not path:
            continue
        try:
            if not _content(path):
                yield key, f"{path} is empty"
        except OSError as error:
            yield key, f"{path} can't be read: {error.strerror or error}"


def _secret(given: Secret, file: str) -> Callable[[], str]:
    """Return what gives a password each time: what was set, or what stands in the file by then."""
    return given.reveal if not file else lambda: _content(file)


def _content(file: str) -> str:
    with Path(file).open("rb") as opened:
        return opened.read(_SECRET_BYTES_MAX).decode("utf-8", errors="replace").rstrip("\r\n")


class Unprotected(NamedTuple):
    """A connection to another machine on which others may listen or write."""

    key: str
    """The setting that makes it so."""
    text: str
    mend: str


def unprotected(settings: Settings) -> Iterator[Unprotected]:
    """Yield the connections to log and database that leave this machine without TLS (pure)."""
    kafka = settings.kafka
    servers = [_host_of(server) for server in kafka.bootstrap_servers.split(",") if server]
    if (far := _far(servers)) and not kafka.security_protocol.endswith("SSL"):
        text = f"kafka.security_protocol is {kafka.security_protocol}, and {far} is another machine"
        if kafka.security_protocol.startswith("SASL") and kafka.sasl_mechanism in (
            "PLAIN", "OAUTHBEARER"
        ):  # fmt: skip
            secret = "password" if kafka.sasl_mechanism == "PLAIN" else "token"
            text += f": the {secret} can be read on the way, and the records read and changed"
        else:
            text += ": records can be read and changed on the way"
        wanted = "SASL_SSL" if kafka.security_protocol.startswith("SASL") else "SSL"
        yield Unprotected(
            "kafka.security_protocol", text, f"set SPAWN_KAFKA_SECURITY_PROTOCOL={wanted}"
        )
    dsn = urlsplit(settings.postgres.dsn.reveal())
    query = parse_qs(dsn.query)
    # Before the last `@` are user and password; sockets are folders, and so begin with a slash.
    named = ",".join([dsn.netloc.rpartition("@")[2], *query.get("host", [])]).split(",")
    hosts = [_host_of(host) for host in named if host and not host.startswith(("/", "%2F", "%2f"))]
    mode = query.get("sslmode", ["prefer"])[-1]
    if (far := _far(hosts)) and mode not in _SSLMODES_SAFE:
        was = f"sslmode={mode}" if "sslmode" in query else "no sslmode"
        yield Unprotected(
            "postgres.dsn",
            f"postgres.dsn has {was}, and {far} is another machine: states can be read and changed "
            "on the way",
            "add sslmode=verify-full and sslrootcert to it",
        )


def _host_of(server: str) -> str:
    """Return the host of `host:port`, `[::1]:port` or `host`."""
    if server.startswith("["):
        return server[1:].partition("]")[0]
    return server.partition(":")[0] if server.count(":") == 1 else server


def _far(hosts: Iterable[str]) -> str:
    """Return the first host that is not this machine; empty: all are."""
    return next((host for host in hosts if host and not is_loopback(host.lower())), "")


def log_refusal(settings: Settings, error: LogNotAdmitted) -> StartRefused:
    """Return what a start says when the log does not take us: nothing is gained by waiting."""
    keys, hint = mend_of_log(settings, error.concerns)
    return StartRefused(str(error), at=_places(settings, keys), hint=hint)


def mend_of_log(settings: Settings, concerns: Admission) -> tuple[tuple[str, ...], str]:
    """Return the settings concerned, and what to do."""
    kafka = settings.kafka
    match concerns:
        case "login" if kafka.sasl_mechanism != "OAUTHBEARER":
            return ("kafka.username", "kafka.password", "kafka.password_file"), (
                "check kafka.username and kafka.password (or kafka.password_file); it was tried "
                "once only"
            )
        case "login":
            return (
                ("kafka.oauth_token_file", "kafka.oauth_token_url", "kafka.oauth_client_id"),
                "check the token: who it is for, whether it has run out, its audience and scope",
            )
        case "trust":
            return ("kafka.tls_ca",), (
                "kafka.tls_ca must hold the authority of the brokers' certificates, and these "
                "must be valid now"
            )
        case "host":
            return ("kafka.bootstrap_servers",), (
                "name the brokers as their certificates do, here and in their "
                "advertised.listeners; kafka.tls_any_hostname=true gives the check up"
            )
        case "client-certificate":
            return ("kafka.tls_cert", "kafka.tls_key"), (
                "kafka.tls_cert and kafka.tls_key must be a pair that the brokers trust"
            )
        case "protocol":
            return (
                "kafka.bootstrap_servers", "kafka.security_protocol", "kafka.sasl_mechanism"
            ), (
                f"kafka.security_protocol is {kafka.security_protocol}: it must be that of the "
                "listener on this port, and kafka.sasl_mechanism one that it takes"
            )  # fmt: skip


def database_refusal(settings: Settings, error: SnapshotsNotAdmitted) -> StartRefused:
    """Return what a start says when the database does not take us."""
    keys, hint = mend_of_database(error.concerns)
    return StartRefused(str(error), at=_places(settings, keys), hint=hint)


def mend_of_database(concerns: Admission) -> tuple[tuple[str, ...], str]:
    """Return the settings concerned, and what to do."""
    match concerns:
        case "login":
            return ("postgres.dsn", "postgres.password_file"), (
                "check user and password in postgres.dsn (or postgres.password_file), and the "
                "server's pg_hba.conf"
            )
        case "trust":
            return ("postgres.dsn",), (
                "sslrootcert in postgres.dsn must name the authority of the server's certificate, "
                "and this must be valid now"
            )
        case "host":
            return ("postgres.dsn",), (
                "name the server as its certificate does; sslmode=verify-ca gives the check up"
            )
        case "client-certificate":
            return ("postgres.dsn",), (
                "sslcert and sslkey in postgres.dsn must be a pair that the server trusts, made "
                "out to the user"
            )
        case "protocol":
            return ("postgres.dsn",), (
                "sslmode in postgres.dsn must go with the server: require (better verify-full) "
                "where it wants TLS, disable where it has none"
            )


def _places(settings: Settings, keys: tuple[str, ...]) -> str:
    """Return where the values came from that were given; of the first one, if none was."""
    given = [key for key in keys if settings.source(key).kind != "default"]
    return ", ".join(settings.source(key).name for key in given or keys[:1])
