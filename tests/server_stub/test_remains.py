"""What connections leave behind: nothing that only the garbage collector could take away."""

import gc
from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiohttp import web

from server_stub.connection import Connection
from server_stub.outbox import Outbox
from server_stub.relay import Relay
from tests.server_stub.peers import Client, client, device
from tests.support import until

Leaving = Callable[[Relay, Client], Awaitable[object]]


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Take away what is there now, and from then on nothing that is in a circle."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def remains() -> list[object]:
    """List what is still there of connections."""
    kinds = {Connection, Outbox, web.WebSocketResponse, web.Request}
    return [one for one in gc.get_objects() if type(one) in kinds]


async def _closes(_relay: Relay, camera: Client) -> None:
    await camera.leave()


async def _is_cut_off(_relay: Relay, camera: Client) -> None:
    camera.websocket.transport.abort()


async def _half_closes(_relay: Relay, camera: Client) -> None:
    camera.websocket.transport.write_eof()


async def _sends_too_much(_relay: Relay, camera: Client) -> None:
    await camera.websocket.send("x" * 100_000)
    await camera.ended()


async def _breaks_the_framing(_relay: Relay, camera: Client) -> None:
    camera.websocket.transport.write(b"\xff" * 64)
    await camera.ended()


async def _is_replaced(relay: Relay, camera: Client) -> None:
    async with device(relay):
        await camera.ended()


async def _takes_nothing(relay: Relay, camera: Client) -> None:
    camera.websocket.transport.pause_reading()
    while not relay.devices["cam"].is_stuck:
        relay.devices["cam"].send_error("x" * 1000)
    camera.websocket.transport.abort()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "leave",
    [
        _closes,
        _is_cut_off,
        _half_closes,
        _sends_too_much,
        _breaks_the_framing,
        _is_replaced,
        _takes_nothing,
    ],
)
async def test_a_connection_that_ends_is_gone(relay: Relay, leave: Leaving) -> None:
    """However it ends, all of it goes with its last reference, as a storm would have no pause."""
    async with device(relay) as camera:
        assert remains()
        await leave(relay, camera)
    await until(lambda: not relay.present)
    await until(lambda: not remains())


@pytest.mark.usefixtures("no_collector")
async def test_who_is_refused_is_gone(relay: Relay) -> None:
    """A device that nobody knows leaves nothing either, be it told so a hundred times."""
    async with client(relay, "device") as stranger:
        await stranger.send("hello", {"device_id": "nobody"})
        assert await stranger.ended() == (1008, "Device not found")
    await until(lambda: not remains())
