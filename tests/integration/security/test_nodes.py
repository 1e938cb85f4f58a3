"""`spawn run` on servers with TLS and logins: what it takes, what it says, what it never shows."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.integration.node.running import Client, NodeProcess, Nodes
from tests.integration.node.servers import NewNodes
from tests.services.secure_kafka import PASSWORD, USER, SecureKafka
from tests.services.secure_postgres import SecurePostgres

FAILED, USAGE = 1, 2


@pytest.fixture
def nodes(
    secure_kafka: SecureKafka, database: SecurePostgres, new_nodes: NewNodes, tmp_path: Path
) -> Nodes:
    """Starts nodes on both, with TLS, checked in full, and passwords from files."""
    of_kafka, of_postgres = tmp_path / "kafka.password", tmp_path / "postgres.password"
    of_kafka.write_text(secure_kafka.scram_password + "\n")
    of_postgres.write_text(database.password + "\n")
    nodes = new_nodes(
        secure_kafka.at("BOTH"),
        f"postgresql://spawn@127.0.0.1:{database.port}/spawn"
        f"?sslmode=verify-full&sslrootcert={database.authority.cert}",
    )
    nodes.settings |= {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_TLS_CA": secure_kafka.authority.cert,
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_USERNAME": USER,
        "KAFKA_PASSWORD_FILE": of_kafka,
        "POSTGRES_PASSWORD_FILE": of_postgres,
        "LOG_LEVEL": "debug",
    }
    return nodes


async def refused(node: NodeProcess, began: float, *words: str, exit_code: int = FAILED) -> None:
    """The node ends soon, says the words, no password and no traceback."""
    assert await node.ended(30) == exit_code, node.text
    assert time.monotonic() - began < 20, "it waited for a time-out"
    for word in words:
        assert word in node.text, (word, node.text)
    assert "s3cret" not in node.text
    assert "Traceback" not in node.text


async def test_a_node_serves_and_shows_no_password(nodes: Nodes) -> None:
    """Not in its log at level DEBUG, nor in the command line of any process."""
    node = await nodes.start().serving()
    async with Client.open(node.url) as client:
        assert (await client.invoke("Counter/a", "add", 5)).json == 5
        lines = b""
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_bytes()
            except OSError:
                continue
            # The broker was given its users when its folder was made; it is not ours.
            lines += b"" if b"java" in line else line + b"\n"
    assert b"s3cret" not in lines
    assert await node.stop() == 0
    assert "s3cret" not in node.text
    # Its snapshots were written: a second node finds the state.
    again = await nodes.start().serving()
    async with Client.open(again.url) as client:
        assert (await client.invoke("Counter/a", "add", 2)).json == 7


async def test_what_is_wrong_is_told_with_the_setting_to_mend(
    nodes: Nodes, secure_kafka: SecureKafka, database: SecurePostgres, tmp_path: Path
) -> None:
    """Login, authority, protocol; of the log and of the database; at once."""
    wrong = tmp_path / "wrong"
    wrong.write_text("s3cret-wrong")
    authority = secure_kafka.other_authority.cert
    began = time.monotonic()
    started = [
        (
            nodes.start(KAFKA_PASSWORD_FILE=wrong),
            ("start-refused", "refused the login of user spawn", "SPAWN_KAFKA_PASSWORD_FILE"),
        ),
        (
            nodes.start(KAFKA_TLS_CA=authority),
            ("start-refused", "is not trusted", "SPAWN_KAFKA_TLS_CA"),
        ),
        (
            nodes.start(KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT", KAFKA_TLS_CA=None),
            ("start-refused", "wants TLS on this port", "SPAWN_KAFKA_SECURITY_PROTOCOL"),
        ),
    ]
    for node, words in started:
        await refused(node, began, *words)
    began = time.monotonic()
    dsn = nodes.dsn
    started = [
        (
            nodes.start(POSTGRES_PASSWORD_FILE=wrong),
            ("start-refused", "password authentication failed", "SPAWN_POSTGRES_PASSWORD_FILE"),
        ),
        (
            nodes.start(
                POSTGRES_DSN=dsn.replace(
                    str(database.authority.cert), str(database.other_authority.cert)
                )
            ),
            ("start-refused", "is not trusted", "SPAWN_POSTGRES_DSN"),
        ),
    ]
    for node, words in started:
        await refused(node, began, *words)


async def test_the_doctor_looks_through_tls_and_login(nodes: Nodes, tmp_path: Path) -> None:
    """Protocol, topics, a write, the database: all as without; and a wrong login is told."""
    wrong = tmp_path / "wrong"
    wrong.write_text("s3cret-wrong")
    found = await examined(nodes)
    assert found["database"] == "ok", found
    assert found["log write"] == "ok", found
    assert "failed" not in found.values(), found
    assert (await examined(nodes, KAFKA_PASSWORD_FILE=wrong))["log login"] == "failed"
    assert (await examined(nodes, POSTGRES_PASSWORD_FILE=wrong))["database"] == "failed"


async def examined(nodes: Nodes, **settings: object) -> dict[str, str]:
    """Run `spawn doctor --write --json`; return its checks' status by name."""
    given = {
        "SYSTEM": nodes.system,
        "KAFKA_BOOTSTRAP_SERVERS": nodes.kafka,
        "POSTGRES_DSN": nodes.dsn,
        **nodes.settings,
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from spawn.cli.main import main; main()"),
        *("doctor", "--write", "--json"),
        stdout=asyncio.subprocess.PIPE,
        cwd=nodes.folder,
        env=os.environ
        | {"PYTHONPATH": str(Path(__file__).parents[3])}
        | {f"SPAWN_{name}": str(value) for name, value in given.items()},
    )
    output, _ = await process.communicate()
    assert b"s3cret" not in output
    checks = [json.loads(line) for line in output.splitlines()]
    return {check["name"].partition(" 127")[0]: check["status"] for check in checks}


async def test_files_that_can_not_be_used_are_told_all_at_once(
    nodes: Nodes, tmp_path: Path
) -> None:
    """Each with its setting, before anything is asked of a server."""
    empty = tmp_path / "empty"
    empty.write_text("")
    node = nodes.start(
        KAFKA_PASSWORD_FILE=tmp_path / "nothing",
        KAFKA_TLS_CA=empty,
        POSTGRES_PASSWORD_FILE=empty,
        POSTGRES_DSN=f"postgresql://spawn@127.0.0.1:1/x?sslrootcert={tmp_path}/no-ca",
    )
    await refused(
        node,
        time.monotonic(),
        "invalid-settings",
        "nothing can't be read",
        "holds no certificates",
        "empty is empty",
        "no-ca can't be read",
        "SPAWN_KAFKA_TLS_CA",
        exit_code=USAGE,
    )


async def test_a_password_in_the_environment(nodes: Nodes, secure_kafka: SecureKafka) -> None:
    """With every sign that one may have; PLAIN without TLS."""
    node = await nodes.start(
        KAFKA_BOOTSTRAP_SERVERS=secure_kafka.at("LOGIN"),
        KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        KAFKA_TLS_CA=None,
        KAFKA_SASL_MECHANISM="PLAIN",
        KAFKA_PASSWORD_FILE=None,
        KAFKA_PASSWORD=PASSWORD,
    ).serving()
    async with Client.open(node.url) as client:
        assert (await client.invoke("Counter/a", "add", 1)).json == 1
    assert "s3cret" not in node.text
