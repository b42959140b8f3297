"""`camagent check` as its user runs it."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from tests.signaling.conftest import ScriptedServer
from tests.support import DEADLINE_S, running

SYNTHETIC = ["--video.source=synthetic", "--video.width-px=320", "--video.height-px=240"]
TOKEN = "hush-hush-token"


async def check(*arguments: str, **settings: str) -> tuple[int | None, str, str]:
    """Run the command to its end; give its status and what it printed."""
    clean = {name: value for name, value in os.environ.items() if "CAMAGENT_" not in name}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "camagent", "check", *arguments),
        env=clean | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(4 * DEADLINE_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, output.decode(), errors.decode()


async def welcome(server: ScriptedServer) -> None:
    """Accept whoever comes."""
    while True:
        await (await server.accepted()).welcome()


async def test_an_installation_that_works_is_all_ok(server: ScriptedServer, tmp_path: Path) -> None:
    """Status 0, one line for each thing, and no secret in any."""
    env_file = tmp_path / "camagent.env"
    env_file.write_text(
        f"CAMAGENT_DEVICE_ID=cam\nCAMAGENT_SERVER_URL=ws://127.0.0.1:{server.port}\n"
        f"CAMAGENT_DEVICE_TOKEN={TOKEN}\n"
    )
    async with running(welcome(server)):
        status, output, errors = await check("--env-file", str(env_file), *SYNTHETIC)

    assert (status, errors) == (0, "")
    lines = [line for line in output.splitlines() if "fix: " not in line]
    assert {line.split()[0] for line in lines} <= {"ok", "warning", "skipped"}
    told = [" ".join(line[9:25].split()) for line in lines]
    assert told[:12] == [
        "python",
        "libraries",
        "groups",
        "disk /",
        "disk /run",
        "clock",
        "settings",
        "camera",
        "server name",
        "server port",
        "server TLS",
        "server hello",
    ]
    assert TOKEN not in output
    assert "\x1b" not in output


async def test_json_is_all_that_is_printed(server: ScriptedServer) -> None:
    """A program can read what a person would."""
    url = f"ws://127.0.0.1:{server.port}"
    async with running(welcome(server)):
        status, output, errors = await check(
            "--json", "--device-id=cam", f"--server-url={url}", *SYNTHETIC
        )

    findings = {finding["name"]: finding for finding in json.loads(output)}
    assert (status, errors) == (0, "")
    assert set(findings["camera"]) == {"name", "verdict", "text", "fix"}
    assert findings["server hello"]["verdict"] == "ok"


async def test_a_server_that_is_away_is_status_1() -> None:
    """The camera is tried all the same, and every failure has its fix."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{closed.getsockname()[1]}"
        status, output, _ = await check(
            "--json",
            "--device-id=cam",
            f"--server-url={url}",
            *SYNTHETIC,
            CAMAGENT_DEVICE_TOKEN=TOKEN,
        )

    findings = {finding["name"]: finding for finding in json.loads(output)}
    assert status == 1
    assert findings["camera"]["verdict"] == "ok"
    assert findings["server port"]["verdict"] == "failed"
    assert findings["server port"]["fix"]
    assert TOKEN not in output


async def test_wrong_settings_are_status_78_and_the_machine_is_looked_at() -> None:
    """What does not depend on settings is told; the rest is skipped."""
    status, output, errors = await check("--json", "--server-url=http://a")

    findings = json.loads(output)
    verdicts = {finding["name"]: finding["verdict"] for finding in findings}
    assert (status, errors) == (78, "")
    assert [one["text"].split()[0] for one in findings if one["name"] == "settings"] == [
        "CAMAGENT_DEVICE_ID",
        "CAMAGENT_SERVER_URL=http://a:",
    ]
    assert verdicts["python"] == "ok"
    assert (verdicts["camera"], verdicts["server"], verdicts["ice"]) == ("skipped",) * 3


async def test_help_is_about_the_check() -> None:
    """Its own options are few, and settings are mentioned."""
    status, output, _ = await check("--help")

    assert status == 0
    for told in ("--json", "--ice-server URL", "a setting"):
        assert told in output


async def test_an_option_that_does_not_exist_is_refused() -> None:
    """A slip on the command line is no check without it."""
    status, _, errors = await check("--jsn")

    assert status == 2
    assert "--jsn" in errors
