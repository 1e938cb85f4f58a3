"""HTTPS: both lanes behind TLS, and nothing without it."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import subprocess
from pathlib import Path

import pytest

import spawn
from examples.counter import Counter
from spawn.api import HttpServer
from spawn.cli.main import run_command
from spawn.config import load_settings
from spawn.errors import NodeUntrusted
from spawn.exposure import access_of, tls_of
from tests.integration.api.fake_ingress import FakeIngress
from tests.integration.api.raw_requests import post
from tests.integration.api.wire import Wire, connect


def make_certificate(folder: Path, serial: int = 1) -> tuple[Path, Path]:
    """Write a certificate for localhost, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-set_serial", str(serial)]
    command += ["-days", "2", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return cert, key


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


async def test_who_does_not_trust_the_certificate_is_told_so(
    certificate: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Commands and clients: at once, with the mend; with the file they call, by the right name."""
    cert, key = certificate
    settings = load_settings(
        flags={"http.tls_cert": str(cert), "http.tls_key": str(key)},
        environ={"SPAWN_HTTP_TOKEN": "right-token"},
    )
    server = HttpServer(
        FakeIngress(),
        new_error_id=lambda: "e",
        port=0,
        access=access_of(settings),
        tls=tls_of(settings),
    )
    await server.start()
    url = f"https://localhost:{server.port}"

    async def invoke(*more: str) -> tuple[int, str, str]:
        words = ["invoke", "Counter/a", "add", "5", *more]
        code = await asyncio.to_thread(run_command, words)
        return code, *capsys.readouterr()

    try:
        code, _, err = await invoke("--url", url)
        assert code == 5
        assert "is not trusted (self-signed certificate) [node-untrusted]" in err
        assert "--ca FILE, SPAWN_HTTP_CA or SSL_CERT_FILE" in err
        monkeypatch.setenv("SPAWN_HTTP_TOKEN", "right-token")
        assert await invoke("--url", url, "--ca", str(cert)) == (0, "5\n", "")
        monkeypatch.setenv("SPAWN_HTTP_CA", str(cert))
        assert await invoke("--url", url) == (0, "10\n", "")
        code, _, err = await invoke("--url", url.replace("localhost", "127.0.0.1"))
        assert (code, "by a name that is in its certificate" in err) == (5, True)
        code, _, err = await invoke("--url", url, "--ca", "nothing.pem")
        assert (code, "nothing.pem can't be used" in err) == (2, True)
        async with spawn.Client(url, token="right-token") as client:
            with pytest.raises(NodeUntrusted, match="not trusted") as caught:
                await client.actor(Counter, "a").add(1)
            assert "ca=FILE" in caught.value.hint
        async with spawn.Client(url, token="right-token", ca=cert) as client:
            assert await client.call("Counter", "a", "add", 1) == 11
    finally:
        await server.stop(grace_s=1.0)


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


async def test_a_renewed_certificate_is_shown_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a pair that fits; connections that are open go on."""
    (tmp_path / "new").mkdir()
    cert, key = make_certificate(tmp_path, 1)
    new_cert, new_key = make_certificate(tmp_path / "new", 2)
    flags = {"http.tls_cert": str(cert), "http.tls_key": str(key)}
    server = HttpServer(
        FakeIngress(),
        new_error_id=lambda: "e",
        port=0,
        tls=tls_of(load_settings(flags=flags, environ={})),
    )
    await server.start()
    caplog.set_level(logging.INFO, "spawn.exposure")
    try:
        reader, writer = await open_tls(server.port)
        assert serial_of(writer) == 1
        new_cert.replace(cert)
        assert await serial_shown(server.port) == 1
        (cert_only,) = caplog.records
        assert "can't be used" in cert_only.getMessage()
        assert await serial_shown(server.port) == 1
        assert len(caplog.records) == 1, "told once"
        new_key.replace(key)
        assert await serial_shown(server.port) == 2
        assert "was renewed" in caplog.records[-1].getMessage()
        key.unlink()
        assert await serial_shown(server.port) == 2
        writer.write(post(b"5").replace(b"Host: h", b"Host: localhost"))
        assert (await Wire(reader, writer).reply()).status == 200
        writer.close()
    finally:
        await server.stop(grace_s=1.0)


async def open_tls(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a server whose certificate is anybody's."""
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    return await asyncio.open_connection("127.0.0.1", port, ssl=trusting)


async def serial_shown(port: int) -> int:
    """Return the number of the certificate that a new connection gets."""
    _, writer = await open_tls(port)
    writer.close()
    return serial_of(writer)


def serial_of(writer: asyncio.StreamWriter) -> int:
    """Return the number of a connection's certificate, which stands in it as one byte."""
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    number = re.search(rb"\xa0\x03\x02\x01\x02\x02\x01(.)", shown, re.DOTALL)
    assert number is not None
    return number[1][0]
