"""The command line itself: help, wrong words, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spawn.cli import exit_codes
from spawn.cli.commands import COMMANDS
from spawn.cli.main import run_command
from spawn.cli.node_client import authorization
from spawn.config import SETTINGS
from spawn.errors import Fenced, LogUnreachable, Rejected, SpawnError, UnknownType
from tests.unit.cli.running import spawn

pytestmark = pytest.mark.timeout(10)  # a help page imports rich


def test_the_help_page_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, since it was asked for."""
    code, out, err = spawn(capsys, "--help")
    assert (code, err) == (0, "")
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in out
        assert command.help.split()[0] in out
    codes = "0 done, 1 failed, 2 usage, 3 fenced, 4 not found, 5 unreachable, 6 not confirmed."
    assert f"Exit codes: {codes}" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """And an example that begins with the command itself."""
    code, out, _ = spawn(capsys, name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: spawn {name} ")
    assert f"Example: spawn {name} " in out
    assert "object at 0x" not in out


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"dev", "run", "completion"}))
def test_every_command_that_answers_can_do_so_in_json(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """All but those that serve, and the scripts for shells."""
    _, out, _ = spawn(capsys, name, "--help")
    assert "\n  --json " in out


@pytest.mark.parametrize("name", ["run", "init", "config", "doctor"])
def test_every_setting_has_its_flag(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """None can be forgotten; the page for every day has the usual ones and where the others are."""
    _, out, _ = spawn(capsys, name, "--help-all")
    for setting in SETTINGS.values():
        assert f" {setting.flag} " in out
    _, out, _ = spawn(capsys, name, "--help")
    assert len(out.splitlines()) < 45
    assert " --postgres-dsn " in out
    assert "more: --help-all lists them" in out


def test_spawn_dev_takes_no_addresses_of_servers(capsys: pytest.CaptureFixture[str]) -> None:
    """It starts its own."""
    code, _, err = spawn(capsys, "dev", "x.py", "--kafka-bootstrap-servers", "production:9092")
    assert code == 2
    assert "there is no option --kafka-bootstrap-servers" in err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Name and number."""
    code, out, _ = spawn(capsys, "--version")
    assert code == 0
    assert out.startswith("spawn 0.")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["invok", "a/b"], "there is no command `invok`", "did you mean `invoke`?"),
        (["nothing"], "there is no command `nothing`", "`spawn --help`"),
        (["state", "a/b", "--ul", "x"], "there is no option --ul", "did you mean `--url`?"),
        (["state", "--jsno", "a/b"], "there is no option --jsno", "did you mean `--json`?"),
        (["state"], "TYPE/ID is missing", "`spawn state --help`"),
        (["invoke", "a/b"], "ACTION is missing", "`spawn invoke --help`"),
        (["state", "a/b", "c"], "`c` is one argument too many", "`spawn state --help`"),
        (["state", "a/b", "--url"], "--url needs a value", "`spawn state --help`"),
        (["state", "Counter"], "an actor is named TYPE/ID, got `Counter`", "spawn state Counter/a"),
        (["state", "/a"], "an actor is named TYPE/ID", ""),
        (["state", "a/"], "an actor is named TYPE/ID", ""),
        (["state", "a/b", "--url", "localhost:9001"], "a node's address is http://host:port", ""),
        (["state", "a/b", "--url", "http://h:x"], "a node's address is http://host:port", ""),
        (["state", "a/b", "--timeout", "soon"], "--timeout must be a duration", "5s"),
        (["state", "a/b", "--timeout", "0"], "--timeout must be at least 1ms", ""),
        (["actors", "--limit", "-1"], "--limit must be at least 0, got -1", "0 lists all"),
        (
            ["actors", "--limit", "many"],
            "--limit must be a whole number, got `many`",
            "`spawn actors --help`",
        ),
        (["actors", "--after", "a"], "without TYPE, --after takes TYPE/ID, got `a`", ""),
        (["invoke", "Counter", "a", "add", "1"], "an actor is named TYPE/ID, got `Counter`", ""),
        (["actors", "Counter", "--after", "\udcff"], "--after is not UTF-8", ""),
        (["actors", "--after", "\udcff"], "--after is not UTF-8", ""),
        (["state", "Counter/\udcff"], "TYPE/ID is not UTF-8, got `Counter/\ufffd`", ""),
        (["invoke", "Counter/a", "add", "\udcff"], "JSON is not UTF-8", ""),
        (["invoke", "Counter/a", "\udcff", "1"], "ACTION is not UTF-8", ""),
        (["invoke", "a/b", "add", "1", "--key", "a\nb"], "--key: an idempotency key over", "UUID"),
        (["invoke", "a/b", "add", "1", "--key", ""], "--key is empty", ""),
        (["explain", "fencd"], "there is no error code `fencd`", "did you mean `fenced`?"),
        (["explain", "qqqqq"], "there is no error code `qqqqq`", "`spawn explain` lists all"),
        (["completion", "cmd"], 'Invalid value "cmd"', "`spawn completion --help`"),
        (["new"], "NAME is missing", "`spawn new --help`"),
        (["run", "x.py", "--http-prt", "1"], "there is no option --http-prt", "`--http-port`"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_what_is_right(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, hint: str
) -> None:
    """On stderr, in the form of every error."""
    code, out, err = spawn(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert "[usage]" in err
    assert hint in err


@pytest.mark.parametrize("argument", ["hello", "{", "5 6", "[" * 100_000])
def test_an_argument_that_is_no_json_ends_with_2(
    capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    """It is mostly the shell that ate the quotes, so nothing is sent."""
    code, _, err = spawn(capsys, "invoke", "Counter/a", "add", argument)
    assert code == 2
    assert "is not JSON" in err.splitlines()[0]
    assert "[invalid-json]" in err


def test_wrong_settings_end_with_2_and_all_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is loaded or opened."""
    code, _, err = spawn(capsys, "run", "missing.py", "--http-port", "abc")
    assert code == 2
    assert err.startswith("error: 3 settings are wrong [invalid-settings]\n")
    assert "http.port must be a whole number, got 'abc', at --http-port (flag)" in err
    assert "kafka.bootstrap_servers is not set" in err
    assert "postgres.dsn is not set" in err


def test_no_node_ends_with_5(capsys: pytest.CaptureFixture[str]) -> None:
    """With the address, where it came from, and how to get one."""
    code, out, err = spawn(capsys, "state", "Counter/a", "--url", "http://127.0.0.1:1")
    assert (code, out) == (5, "")
    assert err == (
        "error: no node answers at http://127.0.0.1:1 (connection refused) [node-unreachable]\n"
        "  at:   --url (flag)\n"
        "  hint: `spawn dev TARGET` starts one here; --url or SPAWN_URL names another\n"
    )


def test_the_url_may_stand_in_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the error says so."""
    monkeypatch.setenv("SPAWN_URL", "http://127.0.0.1:1/")
    code, _, err = spawn(capsys, "invoke", "Counter/a", "add", "5")
    assert code == 5
    assert "at:   SPAWN_URL (environment)" in err


@pytest.mark.parametrize("command", [["events", "Counter/a"], ["actors"], ["partitions"]])
def test_reading_without_a_log_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """Neither settings nor a running spawn dev."""
    code, _, err = spawn(capsys, *command)
    assert code == 2
    assert "error: kafka.bootstrap_servers is not set [invalid-settings]" in err


@pytest.mark.parametrize("command", [["events", "Counter/a"], ["actors"], ["partitions"]])
def test_a_log_that_is_away_ends_with_5(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """With the address, who named it, and who checks it."""
    code, out, err = spawn(capsys, *command, "--kafka-bootstrap-servers", "127.0.0.1:1")
    assert (code, out) == (5, "")
    assert err.startswith("error: no broker answered at 127.0.0.1:1")
    assert "[log-unreachable]" in err
    assert "at:   --kafka-bootstrap-servers (flag)" in err
    assert "`spawn doctor`" in err


def test_a_token_that_no_header_can_hold_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without showing it; a file that can't be read too."""
    monkeypatch.setenv("SPAWN_HTTP_TOKEN", "geheimnis\nX: 1")
    code, _, err = spawn(capsys, "state", "Counter/a", "--url", "http://127.0.0.1:1")
    assert code == 2
    assert "at:   SPAWN_HTTP_TOKEN, SPAWN_HTTP_TOKEN_FILE (environment)" in err
    assert "geheim" not in err
    monkeypatch.delenv("SPAWN_HTTP_TOKEN")
    monkeypatch.setenv("SPAWN_HTTP_TOKEN_FILE", "nothing")
    code, _, err = spawn(capsys, "state", "Counter/a", "--url", "http://127.0.0.1:1")
    assert code == 2
    assert "No such file or directory: 'nothing'" in err


def test_a_token_comes_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is sent as the node wants it."""
    assert authorization() == {}
    Path("token").write_text("from-a-file\n")
    monkeypatch.setenv("SPAWN_HTTP_TOKEN_FILE", "token")
    assert authorization() == {"Authorization": "Bearer from-a-file"}
    monkeypatch.setenv("SPAWN_HTTP_TOKEN", "from-the-environment")
    assert authorization() == {"Authorization": "Bearer from-the-environment"}


def test_an_error_without_a_hint_names_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    """The one that `spawn explain` shows."""
    code, _, err = spawn(capsys, "run", "x.py", "--http-port", "x", "--mesh-port", "y")
    assert code == 2
    assert "hint: `spawn explain invalid-settings` says more" in err


def test_an_exception_of_ours_shows_no_traceback_unless_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours is told as one; --debug shows where."""

    def broken(text: str) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("spawn.cli.state.parse_subject", broken)
    code, _, err = spawn(capsys, "state", "Counter/a")
    assert code == 1
    assert "this is a mistake of spawn's" in err
    assert "[internal]" in err
    assert "Traceback" not in err
    with pytest.raises(KeyError):
        run_command(["state", "Counter/a", "--debug"])


def test_the_first_error_of_a_group_of_tasks_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As itself, with its own exit code; a mistake of ours too."""

    def fenced(text: str) -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", [Fenced("another owns it")])])

    def broken(text: str) -> None:
        raise ExceptionGroup("tasks", [KeyError("oops"), ValueError("later")])

    monkeypatch.setattr("spawn.cli.state.parse_subject", fenced)
    code, _, err = spawn(capsys, "state", "Counter/a")
    assert code == 3
    assert err.startswith("error: another owns it [fenced]")
    monkeypatch.setattr("spawn.cli.state.parse_subject", broken)
    code, _, err = spawn(capsys, "state", "Counter/a")
    assert code == 1
    assert "please report it: KeyError: 'oops' [internal]" in err


def test_debug_shows_the_traceback_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Above the error itself."""
    code, _, err = spawn(capsys, "state", "--debug", "Counter/a", "--url", "http://127.0.0.1:1")
    assert code == 5
    assert err.startswith("Traceback")
    assert "error: no node answers" in err


def test_exit_codes_follow_the_errors() -> None:
    """And user code's own codes can't imitate ours."""
    assert exit_codes.of(Fenced("x")) == 3
    assert exit_codes.of(UnknownType("x")) == 4
    assert exit_codes.of(LogUnreachable("x")) == 5
    assert exit_codes.of(SpawnError("x")) == 1
    assert exit_codes.of(Rejected("fenced", "x")) == 1


@pytest.mark.parametrize("module", ["shutil", "spawn.cli.commands", "spawn.errors"])
def test_ctrl_c_while_python_reads_its_files_shows_no_traceback(module: str) -> None:
    """It comes at any moment; here while a certain module is imported."""
    program = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        f"sys.modules.pop({module!r}, None)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from spawn.cli.main import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "--version"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_the_help_page_loads_no_client_of_a_server() -> None:
    """It must be there at once."""
    program = (
        "import sys; from spawn.cli.main import run_command; run_command(['--help']); "
        "print([name for name in ('aiohttp', 'aiokafka', 'asyncpg', 'nats', 'asyncio', "
        "'prometheus_client') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=10
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_warns_of_connections_without_tls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line each, with the setting and the mend; the start goes on."""
    monkeypatch.setenv("SPAWN_KAFKA_BOOTSTRAP_SERVERS", "k.example:9092")
    monkeypatch.setenv("SPAWN_POSTGRES_DSN", "postgresql://u:s3cret@db.example/x")
    # The process's logging is the tests', not this command's.
    monkeypatch.setattr("spawn.logs.configure_logs", lambda *_, **__: False)
    code, _, err = spawn(capsys, "run", "missing.py", "--log-format", "text")
    assert code != 0
    assert "missing.py" in err
    warned = [line for line in err.splitlines() if "is another machine" in line]
    assert len(warned) == 2
    assert "set SPAWN_KAFKA_SECURITY_PROTOCOL=SSL" in warned[0]
    assert "add sslmode=verify-full" in warned[1]
    assert "s3cret" not in err
