"""Whatever anybody sends, the relay goes on and the others notice nothing."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from server_stub.auth import hash_device_token
from server_stub.relay import Relay
from tests.server_stub.peers import TS, Client, client, device, relay_at, viewer, watch

MESSAGES = int(os.environ.get("CAMAGENT_GARBAGE_MESSAGES", "500"))
"""How many are made up for each socket; at night, set it to 20000 or more."""

PER_EXAMPLE = 20
EXAMPLES = MESSAGES // PER_EXAMPLE
_A_NIGHT_S = 12 * 3600.0
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
    min_size=PER_EXAMPLE,
    max_size=PER_EXAMPLE,
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


class _House:
    """A relay with a session between `guarded` and `user` that nobody may disturb."""

    def __init__(self, relay: Relay, guarded: Client, user: Client, session_id: str) -> None:
        self.relay = relay
        self.guarded = guarded
        self.user = user
        self.session_id = session_id

    async def take(self, path: str, items: list[str | bytes], *, is_known: bool) -> None:
        """Have somebody send it all, and see that the session and the relay go on."""
        async with contextlib.AsyncExitStack() as held:
            if not is_known:
                peer = await held.enter_async_context(client(self.relay, path))
            elif path == "viewer":
                peer = await held.enter_async_context(viewer(self.relay, "stranger"))
            else:
                peer = await held.enter_async_context(device(self.relay, "cam"))
                other = await held.enter_async_context(viewer(self.relay))
                items = _in_session(items, await watch(other, peer))
            code = await pour(peer, items)
            assert code is None or code in CLOSE_CODES, code
        await self._expect_peace()

    async def _expect_peace(self) -> None:
        await self.guarded.nothing_came()
        for message in await drain(self.user):
            assert message["payload"]["session_id"] != self.session_id
        await self.user.send("signal_ice", {"session_id": self.session_id, "candidate": None})
        assert (await self.guarded.payload("signal_ice"))["session_id"] == self.session_id
        async with viewer(self.relay) as newcomer:
            await newcomer.nothing_came()


def _in_session(items: list[str | bytes], session_id: str) -> list[str | bytes]:
    return [
        item.replace("SESSION", session_id) if isinstance(item, str) else item for item in items
    ]


@contextlib.asynccontextmanager
async def _house(folder: Path) -> AsyncIterator[_House]:
    unlimited = {"watch_requests_per_minute": 0, "sessions_per_user": 0}
    async with relay_at(folder, **unlimited) as relay:
        await relay.store.add_device("guarded", token_hash=hash_device_token("right"))
        await relay.store.grant("user", "guarded")
        async with (
            device(relay, "guarded", token="right") as guarded,
            viewer(relay, valid_for_s=_A_NIGHT_S) as user,
        ):
            session_id = await watch(user, guarded, "guarded")
            # Unanswered it would end by itself, long before a night's messages are through.
            answer = {"type": "answer", "sdp": "v=0"}
            await guarded.send("signal_answer", {"session_id": session_id, "sdp": answer})
            await user.payload("signal_answer")
            yield _House(relay, guarded, user, session_id)


@pytest.mark.parametrize("path", ["device", "viewer"])
def test_garbage_disturbs_nobody(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Before hello or after, in a session or not: no crash, and others' sessions go on."""

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(items=garbage, is_known=st.booleans())
    def pour_it(items: list[str | bytes], *, is_known: bool) -> None:
        runner.run(house.take(path, items, is_known=is_known))

    with TemporaryDirectory() as folder, asyncio.Runner() as runner, capture_logs() as logs:
        holding = _house(Path(folder))
        house = runner.run(holding.__aenter__())
        try:
            pour_it()
        finally:
            runner.run(holding.__aexit__(None, None, None))
    assert not [line for line in logs if line["log_level"] in ("error", "critical")]
    assert not [one for one in caplog.records if one.levelname in ("ERROR", "CRITICAL")]
