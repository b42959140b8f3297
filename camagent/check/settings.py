"""Whether the settings make an agent, and the parts that they make for trying."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from camagent.check.findings import SETTINGS, Finding, Verdict
from camagent.configuration import read_settings, unknown_names
from camagent.errors import SettingsError
from camagent.media.frame import VideoSource
from camagent.privacy import InUseLight
from camagent.settings import Settings
from camagent.signaling.options import LinkOptions
from camagent.wiring import choose_source, link_options

T = TypeVar("T")

PROGRAM = "camagent check"


@dataclass(frozen=True)
class Parts:
    """What the settings make; a part that they name wrongly is None."""

    settings: Settings
    link: LinkOptions | None
    source: VideoSource | None
    light: InUseLight | None


@dataclass(frozen=True)
class Origin:
    """Where settings come from.

    Attributes:
        arguments: of the command line.
        env_file: the one that was found and can be read.
        system_env_file: the one that an installed agent reads.
        not_settings: how names begin that look like settings and are none.
    """

    arguments: Sequence[str]
    env_file: Path | None
    system_env_file: Path
    not_settings: tuple[str, ...]


def check_settings(origin: Origin) -> tuple[Parts | None, list[Finding]]:
    """Read the settings and build from them; there is a finding for each problem.

    Raises:
        SystemExit: `--help`, or an option that does not exist.
    """
    try:
        settings = read_settings(
            Settings, arguments=origin.arguments, program=PROGRAM, env_file=origin.env_file
        )
    except SettingsError as error:
        if _is_forbidden(origin):
            return None, [_forbidden(origin)]
        return None, [_wrong(origin, problem) for problem in error.problems]
    problems: list[str] = []
    parts = Parts(
        settings=settings,
        link=_built(problems, lambda: link_options(settings)),
        source=_built(problems, lambda: choose_source(settings.video, settings.camera)),
        light=_built(problems, lambda: _light(settings.in_use_led)),
    )
    findings = [*(_wrong(origin, problem) for problem in problems), *_strange(origin)]
    return parts, findings or [_right(origin, settings)]


def _built(problems: list[str], build: Callable[[], T]) -> T | None:
    try:
        return build()
    except SettingsError as error:
        problems.extend(error.problems)
        return None


def _light(name: str | None) -> InUseLight | None:
    return InUseLight(name) if name else None


def _right(origin: Origin, settings: Settings) -> Finding:
    where = f"from {origin.env_file}" if origin.env_file else "without an env file"
    return Finding(SETTINGS, Verdict.OK, f"{settings.device_id}, {where}")


def _wrong(origin: Origin, problem: str) -> Finding:
    where = origin.env_file or origin.system_env_file
    return Finding(SETTINGS, Verdict.FAILED, problem, f"correct it in {where}")


def _is_forbidden(origin: Origin) -> bool:
    file = origin.system_env_file
    try:
        return origin.env_file is None and file.exists()
    except PermissionError:
        return True


def _forbidden(origin: Origin) -> Finding:
    text = f"{origin.system_env_file} is not for this user to read"
    return Finding(SETTINGS, Verdict.FAILED, text, f"run it with sudo: sudo {PROGRAM}")


def _strange(origin: Origin) -> list[Finding]:
    found = unknown_names(Settings, environment=os.environ, env_file=origin.env_file)
    return [
        Finding(
            SETTINGS,
            Verdict.WARNING,
            f"{name}: there is no such setting",
            f"perhaps {meant} is meant" if meant else "take it away, or see camagent --help",
        )
        for name, meant in found
        if not name.startswith(origin.not_settings)
    ]
