"""Watching by WHEP (draft-ietf-wish-whep): one HTTP request starts a session of the usual kind.

    POST   /whep/{device_id}               an offer; 201 with the answer and the session's address
    PATCH  /whep/{device_id}/{session_id}  more of the viewer's candidates
    DELETE /whep/{device_id}/{session_id}  the end

WHEP has no way to tell a viewer candidates after the answer, so the answer waits a little for what
STUN and TURN give the device. A viewer that goes away without a word is missed by the device, which
says so. ICE restarts are not supported: the agent's ICE has none.
"""

import asyncio
import time
from http import HTTPStatus

import structlog
from aiohttp import web

from camagent.signaling.messages import Offer, SignalIce, SignalOffer
from server_stub.auth import Identity
from server_stub.problem import Problem
from server_stub.quotas import TOO_MANY_REQUESTS, TOO_MANY_SESSIONS
from server_stub.relay import RELAY, Relay
from server_stub.sdp import Fragment, SdpInvalid, read_fragment, with_candidates
from server_stub.sessions import WatchSession
from server_stub.watching import (
    NOT_FOUND,
    OFFLINE,
    UNAUTHORIZED,
    WatchRefused,
    end_watch,
    pass_on,
    start_watch,
)
from server_stub.whep_request import (
    FRAGMENT,
    SDP,
    add_links,
    check_precondition,
    device_id_of,
    identify,
    look_over,
    read_body,
)
from server_stub.whep_viewer import WatchOver, WhepViewer

log = structlog.get_logger(__name__)

_ENDPOINT = "/whep/{device_id}"
_SESSION = "/whep/{device_id}/{session_id}"
_GATHERING_DEADLINE_S = 0.8
_REFUSALS = {
    UNAUTHORIZED: HTTPStatus.FORBIDDEN,
    NOT_FOUND: HTTPStatus.NOT_FOUND,
    # What the draft has for a stream that nobody sends now.
    OFFLINE: HTTPStatus.CONFLICT,
    TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    TOO_MANY_SESSIONS: HTTPStatus.TOO_MANY_REQUESTS,
}


def add_whep_routes(router: web.UrlDispatcher) -> None:
    """Lay out the two kinds of resource."""
    router.add_get(_ENDPOINT, _tell_nothing)
    router.add_options(_ENDPOINT, _tell_options)
    router.add_post(_ENDPOINT, _watch)
    router.add_get(_SESSION, _tell_session)
    router.add_options(_SESSION, _tell_options)
    router.add_patch(_SESSION, _trickle)
    router.add_delete(_SESSION, _end)


async def _tell_nothing(_request: web.Request) -> web.Response:
    return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Accept-Post": SDP})


async def _tell_options(request: web.Request) -> web.Response:
    """Answer a browser's preflight, and tell the ICE servers to whoever may use them.

    A preflight has no token, so that only who sends one gets credentials.
    """
    response = web.Response(headers={"Accept-Post": SDP, "Accept-Patch": FRAGMENT})
    if "Authorization" in request.headers:
        relay, identity = request.app[RELAY], await identify(request)
        device_id = device_id_of(request)
        if await relay.store.is_granted(identity.user_id, device_id):
            servers = relay.ice_servers.for_viewer(identity.user_id, "whep", now_s=time.time())
            add_links(response, servers)
    return response


async def _watch(request: web.Request) -> web.Response:
    """Start a session; answer when the device has."""
    relay, identity = request.app[RELAY], await identify(request)
    device_id = device_id_of(request)
    text = await read_body(request, SDP)
    viewer = WhepViewer(look_over(text), told_candidates="\na=candidate:" in text)
    try:
        session = await start_watch(relay, viewer, user_id=identity.user_id, device_id=device_id)
    except WatchRefused as refusal:
        status = _REFUSALS.get(str(refusal), HTTPStatus.SERVICE_UNAVAILABLE)
        raise Problem(status, str(refusal)) from refusal
    session.on_forgotten = viewer.forget
    _expire_with(relay, session, viewer, identity)
    try:
        answer = await _negotiate(relay, session, viewer, text)
    except WatchOver as over:
        relay.sessions.end(session, "error", ended_by=viewer, message=str(over))
        late, other = HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.SERVICE_UNAVAILABLE
        raise Problem(late if over.is_timeout else other, str(over)) from over
    except BaseException:
        relay.sessions.end(session, "error", ended_by=viewer)
        raise
    if request.transport is None or request.transport.is_closing():
        relay.sessions.end(session, "viewer_disconnected", ended_by=viewer)
    location = request.rel_url.with_query(None).joinpath(session.session_id)
    response = web.Response(
        status=HTTPStatus.CREATED,
        text=answer,
        content_type=SDP,
        headers={"Location": str(location), "Accept-Patch": FRAGMENT, "Cache-Control": "no-store"},
    )
    response.etag = viewer.etag
    add_links(response, viewer.ice_servers)
    return response


async def _negotiate(relay: Relay, session: WatchSession, viewer: WhepViewer, offer: str) -> str:
    """Have the offer answered; give the answer with the candidates that came soon after it."""
    payload = SignalOffer.Payload(session_id=session.session_id, sdp=Offer(sdp=offer))
    asked_at_s = time.monotonic()
    if not await pass_on(relay, viewer, SignalOffer(payload=payload)):
        viewer.forget()  # unless it heard already why the session is over
    answer = await viewer.answered()
    answered_at_s = time.monotonic()
    candidates, are_all = await viewer.gathered(_GATHERING_DEADLINE_S)
    log.info(
        "whep.answered",
        session_id=session.session_id,
        answer_ms=round((answered_at_s - asked_at_s) * 1000),
        candidates_ms=round((time.monotonic() - answered_at_s) * 1000),
        has_all_candidates=are_all,
    )
    return with_candidates(answer, candidates, has_all_candidates=are_all)


async def _tell_session(request: web.Request) -> web.Response:
    """Show that a session goes on. With a fresh token it goes on until that ends."""
    await _find(request)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _trickle(request: web.Request) -> web.Response:
    """Pass a viewer's candidates on to the device."""
    session, viewer = await _find(request)
    text = await read_body(request, FRAGMENT)
    try:
        fragment = read_fragment(text)
    except SdpInvalid as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
    check_precondition(request, viewer.etag)
    if not _is_of_session(fragment, viewer):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "ICE cannot be restarted; watch anew")
    await _tell_device(request.app[RELAY], session, viewer, fragment)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _end(request: web.Request) -> web.Response:
    """End a session, which another instance may have."""
    relay, session_id = request.app[RELAY], request.match_info["session_id"]
    known = relay.sessions.get(session_id)
    if known is not None and known.is_ours:
        session, viewer = await _find(request)
        relay.sessions.end(session, "user_ended", ended_by=viewer)
        return web.Response()
    identity, device_id = await identify(request), device_id_of(request)
    if not await end_watch(
        relay, None, user_id=identity.user_id, session_id=session_id, device_id=device_id
    ):
        raise Problem(HTTPStatus.NOT_FOUND, "Session not found")
    return web.Response()


async def _tell_device(
    relay: Relay, session: WatchSession, viewer: WhepViewer, fragment: Fragment
) -> None:
    viewer.told_candidates |= bool(fragment.candidates)
    # The device can meet a player that tells no address, as many do; but not once it was told
    # that there is nobody to meet.
    is_end = fragment.has_all_candidates and viewer.told_candidates
    candidates = [*fragment.candidates, *([None] if is_end else [])]
    for candidate in candidates[: viewer.candidates_left]:
        viewer.candidates_left -= 1
        payload = SignalIce.Payload(session_id=session.session_id, candidate=candidate)
        await pass_on(relay, viewer, SignalIce(payload=payload))


def _is_of_session(fragment: Fragment, viewer: WhepViewer) -> bool:
    """Tell a fragment of this ICE session from one that would start another."""
    told, known = fragment.credentials, viewer.credentials
    return told.ufrag in {None, known.ufrag} and told.password in {None, known.password}


def _expire_with(
    relay: Relay, session: WatchSession, viewer: WhepViewer, identity: Identity
) -> None:
    """Let the session end when the token does that was good for longest."""
    is_over = not relay.sessions.is_live(session.session_id)
    if is_over or identity.expires_at_s <= viewer.expires_at_s:
        return
    viewer.expires_at_s = identity.expires_at_s
    if viewer.expiry is not None:
        viewer.expiry.cancel()
        session.timers.remove(viewer.expiry)

    def expire() -> None:
        relay.sessions.end(session, "timeout", ended_by=viewer, message="token expired")

    viewer.expiry = asyncio.get_running_loop().call_later(identity.left_s, expire)
    # Cancelled with the session's own.
    session.timers.append(viewer.expiry)


async def _find(request: web.Request) -> tuple[WatchSession, WhepViewer]:
    """Look up the session of a request, which is its user's and came by WHEP."""
    relay, identity = request.app[RELAY], await identify(request)
    session_id = request.match_info["session_id"]
    session = relay.sessions.find_of_user(session_id, identity.user_id)
    if (
        session is None
        or session.device_id != device_id_of(request)
        or not isinstance(session.viewer, WhepViewer)
    ):
        raise Problem(HTTPStatus.NOT_FOUND, "Session not found")
    _expire_with(relay, session, session.viewer, identity)
    return session, session.viewer
