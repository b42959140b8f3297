"""The service on a booted machine: installed by its own script, watched by Chromium outside."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server_stub.auth import hash_device_token
from server_stub.relay import Relay
from tests.chromium import chromium
from tests.end_to_end.house import DEVICE_ID, Watching, free_port, relay, watching
from tests.rig.machine import RIG_DEVICES, SOURCE, Machine
from tests.support import eventually, until

pytestmark = pytest.mark.rig

_ONLINE_DEADLINE_S = 30.0


def install(port: int, *, device_id: str = DEVICE_ID) -> str:
    """Write the command that a user would type; the check at its end needs the rig's devices too."""
    server = f"--server-url ws://127.0.0.1:{port}"
    return f"{RIG_DEVICES} {SOURCE}/systemd/install.sh --device-id {device_id} {server}"


async def until_online(house: Relay) -> None:
    await until(lambda: DEVICE_ID in house.devices, deadline_s=_ONLINE_DEADLINE_S)


@asynccontextmanager
async def installed(machine: Machine, folder: Path) -> AsyncIterator[Relay]:
    """Hold a relay that the installed agent is connected to."""
    async with relay(folder) as house:
        await machine.run(install(house.port))
        await until_online(house)
        yield house


@asynccontextmanager
async def watched(address: str, house: Relay) -> AsyncIterator[Watching]:
    async with chromium() as browser, watching(browser, address, house.port) as page:
        await page.until_first_frame()
        await page.until_it_moves()
        yield page


async def until_lost(page: Watching) -> None:
    """Wait until the person is told that there is no picture."""

    async def is_told() -> bool:
        return await page.dataset("failure") not in {None, ""}

    await eventually(is_told, deadline_s=60)


async def until_watched_again(page: Watching, house: Relay, before: int) -> None:
    """Wait until a session beyond the first `before` shows a picture that moves."""

    async def is_another() -> bool:
        return len(await house.store.sessions()) > before

    await eventually(is_another, deadline_s=60)
    await page.until("watchState", "streaming", deadline_s=60)
    await page.until_it_moves()


async def test_a_clean_machine_streams_after_one_command(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """The script ends with a running, enabled, sandboxed service, whose camera Chromium sees."""
    async with relay(tmp_path) as house:
        told = await machine.run(install(house.port))
        await until_online(house)
        async with watched(own_address, house):
            status = await machine.run("systemctl status camagent --no-pager")
    pid = machine.property("MainPID")

    assert "camagent runs" in told
    lines = told[told.index("ok       python") :].splitlines()
    verdicts = {line.split()[0] for line in lines if not line.startswith(" ")}
    assert verdicts <= {"ok", "skipped", "warning"}, told
    assert [line for line in lines if re.match("ok +camera ", line)], told
    assert [line for line in lines if re.match("ok +server hello ", line)], told
    assert machine.property("UnitFileState") == "enabled"
    assert re.search(r'Status: "online · 1 viewer · \d+\.\d Mbps · (\d+ °C · )?camera ok"', status)
    assert "CapEff:\t0000000000000000" in machine.sh(f"cat /proc/{pid}/status")
    assert machine.sh("stat -c %a:%U /etc/camagent/camagent.env").strip() == "640:root"
    security = machine.sh("systemd-analyze security --no-pager camagent.service")
    level = re.search(r"exposure level for camagent.service: (\d\.\d)", security)
    assert level is not None
    assert float(level[1]) <= 2.0


async def test_the_journal_tells_the_story(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """Each value is a field to search by, priorities are right, and who watched stands there."""
    async with installed(machine, tmp_path) as house:
        async with watched(own_address, house):
            pass
        await eventually(
            lambda: asyncio.to_thread(machine.journal, "EVENT=session.closed"), deadline_s=20
        )
    (closed,) = machine.journal("EVENT=session.closed")

    assert closed["USER_ID"] == "user"
    assert closed["DEVICE_ID"] == DEVICE_ID
    assert float(closed["DURATION_S"]) > 0
    assert closed["PAIR"].startswith("host/")
    assert closed["PRIORITY"] == "6"
    assert closed["SYSLOG_IDENTIFIER"] == "camagent"
    assert closed["MESSAGE"].startswith("session.closed outcome=")
    found = machine.journal(f"SESSION_ID={closed['SESSION_ID']}")
    assert [entry["EVENT"] for entry in found] == ["session.opened", "session.closed"]
    # Nothing needs a look but the end of the relay, which is the test's.
    assert [entry["EVENT"] for entry in machine.journal("PRIORITY=3", "PRIORITY=4")] == [
        "link.lost"
    ]


async def test_an_upgrade_while_watched_brings_the_picture_back(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """The page shows the new version's picture by itself, and so again after a downgrade."""
    async with installed(machine, tmp_path) as house, watched(own_address, house) as page:
        settings = machine.sh("cat /etc/camagent/camagent.env")
        for version in ("9.9.9", "0.0.1"):
            machine.put_source(tmp_path / version, version=version)
            before = len(await house.store.sessions())
            told = await machine.run(f"{SOURCE}/systemd/install.sh")
            assert f"version {version} is installed" in told
            await until_watched_again(page, house, before)
            assert machine.sh("camagent --version").strip() == f"camagent {version}"
        assert machine.sh("cat /etc/camagent/camagent.env") == settings
        assert len(machine.sh("ls /opt/camagent/releases").split()) == 2


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("PIP_INDEX_URL=http://127.0.0.1:9/simple PIP_RETRIES=0", "could not be installed"),
        ("CAMAGENT_BREAKS=at-start", "back to the one before"),
    ],
)
async def test_an_upgrade_that_fails_leaves_the_old_version_running(
    machine: Machine, tmp_path: Path, broken: str, says: str
) -> None:
    """Without a network, and with a version that does not run, what ran before runs afterwards."""
    async with installed(machine, tmp_path) as house:
        source = machine.put_source(tmp_path / "next", version="9.9.9")
        if "BREAKS" in broken:
            agent = f"{source}/camagent/agent.py"
            machine.sh(f"sed -i 's/^async def run_agent.*/&\\n    raise SystemExit(1)/' {agent}")
        told = await machine.run(f"{broken} {source}/systemd/install.sh", check=False)
        assert says in told
        assert "nothing was changed" in told
        await until_online(house)
        assert machine.sh("camagent --version").strip() != "camagent 9.9.9"
        assert machine.property("ActiveState") == "active"
        left = machine.sh("ls /etc/camagent /opt/camagent/releases")
        assert ".before" not in left


@pytest.mark.parametrize("purge", [False, True], ids=["remove", "purge"])
async def test_uninstalling_leaves_the_settings_at_most(
    machine: Machine, tmp_path: Path, purge: bool
) -> None:
    """What the installer brought is gone, as if it had never been there."""
    look = "find /etc /opt /usr/local /var/lib /run -path '*camagent*' -not -path '*.d*'"
    before = set(machine.sh(look).split())
    async with installed(machine, tmp_path):
        machine.sh(f"{SOURCE}/systemd/uninstall.sh {'--purge' if purge else ''}")

    kept = set() if purge else {"/etc/camagent", "/etc/camagent/camagent.env"}
    assert set(machine.sh(look).split()) - before == kept
    assert machine.property("LoadState") == "not-found"
    if not purge:
        settings = machine.sh("cat /etc/camagent/camagent.env")
        assert f"CAMAGENT_DEVICE_ID={DEVICE_ID}" in settings


async def test_a_wrong_setting_is_one_line_and_no_restart(machine: Machine, tmp_path: Path) -> None:
    """The service stays down, and the journal's only line of the agent says what is right."""
    wrong = {
        "CAMAGENT_SERVER_URL=http://x": "camagent: CAMAGENT_SERVER_URL=http://x: ",
        "CAMAGENT_DEVICE_ID=": "camagent: CAMAGENT_DEVICE_ID is not set (the name under which",
    }
    async with installed(machine, tmp_path) as house:
        for setting, line in wrong.items():
            name = setting.partition("=")[0]
            right = f"{name}={DEVICE_ID if name.endswith('ID') else f'ws://127.0.0.1:{house.port}'}"
            file = "/etc/camagent/camagent.env"
            cursor = machine.sh("journalctl -u camagent -n 0 --show-cursor").split("cursor: ")[1]
            await machine.run(f"sed -i 's|^{name}=.*|{setting}|' {file}")
            await machine.run("systemctl restart camagent", check=False)
            told = machine.messages("PRIORITY=3", f"--after-cursor='{cursor.strip()}'")
            assert len(told) == 1
            assert told[0].startswith(line)
            assert machine.property("ActiveState") == "failed"
            assert machine.property("NRestarts") == "0"
            assert machine.property("ExecMainStatus") == "78"
            await machine.run(f"sed -i 's|^{name}=.*|{right}|' {file}")


async def test_what_the_camera_cannot_do_is_one_line_and_no_restart(
    machine: Machine, tmp_path: Path
) -> None:
    """It is found by opening the camera within the sandbox, a moment after the start."""
    async with installed(machine, tmp_path):
        cursor = machine.sh("journalctl -u camagent -n 0 --show-cursor").split("cursor: ")[1]
        machine.sh("echo CAMAGENT_CAMERA__CONTRAST=40 >> /etc/camagent/camagent.env")
        await machine.run("systemctl restart camagent", check=False)
        await until(lambda: machine.property("ActiveState") == "failed", deadline_s=30)
        told = machine.messages("PRIORITY=3", f"--after-cursor='{cursor.strip()}'")

    assert told == ["camagent: CAMAGENT_CAMERA__CONTRAST=40: the imx708 takes 0 to 32"]
    assert machine.property("NRestarts") == "0"
    assert machine.property("ExecMainStatus") == "78"


@pytest.mark.parametrize(
    ("device_id", "line"),
    [
        ("stranger", "server rejected this device: Device not found"),
        ("locked", "server rejected this device: Unauthorized"),
    ],
)
async def test_a_device_that_the_server_does_not_let_in_says_so(
    machine: Machine, tmp_path: Path, device_id: str, line: str
) -> None:
    """The start is no failure; status and journal say why nobody can watch."""
    async with relay(tmp_path) as house:
        await house.store.add_device("locked", token_hash=hash_device_token("another token"))
        await machine.run(install(house.port, device_id=device_id), check=False)

        async def is_told() -> bool:
            return line in await machine.run("systemctl show -P StatusText camagent")

        await eventually(is_told, deadline_s=20)
    assert machine.property("ActiveState") == "active"
    (rejected,) = machine.journal("EVENT=link.rejected", "PRIORITY=4")
    assert line in rejected["CAUSE"]


async def test_a_server_that_comes_late_is_found(machine: Machine, tmp_path: Path) -> None:
    """The start does not wait for a server, and the agent is online soon after there is one."""
    port = free_port()
    await machine.run(install(port), check=False)
    assert machine.property("ActiveState") == "active"
    assert machine.property("StatusText").startswith("offline, retrying: ")
    async with relay(tmp_path, port=port) as house:
        await until_online(house)


_IMPATIENT = """
cat > /etc/systemd/system/camagent.service.d/watchdog.conf <<END
[Service]
WatchdogSec=8
TimeoutAbortSec=2
RestartSec=0
END
mkdir -p /srv/hook && cat > /srv/hook/sitecustomize.py <<END
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))
END
printf '[Service]\\nEnvironment=PYTHONPATH=/srv/hook\\n' > /etc/systemd/system/camagent.service.d/hook.conf
systemctl daemon-reload && systemctl restart camagent
"""


@pytest.mark.parametrize(
    "fault",
    [
        "kill -STOP $PID",
        "kill -USR1 $PID",
        "echo enc-hang > /srv/fault/encoder",
        "echo stall > /srv/fault/camera",
    ],
    ids=["stopped", "loop blocked", "encoder hangs", "camera stalls"],
)
async def test_whatever_hangs_the_picture_comes_back(
    machine: Machine, tmp_path: Path, own_address: str, fault: str
) -> None:
    """A stopped process, a blocked loop, a hanging encoder and a silent camera heal by themselves."""
    async with installed(machine, tmp_path) as house:
        machine.sh(_IMPATIENT)
        await until_online(house)
        async with watched(own_address, house) as page:
            first = machine.property("MainPID")
            before = len(await house.store.sessions())
            machine.sh(f"PID={first}; {fault}")
            await until_lost(page)
            machine.sh(": > /srv/fault/encoder; : > /srv/fault/camera")
            await until_watched_again(page, house, before)
        second = machine.property("MainPID")
        messages = machine.messages()

    if "kill" in fault:
        assert second != first
        assert machine.property("NRestarts") == "1"
    if "USR1" in fault:
        assert any("sitecustomize.py" in message for message in messages), "the stack is told"


async def test_a_stop_tells_viewers_and_takes_less_than_five_seconds(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """The page learns it at once, the process is gone in time, and the end is no failure."""
    async with installed(machine, tmp_path) as house, watched(own_address, house) as page:
        started_at_s = asyncio.get_running_loop().time()
        await machine.run("systemctl stop camagent")
        took_s = asyncio.get_running_loop().time() - started_at_s
        await until(lambda: not house.devices)
        await until_lost(page)

    assert took_s < 5
    assert machine.property("Result") == "success"
    assert "agent.stopped" in machine.journal()[-1]["MESSAGE"]


async def test_a_disk_that_is_full_stops_the_installer_before_it_starts(machine: Machine) -> None:
    """It says how much is missing, and leaves nothing behind."""
    machine.sh("mount -t tmpfs -o size=50m tmpfs /opt")
    told = machine.sh(f"{SOURCE}/systemd/install.sh --no-start", check=False)

    assert re.search(r"/opt has \d+ MB free, and 400 MB are needed", told)
    assert machine.sh("ls -A /opt; ls /etc/camagent 2>/dev/null", check=False) == ""
