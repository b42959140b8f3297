"""The STUN and TURN servers that this device would get, and those its user names: each is asked."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from pydantic import ValidationError

from camagent.check.findings import Finding, Verdict
from camagent.check.relay import ICE, ask_relay
from camagent.errors import SettingsError
from camagent.settings import Settings
from camagent.signaling.messages import IceServer
from camagent.webrtc.probe import Probe, probe_ice_server
from camagent.webrtc.server_problem import Problem
from camagent.wiring import link_options

_NAMED = re.compile(
    r"(?P<scheme>\w+):((?!//)(?P<username>.*):(?P<credential>[^:]*)@)?(?P<rest>[^@]*)"
)
_HOW_TO_NAME = "write it as stun:HOST:PORT or as turn:USER:PASSWORD@HOST:PORT?transport=tcp"
_FIXES = {
    Problem.URL: "correct CAMAGENT_RELAY_STUN_URLS or CAMAGENT_RELAY_TURN_URLS on the relay",
    Problem.NAME: "check the host's name, and that this network has a name server",
    Problem.UNREACHABLE: "check host and port, and that a STUN or TURN server runs there",
    Problem.SILENT: "check host and port, and let {} through every firewall on the way there",
    Problem.CERTIFICATE: "it needs a certificate for its name that the system of this Pi trusts",
    Problem.CREDENTIAL: "CAMAGENT_RELAY_TURN_SECRET on the relay has to be the TURN server's "
    "static-auth-secret, and the clocks of both have to be right",
    Problem.REFUSED: "look at the log of that server",
}
_FIXES_OF_NAMED = _FIXES | {
    Problem.URL: _HOW_TO_NAME,
    Problem.CREDENTIAL: "check user and password; those made for a time may have expired",
}


@dataclass(frozen=True)
class _Server:
    """A server, and who named it: the user, or the relay."""

    ice: IceServer
    is_named: bool


async def check_ice_servers(
    settings: Settings, *, named: Sequence[str]
) -> tuple[list[Finding], list[Probe]]:
    """Try the servers that the relay hands out to this device, and those in `named`.

    Gives a finding for each, and what each told.

    `named` are URLs as a person writes them: with `user:password@` before the host where the
    server wants that; a `:`, `@` or `%` in the password as in other URLs, %3A, %40 or %25.
    """
    findings, servers = await _ask(settings, is_only_source=not named)
    for text in named:
        server = _read_named(text)
        if server is not None:
            servers.append(_Server(server, is_named=True))
        else:
            problem = "a server that --ice-server names cannot be read"
            findings.append(Finding(ICE, Verdict.FAILED, problem, _HOW_TO_NAME))
    probes = await _probe_all(servers)
    has_turn = any(probe.problem is None and is_turn(probe) for probe, _ in probes)
    findings += [_judge(probe, is_named=is_named, has_turn=has_turn) for probe, is_named in probes]
    return findings, [probe for probe, _ in probes]


async def _ask(settings: Settings, *, is_only_source: bool) -> tuple[list[Finding], list[_Server]]:
    try:
        options = link_options(settings)
    except SettingsError:
        text = "the settings of the server's certificates are wrong"
        return [Finding(ICE, Verdict.SKIPPED, text)], []
    answer = await ask_relay(options)
    if isinstance(answer, Finding):
        is_followed = answer.verdict is Verdict.SKIPPED and not is_only_source
        # Whoever names one need not be told how to.
        return [replace(answer, fix=None) if is_followed else answer], []
    if not answer:
        text = "no STUN or TURN server: viewers outside this network will not get a picture"
        fix = "set CAMAGENT_RELAY_TURN_URLS and CAMAGENT_RELAY_TURN_SECRET on the relay"
        return [Finding(ICE, Verdict.WARNING, text, fix)], []
    return [], [_Server(ice, is_named=False) for ice in answer]


def _read_named(text: str) -> IceServer | None:
    """Take user and password out of a URL, where elsewhere they never stand."""
    found = _NAMED.fullmatch(text)
    if found is None:
        return None
    username, credential = found["username"], found["credential"]
    try:
        return IceServer(
            urls=f"{found['scheme']}:{found['rest']}",
            username=None if username is None else unquote(username),
            credential=None if credential is None else unquote(credential),
        )
    except ValidationError:
        return None


async def _probe_all(servers: Iterable[_Server]) -> list[tuple[Probe, bool]]:
    """Give what came of each URL, and whether its user named it."""
    async with asyncio.TaskGroup() as tasks:
        probing = [(one, tasks.create_task(probe_ice_server(one.ice))) for one in servers]
    return [(probe, one.is_named) for one, task in probing for probe in task.result()]


def is_turn(probe: Probe) -> bool:
    """Tell a TURN server from a STUN server."""
    return probe.url.startswith("turn")


def _judge(probe: Probe, *, is_named: bool, has_turn: bool) -> Finding:
    """Put a probe into words; while one TURN server works, what else fails can be borne."""
    shown = _without_password(probe.url)
    if probe.problem is None:
        return Finding(ICE, Verdict.OK, f"{shown} {probe.text}, told in {probe.took_ms} ms")
    verdict = Verdict.WARNING if has_turn else Verdict.FAILED
    fix = (_FIXES_OF_NAMED if is_named else _FIXES)[probe.problem]
    carrier = "TCP" if re.search(r"^turns:|transport=tcp", probe.url) else "UDP"
    return Finding(ICE, verdict, f"{shown}: {probe.text}", fix.format(carrier))


def _without_password(url: str) -> str:
    """Leave out what a relay should never have put into a URL."""
    scheme, _, rest = url.partition(":")
    return f"{scheme}:{rest.rpartition('@')[2]}" if "@" in url else url
