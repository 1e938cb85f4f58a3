"""HTTPS: both lanes behind TLS, and nothing without it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from spawn.api import HttpServer
from spawn.config import load_settings
from spawn.exposure import access_of, tls_of
from tests.integration.api.fake_ingress import FakeIngress
from tests.integration.api.raw_requests import post
from tests.integration.api.wire import Wire, connect


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-days", "2", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return cert, key


@pytest.mark.parametrize("express", [True, False])
async def test_calls_are_answered_over_tls(
    certificate: tuple[Path, Path], *, express: bool
) -> None:
    """With a token, as a node that others reach has it."""
    cert, key = certificate
    flags = {"http.tls_cert": str(cert), "http.tls_key": str(key)}
    settings = load_settings(flags=flags, environ={"SPAWN_HTTP_TOKEN": "right-token"})
    server = HttpServer(
        FakeIngress(),
        new_error_id=lambda: "e",
        port=0,
        access=access_of(settings),
        tls=tls_of(settings),
        express=express,
    )
    await server.start()
    try:
        trusted = ssl.create_default_context(cafile=str(cert))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=trusted, server_hostname="localhost"
        )
        wire = Wire(reader, writer)
        for fields, status in (((b"Authorization: Bearer right-token",), 200), ((), 401)):
            wire.send(post(b"5", *fields).replace(b"Host: h", b"Host: localhost"))
            assert (await wire.reply()).status == status
        writer.close()
        async with connect(server.port) as plain:
            plain.send(post())
            assert b"HTTP/1.1 200" not in await plain.reader.read()
    finally:
        await server.stop(grace_s=1.0)
