"""The `camagent-relay` program: its settings, its commands, its exits."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from server_stub.auth import read_token
from server_stub.cli import CommandFailed, run_command
from server_stub.settings import RelaySettings
from tests.conftest import missing
from tests.server_stub.peers import SECRET, relay_settings

ROOT = Path(__file__).parents[2]
JWT = {"CAMAGENT_RELAY_JWT_SECRET": SECRET}
JWT_MISSING = (
    "camagent-relay: CAMAGENT_RELAY_JWT_SECRET is not set (the HS256 secret of viewers' tokens, "
    "32 characters or more, such as the output of: openssl rand -base64 48)"
)


class Program:
    """Runs the relay's commands in a folder of their own, with nothing else set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        url = f"sqlite+aiosqlite:///{self.folder / 'relay.db'}"
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return kept | {"PYTHONPATH": str(ROOT), "CAMAGENT_RELAY_DATABASE_URL": url} | settings

    def run(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "server_stub", *arguments],
            cwd=self.folder,
            env=self._environment(settings),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def succeed(self, *arguments: str, **settings: str) -> str:
        done = self.run(*arguments, **settings)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def fail(self, *arguments: str, **settings: str) -> tuple[int, list[str]]:
        done = self.run(*arguments, **settings)
        assert done.returncode != 0
        assert done.stdout == ""
        return done.returncode, done.stderr.splitlines()

    @contextmanager
    def serving(self, *arguments: str, **settings: str) -> Iterator["subprocess.Popen[str]"]:
        process = subprocess.Popen(
            [sys.executable, "-m", "server_stub", "serve", *arguments],
            cwd=self.folder,
            env=self._environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def relay_program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def _url_of(process: "subprocess.Popen[str]") -> str:
    """Read the log up to where it says what it listens on."""
    assert process.stdout is not None
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        assert select.select([process.stdout], [], [], 20)[0]
        line = process.stdout.readline()
        assert line, "the relay ended"
        if found := re.search(r"http://[0-9.]+:\d+", line):
            return found[0]
    raise AssertionError("the relay does not listen")


# Settings


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"jwt_secret": "short"}, "too short"),
        ({"port": 65536}, "less than or equal to 65535"),
        ({"idle_timeout_s": 0}, "greater than 0"),
        ({"longest_session_s": "inf"}, "finite"),
        ({"turn_urls": "turn:turn.example.com"}, "CAMAGENT_RELAY_TURN_SECRET"),
        ({"turn_urls": "turn.example.com:3478", "turn_secret": "s"}, "no such URL"),
        ({"turn_urls": "turn:a?transport=sctp", "turn_secret": "s"}, "no such URL"),
        ({"stun_urls": "stun:a:3478,turn:b:3478"}, "'turn:b:3478' is no such URL"),
        ({"stun_urls": "stun://a:3478"}, "no such URL"),
        ({"stun_urls": ",".join(["stun:a"] * 17)}, "at most 16 items"),
        ({"redis_url": "localhost:6379"}, "no Redis URL"),
        ({"redis_url": "redis://localhost:port"}, "no Redis URL"),
        ({"redis_url": "redis://localhost/0?nonsense=1"}, "no Redis URL"),
        ({"redis_url": "redis://localhost/0?socket_timeout=soon"}, "no Redis URL"),
        ({"messages_per_second": "inf"}, "finite"),
        ({"database_url": "relay.db"}, "no database URL"),
        ({"log_level": "loud"}, "'debug', 'info', 'warning' or 'error'"),
        ({"messages_at_once": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    """A setting out of its range is found at the start, and secrets are not quoted."""
    with pytest.raises(ValidationError, match=problem) as refused:
        relay_settings(tmp_path, **changes)
    assert len(refused.value.errors()) == 1


def test_lists_are_separated_by_commas(tmp_path: Path) -> None:
    """Several URLs stand in one variable."""
    settings = relay_settings(tmp_path, stun_urls=" stun:a:3478, ,stun:b:3478 ")
    assert settings.stun_urls == ("stun:a:3478", "stun:b:3478")


def test_secrets_do_not_show(tmp_path: Path) -> None:
    """Settings can be printed without telling anybody's secret."""
    settings = relay_settings(tmp_path, turn_secret="do not tell", redis_url="redis://:tell@h")
    shown = repr(settings)
    assert SECRET not in shown
    assert "tell" not in shown
    assert isinstance(settings, RelaySettings)


def test_each_wrong_setting_has_its_line(relay_program: Program) -> None:
    """All that is wrong is said at once, one line each, and the exit is 78."""
    code, lines = relay_program.fail(
        "serve",
        CAMAGENT_RELAY_PORT="http",
        CAMAGENT_RELAY_HELLO_DEADLINE_S="-1",
        CAMAGENT_RELAY_REDIS_URL="secret@nowhere",
    )
    assert code == 78
    assert len(lines) == 4
    assert lines[0].startswith("camagent-relay: CAMAGENT_RELAY_PORT=http: ")
    assert lines[1].startswith("camagent-relay: CAMAGENT_RELAY_REDIS_URL: no Redis URL (")
    assert lines[2] == JWT_MISSING
    assert lines[3].startswith("camagent-relay: CAMAGENT_RELAY_HELLO_DEADLINE_S=-1: ")


@pytest.mark.parametrize("command", [["serve"], ["token", "user"]])
def test_what_signs_needs_the_secret(relay_program: Program, command: list[str]) -> None:
    """Without the tokens' secret nothing is served or signed."""
    assert relay_program.fail(*command) == (78, [JWT_MISSING])


# Commands


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Give what runs a command in this process, where it starts faster, and what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAMAGENT_ENV_FILE", raising=False)
    monkeypatch.setenv("CAMAGENT_RELAY_DATABASE_URL", "sqlite+aiosqlite:///relay.db")
    monkeypatch.setenv("CAMAGENT_RELAY_PORT", "no concern of theirs")

    def run(*arguments: str) -> str:
        run_command(arguments)
        return capsys.readouterr().out

    return run


def test_devices_are_added_listed_and_removed(command: Callable[..., str], tmp_path: Path) -> None:
    """A device's token is printed once, when it is added, and kept nowhere."""
    token = command("device", "add", "cam").strip()
    assert len(token) >= 43
    assert command("device", "add", "open", "--without-token") == ""
    listed = command("device", "list")
    assert listed == "cam\ttoken\tnever seen\nopen\tno token\tnever seen\n"
    for path in tmp_path.iterdir():
        assert token.encode() not in path.read_bytes()

    assert command("device", "remove", "open") == ""
    assert command("device", "list") == "cam\ttoken\tnever seen\n"


def test_rights_are_granted_and_revoked(command: Callable[..., str]) -> None:
    """A grant twice is one grant; what is not there cannot be taken away."""
    command("device", "add", "cam")
    command("grant", "user", "cam")
    command("grant", "user", "cam")
    command("revoke", "user", "cam")
    with pytest.raises(CommandFailed, match="user had no right to watch cam"):
        command("revoke", "user", "cam")


def test_what_is_unknown_or_there_already_is_said(command: Callable[..., str]) -> None:
    """A command that cannot be carried out names what is in its way."""
    command("device", "add", "cam")
    with pytest.raises(CommandFailed, match=r"^there is no device nobody; add it first$"):
        command("grant", "user", "nobody")
    with pytest.raises(CommandFailed, match=r"^there is no device nobody$"):
        command("device", "remove", "nobody")
    with pytest.raises(CommandFailed, match="the device cam exists already"):
        command("device", "add", "cam")


def test_a_device_comes_with_its_token(relay_program: Program) -> None:
    """As a program, too, it needs no secret for this, and prints the token alone."""
    assert re.fullmatch(r"[\w-]{43}\n", relay_program.succeed("device", "add", "cam"))
    assert relay_program.fail("grant", "user", "nobody") == (
        1,
        ["camagent-relay: there is no device nobody; add it first"],
    )


@pytest.mark.parametrize(
    "url", ["sqlite+aiosqlite:////nowhere/relay.db", "nosuch+driver://host/name", "sqlite://"]
)
def test_a_useless_database_is_one_line(relay_program: Program, url: str) -> None:
    """A database that cannot be used is named with its setting, and the exit is 1."""
    code, lines = relay_program.fail("device", "list", CAMAGENT_RELAY_DATABASE_URL=url)
    assert code == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith("camagent-relay: the database (CAMAGENT_RELAY_DATABASE_URL) ")


def test_tokens_are_signed(relay_program: Program) -> None:
    """A token speaks for the user for as long as was asked."""
    token = relay_program.succeed("token", "user", "--valid-for-h", "2", **JWT).strip()
    identity = read_token(SECRET, token)
    assert identity.user_id == "user"
    assert 7100 < identity.expires_at_s - time.time() <= 7200


@pytest.mark.parametrize(
    "arguments",
    [
        ["device", "add", "../etc"],
        ["device", "add", "x" * 65],
        ["token", ""],
        ["token", "user", "--valid-for-h", "-1"],
        ["token", "user", "--valid-for-h", "nan"],
        ["token", "user", "--valid-for-h", "soon"],
        ["token", "user", "--valid-for-h", "1e9"],
        ["device", "list", "--colour", "blue"],
        ["dance"],
        [],
    ],
)
def test_wrong_arguments_are_refused(
    command: Callable[..., str], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """What no command takes is refused with how it is used."""
    with pytest.raises(SystemExit) as refused:
        command(*arguments)
    assert refused.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: camagent-relay")
    assert "_hours" not in said


def test_help_of_serve_is_that_of_the_settings(
    command: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every setting stands there as an option, with what would be right."""
    with pytest.raises(SystemExit) as left:
        command("serve", "--help")
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: camagent-relay serve ")
    for name, field in RelaySettings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in said
        assert field.description is not None
        assert "".join(field.description.split()) in "".join(said.split())  # lines are wrapped


# Serving


def test_it_serves_until_asked_to_stop(relay_program: Program) -> None:
    """`serve` answers on its port, and SIGTERM ends it with exit 0."""
    with relay_program.serving("--host", "127.0.0.1", "--port", "0", **JWT) as process:
        url = _url_of(process)
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:  # noqa: S310 - our own
            assert answer.read() == b"ok\n"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "relay.stopping" in output
        assert "Traceback" not in output


def test_the_url_in_the_log_can_be_opened(relay_program: Program) -> None:
    """An IPv6 address stands in brackets there."""
    with relay_program.serving("--host", "::1", "--port", "0", **JWT) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
    if "cannot listen" in line:
        missing("this machine has no IPv6 loopback")
    assert re.search(r"http://\[::1\]:\d+", line), line


def test_a_crash_is_cleaned_up_after(relay_program: Program) -> None:
    """After a kill the next start serves the same database."""
    for _ in range(2):
        with relay_program.serving("--host", "127.0.0.1", "--port", "0", **JWT) as process:
            _url_of(process)


def test_a_port_that_is_taken_is_one_line(relay_program: Program) -> None:
    """Where it cannot listen, the program says which settings to look at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, lines = relay_program.fail("serve", "--host", "127.0.0.1", "--port", port, **JWT)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(
        "camagent-relay: cannot listen (CAMAGENT_RELAY_HOST, CAMAGENT_RELAY_PORT): "
    )


def test_a_slip_of_the_pen_is_said(relay_program: Program) -> None:
    """A setting that does not exist is named with the one that was perhaps meant."""
    names = {"CAMAGENT_RELAY_HELO_DEADLINE_S": "3"} | JWT
    with relay_program.serving("--host", "127.0.0.1", "--port", "0", **names) as process:
        assert process.stdout is not None
        assert "CAMAGENT_RELAY_HELLO_DEADLINE_S" in process.stdout.readline()


def test_an_agents_installation_is_told_what_a_relay_needs() -> None:
    """Without the relay's packages the program says how to get them, in one line."""
    script = "import sys; sys.modules['aiohttp'] = None; import server_stub.__main__"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    told = "camagent-relay: aiohttp is missing; pip install 'camagent[server]'"
    assert done.stderr.splitlines() == [told]
