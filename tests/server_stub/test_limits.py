"""What one client takes too much of is refused to it, clearly, and to nobody else."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from websockets.exceptions import InvalidStatus

from server_stub.batches import Batched
from server_stub.limits import Tally, TokenBuckets
from server_stub.relay import Relay
from tests.server_stub.peers import client, device, relay_at, viewer, watch
from tests.support import DEADLINE_S, until

EVERYBODY_LIMITED = {"unlimited_addresses": ()}


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """Who used its burst up is told how long to wait; another key has its own."""
    clock = Clock()
    buckets = TokenBuckets(per_second=2, at_once=3, clock=clock)

    assert [await buckets.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert await buckets.wait_s("b") == 0
    clock.now_s = 0.5
    assert [await buckets.wait_s("a") for _ in range(2)] == [0, 0.5]
    clock.now_s = 100
    assert [await buckets.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]


async def test_a_rate_of_zero_limits_nothing() -> None:
    """And keeps nothing in memory."""
    buckets = TokenBuckets(per_second=0, at_once=1)

    assert [await buckets.wait_s("a") for _ in range(100)] == [0] * 100
    assert len(buckets) == 0


async def test_buckets_are_bounded() -> None:
    """Of too many keys the one that asked longest ago is forgotten."""
    buckets = TokenBuckets(per_second=0.001, at_once=1, most_keys=3, clock=Clock())
    for key in ("a", "b", "c", "a", "d"):
        await buckets.wait_s(key)

    assert len(buckets) == 3
    assert await buckets.wait_s("a") > 0
    assert await buckets.wait_s("b") == 0


def test_a_tally_forgets_who_has_gone() -> None:
    """Its memory is of those who are there."""
    tally = Tally(2)
    for _ in range(2):
        assert not tally.is_full("a")
        tally.add("a")
    assert tally.is_full("a")
    assert not tally.is_full("b")
    tally.remove("a")
    assert not tally.is_full("a")
    tally.remove("a")
    assert len(tally) == 0


async def test_questions_at_once_are_asked_together() -> None:
    """The first is asked at once, all that come meanwhile in one; each gets its own answer."""
    asked: list[set[str]] = []

    async def ask(keys: set[str]) -> Mapping[str, str]:
        asked.append(set(keys))
        await asyncio.sleep(0)
        return {key: key.upper() for key in keys if key != "nobody"}

    batched = Batched(ask)
    answers = await asyncio.gather(*(batched.get(key) for key in ("a", "b", "nobody", "b", "c")))

    assert answers == ["A", "B", None, "B", "C"]
    assert len(asked) <= 2
    assert await batched.get("a") == "A"
    assert asked[-1] == {"a"}


async def test_a_question_that_fails_fails_for_those_who_asked_it() -> None:
    """Who was cancelled takes no answer from the others, and the next question is a new one."""
    come = asyncio.Event()
    fails = True

    async def ask(keys: set[str]) -> Mapping[str, str]:
        await come.wait()
        if fails:
            raise OSError("away")
        return dict.fromkeys(keys, "here")

    batched = Batched(ask)
    first = asyncio.ensure_future(batched.get("a"))
    others = [asyncio.ensure_future(batched.get(key)) for key in ("b", "c")]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    come.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(one) for one in results] == [asyncio.CancelledError, OSError, OSError]
    fails = False
    assert await batched.get("b") == "here"


async def _status(relay: Relay, path: str = "viewer") -> tuple[int, str | None]:
    """Try to connect; give the answer's status and when to come again."""
    try:
        async with client(relay, path):
            return 101, None
    except InvalidStatus as refused:
        return refused.response.status_code, refused.response.headers.get("Retry-After")


async def test_an_address_holds_so_many_connections(tmp_path: Path) -> None:
    """One more is answered with 429 before the upgrade, until one of them ends."""
    changes: dict[str, Any] = EVERYBODY_LIMITED | {"connections_per_address": 2}
    async with relay_at(tmp_path, **changes) as relay, device(relay) as cam:
        async with viewer(relay) as user:
            assert await _status(relay) == (429, "5")
            assert await _status(relay, "device") == (429, "5")
            await watch(user, cam)
        async with contextlib.AsyncExitStack() as held:
            await until(lambda: len(relay.present) == 1)
            await held.enter_async_context(viewer(relay))
    assert _value(relay, "rate_limited_total", limit="connections") == 2


async def test_an_address_connects_so_often(tmp_path: Path) -> None:
    """Beyond its burst an address is told when to come again, over the sockets and over HTTP."""
    changes: dict[str, Any] = EVERYBODY_LIMITED | {"connects_at_once": 3}
    async with (
        relay_at(tmp_path, connects_per_second=0.01, **changes) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        assert (await _status(relay))[0] == 101
        status, wait_s = await _status(relay)
        assert status == 429
        assert 90 <= int(wait_s or 0) <= 100
        async with ClientSession() as session:
            url = f"http://127.0.0.1:{relay.port}"
            async with session.get(f"{url}/api/devices") as answer:
                assert answer.status == 429
            async with session.get(f"{url}/healthz") as answer:
                assert answer.status == 200
        await watch(user, cam)
        assert _value(relay, "rate_limited_total", limit="connects") == 2


async def test_loopback_is_not_limited_by_default(tmp_path: Path) -> None:
    """A proxy on the same machine that nobody told the relay of is no attacker."""
    async with (
        relay_at(tmp_path, connections_per_address=1, connects_at_once=1) as relay,
        device(relay),
        viewer(relay),
        viewer(relay) as user,
    ):
        await user.nothing_came()


async def test_ipv6_is_limited_by_network(relay: Relay) -> None:
    """Who has one address has 2^64 of them."""
    key = relay.door._key

    assert key("2001:db8:0:1::1") == key("2001:db8:0:1:ffff::2") == "2001:db8:0:1::/64"
    assert key("2001:db8:0:2::1") != key("2001:db8:0:1::1")
    assert key("::ffff:192.0.2.1") == key("192.0.2.1") == "192.0.2.1"
    assert key("::ffff:127.0.0.1") is None
    assert key("::1") is None


async def test_a_user_has_so_many_sessions(tmp_path: Path) -> None:
    """One more is refused; another user's goes on, and an ended one makes room."""
    async with (
        relay_at(tmp_path, sessions_per_user=2) as relay,
        device(relay) as cam,
        viewer(relay) as user,
        viewer(relay, "other") as other,
    ):
        await relay.store.grant("other", "cam")
        first = await watch(user, cam)
        await watch(user, cam)
        await user.send("watch_request", {"device_id": "cam"}, request_id="r")
        assert await user.error(request_id="r") == "Too many sessions"
        await watch(other, cam)
        await user.send("end_watch", {"session_id": first})
        await cam.payload("watch_ended")
        await watch(user, cam)
        assert _value(relay, "rate_limited_total", limit="sessions_per_user") == 1


async def test_a_device_has_so_many_viewers(tmp_path: Path) -> None:
    """A device is not asked for more than the relay lets it have."""
    async with (
        relay_at(tmp_path, sessions_per_device=1) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        await watch(user, cam)
        await user.send("watch_request", {"device_id": "cam"})
        assert await user.error() == "Device has too many viewers"
        await cam.nothing_came()


async def test_a_user_asks_so_often(tmp_path: Path) -> None:
    """The rate belongs to the user, over however many connections."""
    async with (
        relay_at(tmp_path, watch_requests_per_minute=10) as relay,
        viewer(relay) as one,
        viewer(relay) as other,
    ):
        for _ in range(5):
            for user in (one, other):
                await user.send("watch_request", {"device_id": "cam"})
                assert await user.error() == "Device is offline"
        await other.send("watch_request", {"device_id": "cam"})
        assert await other.error() == "Too many watch requests"
        await other.nothing_came()


async def test_a_request_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    """Headers that are trickled, or never sent, cost a socket for as long as a hello may take."""
    requests = (b"", b"GET /ws/device", b"GET / HTTP/1.1\r\nHost: relay\r\n")
    async with relay_at(tmp_path, hello_deadline_s=1.5) as relay, device(relay) as cam:
        await asyncio.gather(*(_is_hung_up_on(relay, said) for said in requests))
        await cam.nothing_came()
        assert _value(relay, "rate_limited_total", limit="request") == len(requests)


async def _is_hung_up_on(relay: Relay, said: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(said)
    trickling = asyncio.ensure_future(_trickle(writer)) if said else None
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    if trickling is not None:
        trickling.cancel()
        await asyncio.wait([trickling])
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_bad_http_is_nobodys_fault(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever scanners send is answered with 400, and no error in the log."""
    for said in (b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n\r\n", b"GET / HTTP/9\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(said + b"\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.read()
        assert answer == b"" or b" 400 " in answer.partition(b"\r\n")[0], answer
        writer.close()
        await writer.wait_closed()
    assert not [one for one in caplog.records if one.levelname in ("ERROR", "CRITICAL")]


async def _trickle(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def test_a_message_has_its_largest_size(tmp_path: Path) -> None:
    """A setting below the protocol's own limit holds."""
    async with (
        relay_at(tmp_path, largest_message_bytes=4096) as relay,
        viewer(relay) as user,
        viewer(relay) as other,
    ):
        await user.send("heartbeat", {"padding": "x" * 5000})
        assert (await user.ended())[0] == 1009
        await other.nothing_came()


def _value(relay: Relay, name: str, **labels: str) -> float | None:
    return relay.meters.registry.get_sample_value(f"camagent_relay_{name}", labels)
