"""A device and a viewer behind routers of every kind, with a real TURN server in between."""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import trustme
from structlog.testing import capture_logs

from camagent.errors import ConnectFailed, ViewerLost
from camagent.media.frame import EncodedFrame
from camagent.signaling.messages import FromDevice, IceServer, encode
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import IcePolicy, PeerOptions
from camagent.webrtc.reception import Patience
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.session import Session, SessionLimits
from tests import nat
from tests.conftest import missing
from tests.coturn import Coturn, running_coturn
from tests.nat import Nat, Passing, World
from tests.network import NoNetwork, run
from tests.support import frozen, until
from tests.webrtc.far_viewer import FarViewer, far_viewer
from tests.webrtc.reel import options_of, recorded, showing
from tests.webrtc.viewers import Outbox, outcome, straight_from

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "shared with the TURN server"
TURN_PORT, TLS_PORT = 3478, 443
OTHER_TURN_PORT = 3479
ELSEWHERE = "192.168.7.3"
NOWHERE = "192.168.7.99"
LONGEST_CLOSE_S = 5.0  # a TURN server that has gone would be asked for a minute
IMPATIENT = Patience(pause_after_s=0.5, end_after_s=3.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built() -> AsyncIterator[World]:
    """Hold two routers, with the test behind that of the device, or skip."""
    try:
        async with nat.world() as one:
            with one.device.entered():
                yield one
    except NoNetwork as error:
        missing(f"this machine has no network to test with: {error}")


@pytest_asyncio.fixture(loop_scope="module")
async def world(built: World) -> World:
    """Give the routers as they are when new."""
    await built.home.be()
    await built.office.be()
    return built


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this system trust the TURN server's certificate."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def turn(
    built: World,
    program: Callable[[str, str], str],
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Coturn]:
    """Hold a TURN server on the internet: UDP, TCP, and TLS at 443."""
    folder = tmp_path_factory.mktemp("coturn")
    certificate = authority.issue_cert(nat.SERVER)
    async with running_coturn(
        built.internet.command(program("turnserver", "coturn")),
        address=nat.SERVER,
        port=TURN_PORT,
        secret=SECRET,
        folder=folder,
        tls=(TLS_PORT, certificate),
    ) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def frames() -> list[EncodedFrame]:
    return await recorded(options_of(320, 240), frames=30)


class Wire(Outbox):
    """What the device sends, passed on to its viewer."""

    def __init__(self, viewer: FarViewer) -> None:
        super().__init__()
        self._viewer = viewer

    def send(self, message: FromDevice) -> None:
        super().send(message)
        if message.type == "signal_answer":
            self._viewer.hear_answer(message.payload.sdp.sdp)
        elif message.type == "signal_ice":
            self._viewer.hear_candidate(message.payload.candidate)


class Watched:
    """A session, its end, and who watches."""

    def __init__(self, session: Session, wire: Wire, viewer: FarViewer) -> None:
        self.session = session
        self.wire = wire
        self.viewer = viewer
        self.running = asyncio.ensure_future(outcome(session))


@asynccontextmanager
async def watched(
    world: World,
    frames: list[EncodedFrame],
    *,
    ours: Sequence[IceServer] = (),
    theirs: Sequence[IceServer] = (),
    policy: IcePolicy = "all",
    their_policy: str = "all",
    connect_deadline_s: float = 15.0,
    patience: Patience | None = None,
) -> AsyncIterator[Watched]:
    """Hold a session that has the viewer's offer."""
    async with (
        showing(frames) as reel,
        far_viewer(world.viewer, servers=theirs, policy=their_policy) as viewer,
    ):
        wire = Wire(viewer)
        session = Session(
            "s",
            ice_servers=tuple(ours),
            options=PeerOptions(policy=policy),
            limits=SessionLimits(connect_deadline_s=connect_deadline_s),
            camera=reel,
            sender=VideoSender(Packing(), patience or Patience()),
            serve_frames=partial(straight_from, reel),
            send=wire.send,
        )
        session.take_offer(await viewer.offer())
        one = Watched(session, wire, viewer)
        try:
            yield one
        finally:
            session.end("the test is over")
            await one.running


def told(one: Watched) -> list[str]:
    """List the candidates that the device told."""
    return [candidate.candidate for candidate in one.wire.candidates() if candidate is not None]


def open_sockets() -> set[str]:
    """List what this process has open of the network."""
    links = (str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink())
    return {link for link in links if link.startswith("socket:")}


def own_threads() -> set[str]:
    """List the threads by name, but for those that asyncio keeps for the next one who needs one."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith(("asyncio", "waitpid-"))}


@contextmanager
def frozen_once_relay_is_gone(pid: int) -> Iterator[None]:
    """Freeze a TURN server at the moment at which it has taken a relay back, before any goodbye."""
    logger = logging.getLogger("aioice.turn")
    is_gone = threading.Event()
    with ExitStack() as stack:

        def freeze(record: logging.LogRecord) -> bool:
            if record.msg.startswith("TURN allocation deleted"):
                stack.enter_context(frozen(pid))
                is_gone.set()
            return False

        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.INFO)
        logger.addFilter(freeze)
        stack.callback(logger.removeFilter, freeze)
        yield
        assert is_gone.is_set()


async def pair_type(one: Watched) -> str | None:
    """Wait for a picture; tell how it came."""
    assert await one.viewer.picture() == [320, 240]
    return one.session.ledger.pair_type


@pytest.mark.parametrize("kind", ["cone", "restricted"])
async def test_routers_that_keep_ports_let_them_meet(
    world: World, turn: Coturn, frames: list[EncodedFrame], kind: Nat
) -> None:
    """Told of their addresses outside, both reach each other without a relay."""
    await world.home.be(kind)
    async with watched(world, frames, ours=[turn.stun], theirs=[turn.stun]) as one:
        assert await pair_type(one) in {"host/srflx", "host/prflx"}
        assert any("typ srflx" in line for line in told(one))


async def test_a_full_cone_lets_a_symmetric_viewer_in(
    world: World, turn: Coturn, frames: list[EncodedFrame]
) -> None:
    """Everybody may knock at a full cone, so that it suffices that the device knows its own."""
    await world.home.be("cone")
    await world.office.be("symmetric")
    async with watched(world, frames, ours=[turn.stun], theirs=[turn.stun]) as one:
        assert await pair_type(one) == "host/prflx"


@pytest.mark.parametrize("kind", ["cone", "restricted", "symmetric"])
async def test_whatever_routers_do_turn_helps(
    world: World, turn: Coturn, frames: list[EncodedFrame], kind: Nat
) -> None:
    """Through TURN over UDP, with a viewer that has another port for everybody it talks to."""
    await world.home.be(kind)
    await world.office.be("symmetric")
    async with watched(
        world, frames, ours=[turn.turn("udp")], theirs=[turn.stun], policy="relay"
    ) as one:
        assert (await pair_type(one) or "").startswith("relay/")


async def test_two_symmetric_routers_need_turn(
    world: World, turn: Coturn, frames: list[EncodedFrame]
) -> None:
    """All ways are tried, and the relayed one is found beside those that do not work."""
    await world.home.be("symmetric")
    await world.office.be("symmetric")
    async with watched(
        world, frames, ours=[turn.stun, turn.turn("udp", "tcp")], theirs=[turn.stun]
    ) as one:
        assert (await pair_type(one) or "").startswith("relay/")


async def test_without_turn_two_symmetric_routers_are_the_end(
    world: World, turn: Coturn, frames: list[EncodedFrame]
) -> None:
    """The end says what each side had, and what would help."""
    await world.home.be("symmetric")
    await world.office.be("symmetric")
    async with watched(
        world, frames, ours=[turn.stun], theirs=[turn.stun], connect_deadline_s=2.0
    ) as one:
        error = await one.running

    assert isinstance(error, ConnectFailed)
    assert "this device had host, srflx; the viewer had host" in str(error)
    assert "no TURN server is set up at the relay" in str(error)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(("passing", "transport"), [("no udp", "tcp"), ("port 443", "tls")])
async def test_firewalls_are_passed(
    world: World,
    turn: Coturn,
    frames: list[EncodedFrame],
    *,
    passing: Passing,
    transport: str,
) -> None:
    """Without UDP, TURN over TCP carries the picture; where only 443 is open, TURN over TLS."""
    await world.home.be(passing=passing)
    async with watched(
        world, frames, ours=[turn.stun, turn.turn("tls", "tcp", "udp")], theirs=[turn.stun]
    ) as one:
        assert (await pair_type(one) or "").startswith("relay/")
        connections = await run(world.device.command("ss", "-Htn"))

    port = {"tcp": TURN_PORT, "tls": TLS_PORT}[transport]
    assert connections.split()[4] == f"{nat.SERVER}:{port}"
    assert connections.count(nat.SERVER) == 1


@pytest.mark.parametrize("policy", ["all", "relay"])
async def test_expired_credentials_are_told(
    world: World, turn: Coturn, frames: list[EncodedFrame], policy: IcePolicy
) -> None:
    """The end says that the credentials are what is wrong, in the log and to the viewer."""
    await world.home.be("symmetric")
    await world.office.be("symmetric")
    servers = [turn.expired("udp", "tcp")]
    with capture_logs() as logs:
        async with watched(
            world, frames, ours=servers, theirs=[turn.stun], policy=policy, connect_deadline_s=2.0
        ) as one:
            error = await one.running

    assert isinstance(error, ConnectFailed)
    assert "refuses the username and credential" in str(error)
    failed = [line for line in logs if line["event"] == "ice.turn_failed"]
    assert [line["server"] for line in failed] == [
        f"{nat.SERVER}:{TURN_PORT}/udp",
        f"{nat.SERVER}:{TURN_PORT}/tcp",
    ]
    assert all("does not accept our username and credential" in line["problem"] for line in failed)
    assert str(servers[0].credential) not in repr(logs) + str(error)


async def test_a_killed_turn_server_ends_the_session_and_another_carries_the_next(
    world: World,
    turn: Coturn,
    program: Callable[[str, str], str],
    frames: list[EncodedFrame],
    tmp_path: Path,
) -> None:
    """Nobody says goodbye; the viewer's silence does. The next session finds what is left."""
    async with running_coturn(
        world.internet.command(program("turnserver", "coturn")),
        address=nat.SERVER,
        port=OTHER_TURN_PORT,
        secret=SECRET,
        folder=tmp_path,
    ) as dying:
        servers = [dying.turn("udp"), turn.turn("tcp")]
        async with watched(
            world,
            frames,
            ours=servers,
            theirs=[turn.stun],
            policy="relay",
            patience=IMPATIENT,
        ) as one:
            await pair_type(one)
            await dying.kill()
            error = await one.running
        async with watched(
            world, frames, ours=servers, theirs=[turn.stun], policy="relay"
        ) as again:
            assert (await pair_type(again) or "").startswith("relay/")

    assert isinstance(error, ViewerLost)


async def test_a_changed_address_ends_the_session(
    world: World, turn: Coturn, frames: list[EncodedFrame]
) -> None:
    """The device is somewhere else all of a sudden: that session ends, the next one works."""
    device = world.device
    async with watched(
        world, frames, ours=[turn.stun], theirs=[turn.stun], patience=IMPATIENT
    ) as one:
        await pair_type(one)
        await nat.move(device, nat.DEVICE, ELSEWHERE)
        try:
            error = await one.running
            async with watched(world, frames, ours=[turn.stun], theirs=[turn.stun]) as again:
                await pair_type(again)
                assert ELSEWHERE in "".join(told(again))
        finally:
            await nat.move(device, ELSEWHERE, nat.DEVICE)

    assert isinstance(error, ViewerLost)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("falls_silent", [frozen, frozen_once_relay_is_gone])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_closing_leaves_nothing_behind(
    world: World,
    program: Callable[[str, str], str],
    authority: trustme.CA,
    frames: list[EncodedFrame],
    *,
    tmp_path: Path,
    transport: str,
    falls_silent: Callable[[int], AbstractContextManager[None]],
) -> None:
    """A TURN server that neither hears nor says anything any more holds up neither the place nor the end."""
    certificate = authority.issue_cert(nat.SERVER)
    async with running_coturn(
        world.internet.command(program("turnserver", "coturn")),
        address=nat.SERVER,
        port=OTHER_TURN_PORT,
        secret=SECRET,
        folder=tmp_path,
        tls=(OTHER_TURN_PORT + 1, certificate),
    ) as silent:
        tasks, threads = asyncio.all_tasks(), own_threads()
        before = open_sockets()
        async with watched(
            world, frames, ours=[silent.turn(transport)], theirs=[silent.stun], policy="relay"
        ) as one:
            await pair_type(one)
            with falls_silent(silent.process.pid):
                one.session.end("user_ended")
                assert one.session.is_over
                done, _ = await asyncio.wait({one.running}, timeout=LONGEST_CLOSE_S)
                assert done
        await until(lambda: asyncio.all_tasks() == tasks)
        await until(lambda: open_sockets() == before)
        await until(lambda: own_threads() == threads)


async def test_a_relayed_device_shows_no_other_address(
    world: World, turn: Coturn, frames: list[EncodedFrame]
) -> None:
    """Neither answer nor candidates tell where it is, nor which router it is behind."""
    async with watched(
        world,
        frames,
        ours=[turn.stun, turn.turn("udp")],
        theirs=[turn.stun],
        policy="relay",
    ) as one:
        await pair_type(one)
        await until(lambda: one.wire.candidates()[-1:] == [None])
        said = "".join(encode(message) for message in one.wire.sent)

    addresses = set(re.findall(r"\d+\.\d+\.\d+\.\d+", said))
    assert addresses == {nat.SERVER, "0.0.0.0"}  # noqa: S104 - an address, not one to listen at
    assert not re.search(r"[0-9a-f]{2,4}::?[0-9a-f:]+ \d+ typ", said)


@pytest.mark.parametrize("server", ["stun:{}:9", "turn:{}:9", "turn:{}:9?transport=tcp"])
async def test_a_dead_server_delays_no_answer(
    world: World, turn: Coturn, frames: list[EncodedFrame], server: str
) -> None:
    """The answer leaves first, and the picture comes, while nobody has answered yet."""
    dead = IceServer(urls=server.format(NOWHERE), username="u", credential="p")
    await world.office.be("cone")
    with capture_logs() as logs:
        async with watched(world, frames, ours=[dead], theirs=[turn.stun]) as one:
            assert (await pair_type(one) or "").startswith("host/")
            await until(lambda: one.wire.candidates()[-1:] == [None])

    assert not [line for line in logs if line["event"].endswith("_failed")]
    assert one.wire.sent[0].type == "signal_answer"
    assert one.wire.candidates().count(None) == 1
