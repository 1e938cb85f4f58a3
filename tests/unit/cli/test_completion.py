"""What a shell completes, and the scripts that ask for it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from spawn.cli.commands import COMMANDS
from spawn.cli.completion import completions, types_of_node
from tests.unit.cli.running import spawn

pytestmark = pytest.mark.timeout(10)

TYPES = {"Counter": ["add", "total"], "Cart": ["put"]}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ev"], ["events"]),
        (["in"], ["init", "invoke"]),
        (["events", ""], ["Cart/", "Counter/"]),
        (["state", "Co"], ["Counter/"]),
        (["state", "--json", "Co"], ["Counter/"]),
        (["partitions", "C"], ["Cart", "Counter"]),
        (["invoke", "Counter/a", ""], ["add", "total"]),
        (["invoke", "Counter/a", "t"], ["total"]),
        (["invoke", "Nope/a", ""], []),
        (["invoke", "Counter/a", "add", ""], []),
        (["explain", "key-"], ["key-reused"]),
        (["completion", "z"], ["zsh"]),
        (["repair", "dr"], ["drop-system", "drop-type"]),
        (["repair", "unpark", "Co"], ["Counter/"]),
        (["repair", "drop-type", "Co"], ["Counter"]),
        (["repair", "skip", "Co"], []),
        (["state", "Counter/a", "--u"], ["--url"]),
        (["nothing", ""], []),
    ],
)
def test_words_are_completed_by_where_they_stand(words: list[str], found: list[str]) -> None:
    """Commands, options, types, actions, codes."""
    assert completions(words, ["--url", "--json"], lambda: TYPES) == found


def test_no_words_give_all_commands() -> None:
    """As a shell asks behind `spawn `."""
    assert set(COMMANDS) <= set(completions([""], [], dict))


def test_options_come_from_the_command_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden ones not."""
    _, out, _ = spawn(capsys, "completion", "bash", "--complete", "--", "events", "a/b", "--")
    assert {"--follow", "--state", "--json", "--system", "--help"} <= set(out.split())
    _, out, _ = spawn(capsys, "completion", "bash", "--complete", "--", "completion", "--")
    assert "--complete" not in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """One for each shell; nothing else is on stdout."""
    code, out, err = spawn(capsys, "completion", shell)
    assert (code, err) == (0, "")
    assert f"spawn completion {shell} --complete --" in out


def test_bash_takes_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    """And fills COMPREPLY with what the command prints."""
    _, script, _ = spawn(capsys, "completion", "bash")
    program = (
        'spawn() { printf "%s\\n" "asked: $*"; }\n'
        f"{script}\nCOMP_WORDS=(spawn events Co); COMP_CWORD=2; _spawn; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, check=True, timeout=10
    )
    assert done.stdout == "asked: completion bash --complete -- events Co\n"


class Node(BaseHTTPRequestHandler):
    """Answers as /v1/types does; wants a token."""

    def do_GET(self) -> None:
        """Answer one request."""
        allowed = self.headers["Authorization"] == "Bearer open-sesame"
        body = b'{"types": [{"type": "Counter", "actions": [{"name": "add"}]}]}'
        self.send_response(200 if allowed and self.path == "/v1/types" else 401)
        self.end_headers()
        self.wfile.write(body if allowed else b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def node() -> Iterator[str]:
    """The address of such a node."""
    server = HTTPServer(("127.0.0.1", 0), Node)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_types_come_from_the_node(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the token; without it, or without a node, there are none and no error."""
    monkeypatch.setenv("SPAWN_URL", node)
    assert types_of_node() == {}
    monkeypatch.setenv("SPAWN_HTTP_TOKEN", "open-sesame")
    assert types_of_node() == {"Counter": ["add"]}
    monkeypatch.setenv("SPAWN_URL", "http://127.0.0.1:1")
    assert types_of_node() == {}
    monkeypatch.setenv("SPAWN_URL", "nonsense")
    assert types_of_node() == {}
