"""Whatever anybody sends, the relay goes on and the others notice nothing."""

import asyncio
import contextlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from server_stub.auth import hash_device_token
from tests.server_stub.peers import TS, Client, client, device, relay_at, viewer, watch

EXAMPLES = 80
CLOSE_CODES = {1000, 1002, 1003, 1007, 1008, 1009}

KINDS = (
    "hello",
    "heartbeat",
    "watch_request",
    "signal_offer",
    "signal_answer",
    "signal_ice",
    "end_watch",
    "watch_ended",
    "device_presence",
    "error",
)
names = st.sampled_from(("guarded", "cam", "nobody", "SESSION", "")) | st.text(max_size=140)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
sdp = st.fixed_dictionaries(
    {"type": st.sampled_from(("offer", "answer", "pranswer")), "sdp": st.text(max_size=200)}
)
candidate = st.none() | st.fixed_dictionaries(
    {"candidate": st.text(max_size=100)},
    optional={"sdpMid": json_values, "sdpMLineIndex": st.integers() | st.none()},
)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "device_id": names,
        "token": st.text(max_size=200),
        "session_id": names,
        "sdp": sdp | json_values,
        "candidate": candidate | json_values,
        "reason": st.sampled_from(("error", "timeout", "?")) | json_values,
        "message": st.text(max_size=1100),
        "battery": json_values,
        "extra": json_values,
    },
)
# JSON can write half of a character, which is no text.
request_ids = st.text(max_size=140) | st.just("\ud800")
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS) | st.text(max_size=10), "payload": payloads | json_values},
    optional={"ts": st.just(TS) | json_values, "request_id": request_ids | json_values},
)
good_messages = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS), "ts": st.just(TS), "payload": payloads},
    optional={"request_id": st.text(max_size=20)},
)
garbage = st.lists(
    (good_messages | messages | json_values).map(json.dumps)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    min_size=1,
    max_size=12,
)


async def pour(peer: Client, items: list[str | bytes]) -> int | None:
    """Send it all; give the code of the close if there was one."""
    try:
        for item in items:
            await peer.websocket.send(item)
        await peer.send("heartbeat", request_id="the end")
        async with asyncio.timeout(15):
            while True:
                message = json.loads(await peer.websocket.recv())
                if message.get("request_id") == "the end":
                    return None
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


async def drain(peer: Client) -> list[dict[str, Any]]:
    """Take what came up to now."""
    await peer.send("heartbeat", request_id="now")
    taken = []
    while (message := await peer.receive()).get("request_id") != "now":
        taken.append(message)
    return taken


@pytest.mark.parametrize("path", ["device", "viewer"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_garbage_disturbs_nobody(path: str, data: st.DataObject) -> None:
    """Before hello or after, in a session or not: no crash, and others' sessions go on."""
    items = data.draw(garbage)
    is_known = data.draw(st.booleans())
    asyncio.run(_pour_beside_a_session(path, items, is_known=is_known))


async def _pour_beside_a_session(path: str, items: list[str | bytes], *, is_known: bool) -> None:
    async with contextlib.AsyncExitStack() as held:
        folder = Path(held.enter_context(TemporaryDirectory()))
        relay = await held.enter_async_context(relay_at(folder))
        await relay.store.add_device("guarded", token_hash=hash_device_token("right"))
        await relay.store.grant("user", "guarded")
        guarded = await held.enter_async_context(device(relay, "guarded", token="right"))
        user = await held.enter_async_context(viewer(relay))
        session_id = await watch(user, guarded, "guarded")

        if not is_known:
            peer = await held.enter_async_context(client(relay, path))
        elif path == "viewer":
            peer = await held.enter_async_context(viewer(relay, "stranger"))
        else:
            peer = await held.enter_async_context(device(relay, "cam"))
            own_id = await watch(user, peer)
            items = [
                item.replace("SESSION", own_id) if isinstance(item, str) else item for item in items
            ]
        code = await pour(peer, items)
        assert code is None or code in CLOSE_CODES, code

        await guarded.nothing_came()
        for message in await drain(user):
            assert message["payload"]["session_id"] != session_id
        await user.send("signal_ice", {"session_id": session_id, "candidate": None})
        assert (await guarded.payload("signal_ice"))["session_id"] == session_id
        async with viewer(relay) as newcomer:
            await newcomer.nothing_came()
