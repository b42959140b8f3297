"""Watching by WHEP: what the relay answers, and what it tells the device."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from yarl import URL

from server_stub.auth import make_token
from server_stub.relay import Relay
from tests.server_stub.peers import SECRET, Client, device, recorded, relay_at, viewer
from tests.support import eventually, until

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
PASSWORD = "p" * 24
OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        "a=ice-ufrag:Uf+1",
        f"a=ice-pwd:{PASSWORD}",
        "a=recvonly",
        "m=video 0 UDP/TLS/RTP/SAVPF 96",
        "c=IN IP4 0.0.0.0",
        "a=bundle-only",
        "a=mid:1",
        "a=recvonly",
        "a=rtpmap:96 H264/90000",
        "",
    ]
)
HOST = "candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host"
RELAYED = "candidate:2 1 udp 16777215 198.51.100.1 5000 typ relay raddr 192.0.2.1 rport 4000"
ANSWER = "\r\n".join(
    [
        "v=0",
        "o=- 3 4 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 1",
        "m=audio 0 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "a=inactive",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=mid:1",
        f"a={HOST}",
        "a=sendonly",
        "",
    ]
)
TURN = {
    "turn_urls": ("turn:turn.example.com:3478?transport=udp", "turns:turn.example.com:5349"),
    "stun_urls": ("stun:turn.example.com:3478",),
    "turn_secret": SecretStr("shared"),
}
NEW_ICE = f"a=ice-ufrag:0th3r\r\na=ice-pwd:{'q' * 24}\r\n"
OLD_ICE = f"a=ice-ufrag:Uf+1\r\na=ice-pwd:{PASSWORD}\r\n"
SECTION = f"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na={HOST}\r\n"


class Player:
    """A WHEP player without media."""

    def __init__(self, http: aiohttp.ClientSession, user_id: str = "user") -> None:
        self._http = http
        self.token = make_token(SECRET, user_id, 600)

    @asynccontextmanager
    async def ask(
        self, method: str, path: str | URL, body: Any = None, **headers: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        sent = {"Authorization": f"Bearer {self.token}"} | headers
        async with self._http.request(method, path, data=body, headers=sent) as answer:
            yield answer

    async def status(self, method: str, path: str | URL, body: Any = None, **headers: str) -> int:
        async with self.ask(method, path, body, **headers) as answer:
            await answer.read()
            return answer.status

    async def problem(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Give status and text of an error."""
        async with self.ask(method, path, body, **headers) as answer:
            assert answer.content_type == "application/problem+json"
            told = await answer.json()
            assert told["status"] == answer.status
            return answer.status, told["detail"]

    async def patch(self, path: str, body: str, *, if_match: str | None) -> int:
        match = {} if if_match is None else {"If-Match": if_match}
        return await self.status("PATCH", path, body, **({"Content-Type": FRAGMENT} | match))


@asynccontextmanager
async def playing(relay: Relay, user_id: str = "user") -> AsyncIterator[Player]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{relay.port}") as http:
        yield Player(http, user_id)


@pytest.fixture
async def player(relay: Relay) -> AsyncIterator[Player]:
    async with playing(relay) as one:
        yield one


async def post(
    player: Player, offer: Any = OFFER, *, device_id: str = "cam"
) -> aiohttp.ClientResponse:
    path = f"/whep/{device_id}"
    async with player.ask("POST", path, offer, **{"Content-Type": SDP}) as answer:
        await answer.read()
        return answer


async def answer_offer(cam: Client, *candidates: str | None) -> str:
    """Do what a device does with a viewer; give the session's id."""
    session_id = (await cam.payload("watch_request"))["session_id"]
    offered = await cam.payload("signal_offer")
    assert offered == {"session_id": session_id, "sdp": {"type": "offer", "sdp": OFFER}}
    await cam.send(
        "signal_answer", {"session_id": session_id, "sdp": {"type": "answer", "sdp": ANSWER}}
    )
    for text in candidates:
        candidate = text and {"candidate": text, "sdpMid": "1", "sdpMLineIndex": 1}
        await cam.send("signal_ice", {"session_id": session_id, "candidate": candidate})
    return str(session_id)


@asynccontextmanager
async def watching(relay: Relay, player: Player) -> AsyncIterator[tuple[Client, str, str, str]]:
    """Hold a session: its device, its id, its path and its entity tag."""
    async with device(relay) as cam:
        asked = asyncio.create_task(post(player))
        session_id = await answer_offer(cam, None)
        answer = await asked
        assert answer.status == 201
        yield cam, session_id, answer.headers["Location"], answer.headers["ETag"]


# Starting


async def test_an_offer_becomes_a_session(tmp_path: Path) -> None:
    """The answer carries the device's candidates, the session's address, and the ICE servers."""
    async with relay_at(tmp_path, **TURN) as relay, playing(relay) as player, device(relay) as cam:
        asked = asyncio.create_task(post(player))
        session_id = await answer_offer(cam, HOST, RELAYED, None)
        answer = await asked

        assert answer.status == 201
        assert answer.content_type == SDP
        assert answer.headers["Location"] == f"/whep/cam/{session_id}"
        assert answer.headers["Accept-Patch"] == FRAGMENT
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["ETag"].startswith('"')
        added = f"a=sendonly\r\na={RELAYED}\r\na=end-of-candidates\r\n"
        assert await answer.text() == ANSWER.replace("a=sendonly\r\n", added)
        stun, udp, tls = answer.headers.getall("Link")
        assert stun == '<stun:turn.example.com:3478>; rel="ice-server"'
        assert udp.startswith('<turn:turn.example.com:3478?transport=udp>; rel="ice-server"; ')
        assert tls.startswith("<turns:turn.example.com:5349>; ")
        assert f':viewer_user_{session_id}"; credential="' in udp
        assert udp.endswith('; credential-type="password"')
        assert len(relay.sessions) == 1


async def test_candidates_are_waited_for_only_so_long(relay: Relay, player: Player) -> None:
    """What a device has not found in time is missing, and nobody says that it were all."""
    async with device(relay) as cam:
        asked = asyncio.create_task(post(player))
        session_id = await answer_offer(cam, RELAYED)
        text = await (await asked).text()
        assert RELAYED in text
        assert "a=end-of-candidates" not in text
        # What comes later is not the device's fault.
        await cam.send("signal_ice", {"session_id": session_id, "candidate": None})
        await cam.nothing_came()


@pytest.mark.parametrize("user_id", ['a"b; c, d', "zoë", "<a> 'b'"])
async def test_a_users_name_cannot_break_a_header(tmp_path: Path, user_id: str) -> None:
    """Whatever a token calls its user, the Link header is one, and in ASCII."""
    async with relay_at(tmp_path, **TURN) as relay, playing(relay, user_id) as player:
        await relay.store.grant(user_id, "cam")
        async with player.ask("OPTIONS", "/whep/cam") as answer:
            link = answer.headers.getall("Link")[-1]
            assert answer.status == 200
        assert link.isascii()
        assert link.count('"') == 8
        assert link.count(";") == 4


@pytest.mark.parametrize(
    ("offer", "status", "told"),
    [
        ("", 400, "v=0"),
        ("hello", 400, "x=value"),
        (OFFER[2:], 400, "x=value"),
        (OFFER.replace("v=0", "v=1"), 400, "v=0"),
        (OFFER.replace("a=ice-pwd", "a=ice-pvd"), 400, "ice-pwd"),
        (OFFER.replace("m=audio 9 UDP", "m=audio UDP"), 400, "m= line"),
        (OFFER.replace("s=-", "s=\0"), 400, "x=value"),
        (b"v=0\r\ns=\xff\r\n", 400, "UTF-8"),
        (OFFER + "m=video 0 RTP 0\r\n" * 40, 400, "sections"),
        (OFFER.replace("H264", "VP8"), 406, "H.264"),
        (OFFER.replace("a=recvonly", "a=sendonly"), 406, "H.264"),
        (OFFER.replace("a=bundle-only\r\n", ""), 406, "H.264"),
        (OFFER.replace("m=video", "m=text"), 406, "H.264"),
        (OFFER + "a=x:" + "y" * 70_000 + "\r\n", 413, "65536"),
        # Within the limit here, beyond it as the message that the device would get.
        (OFFER + 'a=x:"\r\n' * 7_500, 413, "too large"),
    ],
)
async def test_an_offer_that_is_none_costs_the_device_nothing(
    relay: Relay, player: Player, offer: Any, status: int, told: str
) -> None:
    """It is refused at the edge, with a sentence that says why."""
    async with device(relay) as cam:
        problem = await player.problem("POST", "/whep/cam", offer, **{"Content-Type": SDP})
        assert problem[0] == status
        assert told in problem[1]
        await cam.nothing_came()
    assert len(relay.sessions) == 0


async def test_only_sdp_is_an_offer(player: Player) -> None:
    """Any other type is named as wrong, and the right one is named."""
    for kind in ("text/plain", "application/json", FRAGMENT):
        headers = {"Content-Type": kind}
        async with player.ask("POST", "/whep/cam", OFFER, **headers) as answer:
            assert answer.status == 415
            assert answer.headers["Accept-Post"] == SDP
    assert (await post(player)).status == 409, "the device is offline"
    with_parameter = {"Content-Type": "Application/SDP; charset=utf-8"}
    assert await player.status("POST", "/whep/cam", OFFER, **with_parameter) == 409


async def test_a_slow_body_is_not_waited_for(tmp_path: Path) -> None:
    """It has the time of a hello."""

    async def drip() -> AsyncIterator[bytes]:
        yield b"v=0\r\n"
        await asyncio.Event().wait()

    async with relay_at(tmp_path, hello_deadline_s=1.0) as relay, playing(relay) as player:
        assert await player.status("POST", "/whep/cam", drip(), **{"Content-Type": SDP}) == 408


async def test_who_may_not_watch_is_told_so(relay: Relay, player: Player) -> None:
    """As at the WebSocket: no token, no right, no device, nobody there."""
    sdp = {"Content-Type": SDP}
    assert await player.problem("POST", "/whep/cam", OFFER, **sdp) == (409, "Device is offline")
    assert (await post(player)).headers["Retry-After"] == "5"
    for path in ("/whep/attic", "/whep/a%00b", f"/whep/{'x' * 4000}"):
        assert await player.problem("POST", path, OFFER, **sdp) == (404, "Device not found")
    async with playing(relay, "stranger") as stranger:
        assert await stranger.problem("POST", "/whep/cam", OFFER, **sdp) == (403, "Unauthorized")
    for header in ("", "Bearer", "Bearer nonsense", "Basic dTpw", f"Bearer {'x' * 5000}"):
        async with player.ask("POST", "/whep/cam", OFFER, Authorization=header, **sdp) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_may_be_the_password_of_a_url(relay: Relay, player: Player) -> None:
    """For players that know no Bearer token; the user's name does not matter."""
    sdp = {"Content-Type": SDP}

    def basic(text: str) -> str:
        return f"Basic {base64.b64encode(text.encode()).decode()}"

    good = basic(f"any:{player.token}")
    assert await player.status("POST", "/whep/cam", OFFER, Authorization=good, **sdp) == 409
    for header in (
        basic("any:nonsense"),
        basic(f"{player.token}:"),
        basic(""),
        "Basic",
        "Basic =",
        "Basic \u00fc",
    ):
        assert await player.status("POST", "/whep/cam", OFFER, Authorization=header, **sdp) == 401


async def test_a_device_that_cannot_serve_says_why(relay: Relay, player: Player) -> None:
    """Its words reach whoever asked."""
    async with device(relay) as cam:
        asked = asyncio.create_task(post(player))
        session_id = (await cam.payload("watch_request"))["session_id"]
        await cam.payload("signal_offer")
        end = {"session_id": session_id, "reason": "error", "message": "the cable is loose"}
        await cam.send("watch_ended", end)
        answer = await asked
        assert answer.status == 503
        assert (await answer.json())["detail"] == "the cable is loose"
        assert answer.headers["Retry-After"] == "5"
    assert (await recorded(relay, session_id)).reason == "error"


async def test_a_device_that_goes_before_its_answer_is_missed(relay: Relay, player: Player) -> None:
    """Nobody waits for it."""
    async with device(relay) as cam:
        asked = asyncio.create_task(post(player))
        await cam.payload("watch_request")
    answer = await asked
    assert answer.status == 503
    assert "device_disconnected" in await answer.text()


async def test_a_device_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    """It has the time that it has for any viewer."""
    async with (
        relay_at(tmp_path, answer_deadline_s=0.1) as relay,
        playing(relay) as player,
        device(relay),
    ):
        answer = await post(player)
        assert answer.status == 504
        assert "did not answer in time" in await answer.text()


async def test_who_leaves_before_the_answer_has_no_session(relay: Relay, player: Player) -> None:
    """A player that gave up will not connect, and the device is told."""
    async with device(relay) as cam:
        asked = asyncio.create_task(post(player))
        session_id = (await cam.payload("watch_request"))["session_id"]
        await cam.payload("signal_offer")
        asked.cancel()
        await asyncio.wait([asked])
        await until(lambda: not player._http.connector._acquired)  # type: ignore[union-attr]
        await cam.nothing_came()
        message = {"session_id": session_id, "sdp": {"type": "answer", "sdp": ANSWER}}
        await cam.send("signal_answer", message)
        await cam.send("signal_ice", {"session_id": session_id, "candidate": None})
        ended = await cam.payload("watch_ended")
        assert ended == {"session_id": session_id, "reason": "viewer_disconnected"}


# Trickling


async def test_candidates_reach_the_device(relay: Relay, player: Player) -> None:
    """Each is one message, in order, and the end of them another."""
    async with watching(relay, player) as (cam, session_id, path, etag):
        body = f"{OLD_ICE}{SECTION}a={RELAYED}\r\na=end-of-candidates\r\n"
        assert await player.patch(path, body, if_match=etag) == 204
        for text in (HOST, RELAYED):
            told = await cam.payload("signal_ice")
            assert told["session_id"] == session_id
            assert told["candidate"] == {"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0}
        assert (await cam.payload("signal_ice"))["candidate"] is None
        assert await player.patch(path, SECTION, if_match="*") == 204
        assert (await cam.payload("signal_ice"))["candidate"]["candidate"] == HOST


async def test_who_has_told_no_address_may_still_be_met(relay: Relay, player: Player) -> None:
    """Some players say only that there is no more; the device would give them up at once."""
    async with watching(relay, player) as (cam, _, path, _):
        end = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=end-of-candidates\r\n"
        assert await player.patch(path, end, if_match="*") == 204
        await cam.nothing_came()
        assert await player.patch(path, SECTION, if_match="*") == 204
        assert await player.patch(path, end, if_match="*") == 204
        assert (await cam.payload("signal_ice"))["candidate"] is not None
        assert (await cam.payload("signal_ice"))["candidate"] is None


@pytest.mark.parametrize(
    ("body", "if_match", "status"),
    [
        (SECTION, None, 428),
        (SECTION, '"another"', 412),
        (SECTION, "nonsense", 412),
        (SECTION, 'W/"{}"', 412),
        (NEW_ICE + SECTION, "*", 422),
        (NEW_ICE, '"{}"', 422),
        ("", "*", 400),
        ("a=mid:0\r\n", "*", 400),
        (f"a={HOST}\r\n", "*", 400),
        ("candidate", "*", 400),
        (SECTION + f"a={HOST}\r\n" * 64, "*", 400),
        (f"{SECTION}a=candidate:{'x' * 1100}\r\n", "*", 400),
        ("a=x:" + "y" * 70_000, "*", 413),
    ],
)
async def test_a_fragment_that_is_wrong_changes_nothing(
    relay: Relay, player: Player, body: str, if_match: str | None, status: int
) -> None:
    """Preconditions, an ICE restart, and what is no fragment: refused, and the session goes on."""
    async with watching(relay, player) as (cam, _, path, etag):
        match = if_match and if_match.format(etag.strip('"'))
        assert await player.patch(path, body, if_match=match) == status
        await cam.nothing_came()
        assert await player.status("GET", path) == 204


async def test_a_session_has_only_so_many_candidates(relay: Relay, player: Player) -> None:
    """More of them are dropped; the device's connection is not flooded."""
    many = SECTION + f"a={HOST}\r\n" * 39
    async with watching(relay, player) as (cam, _, path, _):
        for _ in range(3):
            assert await player.patch(path, many, if_match="*") == 204
        for _ in range(64):
            await cam.payload("signal_ice")
        await cam.nothing_came()


async def test_only_fragments_are_patches(relay: Relay, player: Player) -> None:
    """Any other type is named as wrong, and the right one is named."""
    async with watching(relay, player) as (_, _, path, etag):
        headers = {"Content-Type": SDP, "If-Match": etag}
        async with player.ask("PATCH", path, SECTION, **headers) as answer:
            assert answer.status == 415
            assert answer.headers["Accept-Patch"] == FRAGMENT


# The end


async def test_delete_ends_the_session(relay: Relay, player: Player) -> None:
    """The device hears of it, and the address is no more."""
    async with watching(relay, player) as (cam, session_id, path, _):
        assert await player.status("GET", path) == 204
        assert await player.status("DELETE", path, **{"If-Match": '"whatever"'}) == 200
        ended = await cam.payload("watch_ended")
        assert ended == {"session_id": session_id, "reason": "user_ended"}
        for method in ("GET", "DELETE"):
            assert await player.status(method, path) == 404
        assert await player.patch(path, SECTION, if_match="*") == 404
    assert (await recorded(relay, session_id)).reason == "user_ended"


async def test_a_viewer_that_the_device_lost_is_gone(relay: Relay, player: Player) -> None:
    """A player that went without a word is missed by the device, which says so."""
    async with watching(relay, player) as (cam, session_id, path, _):
        await cam.send("watch_ended", {"session_id": session_id, "reason": "viewer_disconnected"})
        await cam.nothing_came()
        assert await player.status("DELETE", path) == 404


async def test_a_session_ends_with_its_device(relay: Relay, player: Player) -> None:
    """As every session does."""
    async with watching(relay, player) as (cam, session_id, path, _):
        await cam.leave()
        assert (await recorded(relay, session_id)).reason == "device_disconnected"
        assert await player.status("GET", path) == 404


async def test_a_session_ends_when_its_time_is_up(tmp_path: Path) -> None:
    """As every session does."""
    async with (
        relay_at(tmp_path, longest_session_s=1.5) as relay,
        playing(relay) as player,
        watching(relay, player) as (cam, session_id, path, _),
    ):
        assert await cam.payload("watch_ended") == {"session_id": session_id, "reason": "timeout"}
        assert await player.status("GET", path) == 404


async def test_a_session_ends_with_its_token(relay: Relay, player: Player) -> None:
    """Unless a fresh one of the same user is shown before; an older one takes nothing away."""
    player.token = make_token(SECRET, "user", 3)
    async with watching(relay, player) as (cam, session_id, _, _):
        asked = asyncio.create_task(post(player))
        await answer_offer(cam, None)
        path = (await asked).headers["Location"]
        old, player.token = player.token, make_token(SECRET, "user", 600)
        assert await player.status("GET", path) == 204
        fresh, player.token = player.token, old
        await player.status("GET", path)

        ended = await cam.payload("watch_ended")
        assert (ended["session_id"], ended["message"]) == (session_id, "token expired")

        async def has_expired() -> bool:
            return await player.status("GET", path) == 401

        await eventually(has_expired)
        await cam.nothing_came()
        player.token = fresh
        assert await player.status("GET", path) == 204


async def test_a_session_is_its_users_alone(relay: Relay, player: Player) -> None:
    """To others it is not there; nor is it under another device, nor is a WebSocket's session."""
    await relay.store.grant("stranger", "cam")
    async with watching(relay, player) as (cam, session_id, path, _):
        async with playing(relay, "stranger") as stranger:
            assert await stranger.status("DELETE", path) == 404
        assert await player.status("DELETE", f"/whep/attic/{session_id}") == 404
        assert await player.status("DELETE", "/whep/cam/nonsense") == 404
        assert await player.status("GET", path, Authorization="") == 401
        async with viewer(relay) as person:
            await person.send("watch_request", {"device_id": "cam"})
            other = (await person.payload("watch_ready"))["session_id"]
            await cam.payload("watch_request")
            assert await player.status("DELETE", f"/whep/cam/{other}") == 404
        assert await player.status("GET", path) == 204


# What browsers and the draft want besides


PLAYER = "https://player.example"


async def test_a_preflight_is_answered_without_a_token(tmp_path: Path) -> None:
    """It names what may be sent; TURN credentials are for who may watch."""
    changes = TURN | {"allowed_origins": (PLAYER,)}
    async with relay_at(tmp_path, **changes) as relay, playing(relay) as player:
        preflight = {"Origin": PLAYER, "Access-Control-Request-Method": "POST"}
        http = player._http
        for path in ("/whep/cam", "/whep/cam/any"):
            async with http.options(path, headers=preflight) as answer:
                assert answer.status == 200
                allowed = answer.headers["Access-Control-Allow-Headers"].lower()
                for name in ("authorization", "content-type", "if-match"):
                    assert name in allowed
                assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
                assert answer.headers["Access-Control-Allow-Origin"] == PLAYER
                assert answer.headers["Accept-Post"] == SDP
                assert "Link" not in answer.headers
        async with player.ask("OPTIONS", "/whep/cam") as answer:
            assert len(answer.headers.getall("Link")) == 3
        async with (
            playing(relay, "stranger") as stranger,
            stranger.ask("OPTIONS", "/whep/cam") as answer,
        ):
            assert "Link" not in answer.headers


async def test_an_error_can_be_read_by_a_page_that_may_ask(tmp_path: Path) -> None:
    """Else a browser would hide from a player why it failed."""
    async with (
        relay_at(tmp_path, allowed_origins=(PLAYER,)) as relay,
        playing(relay) as player,
    ):
        headers = {"Content-Type": SDP, "Origin": PLAYER}
        async with player.ask("POST", "/whep/cam", OFFER, **headers) as answer:
            assert answer.status == 409
            assert answer.headers["Access-Control-Allow-Origin"] == PLAYER
            assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        async with player.ask("PUT", "/whep/cam", "", Origin=PLAYER) as answer:
            assert answer.status == 405
            assert answer.headers["Access-Control-Allow-Origin"] == PLAYER


async def test_pages_of_foreign_origins_may_not_watch(player: Player) -> None:
    """Unless they are listed, whatever token they show."""
    async with player.ask("POST", "/whep/cam", OFFER, Origin=PLAYER) as answer:
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_reading_the_endpoint_tells_nothing(player: Player) -> None:
    """A GET succeeds without content, as the draft has it."""
    async with player._http.get("/whep/cam") as answer:
        assert (answer.status, await answer.text()) == (204, "")


async def test_no_secret_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the token, nor the TURN credential, nor the descriptions."""
    async with relay_at(tmp_path, **TURN) as relay, playing(relay) as player:
        async with watching(relay, player) as (_, _, path, _):
            await player.status("DELETE", path)
        logged = capsys.readouterr().out
        assert "whep.answered" in logged
        assert json.dumps(logged).count(player.token) == 0
        assert PASSWORD not in logged
