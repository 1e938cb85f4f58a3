"""Apache Kafka itself, one KRaft node on loopback or several, for tests and benchmarks.

Maven copies the jars once into a cache outside the tree; a broker then formats in a second and
starts in three. Everything here blocks: in async code call it through `asyncio.to_thread`, so that
what is under test goes on meanwhile (`freeze` and `thaw` return at once).

    with ApacheKafka() as kafka:
        kafka.start()
        ...  # kafka.bootstrap
        kafka.kill()
        kafka.start()  # same data, same port

Over 400 lines: getting it, and one process of it, whose life and settings belong together.
"""

import base64
import fcntl
import functools
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.services.keeper import KeptProcess
from tests.services.ports import free_port

HOW_TO_GET_IT = (
    "install Java 17 or later and Maven"
    " (Debian, Ubuntu: apt-get install openjdk-17-jre-headless maven)"
)

_FOLDER = Path(__file__).parent / "kafka"
_POM = _FOLDER / "pom.xml"
_JAVA_VERSION_MIN = 17
_FETCH_TIMEOUT_S = 600
# Generous: with two busy cores a JVM starts in ten seconds rather than three.
_START_TIMEOUT_S = 90
_STOP_TIMEOUT_S = 30
_POLL_S = 0.05
_LOG_TAIL_LINES = 25

# One node, so every internal topic has one replica; few partitions and threads, so that it starts
# fast and leaves the cores to what is under test.
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    # After a SIGKILL the controller lets the broker in again only once its old session has run out:
    # 9 s by default, which every test that kills it would wait.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}

# As Kafka's own start script, with a smaller heap.
_JVM_OPTIONS = (
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
)


class KafkaMissing(Exception):
    """Apache Kafka cannot be had on this machine; the text says what is missing."""


class KafkaFailed(Exception):
    """The broker did not do what it was asked; the text ends with the last lines of its log."""


def kafka_version() -> str:
    """Return the version that the pom names."""
    match = re.search(r"<kafka\.version>([^<]+)<", _POM.read_text(encoding="utf-8"))
    assert match is not None
    return match[1]


def jars() -> Path:
    """Return the folder with the broker's jars; the first call on a machine lets Maven copy them.

    Raises: KafkaMissing - no Java, no Maven, or Maven could not get them.
    """
    _java()
    folder = _cache_folder()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "kafka.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once fetch once
        if not folder.is_dir():
            _fetch(folder)
    return folder


def are_jars_there() -> bool:
    """Whether `jars` has nothing to fetch."""
    return _cache_folder().is_dir()


class Seat(NamedTuple):
    """The place of a broker among several, each of which is a controller too."""

    cluster_id: str
    number: int
    """From 1."""
    controller_ports: Sequence[int]
    """Of all of them, by number."""

    @classmethod
    def several(cls, count: int) -> Sequence[Self]:
        """Return the seats of a new cluster."""
        cluster_id, ports = new_cluster_id(), [free_port() for _ in range(count)]
        return [cls(cluster_id, number, ports) for number in range(1, count + 1)]

    def settings(self) -> dict[str, str]:
        """Return what server.properties says of it."""
        count = str(len(self.controller_ports))
        in_sync = str(max(1, len(self.controller_ports) - 1))
        return {
            "node.id": str(self.number),
            "controller.quorum.voters": ",".join(
                f"{number}@127.0.0.1:{port}"
                for number, port in enumerate(self.controller_ports, start=1)
            ),
            "offsets.topic.replication.factor": count,
            "transaction.state.log.replication.factor": count,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": count,
            "share.coordinator.state.topic.min.isr": in_sync,
        }


def new_cluster_id() -> str:
    """Return an id as `kafka-storage random-uuid` prints it."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")


class ApacheKafka:
    """One broker with data, a port and a log file of its own; alone, or one of several."""

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        listeners: Mapping[str, int] | None = None,
        users: Sequence[str] = (),
        heap_mib: int = 768,
        seat: Seat | None = None,
        advertised: Mapping[str, int] | None = None,
    ) -> None:
        """Choose folder and ports; nothing is started yet. `settings` go over server.properties.

        `listeners` are further ones with their ports, set up by `settings`; `users` are SCRAM
        credentials as `kafka-storage format --add-scram` takes them. With `seat` it is one of
        several, whose `start` answers once most of them run. `advertised` has ports that clients
        are told instead of a listener's own, for something in between.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="spawn-kafka-"))
        self._port, self._controller_port = free_port(), free_port()
        if seat is not None:
            self._controller_port = seat.controller_ports[seat.number - 1]
        self._seat, self._advertised = seat, dict(advertised or {})
        self._heap_mib = heap_mib
        self._listeners = dict(listeners or {})
        self._users = tuple(users)
        self._extra_settings = dict(settings or {})
        self._process: KeptProcess | None = None
        self.log = self._folder / "kafka.log"

    def __enter__(self) -> Self:
        """Close it at the end of the block; `start` is the caller's."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the broker and remove its data."""
        self.close()

    @property
    def bootstrap(self) -> str:
        """The address for clients, the same after a restart."""
        return f"127.0.0.1:{self._port}"

    @property
    def is_running(self) -> bool:
        """Whether the process lives; a frozen one does too."""
        return self._process is not None and self._process.returncode is None

    def start(self) -> None:
        """Start it on the data that is there and return once it answers clients.

        Raises: KafkaMissing; KafkaFailed - it ended, or was not ready in time.
        """
        assert not self.is_running
        class_path = f"{jars()}/*"
        if not (self._folder / "server.properties").exists():
            self._format(class_path)
        seen = self.log.stat().st_size
        heap = ("-Xms256m", f"-Xmx{self._heap_mib}m")
        process = self._process = KeptProcess(
            [*self._java(class_path, *heap, *_JVM_OPTIONS), "kafka.Kafka", "server.properties"],
            log=self.log,
            folder=self._folder,
            remove_if_orphaned=self._folder,
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not (self._has_logged("Kafka Server started", since=seen) and self._answers()):
            if process.returncode is not None:
                raise self._failure(f"ended with exit code {process.returncode}")
            if time.monotonic() > deadline:
                process.kill()
                raise self._failure(f"was not ready within {_START_TIMEOUT_S} s")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Let it end in order (SIGTERM)."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise self._failure(f"did not stop within {_STOP_TIMEOUT_S} s") from None

    def kill(self) -> None:
        """End it at once (SIGKILL), frozen or not."""
        if self._process is not None and self.is_running:
            self._process.kill()

    def freeze(self) -> None:
        """Stop its threads where they are (SIGSTOP): connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ensure_running(self) -> None:
        """Thaw or start it, whatever a test before did to it."""
        if self.is_running:
            self.thaw()
        else:
            self.start()

    def close(self) -> None:
        """Kill it and remove its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _java(self, class_path: str, *options: str) -> list[str]:
        log_settings = f"-Dlog4j2.configurationFile={_FOLDER / 'log4j2.xml'}"
        return [_java(), *options, log_settings, "-cp", class_path]

    def _format(self, class_path: str) -> None:
        client, controller = f"127.0.0.1:{self._port}", f"127.0.0.1:{self._controller_port}"
        listeners = f"PLAINTEXT://{client},CONTROLLER://{controller}"
        for name, port in self._listeners.items():
            listeners += f",{name}://127.0.0.1:{port}"
        advertised = listeners
        for name, port in self._advertised.items():
            there = f"{name}://127.0.0.1:{port}"
            advertised = re.sub(rf"\b{name}://127\.0\.0\.1:\d+", there, advertised)
        settings = _SETTINGS | {
            "listeners": listeners,
            "advertised.listeners": advertised,
            "log.dirs": str(self._folder / "data"),
        }
        if self._seat is None:
            settings["controller.quorum.bootstrap.servers"] = controller
            cluster_id, mode = new_cluster_id(), ["--standalone"]
        else:
            settings |= self._seat.settings()
            cluster_id, mode = self._seat.cluster_id, []
        settings |= self._extra_settings
        lines = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self._folder / "server.properties").write_text(lines, encoding="utf-8")
        command = [*self._java(class_path, "-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool"]
        command += ["format", *mode, f"--cluster-id={cluster_id}", "-c", "server.properties"]
        for user in self._users:
            command += ["--add-scram", user]
        with self.log.open("ab") as log:
            done = subprocess.run(
                command,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                timeout=_START_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            (self._folder / "server.properties").unlink()
            raise self._failure("could not format its data folder")

    def _has_logged(self, text: str, *, since: int) -> bool:
        with self.log.open("rb") as log:
            log.seek(since)
            return text.encode() in log.read()

    def _answers(self) -> bool:
        """Whether it answers the question that every client asks first (ApiVersions, version 0)."""
        request = struct.pack(">hhih", 18, 0, 1, -1)
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as client:
                client.sendall(struct.pack(">i", len(request)) + request)
                return len(client.recv(4)) > 0
        except OSError:
            return False

    def _failure(self, what: str) -> KafkaFailed:
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[
            -_LOG_TAIL_LINES:
        ]
        return KafkaFailed("\n".join([f"Apache Kafka {what}. The end of its log:", *tail]))


def _cache_folder() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(_POM.read_bytes()).hexdigest()[:8]
    return caches / "spawn-actors" / f"kafka-{kafka_version()}-{digest}"


@functools.cache
def _java() -> str:
    """Return the path of a Java that is new enough.

    Raises: KafkaMissing.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        raise KafkaMissing("no Java was found")
    try:
        # Prints e.g. `openjdk version "17.0.15" 2025-04-15`; on macOS a stub that only complains.
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError as error:
        raise KafkaMissing(f"{java} cannot be run ({error.strerror})") from error
    version = re.search(r'version "(\d+)', answer.stderr)
    if answer.returncode != 0 or version is None:
        raise KafkaMissing(f"{java} is no Java")
    if int(version[1]) < _JAVA_VERSION_MIN:
        raise KafkaMissing(f"{java} is Java {version[1]}, older than {_JAVA_VERSION_MIN}")
    return java


def _fetch(folder: Path) -> None:
    """Let Maven copy the jars into a folder beside `folder`, then rename it: whole or not there."""
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaMissing("no Maven was found")
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        done = subprocess.run(
            [
                *(maven, "--quiet", "--batch-mode", f"--file={_POM}"),
                *("dependency:copy-dependencies", "-DincludeScope=runtime"),
                f"-DoutputDirectory={unfinished}",
            ],
            capture_output=True,
            text=True,
            timeout=_FETCH_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0 or not any(unfinished.glob("kafka_*.jar")):
            raise KafkaMissing(f"Maven could not get it:\n{(done.stdout + done.stderr)[-2000:]}")
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except subprocess.TimeoutExpired as error:
        raise KafkaMissing(f"Maven took longer than {_FETCH_TIMEOUT_S} s") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
