"""The command `camagent check`: what is tried, in which order, and how it is told."""

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from camagent.check.camera import check_camera
from camagent.check.candidates import CANDIDATES, check_candidates
from camagent.check.findings import Finding, Verdict, as_json, as_lines, exit_status
from camagent.check.ice import check_ice_servers
from camagent.check.machine import check_machine
from camagent.check.neighbours import CAMERA, Instead, ask_running_agent
from camagent.check.server import check_server
from camagent.check.settings import PROGRAM, Origin, Parts, check_settings
from camagent.logs import configure_logs

_SERVER, _ICE = "server", "ice"
_INTERRUPTED = 130
_HELP = {"-h", "--help"}


def run_check(origin: Origin, *, run: Path = Path("/run")) -> int:
    """Try everything, print what comes of it, and give the exit status.

    `run` is where running services leave their status.

    Raises:
        SystemExit: help was asked for, or an option does not exist.
    """
    asked, rest = _parse(origin.arguments)
    # What goes wrong is told below, in words of our own.
    configure_logs("console", "error")
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    parts, findings = check_settings(replace(origin, arguments=rest))
    trying = _try_all(parts, findings, ice_servers=asked.ice_server, run=run)
    try:
        told = asyncio.run(_tell(trying, is_json=asked.json))
    except KeyboardInterrupt:
        return _left(_INTERRUPTED)
    return _left(exit_status(told))


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [--json] [--ice-server URL]... [--env-file FILE] [a setting]...",
        description="Try everything that can be wrong with this installation.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.add_argument(
        "--ice-server",
        action="append",
        default=[],
        metavar="URL",
        help="try this STUN or TURN server as well; may be given several times",
    )
    if _HELP & set(arguments):
        parser.print_help()
        sys.exit(0)
    return parser.parse_known_args(arguments)


async def _try_all(
    parts: Parts | None, findings: Sequence[Finding], *, ice_servers: Sequence[str], run: Path
) -> AsyncIterator[Finding]:
    """Give each finding as soon as it is known."""
    for finding in check_machine():
        yield finding
    for finding in findings:
        yield finding
    if parts is None:
        for name in (CAMERA, _SERVER, _ICE, CANDIDATES):
            yield Finding(name, Verdict.SKIPPED, "the settings are wrong")
        return
    instead = _ask_neighbours(parts, run)
    yield await _camera(parts, instead)
    async for finding in _server(parts, instead):
        yield finding
    findings, probes = await check_ice_servers(parts.settings, named=ice_servers)
    for finding in findings:
        yield finding
    yield check_candidates(parts.settings, probes)


def _ask_neighbours(parts: Parts, run: Path) -> Instead:
    settings = parts.settings
    return ask_running_agent(settings.device_id, server_url=settings.server_url, run=run)


async def _camera(parts: Parts, instead: Instead) -> Finding:
    if instead.camera is not None:
        return instead.camera
    if parts.source is None:
        return Finding(CAMERA, Verdict.SKIPPED, "the settings name none that can be used")
    return await check_camera(
        parts.source, light=parts.light, kill_switch=parts.settings.kill_switch_file
    )


async def _server(parts: Parts, instead: Instead) -> AsyncIterator[Finding]:
    if parts.link is None:
        yield Finding(_SERVER, Verdict.SKIPPED, "the settings of its certificates are wrong")
        return
    async for finding in check_server(parts.link, hello=instead.hello):
        yield finding


async def _tell(trying: AsyncIterator[Finding], *, is_json: bool) -> list[Finding]:
    """Print every finding when it comes, or as JSON all at the end."""
    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    told = []
    async for finding in trying:
        told.append(finding)
        if not is_json:
            sys.stdout.write(as_lines(finding, is_coloured=is_coloured))
            sys.stdout.flush()
    if is_json:
        sys.stdout.write(as_json(told))
    return told


def _left(status: int) -> int:
    """Give `status`, unless a camera that hangs would keep the process: then end it at once."""
    sys.stdout.flush()
    others = set(threading.enumerate()) - {threading.main_thread()}
    if any(not thread.daemon for thread in others):
        os._exit(status)
    return status
