"""Watching by WHEP (draft-ietf-wish-whep): one HTTP request starts a session of the usual kind.

    POST   /whep/{device_id}               an offer; 201 with the answer and the session's address
    PATCH  /whep/{device_id}/{session_id}  more of the viewer's candidates
    DELETE /whep/{device_id}/{session_id}  the end

A request to a session may arrive at any instance of the relay: it is passed on to that which has it.
WHEP has no way to tell a viewer candidates after the answer, so the answer waits a little for what
STUN and TURN give the device. A viewer that goes away without a word is missed by the device, which
says so. ICE restarts are not supported: the agent's ICE has none.
"""

import time
from dataclasses import replace
from http import HTTPStatus

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from camagent.signaling.messages import Offer, SignalOffer
from server_stub.presence import Unanswered, Unreachable
from server_stub.problem import Problem
from server_stub.quotas import TOO_MANY_REQUESTS, TOO_MANY_SESSIONS
from server_stub.relay import RELAY, Relay
from server_stub.sdp import SdpInvalid, read_fragment, with_candidates
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
    device_id_of,
    identify,
    look_over,
    read_body,
    read_precondition,
)
from server_stub.whep_session import (
    NO_RESTART,
    NO_SESSION,
    OTHER_ICE,
    Visit,
    VisitRefused,
    expire_with,
    receive,
    signals,
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
    NO_SESSION: HTTPStatus.NOT_FOUND,
    OTHER_ICE: HTTPStatus.PRECONDITION_FAILED,
    NO_RESTART: HTTPStatus.UNPROCESSABLE_ENTITY,
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
        raise Problem(_status_of(refusal), str(refusal)) from refusal
    session.on_forgotten = viewer.forget
    expire_with(relay.sessions, session, viewer, identity)
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
    visit = await _visit(request)
    await _pass_on(request.app[RELAY], visit, await _elsewhere(request.app[RELAY], visit))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _trickle(request: web.Request) -> web.Response:
    """Pass a viewer's candidates on to the device."""
    relay, visit = request.app[RELAY], await _visit(request)
    instance_id = await _elsewhere(relay, visit)
    text = await read_body(request, FRAGMENT)
    try:
        fragment = read_fragment(text)
    except SdpInvalid as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
    visit = replace(visit, fragment=fragment, etags=read_precondition(request))
    await _pass_on(relay, visit, instance_id)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _end(request: web.Request) -> web.Response:
    """End a session, which another instance may have."""
    relay, visit = request.app[RELAY], await _visit(request)
    if _is_here(relay, visit):
        session, viewer = _receive(relay, visit)
        relay.sessions.end(session, "user_ended", ended_by=viewer)
    elif not await end_watch(
        relay,
        None,
        user_id=visit.identity.user_id,
        session_id=visit.session_id,
        device_id=visit.device_id,
    ):
        raise Problem(HTTPStatus.NOT_FOUND, NO_SESSION)
    return web.Response()


async def _visit(request: web.Request) -> Visit:
    """Tell who asks about which session."""
    identity, session_id = await identify(request), request.match_info["session_id"]
    if "\0" in session_id:  # as in `device_id_of`
        raise Problem(HTTPStatus.NOT_FOUND, NO_SESSION)
    return Visit(session_id, device_id_of(request), identity)


def _is_here(relay: Relay, visit: Visit) -> bool:
    known = relay.sessions.get(visit.session_id)
    return known is not None and known.is_ours


async def _elsewhere(relay: Relay, visit: Visit) -> str | None:
    """Find the instance that has a session, or None if this one has.

    Raises:
        Problem: nobody has it, or nobody knows.
    """
    if _is_here(relay, visit) or relay.instances is None:
        _receive(relay, visit)
        return None
    try:
        left = await relay.store.left_session(
            visit.session_id, visit.identity.user_id, longest_s=relay.sessions.longest_s
        )
    except SQLAlchemyError as error:
        unknown = "The session cannot be looked up now"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, unknown) from error
    if left is None or left.ended_at is not None or left.instance_id in {None, relay.instance_id}:
        raise Problem(HTTPStatus.NOT_FOUND, NO_SESSION)
    return left.instance_id


async def _pass_on(relay: Relay, visit: Visit, instance_id: str | None) -> None:
    """Do what a request asks, here or at the instance that has its session."""
    if instance_id is not None:
        await _ask(relay, visit, instance_id)
    elif visit.fragment is not None:
        session, viewer = _receive(relay, visit)
        for signal in signals(session.session_id, viewer, visit.fragment):
            await pass_on(relay, viewer, signal)


def _receive(relay: Relay, visit: Visit) -> tuple[WatchSession, WhepViewer]:
    try:
        return receive(relay.sessions, visit)
    except VisitRefused as refusal:
        raise Problem(_status_of(refusal), str(refusal)) from refusal


async def _ask(relay: Relay, visit: Visit, instance_id: str) -> None:
    assert relay.instances is not None, "who has a session elsewhere has other instances"
    try:
        await relay.instances.visit(instance_id, visit)
    except VisitRefused as refusal:
        raise Problem(_status_of(refusal), str(refusal)) from refusal
    except (Unreachable, Unanswered) as error:
        is_late = isinstance(error, Unanswered) and error.is_late
        status = HTTPStatus.GATEWAY_TIMEOUT if is_late else HTTPStatus.SERVICE_UNAVAILABLE
        text = "The session cannot be reached now: another instance has it"
        raise Problem(status, text) from error


def _status_of(refusal: Exception) -> HTTPStatus:
    return _REFUSALS.get(str(refusal), HTTPStatus.SERVICE_UNAVAILABLE)
