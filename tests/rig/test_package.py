"""The Debian package and the first boot, on a booted machine without our sources."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chromium import chromium
from tests.end_to_end.house import DEVICE_ID, relay, watching
from tests.rig.machine import ROOT, Machine, booted
from tests.rig.serving import until_online

pytestmark = [pytest.mark.rig, pytest.mark.machine]

_FOLDER = "/boot/firmware"


@pytest.fixture
def machine(pi_rig: str, tmp_path: Path) -> Iterator[Machine]:
    """Give a machine that has just booted for the first time, with the package on its disk."""
    package = built_package(tmp_path)
    with booted(pi_rig) as built:
        built.become_a_pi()
        built.put(package, _FOLDER)
        yield built


def built_package(folder: Path) -> Path:
    """Build the package from a copy of the sources, or skip."""
    if shutil.which("dpkg-buildpackage") is None or shutil.which("dh") is None:
        pytest.skip("debhelper is not installed: make packages")
    subprocess.run(
        [ROOT / "systemd/build-deb", folder],
        env=os.environ | {"PYTHON": sys.executable},
        check=True,
        capture_output=True,
    )
    (package,) = folder.glob("camagent_*_all.deb")
    return package


def settings(port: int) -> str:
    return f"CAMAGENT_DEVICE_ID={DEVICE_ID}\nCAMAGENT_SERVER_URL=ws://127.0.0.1:{port}\n"


async def test_the_package_alone_makes_a_camera(
    machine: Machine, tmp_path: Path, own_address: str
) -> None:
    """Installed, configured, started: Chromium sees it; removed: settings stay; purged: nothing does."""
    async with relay(tmp_path) as house:
        await machine.run("apt-get update -qq")
        told = await machine.run(f"apt-get install -y -qq {_FOLDER}/camagent_*_all.deb")
        assert "set CAMAGENT_DEVICE_ID and CAMAGENT_SERVER_URL in /etc/camagent" in told
        assert machine.property("ActiveState") == "inactive"

        env = settings(house.port).replace("\n", "\\n")
        await machine.run(f"printf '{env}' > /etc/camagent/camagent.env; systemctl start camagent")
        await until_online(house)
        async with chromium() as browser, watching(browser, own_address, house.port) as page:
            await page.until_first_frame()
            await page.until_it_moves()

        # The same package once more is an upgrade: what runs is restarted.
        first = machine.property("MainPID")
        await machine.run(f"apt-get install -y -qq --reinstall {_FOLDER}/camagent_*_all.deb")
        await until_online(house)
        assert machine.property("MainPID") != first

    machine.sh("apt-get remove -y -qq camagent")
    assert "CAMAGENT_DEVICE_ID" in machine.sh("cat /etc/camagent/camagent.env")
    assert machine.sh("ls -d /opt/camagent 2>/dev/null", check=False) == ""
    machine.sh("apt-get purge -y -qq camagent")
    assert machine.sh("ls -d /etc/camagent 2>/dev/null", check=False) == ""
    assert machine.property("LoadState") == "not-found"


async def test_a_first_boot_ends_online(machine: Machine, tmp_path: Path) -> None:
    """cloud-init takes our user-data with two values put in, and the camera is there."""
    machine.sh(
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive "
        "apt-get install -y -qq --no-install-recommends cloud-init >/dev/null"
    )
    async with relay(tmp_path) as house:
        text = (ROOT / "systemd/user-data").read_text()
        text = text.replace("kitchen-cam-001", DEVICE_ID)
        text = text.replace("wss://relay.example.com", f"ws://127.0.0.1:{house.port}")
        seed = tmp_path / "nocloud"
        seed.mkdir()
        (seed / "user-data").write_text(text)
        (seed / "meta-data").write_text("instance-id: first-boot\n")
        machine.put(seed, "/var/lib/cloud/seed")
        machine.sh(
            "printf 'datasource_list: [NoCloud]\\n' > /etc/cloud/cloud.cfg.d/90-seed.cfg; "
            # Nothing of the machine itself is to be changed by what the image would set up.
            "printf 'cloud_config_modules: [runcmd]\\ncloud_init_modules: [write_files]\\n"
            "cloud_final_modules: [scripts_user]\\n' > /etc/cloud/cloud.cfg.d/91-modules.cfg"
        )
        for stage in ("init --local", "init", "modules --mode=config", "modules --mode=final"):
            await machine.run(f"cloud-init {stage}")
        await until_online(house)

    assert machine.sh("stat -c %a /etc/camagent/camagent.env").strip() == "640"
    assert machine.property("UnitFileState") == "enabled"
