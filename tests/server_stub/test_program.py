"""The `camagent-relay` program: its settings, its commands, its exits."""

import asyncio
import json
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from server_stub.auth import TokenReader
from server_stub.cli import run_command
from server_stub.commands import CommandFailed
from server_stub.keys import FixedKeys, secret_key
from server_stub.settings import RelaySettings
from server_stub.store import open_store
from tests.conftest import missing
from tests.server_stub.identity_provider import public_pem
from tests.server_stub.peers import SECRET, relay_settings

ROOT = Path(__file__).parents[2]
PEM = public_pem("ES256")
JWKS = "https://id.example.com/keys"
JWT = {"CAMAGENT_RELAY_JWT_SECRET": SECRET}
NO_TEXT = os.fsdecode("café".encode("latin-1"))
JWT_MISSING = (
    "camagent-relay: CAMAGENT_RELAY_JWT_SECRET: is not set, nor is CAMAGENT_RELAY_JWT_PUBLIC_KEY or "
    "CAMAGENT_RELAY_JWT_JWKS_URL (the HS256 secret of viewers' tokens, "
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
        ({"jwt_secret": None}, "is not set, nor is"),
        ({"jwt_secret": PEM}, "a key is no secret"),
        ({"jwt_public_key": PEM}, "CAMAGENT_RELAY_JWT_PUBLIC_KEY is set as well, and one has to"),
        ({"jwt_jwks_url": JWKS}, "CAMAGENT_RELAY_JWT_JWKS_URL is set as well, and one has to go"),
        (
            {"jwt_secret": None, "jwt_public_key": PEM, "jwt_jwks_url": JWKS},
            "CAMAGENT_RELAY_JWT_PUBLIC_KEY is set as well, and one has to go",
        ),
        ({"jwt_secret": None, "jwt_public_key": "/nowhere.pem"}, "cannot be read: No such file"),
        ({"jwt_secret": None, "jwt_public_key": str(ROOT / "LICENSE")}, "holds no PEM public key"),
        ({"jwt_secret": None, "jwt_public_key": "/\0"}, "cannot be read: no text"),
        ({"jwt_secret": None, "jwt_jwks_url": "id.example.com"}, "no http or https URL"),
        ({"jwt_secret": None, "jwt_jwks_url": "https://[::1/keys"}, "Invalid IPv6 URL"),
        ({"jwt_secret": None, "jwt_jwks_url": "https://a:port/"}, "Port could not be cast"),
        ({"jwt_issuer": ""}, "at least 1 character"),
        ({"allowed_origins": "https://a.example.com/page"}, "is no origin"),
        ({"allowed_origins": "a.example.com"}, "is no origin"),
        ({"trusted_proxies": "proxy"}, "'proxy' does not appear to be an IPv4 or IPv6 network"),
        ({"trusted_proxies": "10.0.0.1/8"}, "has host bits set"),
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
        ({"database_url": "postgresql://user:p@ss:word@host/db"}, "no database URL"),
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


def test_a_public_key_comes_in_a_file_or_as_text(tmp_path: Path) -> None:
    """What is kept is the text, be it on one line, as some environments have it."""
    path = tmp_path / "key.pem"
    path.write_text(PEM)
    for value in (str(path), PEM, PEM.replace("\n", "\\n")):
        settings = relay_settings(tmp_path, jwt_secret=None, jwt_public_key=value)
        assert settings.jwt_public_key == SecretStr(PEM)


def test_origins_and_proxies_are_kept_as_they_are_compared(tmp_path: Path) -> None:
    """Ports that go without saying go, and an address is a network of one."""
    settings = relay_settings(
        tmp_path,
        allowed_origins="https://Home.example.com:443/, *",
        trusted_proxies="127.0.0.1, 2001:db8::/32",
    )
    assert settings.allowed_origins == ("https://home.example.com", "*")
    assert [str(one) for one in settings.trusted_proxies] == ["127.0.0.1/32", "2001:db8::/32"]


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
    assert JWT_MISSING in lines
    assert lines[3].startswith("camagent-relay: CAMAGENT_RELAY_HELLO_DEADLINE_S=-1: ")


def test_a_wrong_key_is_one_line(relay_program: Program) -> None:
    """The line names the setting, what is wrong and what would be right; the exit is 78."""
    code, lines = relay_program.fail("serve", CAMAGENT_RELAY_JWT_PUBLIC_KEY="/nowhere.pem")
    assert code == 78
    right = (
        "a file with the PEM public keys that viewers' tokens are checked with, RSA, P-256 or "
        "Ed25519, or its text; instead of a secret"
    )
    name = "camagent-relay: CAMAGENT_RELAY_JWT_PUBLIC_KEY"
    problem = "the file cannot be read: No such file or directory"
    assert lines == [f"{name}: {problem} ({right})"]

    private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----"
    code, lines = relay_program.fail("serve", CAMAGENT_RELAY_JWT_PUBLIC_KEY=private)
    problem = "holds a private key, where a PUBLIC KEY is needed"
    assert (code, lines) == (78, [f"{name}: {problem} ({right})"])


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


def test_a_token_is_rotated_and_revoked(command: Callable[..., str], tmp_path: Path) -> None:
    """A new token is printed once; the list says what of the older ones is left."""
    old = command("device", "add", "cam").strip()
    new = command("device", "rotate", "cam").strip()
    assert len({old, new}) == 2
    assert re.fullmatch(
        r"cam\ttoken, and an older one until \d{4}-\d\d-\d\d \d\d:\d\d UTC\tnever seen\n",
        command("device", "list"),
    )
    (listed,) = json.loads(command("device", "list", "--json"))
    assert (listed["device_id"], listed["needs_token"]) == ("cam", True)
    left = datetime.fromisoformat(listed["tokens"][1]["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23.9) < left <= timedelta(hours=24)
    assert listed["tokens"][0] == {"expires_at": None}

    command("device", "rotate", "cam", "--overlap-h", "0")
    assert command("device", "list") == "cam\ttoken\tnever seen\n"
    assert command("device", "revoke-token", "cam") == ""
    assert command("device", "list") == "cam\ttoken revoked\tnever seen\n"
    for path in tmp_path.iterdir():
        assert new.encode() not in path.read_bytes()


def test_grants_are_listed(command: Callable[..., str]) -> None:
    """As lines, or as JSON; all, or a user's or a device's."""
    assert command("grants") == ""
    for device_id in ("attic", "cam"):
        command("device", "add", device_id)
        command("grant", "alice", device_id)
    command("grant", "bob", "cam")
    assert command("grants") == "alice\tattic\nalice\tcam\nbob\tcam\n"
    assert command("grants", "--user", "bob") == "bob\tcam\n"
    assert json.loads(command("grants", "--device", "attic", "--json")) == [
        {"user_id": "alice", "device_id": "attic"}
    ]


async def _two_sessions(folder: Path) -> None:
    async with open_store(f"sqlite+aiosqlite:///{folder / 'relay.db'}") as store:
        await store.start_session("s1", "cam", "alice", instance_id="here")
        await store.end_session("s1", "timeout")
        await store.start_session("s2", "cam", "bob", instance_id="here")


def test_sessions_are_listed_and_ended(command: Callable[..., str], tmp_path: Path) -> None:
    """A live session can be asked to end; one that is over, or none, cannot."""
    asyncio.run(_two_sessions(tmp_path))
    first, second = command("sessions", "list").splitlines()
    assert re.fullmatch(r"s1\talice\tcam\t[0-9: -]+ UTC\ttimeout after \d+ s", first)
    assert re.fullmatch(r"s2\tbob\tcam\t[0-9: -]+ UTC\tlive", second)
    (live,) = json.loads(command("sessions", "list", "--live", "--json"))
    assert (live["session_id"], live["ended_at"], live["reason"]) == ("s2", None, None)
    assert command("sessions", "list", "--live", "--user", "alice") == ""
    assert command("sessions", "list", "--device", "cam", "--user", "bob").startswith("s2\t")

    assert command("sessions", "end", "s2") == ""
    for session_id in ("s1", "nonsense"):
        with pytest.raises(CommandFailed, match=f"there is no live session {session_id}"):
            command("sessions", "end", session_id)


def test_what_is_unknown_or_there_already_is_said(command: Callable[..., str]) -> None:
    """A command that cannot be carried out names what is in its way."""
    command("device", "add", "cam")
    with pytest.raises(CommandFailed, match=r"^there is no device nobody; add it first$"):
        command("grant", "user", "nobody")
    with pytest.raises(CommandFailed, match=r"^there is no device nobody$"):
        command("device", "remove", "nobody")
    with pytest.raises(CommandFailed, match=r"^there is no device nobody; add it first$"):
        command("device", "rotate", "nobody")
    with pytest.raises(CommandFailed, match=r"^there is no device nobody$"):
        command("device", "revoke-token", "nobody")
    with pytest.raises(CommandFailed, match="the device cam exists already"):
        command("device", "add", "cam")


def test_a_device_comes_with_its_token(relay_program: Program) -> None:
    """As a program, too, it needs no secret for this, and prints the token alone."""
    assert re.fullmatch(r"[\w-]{43}\n", relay_program.succeed("device", "add", "cam"))
    assert relay_program.fail("grant", "user", "nobody") == (
        1,
        ["camagent-relay: there is no device nobody; add it first"],
    )


def test_a_useless_database_is_one_line(relay_program: Program) -> None:
    """A database that cannot be used is named with its setting, and the exit is 1."""
    url = "sqlite+aiosqlite:////nowhere/relay.db"
    code, lines = relay_program.fail("device", "list", CAMAGENT_RELAY_DATABASE_URL=url)
    assert code == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith("camagent-relay: the database (CAMAGENT_RELAY_DATABASE_URL) ")


@pytest.mark.parametrize("url", ["nosuch+driver://host/name", "sqlite://", "mysql://host/name"])
def test_a_database_of_another_kind_stops_the_start(relay_program: Program, url: str) -> None:
    """Starting again would not help: the exit is 78, with what would be right."""
    code, lines = relay_program.fail("device", "list", CAMAGENT_RELAY_DATABASE_URL=url)
    assert code == 78
    assert len(lines) == 1, lines
    assert "CAMAGENT_RELAY_DATABASE_URL" in lines[0]
    assert "is no database of ours" in lines[0]
    assert "postgresql" in lines[0]


def test_tokens_are_signed(relay_program: Program) -> None:
    """A token speaks for the user for as long as was asked."""
    token = relay_program.succeed("token", "user", "--valid-for-h", "2", **JWT).strip()
    identity = asyncio.run(TokenReader(FixedKeys([secret_key(SECRET)])).read(token))
    assert identity.user_id == "user"
    assert 7100 < identity.expires_at_s - time.time() <= 7200


def test_a_relay_signs_what_it_takes(relay_program: Program) -> None:
    """With an issuer and an audience in the settings, its own tokens name both."""
    names = {"CAMAGENT_RELAY_JWT_ISSUER": "us", "CAMAGENT_RELAY_JWT_AUDIENCE": "relay"} | JWT
    token = relay_program.succeed("token", "user", **names).strip()
    reader = TokenReader(FixedKeys([secret_key(SECRET)]), issuer="us", audience="relay")
    assert asyncio.run(reader.read(token)).user_id == "user"


@pytest.mark.parametrize(
    ("name", "value"), [("PUBLIC_KEY", PEM), ("JWKS_URL", JWKS)], ids=["public key", "URL"]
)
def test_what_is_signed_elsewhere_is_not_signed_here(
    relay_program: Program, name: str, value: str
) -> None:
    """Without the secret there is nothing to sign with, and the line says so."""
    setting = f"CAMAGENT_RELAY_JWT_{name}"
    code, (line,) = relay_program.fail("token", "user", **{setting: value})
    assert code == 1
    assert line == (
        f"camagent-relay: with {setting} tokens come from whoever has the private key; "
        "only a relay with CAMAGENT_RELAY_JWT_SECRET can sign them itself"
    )


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
        ["token", "a\nb"],
        ["device", "rotate", "cam", "--overlap-h", "-1"],
        ["device", "rotate", "cam", "--overlap-h", "1e9"],
        ["device"],
        ["sessions"],
        ["device", "list", "--colour", "blue"],
        ["dance"],
        [],
        ["device", "remove", NO_TEXT],
        ["grant", "user", NO_TEXT],
        ["grants", f"--user={NO_TEXT}"],
        ["sessions", "end", NO_TEXT],
        ["serve", "--host", NO_TEXT],
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


def test_what_is_no_text_is_said_to_be_none(relay_program: Program) -> None:
    """A name in another encoding than this program's, as the shell gives it."""
    code, lines = relay_program.fail("device", "remove", NO_TEXT)
    assert code == 2
    assert lines[-1] == r"camagent-relay: error: 'caf\udce9' is not UTF-8 text"
    assert "Traceback" not in "".join(lines)


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


def test_an_output_that_cannot_be_written_is_said(relay_program: Program) -> None:
    """A disk that is full is named, and nothing of the network; `| head` has simply read enough."""
    relay_program.succeed("device", "add", "cam")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as unread, Path("/dev/full").open("w") as full:
        for output, said in ((unread, ""), (full, "the output cannot be written: ")):
            done = subprocess.run(
                [sys.executable, "-m", "server_stub", "device", "list"],
                env=relay_program._environment({}),
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == 1
            assert done.stderr.startswith(f"camagent-relay: {said}" if said else "")
            assert len(done.stderr.splitlines()) == bool(said)


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
