"""How a benchmark tells what it found: a table to read, and a file to keep."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

_FOLDER = Path("build/bench")


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, beside what should be reached.

    `runs` is what `measured` is the median of, where that is kept.
    """

    what: str
    reach: str
    measured: float
    unit: str
    met: bool
    runs: tuple[float, ...] = ()


def report(name: str, figures: list[Figure], *, packages: tuple[str, ...]) -> None:
    """Print the table and write `build/bench/NAME.json`."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    print(
        f"\n{name}: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    print(f"{versions}\n")
    width = max(len(figure.what) for figure in figures)
    for figure in figures:
        verdict = "met" if figure.met else "NOT MET"
        value = f"{figure.measured:g} {figure.unit}".strip()
        runs = f"   of {', '.join(f'{run:g}' for run in figure.runs)}" if figure.runs else ""
        print(f"  {figure.what:<{width}}  {value:>12}   reach {figure.reach:<10} {verdict}{runs}")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    path = _FOLDER / f"{name}.json"
    path.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    print(f"\n  written to {path}")
