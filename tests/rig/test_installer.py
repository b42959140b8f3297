"""The installer on a booted machine that is clean each time: a version comes, another one, and none."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server_stub.relay import Relay
from tests.end_to_end.house import DEVICE_ID, free_port, relay
from tests.rig.machine import SOURCE, Machine
from tests.rig.serving import install, installed, until_online, until_watched_again, watched

pytestmark = [pytest.mark.rig, pytest.mark.machine]

RELAY = "camagent-relay.service"


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


@asynccontextmanager
async def calm(machine: Machine, folder: Path) -> AsyncIterator[Relay]:
    """Hold what `installed` does, with few pictures a second: installers get more of the processor."""
    async with installed(machine, folder) as house:
        few = "CAMAGENT_VIDEO__FRAMES_PER_SECOND=5"
        await machine.run(f"echo {few} >> /etc/camagent/camagent.env; systemctl restart camagent")
        yield house


async def test_an_upgrade_while_watched_brings_the_picture_back(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """The page shows the new version's picture by itself, and so again after a downgrade."""
    async with calm(machine, tmp_path) as house, watched(own_address, house) as page:
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


_BROKEN = {
    "PIP_INDEX_URL=http://127.0.0.1:9/simple PIP_RETRIES=0": "could not be installed",
    "CAMAGENT_BREAKS=at-start": "back to the one before",
}


async def test_upgrades_that_fail_leave_the_old_version_running(
    machine: Machine, tmp_path: Path
) -> None:
    """Without a network, and with a version that does not run, what ran before runs afterwards."""
    async with installed(machine, tmp_path) as house:
        source = machine.put_source(tmp_path / "next", version="9.9.9")
        for broken, says in _BROKEN.items():
            if "BREAKS" in broken:
                agent = f"{source}/camagent/agent.py"
                machine.sh(
                    f"sed -i 's/^async def run_agent.*/&\\n    raise SystemExit(1)/' {agent}"
                )
            told = await machine.run(f"{broken} {source}/systemd/install.sh", check=False)
            assert says in told
            assert "nothing was changed" in told
            await until_online(house)
            assert machine.sh("camagent --version").strip() != "camagent 9.9.9"
            assert machine.property("ActiveState") == "active"
            left = machine.sh("ls /etc/camagent /opt/camagent/releases")
            assert ".before" not in left


async def test_settings_of_long_ago_do_not_come_back(machine: Machine, tmp_path: Path) -> None:
    """An upgrade that fails gives back those of before itself, not what another run left lying."""
    kept = "/etc/camagent/camagent.env.before"
    async with installed(machine, tmp_path):
        await machine.run(f"{SOURCE}/systemd/install.sh --no-start")
        assert "No such file" in machine.sh(f"ls {kept}", check=False)

        settings = machine.sh("cat /etc/camagent/camagent.env")
        machine.sh(f"echo CAMAGENT_DEVICE_ID=long-ago > {kept}")
        agent = f"{SOURCE}/camagent/agent.py"
        machine.sh(f"sed -i 's/^async def run_agent.*/&\\n    raise SystemExit(1)/' {agent}")
        told = await machine.run(f"{SOURCE}/systemd/install.sh --relay", check=False)
        assert "back to the one before" in told
        assert machine.sh("cat /etc/camagent/camagent.env") == settings
        assert machine.property("ActiveState") == "active"


async def test_uninstalling_leaves_the_settings_at_most(machine: Machine, tmp_path: Path) -> None:
    """What the installer brought is gone, as if it had never been there; with --purge all of it."""
    look = "find /etc /opt /usr/local /var/lib /run -path '*camagent*' -not -path '*.d*'"
    before = set(machine.sh(look).split())
    async with installed(machine, tmp_path):
        await machine.run(f"{SOURCE}/systemd/uninstall.sh")

    kept = {"/etc/camagent", "/etc/camagent/camagent.env"}
    assert set(machine.sh(look).split()) - before == kept
    assert machine.property("LoadState") == "not-found"
    assert f"CAMAGENT_DEVICE_ID={DEVICE_ID}" in machine.sh("cat /etc/camagent/camagent.env")
    machine.sh(f"{SOURCE}/systemd/uninstall.sh --purge")
    assert set(machine.sh(look).split()) == before


async def test_a_disk_that_is_full_stops_the_installer_before_it_starts(machine: Machine) -> None:
    """It says how much is missing, and leaves nothing behind."""
    machine.sh("mount -t tmpfs -o size=50m tmpfs /opt")
    told = machine.sh(f"{SOURCE}/systemd/install.sh --no-start", check=False)

    assert re.search(r"/opt has \d+ MB free, and 400 MB are needed", told)
    assert machine.sh("ls -A /opt; ls /etc/camagent 2>/dev/null", check=False) == ""


def test_the_relay_is_one_command_too(machine: Machine) -> None:
    """It runs as a user of its own, its commands reach its database, and both services get along."""
    port = free_port()
    machine.sh(
        "mkdir -p /etc/camagent; sed 's|^#CAMAGENT_RELAY_PORT=.*|CAMAGENT_RELAY_PORT="
        f"{port}|' {SOURCE}/systemd/relay.env > /etc/camagent/relay.env"
    )
    machine.sh(f"{SOURCE}/systemd/install.sh --relay")
    first = machine.sh("grep JWT_SECRET /etc/camagent/relay.env")
    assert machine.property("ActiveState", RELAY) == "active"
    assert machine.sh("stat -c %U /var/lib/camagent-relay/relay.db").strip() == "camagent-relay"
    assert machine.sh("stat -c %a:%G /etc/camagent/relay.env").strip() == "640:camagent-relay"

    token = machine.sh(f"camagent-relay device add {DEVICE_ID}").strip()
    machine.sh(f"{install(port)} --device-token {token}")
    machine.sh("until systemctl show -P StatusText camagent | grep ^online; do sleep 0.2; done")
    assert "never seen" not in machine.sh("camagent-relay device list")
    assert machine.property("StatusText", RELAY) in {
        "0 devices · 0 sessions",
        "1 devices · 0 sessions",
    }

    # An upgrade of either keeps both, and the secret.
    machine.sh(f"{SOURCE}/systemd/install.sh --relay")
    assert machine.property("ActiveState", RELAY) == machine.property("ActiveState") == "active"
    assert machine.sh("grep JWT_SECRET /etc/camagent/relay.env") == first
    assert len(first) > 64

    machine.sh(f"{SOURCE}/systemd/uninstall.sh --purge")
    assert machine.sh("id camagent-relay", check=False).endswith("no such user\n")
    assert (
        machine.sh("ls -d /etc/camagent /var/lib/camagent-relay", check=False).count("No such") == 2
    )
