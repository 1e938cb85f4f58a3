"""Consumer groups on Apache Kafka with TLS and logins."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from eventstore.kafka_log import FileToken, KafkaSettings, PasswordLogin, Security, TokenLogin
from eventstore.tls_files import TlsFiles
from tests.contract.group_contract import Taking, taking_part, until
from tests.contract.group_kafka import KafkaGroup
from tests.services.secure_kafka import SESSION_S, USER, SecureKafka, token


def _group(servers: str, security: Security) -> KafkaGroup:
    group = KafkaGroup(servers)
    group.settings = KafkaSettings(servers=servers, security=security)
    return group


async def test_nodes_meet_over_tls_with_a_login(secure_kafka: SecureKafka) -> None:
    """Each connection to the coordinator is secured like the log's."""
    login = PasswordLogin(
        mechanism="SCRAM-SHA-512", username=USER, password=lambda: secure_kafka.scram_password
    )
    tls = TlsFiles(ca=str(secure_kafka.authority.cert))
    group = _group(secure_kafka.at("BOTH"), Security(tls=tls, login=login))
    async with taking_part(group, "a", "b") as (a, b):
        await a.member.leave()
        await b.has("b")


async def test_a_session_that_ends_costs_no_membership(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    """A broker cuts off who goes on after its session (KIP-368): we have logged in anew by then."""
    file = tmp_path / "token"
    file.write_text(token())
    login = TokenLogin(token=FileToken(str(file)))
    group = _group(secure_kafka.at("TOKEN"), Security(login=login))
    async with taking_part(group, "a") as (a,):
        began = time.monotonic()
        while time.monotonic() - began < 3 * SESSION_S:
            status = a.member.status()
            assert status.generation == a.seen.generations[0]
            assert not status.failure
            await asyncio.sleep(0.02)
        assert a.seen.losses == []


async def test_a_refused_login_is_told_and_tried_again(secure_kafka: SecureKafka) -> None:
    """At longer and longer intervals; with the right password the node is in."""
    passwords = ["s3cret-wrong"]
    login = PasswordLogin(mechanism="SCRAM-SHA-256", username=USER, password=lambda: passwords[-1])
    group = _group(secure_kafka.at("LOGIN"), Security(login=login))
    taking = Taking(group, "a")
    await until(lambda: "refused the login of user spawn" in taking.member.status().failure)
    passwords.append(secure_kafka.scram_password)
    await taking.has("a")
    await taking.member.leave()
    await taking.task
