"""The service on a booted machine, once installed: its settings, its journal, and what ends it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_stub.auth import hash_device_token
from tests.end_to_end.house import DEVICE_ID, free_port, relay
from tests.rig.machine import SOURCE, Machine, booted
from tests.rig.serving import served, start, until_lost, until_online, until_watched_again, watched
from tests.support import eventually, until

pytestmark = [pytest.mark.rig, pytest.mark.machine]

_STATUS = "systemctl show -P StatusText camagent"
_IS_RUNNING = "while [ $(systemctl show -P MainPID camagent) = "
_AS_INSTALLED = """
systemctl stop 'camagent*'
systemctl disable --quiet camagent@door 2>/dev/null
systemctl reset-failed 'camagent*'
cd /etc/systemd/system/camagent.service.d && rm -f watchdog.conf hook.conf && systemctl daemon-reload
: > /srv/fault/camera; : > /srv/fault/encoder
cd /etc/camagent && rm -f door.env && cp -a camagent.env.installed camagent.env
"""


@pytest.fixture(scope="module")
def installed_machine(pi_rig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Give a machine on which the agent is installed and not started."""
    with booted(pi_rig) as built:
        built.become_a_pi()
        built.put_source(tmp_path_factory.mktemp("source"))
        built.sh(f"{SOURCE}/systemd/install.sh --device-id x --server-url ws://x --no-start")
        built.sh("cp -a /etc/camagent/camagent.env /etc/camagent/camagent.env.installed")
        yield built


@pytest.fixture
def machine(installed_machine: Machine) -> Machine:
    """Give it as it was after the installation, whatever others did to it."""
    installed_machine.sh(_AS_INSTALLED)
    installed_machine.forget_journal()
    return installed_machine


async def test_the_journal_tells_the_story(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """Each value is a field to search by, priorities are right, and who watched stands there."""
    async with served(machine, tmp_path) as house:
        async with watched(own_address, house):
            pass
        await eventually(
            lambda: asyncio.to_thread(machine.journal, "EVENT=session.closed"), deadline_s=20
        )
        warnings = await asyncio.to_thread(machine.journal, "PRIORITY=3", "PRIORITY=4")
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
    assert warnings == [], "nothing needs a look"


async def test_a_wrong_setting_is_one_line_and_no_restart(machine: Machine, tmp_path: Path) -> None:
    """The service stays down, and the journal's only line of the agent says what is right."""
    wrong = {
        "CAMAGENT_SERVER_URL=http://x": "camagent: CAMAGENT_SERVER_URL=http://x: ",
        "CAMAGENT_DEVICE_ID=": "camagent: CAMAGENT_DEVICE_ID is not set (the name under which",
    }
    async with served(machine, tmp_path) as house:
        for setting, line in wrong.items():
            name = setting.partition("=")[0]
            right = f"{name}={DEVICE_ID if name.endswith('ID') else f'ws://127.0.0.1:{house.port}'}"
            file = "/etc/camagent/camagent.env"
            machine.forget_journal()
            await machine.run(f"sed -i 's|^{name}=.*|{setting}|' {file}")
            await machine.run("systemctl restart camagent", check=False)
            told = machine.messages("PRIORITY=3")
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
    async with served(machine, tmp_path):
        await machine.run("echo CAMAGENT_CAMERA__CONTRAST=40 >> /etc/camagent/camagent.env")
        machine.forget_journal()
        await machine.run("systemctl restart camagent", check=False)
        await until(lambda: machine.property("ActiveState") == "failed", deadline_s=30)
        told = machine.messages("PRIORITY=3")

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
        await machine.run(start(house.port, device_id=device_id))

        async def is_told() -> bool:
            return line in await machine.run(_STATUS)

        await eventually(is_told, deadline_s=20)
    assert machine.property("ActiveState") == "active"
    (rejected,) = machine.journal("EVENT=link.rejected", "PRIORITY=4")
    assert line in rejected["CAUSE"]


async def test_a_server_that_comes_late_is_found(machine: Machine, tmp_path: Path) -> None:
    """The start does not wait for a server, and the agent is online soon after there is one."""
    port = free_port()
    await machine.run(start(port))
    assert machine.property("ActiveState") == "active"

    async def is_offline() -> bool:
        return (await machine.run(_STATUS)).startswith("offline, retrying: ")

    await eventually(is_offline)
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
        "echo stall > /srv/fault/camera",
    ],
    ids=["stopped", "loop blocked", "camera stalls"],
)
async def test_whatever_hangs_the_picture_comes_back(
    machine: Machine, tmp_path: Path, own_address: str, fault: str
) -> None:
    """A stopped process, a blocked loop and a silent camera heal by themselves."""
    async with served(machine, tmp_path) as house:
        await machine.run(_IMPATIENT)
        await until_online(house)
        async with watched(own_address, house) as page:
            first = machine.property("MainPID")
            before = len(await house.store.sessions())
            await machine.run(f"PID={first}; {fault}")
            await until_lost(page)
            await machine.run(f"{_IS_RUNNING} {first} ]; do sleep 0.1; done; : > /srv/fault/camera")
            await until_watched_again(page, house, before)
        messages = machine.messages()

    assert machine.property("NRestarts") == "1"
    if "USR1" in fault:
        assert any("sitecustomize.py" in message for message in messages), "the stack is told"
    if "stall" in fault:
        assert any("stalled and cannot be reopened" in message for message in messages)


async def test_a_stop_tells_viewers_and_takes_less_than_five_seconds(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """The page learns it at once, the process is gone in time, and the end is no failure."""
    async with served(machine, tmp_path) as house, watched(own_address, house) as page:
        started_at_s = asyncio.get_running_loop().time()
        await machine.run("systemctl stop camagent")
        took_s = asyncio.get_running_loop().time() - started_at_s
        await until(lambda: not house.devices)
        await until_lost(page)

    assert took_s < 5
    assert machine.property("Result") == "success"
    assert "agent.stopped" in machine.journal()[-1]["MESSAGE"]


async def test_each_camera_has_an_agent_of_its_own(machine: Machine, tmp_path: Path) -> None:
    """A second one runs beside the first, with its own settings, and can be checked by them."""
    async with served(machine, tmp_path) as house:
        await house.store.add_device("door")
        await machine.run(
            "sed 's|DEVICE_ID=.*|DEVICE_ID=door|' /etc/camagent/camagent.env > /etc/camagent/door.env; "
            "echo CAMAGENT_VIDEO__SOURCE=synthetic >> /etc/camagent/door.env; "
            "systemctl enable --now camagent@door"
        )
        await until(lambda: "door" in house.devices, deadline_s=30)
        shown = "systemctl show -P StatusText camagent@door"
        await machine.run(f"until {shown} | grep ^online; do sleep 0.1; done")
        told = await machine.run("camagent check --env-file /etc/camagent/door.env", check=False)
        assert DEVICE_ID in house.devices

    assert machine.property("Description", "camagent@door.service") == "Camera agent door"
    assert re.search(
        r"^ok +server hello +the running agent .* is online as door", told, re.MULTILINE
    )


async def test_a_snapshot_is_taken_beside_viewers_and_by_root_alone(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """The sandboxed service gives a picture of its camera; whoever may not ask is told how."""
    async with served(machine, tmp_path) as house:
        async with watched(own_address, house) as page:
            await machine.run(
                "camagent snapshot /var/tmp/now.jpg && camagent snapshot - > /var/tmp/b.jpg"
            )
            await page.until_it_moves()
            assert len(await house.store.sessions()) == 1
        refused = await machine.run(
            "cd / && setpriv --reuid nobody --clear-groups camagent snapshot /tmp/no.jpg",
            check=False,
        )
    assert machine.sh("stat -c %a /run/camagent/snapshot.sock").strip() == "660"
    for name in ("now", "b"):
        assert machine.sh(f"head -c 2 /var/tmp/{name}.jpg | od -An -tx1").split() == ["ff", "d8"]
    assert "sudo camagent snapshot" in refused
    taken = await asyncio.to_thread(machine.journal, "EVENT=snapshot.taken")
    assert [entry["UID"] for entry in taken] == ["0", "0"]
