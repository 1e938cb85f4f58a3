"""TLS and logins by the settings: what goes together, and what the clients are handed."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.kafka_log import PasswordLogin, TokenLogin
from spawn.config import SETTINGS, connection_keys, load_settings, with_servers
from spawn.connections import check_files, to_kafka, to_nats, unprotected
from spawn.errors import InvalidSettings

_SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN"}
_TOKEN = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "OAUTHBEARER"}
_URL = {"KAFKA_OAUTH_TOKEN_URL": "https://login.example.com/token"}


def environ(**given: object) -> dict[str, str]:
    """Return an environment."""
    return {f"SPAWN_{name}": str(value) for name, value in given.items()}


def test_nothing_set_is_neither_tls_nor_login() -> None:
    """As `spawn dev` and a broker on a laptop have it."""
    security = to_kafka(load_settings(environ={})).security
    assert (security.tls, security.login, security.protocol) == (None, None, "PLAINTEXT")


def test_names_of_kafka_are_taken_in_any_case() -> None:
    """Copied from a provider's page."""
    settings = load_settings(
        environ=environ(
            KAFKA_SECURITY_PROTOCOL="sasl_ssl",
            KAFKA_SASL_MECHANISM="scram-sha-512",
            KAFKA_USERNAME="me",
            KAFKA_PASSWORD="s3cret",
            KAFKA_TLS_ANY_HOSTNAME="yes",
        )
    )
    security = to_kafka(settings).security
    assert security.protocol == "SASL_SSL"
    assert security.tls is not None
    assert not security.tls.check_hostname
    assert isinstance(security.login, PasswordLogin)
    assert security.login.password() == "s3cret"
    assert "s3cret" not in repr(settings) + repr(to_kafka(settings))


def test_a_password_file_is_read_each_time(tmp_path: Path) -> None:
    """Without the line's end, with everything else."""
    file = tmp_path / "password"
    settings = load_settings(
        environ=environ(**_SASL, KAFKA_USERNAME="me", KAFKA_PASSWORD_FILE=file)
    )
    login = to_kafka(settings).security.login
    assert isinstance(login, PasswordLogin)
    for text, password in ((" one \n", " one "), ("two\r\n", "two"), ("ümlaut", "ümlaut")):
        file.write_text(text, encoding="utf-8", newline="")
        assert login.password() == password


def test_tokens_from_a_provider() -> None:
    """Client, scope and extensions."""
    settings = load_settings(
        environ=environ(
            **_TOKEN,
            **_URL,
            KAFKA_OAUTH_CLIENT_ID="me",
            KAFKA_OAUTH_CLIENT_SECRET="s3cret",
            KAFKA_OAUTH_EXTENSIONS="logicalCluster=lkc-1, identityPoolId=pool-2",
        )
    )
    login = to_kafka(settings).security.login
    assert isinstance(login, TokenLogin)
    assert login.extensions == {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}
    assert "s3cret" not in repr(login) + repr(settings)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"KAFKA_TLS_CA": "ca"}, "kafka.tls_ca is set, but kafka.security_protocol is PLAINTEXT"),
        (
            {"KAFKA_SASL_MECHANISM": "PLAIN"},
            "kafka.sasl_mechanism is set, but kafka.security_protocol is PLAINTEXT",
        ),
        (
            {"KAFKA_PASSWORD": "s3cret", "KAFKA_SECURITY_PROTOCOL": "SSL"},
            "kafka.password is set, but kafka.security_protocol is SSL",
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "kafka.sasl_mechanism is not set"),
        (_SASL, "kafka.username and kafka.password (or kafka.password_file) are not set"),
        (
            {
                **_SASL,
                "KAFKA_USERNAME": "me",
                "KAFKA_PASSWORD": "s3cret",
                "KAFKA_PASSWORD_FILE": "f",
            },
            "kafka.password and kafka.password_file are both set",
        ),
        (_TOKEN, "neither kafka.oauth_token_file nor kafka.oauth_token_url is set"),
        ({**_TOKEN, **_URL, "KAFKA_OAUTH_TOKEN_FILE": "f"}, "are both set"),
        ({**_TOKEN, **_URL}, "kafka.oauth_client_secret"),
        (
            {**_TOKEN, "KAFKA_OAUTH_TOKEN_URL": "http://login.example.com/token"},
            "must be https",
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_TLS_KEY": "k"}, "kafka.tls_cert is not"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
        ({"NATS_USERNAME": "me", "NATS_TOKEN": "s3cret"}, "one way to log in"),
        (
            {"POSTGRES_DSN": "postgresql://me:s3cret@h/d", "POSTGRES_PASSWORD_FILE": "f"},
            "postgres.dsn has a password too",
        ),
        ({"POSTGRES_DSN": "postgresql://me:s3cret/x@h/d"}, "write / as %2F"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, str], text: str) -> None:
    """Above all what would be silently without effect; and no password is shown."""
    with pytest.raises(InvalidSettings) as caught:
        load_settings(environ=environ(**given))
    told = f"{caught.value.message} {caught.value.at} {caught.value.hint}"
    assert text in told
    assert "s3cret" not in told


def test_no_secret_has_a_flag() -> None:
    """Every user of a machine sees command lines."""
    secrets = [key for key in SETTINGS if key.endswith(("password", "secret", ".token"))]
    assert len(secrets) >= 6
    assert [key for key in secrets if SETTINGS[key].flag] == []


def test_embedded_servers_want_neither() -> None:
    """What is set for production is not used with the servers of `spawn dev`."""
    given = load_settings(
        environ=environ(**_SASL, KAFKA_USERNAME="me", KAFKA_PASSWORD="s3cret", KAFKA_PARTITIONS=3),
        development={"kafka.bootstrap_servers": "a:1"},
    )
    assert given.kafka.security_protocol == "PLAINTEXT"
    assert given.kafka.partitions == 3
    secure = load_settings(environ=environ(**_SASL, KAFKA_USERNAME="me", KAFKA_PASSWORD="s3cret"))
    here = with_servers(secure, kafka="a:1", postgres="postgresql://h/d", nats="nats://h")
    assert to_kafka(here).security.protocol == "PLAINTEXT"
    assert "kafka.tls_ca" in connection_keys()
    assert "kafka.partitions" not in connection_keys()


def test_every_file_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    """All at once, each with its setting."""
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("x")
    given = environ(
        KAFKA_SECURITY_PROTOCOL="SSL",
        KAFKA_TLS_CA=no_pem,
        NATS_TLS_CA=tmp_path / "missing",
        POSTGRES_DSN=f"postgresql://h/d?passfile={no_pem}",
    )
    no_pem.chmod(0o644)
    with pytest.raises(InvalidSettings) as caught:
        check_files(load_settings(environ=given))
    for text in ("no.pem holds no certificates", "missing can't be read", "chmod 600"):
        assert text in caught.value.message
    for name in ("SPAWN_KAFKA_TLS_CA", "SPAWN_NATS_TLS_CA", "SPAWN_POSTGRES_DSN"):
        assert name in caught.value.at


def test_options_for_nats() -> None:
    """TLS where the address or a file asks for it; one way to log in."""
    plain = to_nats(load_settings(environ=environ(NATS_URL="nats://h:1,nats://i:2")))
    assert plain == {"servers": ["nats://h:1", "nats://i:2"]}
    secure = to_nats(load_settings(environ=environ(NATS_URL="tls://h:1", NATS_TOKEN="s3cret")))
    assert secure["token"] == "s3cret"
    assert secure["tls"].check_hostname


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092,127.0.0.1:9,[::1]:9092"}, []),
        ({"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092,k.example:9092"}, [
            "kafka.security_protocol is PLAINTEXT, and k.example is another machine: records"
        ]),
        ({"KAFKA_BOOTSTRAP_SERVERS": "k.example:9", "KAFKA_SECURITY_PROTOCOL": "SSL"}, []),
        ({"KAFKA_BOOTSTRAP_SERVERS": "k.example:9", "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
          "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "s3cret"}, [
            "is SASL_PLAINTEXT, and k.example is another machine: the password can be read"
        ]),
        ({"POSTGRES_DSN": "postgresql://u:s3cret@db.example:5432/x"}, [
            "postgres.dsn has no sslmode, and db.example is another machine: states"
        ]),
        ({"POSTGRES_DSN": "postgresql://u@localhost,db.example/x?sslmode=disable"}, [
            "postgres.dsn has sslmode=disable, and db.example is another machine"
        ]),
        ({"POSTGRES_DSN": "postgresql:///x?host=10.1.2.3"}, ["and 10.1.2.3 is another machine"]),
        ({"POSTGRES_DSN": "postgresql://u@db.example/x?sslmode=verify-full"}, []),
        ({"POSTGRES_DSN": "postgresql://u@[::1]:5432/x"}, []),
        ({"POSTGRES_DSN": "postgresql:///x?host=/run/postgresql"}, []),
        ({"POSTGRES_DSN": "postgresql://%2Frun%2Fpostgresql/x"}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_what_leaves_this_machine_without_tls_is_told(
    given: dict[str, str], told: list[str]
) -> None:
    """With the setting, and never a password."""
    found = list(unprotected(load_settings(environ=environ(**given))))
    assert len(found) == len(told)
    for each, text in zip(found, told, strict=True):
        assert text in each.text
        assert each.key in each.text
        assert "s3cret" not in str(each)
        assert each.mend
