"""The socket that gives pictures, with real connections, well-behaved and not."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from camagent.errors import CameraError, CameraHung, SnapshotError
from camagent.snapshot.client import ask_for_picture
from camagent.snapshot.exchange import SOCKET_NAME
from camagent.snapshot.server import serve_snapshots
from tests.support import DEADLINE_S, running, until

PICTURE = b"\xff\xd8" + bytes(1_000_000) + b"\xff\xd9"


async def take() -> bytes:
    return PICTURE


@asynccontextmanager
async def serving(
    folder: Path, take: Callable[[], Awaitable[bytes]] = take, **deadlines: float
) -> AsyncIterator[Path]:
    path = folder / SOCKET_NAME
    async with asyncio.timeout(2 * DEADLINE_S):
        async with running(serve_snapshots(folder, take, **deadlines)):
            await until(lambda: path.exists() and path.stat().st_mode & 0o777 == 0o660)
            yield path


async def said(path: Path, data: bytes) -> bytes:
    """Send `data`, and read until the agent closes."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


async def test_a_picture_arrives_whole(tmp_path: Path) -> None:
    """As often as it is asked for, and the log tells who did."""
    with capture_logs() as events:
        async with serving(tmp_path) as path:
            assert await ask_for_picture(path) == PICTURE
            assert await ask_for_picture(path) == PICTURE

    assert events == 2 * [
        {
            "event": "snapshot.taken",
            "log_level": "info",
            "bytes": len(PICTURE),
            "uid": os.getuid(),
        }
    ]


async def test_the_socket_is_for_its_group_and_goes_with_the_agent(tmp_path: Path) -> None:
    """Nobody else may connect, and nothing is left behind."""
    async with serving(tmp_path) as path:
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()


async def test_what_a_killed_agent_left_is_replaced(tmp_path: Path) -> None:
    """Its socket lies there and nobody listens."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(SnapshotError, match="does not listen at"):
        await ask_for_picture(tmp_path / SOCKET_NAME)
    async with serving(tmp_path) as path:
        assert await ask_for_picture(path) == PICTURE


async def test_a_problem_is_told_in_one_line(tmp_path: Path) -> None:
    """However the camera puts it; the next one may have more luck."""
    problems = [f"no\ncamera {'ä' * 2000}"]

    async def fail_once() -> bytes:
        if problems:
            raise CameraError(problems.pop())
        return PICTURE

    async with serving(tmp_path, fail_once) as path:
        with pytest.raises(SnapshotError, match="gives no picture: no camera ää"):
            await ask_for_picture(path)
        assert await ask_for_picture(path) == PICTURE


async def test_a_camera_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """Whoever waits is told so."""
    async with serving(tmp_path, asyncio.Event().wait, picture_deadline_s=0.1) as path:  # type: ignore[arg-type]
        with pytest.raises(SnapshotError, match=r"no picture came for 0\.1 s"):
            await ask_for_picture(path)


async def test_a_hung_camera_ends_the_agent_after_it_was_told(tmp_path: Path) -> None:
    """Only a new process helps, and systemd makes one."""

    async def hang() -> bytes:
        raise CameraHung("a call into the camera takes more than 8 s")

    task = asyncio.create_task(serve_snapshots(tmp_path, hang))
    path = tmp_path / SOCKET_NAME
    await until(path.exists)
    with pytest.raises(SnapshotError, match="more than 8 s"):
        await ask_for_picture(path)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(DEADLINE_S):
            await task
    assert caught.group_contains(CameraHung)


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.1\r\n", b"\n", b"x" * 100_000, b"\xff\x00\n"])
async def test_nonsense_is_refused_and_costs_nothing(tmp_path: Path, nonsense: bytes) -> None:
    """No picture is taken for it, and the next one is served."""
    taken = []

    async def count() -> bytes:
        taken.append(1)
        return PICTURE

    async with serving(tmp_path, count) as path:
        assert await said(path, nonsense) in {
            b"problem that is no request for a snapshot\n",
            b"reset",
        }
        assert not taken
        assert await ask_for_picture(path) == PICTURE


async def test_who_stalls_is_dropped(tmp_path: Path) -> None:
    """Neither one that says nothing nor one that reads nothing stays, or is in the way."""
    async with serving(tmp_path, talk_deadline_s=1.5) as path:
        silent_reader, silent = await asyncio.open_unix_connection(path)
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(path))
        deaf.sendall(b"snapshot\n")
        assert await ask_for_picture(path) == PICTURE
        assert await silent_reader.read() == b""
        await until(lambda: len(asyncio.all_tasks()) <= 2)
        silent.close()
        deaf.close()


async def test_only_a_few_wait_at_once(tmp_path: Path) -> None:
    """Eight do, one picture after the other; whoever comes on top is told so at once."""
    gate = asyncio.Event()
    at_once: list[int] = [0]

    async def take_when_open() -> bytes:
        at_once[0] += 1
        assert at_once == [1]
        await gate.wait()
        at_once[0] -= 1
        return PICTURE

    async with serving(tmp_path, take_when_open) as path:
        asked = [asyncio.create_task(ask_for_picture(path)) for _ in range(12)]
        await until(lambda: sum(one.done() for one in asked) == 4)
        gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)

    assert answers.count(PICTURE) == 8
    assert {str(one) for one in answers if one != PICTURE} == {
        "the running agent gives no picture: too many ask for a picture at once; try again"
    }


async def test_an_agent_that_stops_lets_nobody_wait(tmp_path: Path) -> None:
    """Whoever waits for a picture learns that the agent ended."""
    async with serving(tmp_path, asyncio.Event().wait) as path:  # type: ignore[arg-type]
        asked = asyncio.create_task(ask_for_picture(path))
        await until(lambda: len(asyncio.all_tasks()) >= 4)
    with pytest.raises(SnapshotError, match="ended before"):
        await asked


async def test_a_folder_that_cannot_hold_it_costs_only_snapshots(tmp_path: Path) -> None:
    """The agent goes on without."""
    with capture_logs() as events:
        await serve_snapshots(tmp_path / "none", take)
    assert [event["event"] for event in events] == ["snapshot.not_served"]


@pytest.mark.parametrize(
    "answer", [b"picture -1\n", b"picture 99999999999\n", b"hello\n", b"x" * 9000]
)
async def test_who_is_no_agent_is_not_believed(tmp_path: Path, answer: bytes) -> None:
    """The command reads no endless picture and no other program's words."""
    path = tmp_path / SOCKET_NAME

    def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(speak, path)
    try:
        with pytest.raises(SnapshotError, match=r"is not understood|ended before"):
            await ask_for_picture(path)
    finally:
        server.close()
