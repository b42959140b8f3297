"""Whether pip finds a wheel of every dependency for a 64-bit Raspberry Pi: nothing is compiled there.

Python 3.11 is bookworm's and 3.13 trixie's. Nothing is downloaded beyond what tells of dependencies.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
# The C library of each release, and what is older.
_GLIBC = {"3.11": range(17, 37), "3.13": range(17, 42)}


def resolve(python: str, requirements: list[str]) -> dict[str, str]:
    """Find what pip would install there, by name; the value is the version.

    Raises:
        SystemExit: something has no wheel.
    """
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in _GLIBC[python]]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
                *("--ignore-installed", "--only-binary=:all:", "--report", str(report)),
                *("--target", folder, "--implementation", "cp", "--python-version", python),
                *("--abi", f"cp{python.replace('.', '')}", "--abi", "abi3", "--abi", "none"),
                *(word for name in platforms for word in ("--platform", name)),
                *("--platform", "manylinux2014_aarch64"),
                *requirements,
            ],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            sys.exit(f"Python {python} on aarch64: {done.stderr}")
        found = json.loads(report.read_text())["install"]
    return {one["metadata"]["name"]: one["metadata"]["version"] for one in found}


def main() -> None:
    """Resolve for both, with what the relay needs as well."""
    requirements = [*_PROJECT["dependencies"], *_PROJECT["optional-dependencies"]["server"]]
    for python in _GLIBC:
        found = resolve(python, requirements)
        told = ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
        sys.stdout.write(f"Python {python} on aarch64, {len(found)} wheels: {told}\n")


if __name__ == "__main__":
    main()
