"""What else the installer sets up on a booted machine: the relay, and several cameras."""

import re
from pathlib import Path

import pytest

from tests.end_to_end.house import DEVICE_ID, free_port, relay
from tests.rig.machine import SOURCE, Machine
from tests.rig.test_service import install, until_online
from tests.support import until

pytestmark = pytest.mark.rig

RELAY = "camagent-relay.service"


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


async def test_each_camera_has_an_agent_of_its_own(machine: Machine, tmp_path: Path) -> None:
    """A second one runs beside the first, with its own settings, and can be checked by them."""
    async with relay(tmp_path) as house:
        await house.store.add_device("door")
        await machine.run(install(house.port))
        await until_online(house)
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
