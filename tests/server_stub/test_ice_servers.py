"""A device asks over plain HTTP which STUN and TURN servers it would get."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from camagent.signaling.messages import IceServer
from server_stub.auth import hash_device_token, make_token
from server_stub.relay import Relay
from server_stub.turn import credential_for
from tests.server_stub.peers import SECRET, device, relay_at, viewer, watch

TURN_SECRET = "shared with the TURN server"
STUN = "stun:turn.example:3478"
TURN = ("turn:turn.example:3478?transport=udp", "turns:turn.example:443?transport=tcp")
TOKEN = "the token of attic"


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    """Hold a relay with ICE servers; `attic` needs a token, `cam` none."""
    changes: dict[str, Any] = {
        "stun_urls": (STUN,),
        "turn_urls": TURN,
        "turn_secret": SecretStr(TURN_SECRET),
    }
    async with relay_at(tmp_path, **changes) as held:
        await held.store.add_device("attic", token_hash=hash_device_token(TOKEN))
        yield held


async def asked(
    relay: Relay, query: str, *, authorization: str | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Ask, and give status, JSON and headers of the answer."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{relay.port}") as http:  # noqa: SIM117
        async with http.get(f"/api/ice-servers{query}", headers=headers) as answer:
            return answer.status, await answer.json(), dict(answer.headers)


async def test_a_device_sees_its_servers(relay: Relay) -> None:
    """The list has every URL, with a credential that the TURN server accepts for long enough."""
    status, answer, headers = await asked(
        relay, "?device_id=attic", authorization=f"Bearer {TOKEN}"
    )

    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    stun, turn = answer["ice_servers"]
    assert stun == {"urls": STUN}
    assert turn["urls"] == list(TURN)
    expires_at_s, _, name = turn["username"].partition(":")
    assert name == "device_check"
    assert int(expires_at_s) > time.time() + 8 * 3600 - 60
    assert turn["credential"] == credential_for(turn["username"], TURN_SECRET)


async def test_they_are_those_of_a_watch_request(relay: Relay) -> None:
    """Apart from the name in the credential, a session's device gets the very same."""
    async with device(relay) as cam, viewer(relay) as person:
        await person.send("watch_request", {"device_id": "cam"})
        wanted = await cam.payload("watch_request")
    _, answer, _ = await asked(relay, "?device_id=cam")

    def shape(servers: list[dict[str, Any]]) -> list[set[str]]:
        return [set(server) for server in servers]

    assert shape(answer["ice_servers"]) == shape(wanted["ice_servers"])
    for told, brought in zip(answer["ice_servers"], wanted["ice_servers"], strict=True):
        assert IceServer.model_validate(told).all_urls == IceServer(**brought).all_urls


async def test_a_relay_without_servers_lists_none(tmp_path: Path) -> None:
    """An empty list is an answer as well."""
    async with relay_at(tmp_path) as relay:
        status, answer, _ = await asked(relay, "?device_id=cam")

    assert (status, answer) == (200, {"ice_servers": []})


async def test_asking_leaves_no_trace(relay: Relay) -> None:
    """It starts no session, and a device that is online stays so."""
    async with device(relay) as cam, viewer(relay) as person:
        assert (await asked(relay, "?device_id=cam"))[0] == 200
        await cam.nothing_came()
        assert len(relay.sessions) == 0
        await watch(person, cam)


@pytest.mark.parametrize("query", ["", "?", "?device_id=", "?device=cam", "?device_id=%00"])
async def test_the_device_has_to_be_named(relay: Relay, query: str) -> None:
    """Without a name there is nothing to look for."""
    status, answer, _ = await asked(relay, query)

    assert (status, answer) == (400, {"error": "device_id is missing"})


@pytest.mark.parametrize("name", ["cellar", "CAM", "%ff", "c%ed%a0%80", "x" * 4000])
async def test_an_unknown_device_gets_none(relay: Relay, name: str) -> None:
    """A name that the relay does not know is answered as on the socket."""
    status, answer, _ = await asked(relay, f"?device_id={name}", authorization=f"Bearer {TOKEN}")

    assert (status, answer) == (404, {"error": "Device not found"})


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        "Bearer \u00fc",
        f"Bearer {make_token(SECRET, 'user', 60)}",
    ],
)
async def test_a_wrong_token_gets_none(relay: Relay, authorization: str | None) -> None:
    """Whoever cannot open the device's socket learns no credential; a viewer cannot either."""
    status, answer, headers = await asked(relay, "?device_id=attic", authorization=authorization)

    assert (status, answer) == (401, {"error": "Invalid token"})
    assert headers["WWW-Authenticate"] == "Bearer"
