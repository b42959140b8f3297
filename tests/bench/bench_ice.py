"""How soon the first picture is there: without ICE servers, with dead ones, through TURN, in Chromium.

Device and viewer are on two networks joined by a cable; the device's part is this process, the
viewer is one of its own. The cases take turns, so that what else the machine does hits all alike.

The first frame counts when its last packet has left, for a cable between two networks of one machine
takes no time. aiortc's receiver gives a frame out when the next one begins, a thirtieth of a second
later; that it did is waited for, and told in a line of its own.
"""

import argparse
import asyncio
import contextlib
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from camagent.logs import configure_logs
from camagent.media.frame import EncodedFrame
from camagent.signaling.messages import FromDevice, IceServer
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import IcePolicy, PeerOptions, warm_up
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.session import Session, SessionLimits, SessionState
from tests.bench.clicks import clicked, figures
from tests.bench.report import Figure, report
from tests.coturn import running_coturn
from tests.network import Namespace, Network, network
from tests.support import until
from tests.webrtc.far_viewer import FarViewer, far_viewer
from tests.webrtc.reel import Reel, options_of, recorded, showing
from tests.webrtc.viewers import outcome, straight_from

_ROUNDS = 9
_SIZE_PX = (1280, 720)
_TURN_PORT = 3478
_SECRET = "a secret of a throw-away TURN server"
_NOBODY = "198.18.0.99"

_PLAIN = "no ICE servers"
_DECODED = "no ICE servers, until aiortc gives the frame out"
_RELAYED = "TURN/udp dead, TURN/tcp alive, both ends relay-only"


@dataclass(frozen=True)
class Case:
    """What device and viewer are told."""

    servers: tuple[IceServer, ...] = ()
    viewer_servers: tuple[IceServer, ...] = ()
    policy: IcePolicy = "all"


@contextlib.contextmanager
def _silent(end: Namespace) -> Iterator[tuple[int, int]]:
    """Hold a UDP and a TCP port that take everything and answer nothing."""
    with end.entered():
        over_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        over_tcp = socket.create_server((end.address, 0))
    with over_udp, over_tcp:
        over_udp.bind((end.address, 0))
        yield over_udp.getsockname()[1], over_tcp.getsockname()[1]


def _cases(viewer: str, silent: tuple[int, int], alive: IceServer) -> dict[str, Case]:
    over_udp, over_tcp = silent
    dead = {
        "dead STUN, silent": f"stun:{viewer}:{over_udp}",
        "dead STUN, unreachable": f"stun:{_NOBODY}:3478",
        "dead TURN/udp, silent": f"turn:{viewer}:{over_udp}",
        "dead TURN/udp, unreachable": f"turn:{_NOBODY}:3478",
        "dead TURN/tcp, silent": f"turn:{viewer}:{over_tcp}?transport=tcp",
        "dead TURN/tcp, unreachable": f"turn:{_NOBODY}:3478?transport=tcp",
    }
    credentials = {"username": "user", "credential": "password"}
    cases = {_PLAIN: Case()} | {
        name: Case((IceServer(urls=url, **credentials),)) for name, url in dead.items()
    }
    dead_udp = IceServer(urls=dead["dead TURN/udp, silent"], **credentials)
    cases[_RELAYED] = Case((dead_udp, alive), (alive,), policy="relay")
    return cases


async def _first_frame_ms(
    end: Namespace, reel: Reel, packing: Packing, case: Case
) -> tuple[float, float]:
    """Give the milliseconds from the offer to the first frame: on its way, and decoded."""
    async with far_viewer(end, servers=case.viewer_servers, policy=case.policy) as viewer:
        session = Session(
            "bench",
            ice_servers=case.servers,
            options=PeerOptions(policy=case.policy),
            limits=SessionLimits(),
            camera=reel,
            sender=VideoSender(packing),
            expect_frames=reel.hub.expect,
            serve_frames=partial(straight_from, reel),
            send=lambda message: _pass(message, viewer),
        )
        offer = await viewer.offer()
        running = asyncio.ensure_future(outcome(session))
        try:
            # The viewer asks to watch, and hears that it may, before it makes its offer.
            await until(lambda: session.state is SessionState.CONNECTING)
            started_at_s = time.monotonic()
            session.take_offer(offer)
            await session.sender.first_frame_sent.wait()
            sent_at_s = time.monotonic()
            await viewer.picture()
            decoded_at_s = time.monotonic()
            return 1000 * (sent_at_s - started_at_s), 1000 * (decoded_at_s - started_at_s)
        finally:
            session.end("measured")
            await running


def _pass(message: FromDevice, viewer: FarViewer) -> None:
    if message.type == "signal_answer":
        viewer.hear_answer(message.payload.sdp.sdp)
    elif message.type == "signal_ice":
        viewer.hear_candidate(message.payload.candidate)


async def _measure(both: Network, frames: Sequence[EncodedFrame]) -> dict[str, list[float]]:
    turnserver = shutil.which("turnserver") or "/usr/bin/turnserver"
    end = both.viewer
    packing = Packing()
    with tempfile.TemporaryDirectory() as folder, _silent(end) as silent:
        async with (
            running_coturn(
                end.command(turnserver),
                address=end.address,
                port=_TURN_PORT,
                secret=_SECRET,
                folder=Path(folder),
            ) as alive,
            showing(frames) as reel,
        ):
            await warm_up(VideoSender(packing))
            cases = _cases(end.address, silent, alive.turn("tcp"))
            taken: dict[str, list[float]] = {name: [] for name in (*cases, _DECODED)}
            for _ in range(_ROUNDS):
                for name, case in cases.items():
                    sent_ms, decoded_ms = await _first_frame_ms(end, reel, packing, case)
                    taken[name].append(sent_ms)
                    if name == _PLAIN:
                        taken[_DECODED].append(decoded_ms)
    return taken


async def _on_two_networks() -> dict[str, list[float]]:
    frames = await recorded(options_of(*_SIZE_PX), frames=60)
    async with network() as both:
        with both.device.entered():
            return await _measure(both, frames)


def _figures(taken: dict[str, list[float]]) -> Iterator[Figure]:
    plain_ms = statistics.median(taken[_PLAIN])
    for name, all_ms in taken.items():
        median_ms = statistics.median(all_ms)
        if name == _PLAIN:
            reach, met = "< 70", median_ms < 70
        elif name == _DECODED:
            reach, met = "(none set)", True
        elif name == _RELAYED:
            reach, met = "< 1000", median_ms < 1000
        else:
            reach, met = f"< {plain_ms + 30:.0f}", median_ms < plain_ms + 30
        yield Figure(name, reach, round(median_ms), "ms", met)


def main() -> None:
    parts = argparse.ArgumentParser(description=__doc__)
    parts.add_argument("--only", choices=("agent", "chromium"), help="leave out the other part")
    only = parts.parse_args().only
    configure_logs("console", "error")
    taken: dict[str, list[float]] = {}
    reached: list[Figure] = []
    if only != "chromium":
        taken = asyncio.run(_on_two_networks())
        reached += _figures(taken)
    if only != "agent":
        in_chromium = asyncio.run(clicked())
        taken |= in_chromium
        reached += figures(in_chromium)
    for name, all_ms in taken.items():
        print(f"{name}, ms:", " ".join(f"{one:.0f}" for one in all_ms))
    report("ice", reached, packages=("aioice", "aiortc", "av"))


if __name__ == "__main__":
    main()
