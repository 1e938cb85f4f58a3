"""The log on Apache Kafka with TLS and logins: every way in works, every "no" is told at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import pytest

from eventstore.errors import LogNotAdmitted, LogUnavailable
from eventstore.kafka_log import (
    FileToken,
    KafkaAdmin,
    KafkaLog,
    KafkaSettings,
    PasswordLogin,
    Security,
    TokenLogin,
)
from eventstore.kafka_log.client import Connection
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.tls_files import TlsFiles
from tests.contract.log_contract import TIME_MS, new_topic, read
from tests.services.secure_kafka import PASSWORD, SESSION_S, USER, SecureKafka, token

_NO_WITHIN_S = 5.0
"""A "no" comes in milliseconds; a time-out would take 10 s and more."""

Way = Callable[[SecureKafka, Path], KafkaSettings]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


def _tls(kafka: SecureKafka, cert: str = "", key: str = "") -> TlsFiles:
    return TlsFiles(ca=str(kafka.authority.cert), cert=cert, key=key)


def _password(mechanism: Mechanism, password: str, username: str = USER) -> PasswordLogin:
    return PasswordLogin(mechanism=mechanism, username=username, password=lambda: password)


def _file_token(path: Path, text: str) -> TokenLogin:
    path.write_text(text + "\n")
    return TokenLogin(token=FileToken(str(path)))


def _at(
    kafka: SecureKafka,
    listener: str,
    tls: TlsFiles | None = None,
    login: PasswordLogin | TokenLogin | None = None,
) -> KafkaSettings:
    servers = kafka.bootstrap if listener == "PLAINTEXT" else kafka.at(listener)
    security = Security(tls=tls, login=login)
    return KafkaSettings(servers=servers, read_timeout_s=4, security=security)


_WAYS: dict[str, Way] = {
    "TLS": lambda kafka, _: _at(kafka, "TLS", tls=_tls(kafka)),
    "client certificate": lambda kafka, _: _at(
        kafka,
        "MUTUAL",
        tls=_tls(kafka, cert=str(kafka.client.cert), key=str(kafka.client.key)),
    ),
    "encrypted key": lambda kafka, _: _at(
        kafka,
        "MUTUAL",
        tls=TlsFiles(
            ca=str(kafka.authority.cert),
            cert=str(kafka.client.cert),
            key=str(kafka.authority.encrypt(kafka.client.key, "s3cret-of-key")),
            key_password=lambda: "s3cret-of-key",
        ),
    ),
    "any host name": lambda kafka, _: _at(
        kafka, "ELSEWHERE", tls=TlsFiles(ca=str(kafka.authority.cert), check_hostname=False)
    ),
    "PLAIN": lambda kafka, _: _at(kafka, "LOGIN", login=_password("PLAIN", PASSWORD)),
    "SCRAM-SHA-256": lambda kafka, _: _at(
        kafka, "LOGIN", login=_password("SCRAM-SHA-256", kafka.scram_password)
    ),
    "SCRAM-SHA-512": lambda kafka, _: _at(
        kafka, "LOGIN", login=_password("SCRAM-SHA-512", kafka.scram_password)
    ),
    "OAUTHBEARER": lambda kafka, folder: _at(
        kafka, "TOKEN", login=_file_token(folder / "token", token())
    ),
    "SCRAM over TLS": lambda kafka, _: _at(
        kafka, "BOTH", tls=_tls(kafka), login=_password("SCRAM-SHA-512", kafka.scram_password)
    ),
}


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[KafkaSettings], KafkaLog]]:
    """Opens logs; all are closed at the end, and nothing is left to complain of."""
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    logs: list[KafkaLog] = []

    def open_log(settings: KafkaSettings) -> KafkaLog:
        logs.append(KafkaLog(settings))
        return logs[-1]

    yield open_log
    for log in logs:
        await log.close()
    assert complaints == []


@pytest.mark.parametrize("way", _WAYS)
async def test_all_of_the_log_works(
    secure_kafka: SecureKafka,
    opened: Callable[[KafkaSettings], KafkaLog],
    tmp_path: Path,
    every_log: pytest.LogCaptureFixture,
    way: str,
) -> None:
    """Creating, describing, appending, reading and bounds; no password is logged or shown."""
    settings = _WAYS[way](secure_kafka, tmp_path)
    admin, log = KafkaAdmin(settings), opened(settings)
    topic = new_topic()
    await admin.create({topic: TopicSettings(partitions=2)})
    assert (await admin.describe([topic]))[topic].settings["retention.ms"] == "-1"
    at = TopicPartition(topic, 1)
    assert await log.append(at, [LogRecord(b"a", b"1"), LogRecord(b"a", b"2")], TIME_MS) == 0
    large = bytes(256 * 1024)  # over many TLS records
    assert await log.append(at, [LogRecord(b"a", large)], TIME_MS) == 2
    assert await log.bounds(at) == (0, 3)
    assert [offset for offset, _, value in await read(log, at, 0, 3) if value] == [0, 1, 2]
    told = every_log.text + repr(settings)
    for secret in ("s3cret", PASSWORD, token()[:40]):
        assert secret not in told
    assert "SaslAuthenticate" in told or settings.security.login is None


_NOES: dict[str, tuple[Way, str, str]] = {
    "wrong password, PLAIN": (
        lambda kafka, _: _at(kafka, "LOGIN", login=_password("PLAIN", "s3cret-wrong")),
        "login",
        "refused the login of user spawn by PLAIN",
    ),
    "wrong password, SCRAM": (
        lambda kafka, _: _at(kafka, "LOGIN", login=_password("SCRAM-SHA-256", "s3cret-wrong")),
        "login",
        "refused the login of user spawn by SCRAM-SHA-256",
    ),
    "unknown user": (
        lambda kafka, _: _at(kafka, "LOGIN", login=_password("SCRAM-SHA-512", "x", "nobody")),
        "login",
        "refused the login of user nobody",
    ),
    "token that has run out": (
        lambda kafka, folder: _at(
            kafka, "TOKEN", login=_file_token(folder / "token", token(life_s=-600))
        ),
        "login",
        "invalid_token",
    ),
    "no token": (
        lambda kafka, folder: _at(kafka, "TOKEN", login=_file_token(folder / "token", "")),
        "login",
        "is no token",
    ),
    "mechanism that it does not take": (
        lambda kafka, _: _at(kafka, "TOKEN", login=_password("PLAIN", "s3cret-wrong")),
        "protocol",
        "takes no login by PLAIN",
    ),
    "untrusted authority": (
        lambda kafka, _: _at(kafka, "TLS", tls=TlsFiles(ca=str(kafka.other_authority.cert))),
        "trust",
        "is not trusted",
    ),
    "authorities of the system": (
        lambda kafka, _: _at(kafka, "TLS", tls=TlsFiles()),
        "trust",
        "is not trusted",
    ),
    "wrong host": (
        lambda kafka, _: _at(kafka, "ELSEWHERE", tls=_tls(kafka)),
        "host",
        "is for another host",
    ),
    "expired": (lambda kafka, _: _at(kafka, "EXPIRED", tls=_tls(kafka)), "trust", "has expired"),
    "no certificate of ours": (
        lambda kafka, _: _at(kafka, "MUTUAL", tls=_tls(kafka)),
        "client-certificate",
        "does not accept our certificate, or wants one",
    ),
    "certificate of somebody else": (
        lambda kafka, _: _at(
            kafka,
            "MUTUAL",
            tls=_tls(kafka, cert=str(kafka.stranger.cert), key=str(kafka.stranger.key)),
        ),
        "client-certificate",
        "does not accept our certificate",
    ),
    "PLAINTEXT to SSL": (lambda kafka, _: _at(kafka, "TLS"), "protocol", "wants TLS"),
    "SASL_PLAINTEXT to SASL_SSL": (
        lambda kafka, _: _at(kafka, "BOTH", login=_password("SCRAM-SHA-512", "s3cret-wrong")),
        "protocol",
        "wants TLS",
    ),
    "SSL to PLAINTEXT": (
        lambda kafka, _: _at(kafka, "PLAINTEXT", tls=_tls(kafka)),
        "protocol",
        "speaks no TLS",
    ),
    "PLAINTEXT to SASL_PLAINTEXT": (
        lambda kafka, _: _at(kafka, "LOGIN"),
        "protocol",
        "wants a login on this port (it takes PLAIN, SCRAM",
    ),
    "SSL to SASL_SSL": (
        lambda kafka, _: _at(kafka, "BOTH", tls=_tls(kafka)),
        "protocol",
        "wants a login",
    ),
    "SASL_PLAINTEXT to PLAINTEXT": (
        lambda kafka, _: _at(kafka, "PLAINTEXT", login=_password("PLAIN", "s3cret-wrong")),
        "protocol",
        "takes no logins",
    ),
}


@pytest.mark.parametrize("case", _NOES)
async def test_a_no_is_told_at_once(
    secure_kafka: SecureKafka,
    tmp_path: Path,
    every_log: pytest.LogCaptureFixture,
    case: str,
) -> None:
    """What is wrong, by its name; not a time-out, and no password in it or in a log."""
    way, concerns, text = _NOES[case]
    settings = way(secure_kafka, tmp_path)
    began = time.monotonic()
    with pytest.raises(LogNotAdmitted) as caught:
        await KafkaAdmin(settings).brokers()
    assert time.monotonic() - began < _NO_WITHIN_S
    assert (caught.value.concerns, text in str(caught.value)) == (concerns, True), caught.value
    assert settings.servers in str(caught.value) or case == "no token"
    assert "s3cret" not in every_log.text + str(caught.value) + repr(settings)


async def test_an_address_where_nobody_listens_is_no_refusal() -> None:
    """It is unreachable, and worth another try."""
    with pytest.raises(LogUnavailable) as caught:
        await KafkaAdmin(
            KafkaSettings(servers="127.0.0.1:1", security=Security(tls=TlsFiles()))
        ).brokers()
    assert not isinstance(caught.value, LogNotAdmitted)
    assert "127.0.0.1:1" in str(caught.value)


async def test_a_refused_login_is_not_tried_by_each_caller(
    secure_kafka: SecureKafka,
    opened: Callable[[KafkaSettings], KafkaLog],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many partitions ask, some logins are tried; once the password is right all goes on."""
    attempts = 0
    log_in = Connection._log_in

    async def counted(self: Connection, request: object) -> object:
        nonlocal attempts
        attempts += 1
        return await log_in(self, request)

    monkeypatch.setattr(Connection, "_log_in", counted)
    passwords = ["s3cret-wrong"]
    login = PasswordLogin(mechanism="PLAIN", username=USER, password=lambda: passwords[-1])
    log = opened(_at(secure_kafka, "LOGIN", login=login))
    topic = new_topic()
    await KafkaAdmin(_at(secure_kafka, "PLAINTEXT")).create({topic: TopicSettings(partitions=20)})
    places = [TopicPartition(topic, number) for number in range(20)]

    async def insist(at: TopicPartition) -> None:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            with pytest.raises(LogUnavailable):
                await log.append(at, [LogRecord(b"a", b"1")], TIME_MS)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        for at in places:
            tasks.create_task(insist(at))
    # 8 connections at the same moment, then one a second or less.
    assert attempts <= 8 + 3, attempts
    passwords.append(PASSWORD)
    deadline = time.monotonic() + 10
    while True:
        try:
            assert await log.append(places[0], [LogRecord(b"a", b"1")], TIME_MS) == 0
            break
        except LogNotAdmitted:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_a_session_that_ends_costs_no_append(
    secure_kafka: SecureKafka, opened: Callable[[KafkaSettings], KafkaLog], tmp_path: Path
) -> None:
    """A broker cuts off who goes on after its session (KIP-368): we have logged in anew by then.

    The token is read anew from its file, too: the one of the start has run out long before.
    """
    file = tmp_path / "token"
    log = opened(_at(secure_kafka, "TOKEN", login=_file_token(file, token(life_s=SESSION_S + 5))))
    topic = new_topic()
    await KafkaAdmin(_at(secure_kafka, "PLAINTEXT")).create({topic: TopicSettings(partitions=1)})
    at = TopicPartition(topic, 0)
    began, count = time.monotonic(), 0
    while time.monotonic() - began < 3 * SESSION_S:
        assert await log.append(at, [LogRecord(b"a", b"%d" % count)], TIME_MS) == count
        count += 1
        assert (await log.bounds(at))[1] == count
        file.write_text(token(life_s=SESSION_S + 5))
        await asyncio.sleep(0.02)
    assert len(await read(log, at, 0, count)) == count


async def test_after_a_restart_of_the_broker_all_go_on(
    secure_kafka: SecureKafka, opened: Callable[[KafkaSettings], KafkaLog], tmp_path: Path
) -> None:
    """With TLS and login anew, each on its own way, and nothing acknowledged is lost."""
    ways = [_WAYS[name](secure_kafka, tmp_path) for name in ("TLS", "PLAIN", "SCRAM over TLS")]
    ways.append(_WAYS["OAUTHBEARER"](secure_kafka, tmp_path))
    logs = [opened(settings) for settings in ways]
    topic = new_topic()
    await KafkaAdmin(ways[0]).create({topic: TopicSettings(partitions=len(ways))})
    places = [TopicPartition(topic, number) for number in range(len(ways))]
    for log, at in zip(logs, places, strict=True):
        assert await log.append(at, [LogRecord(b"a", b"before")], TIME_MS) == 0
    await asyncio.to_thread(secure_kafka.stop)
    with pytest.raises(LogUnavailable) as caught:
        await logs[0].append(places[0], [LogRecord(b"a", b"lost")], TIME_MS)
    assert not isinstance(caught.value, LogNotAdmitted)
    await asyncio.to_thread(secure_kafka.start)

    async def goes_on(log: KafkaLog, at: TopicPartition) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                await log.append(at, [LogRecord(b"a", b"after")], TIME_MS)
                break
            except LogUnavailable:
                assert time.monotonic() < deadline
        first, end = await log.bounds(at)
        values = [value for _, _, value in await read(log, at, first, end)]
        assert values[0] == b"before"
        assert values[-1] == b"after"

    async with asyncio.TaskGroup() as tasks:
        for log, at in zip(logs, places, strict=True):
            tasks.create_task(goes_on(log, at))


async def test_renewed_files_are_used_without_a_restart(
    secure_kafka: SecureKafka, opened: Callable[[KafkaSettings], KafkaLog], tmp_path: Path
) -> None:
    """An authority that is put in place of another one counts for the next connection."""
    ca = tmp_path / "ca.crt"
    ca.write_bytes(secure_kafka.other_authority.cert.read_bytes())
    settings = _at(secure_kafka, "TLS", tls=TlsFiles(ca=str(ca)))
    with pytest.raises(LogNotAdmitted):
        await KafkaAdmin(settings).brokers()
    ca.write_bytes(secure_kafka.authority.cert.read_bytes())
    assert await KafkaAdmin(settings).brokers() == 1


def test_the_client_library_stays_quiet_by_default() -> None:
    """Its lines at WARNING and below are not for our users' logs."""
    KafkaLog(KafkaSettings(servers="127.0.0.1:1"))
    assert not logging.getLogger("aiokafka").isEnabledFor(logging.ERROR)
