"""The installed service on a machine that boots again and again: how soon it is online, and how small.

Needs the Raspberry Pi rig that PI_RIG names, and 3 GB of disk for a copy of it, which keeps what is
installed across boots.
"""

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from tests.bench.report import Figure, report
from tests.end_to_end.house import DEVICE_ID, relay
from tests.rig.machine import SOURCE, Machine, booted
from tests.support import until

_BOOTS = 20
_IDLE_S = 20
_REACH_ONLINE_S = 5.0
_REACH_STOP_S = 5.0
_REACH_IDLE_PERCENT = 1.0
_REACH_RESIDENT_MB = 90.0


async def _boots(script: str, folder: Path) -> tuple[list[float], dict[str, float]]:
    """Give the seconds from power to online at each boot, and what was measured in between."""
    loop = asyncio.get_running_loop()
    online_s: list[float] = []
    async with relay(folder) as house:
        with booted(script) as machine:
            machine.become_a_pi()
            machine.put_source(folder / "source")
            server = f"--server-url ws://127.0.0.1:{house.port}"
            await machine.run(f"{SOURCE}/systemd/install.sh --device-id {DEVICE_ID} {server}")
            idle = await _idle(machine)
            started_at_s = loop.time()
            await machine.run("systemctl stop camagent")
            idle["stop_s"] = loop.time() - started_at_s
        for _ in range(_BOOTS):
            await until(lambda: DEVICE_ID not in house.devices)
            powered_at_s = loop.time()
            up = asyncio.create_task(asyncio.to_thread(_boot_and_wait, script))
            await until(lambda: DEVICE_ID in house.devices, deadline_s=120)
            online_s.append(loop.time() - powered_at_s)
            await up
    return online_s, idle


def _boot_and_wait(script: str) -> None:
    with booted(script) as machine:
        machine.sh("systemctl is-active --wait camagent >/dev/null; systemctl is-active camagent")


async def _idle(machine: Machine) -> dict[str, float]:
    pid = machine.property("MainPID")
    ticks = f"awk '{{print $14 + $15}}' /proc/{pid}/stat"
    before, started_at_s = float(machine.sh(ticks)), asyncio.get_running_loop().time()
    await asyncio.sleep(_IDLE_S)
    elapsed_s = asyncio.get_running_loop().time() - started_at_s
    used_s = (float(machine.sh(ticks)) - before) / os.sysconf("SC_CLK_TCK")
    smaps = machine.sh(f"cat /proc/{pid}/smaps_rollup")
    sizes = {
        line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6
        for line in smaps.splitlines()
        if line.endswith(" kB")
    }
    return {
        "percent": 100 * used_s / elapsed_s,
        "resident_mb": sizes["Rss"],
        "own_mb": sizes["Anonymous"],
    }


def main() -> None:
    script = os.environ.get("PI_RIG")
    if script is None:
        print(
            "service: skipped, for PI_RIG is not set: it has to name the Raspberry Pi rig's script"
        )
        return
    root = subprocess.run([script, "root"], capture_output=True, text=True, check=True)
    Path("build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="build") as folder:
        copy = Path(folder, "root").resolve()
        subprocess.run(["cp", "-a", "--reflink=auto", root.stdout.strip(), copy], check=True)
        os.environ |= {"PI_RIG_ROOT": str(copy), "PERSIST": "1"}
        try:
            online_s, idle = asyncio.run(_boots(script, Path(folder)))
        finally:
            shutil.rmtree(f"{copy}.state", ignore_errors=True)
    print("online after power, s:", " ".join(f"{one:.1f}" for one in online_s))
    report(
        "service",
        [
            Figure(
                f"online after power, worst of {_BOOTS} boots",
                f"<= {_REACH_ONLINE_S:g}",
                round(max(online_s), 2),
                "s",
                max(online_s) <= _REACH_ONLINE_S,
            ),
            Figure(
                "online after power, median",
                "(none set)",
                round(statistics.median(online_s), 2),
                "s",
                met=True,
            ),
            Figure(
                "idle, processor",
                f"< {_REACH_IDLE_PERCENT:g}",
                round(idle["percent"], 2),
                "% of core",
                idle["percent"] < _REACH_IDLE_PERCENT,
            ),
            Figure(
                "idle, resident",
                f"< {_REACH_RESIDENT_MB:g}",
                round(idle["resident_mb"], 1),
                "MB",
                idle["resident_mb"] < _REACH_RESIDENT_MB,
            ),
            Figure(
                "idle, of that not from files",
                "(none set)",
                round(idle["own_mb"], 1),
                "MB",
                met=True,
            ),
            Figure(
                "systemctl stop, nobody watching",
                f"< {_REACH_STOP_S:g}",
                round(idle["stop_s"], 2),
                "s",
                idle["stop_s"] < _REACH_STOP_S,
            ),
        ],
        packages=("aiortc", "av", "websockets"),
    )


if __name__ == "__main__":
    main()
