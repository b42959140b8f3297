"""A WHEP session as a resource: what becomes of a request to it, wherever that arrived.

    PATCH, GET ── whep ── the session is here ──────────────────────── receive
                     └─── another instance has it ── instances ── answering ┘

Whose it is, and which ICE session a fragment is for, is looked at where the session is.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from camagent.signaling.messages import SignalIce
from server_stub.auth import Identity
from server_stub.sdp import Fragment
from server_stub.sessions import Sessions, WatchSession
from server_stub.whep_viewer import WhepViewer

NO_SESSION = "Session not found"
OTHER_ICE = "that is another ICE session"
NO_RESTART = "ICE cannot be restarted; watch anew"


class VisitRefused(Exception):
    """A request changes nothing; the text, one of those above, is for the player."""


@dataclass(frozen=True)
class Visit:
    """A request to a session, and who asks.

    Attributes:
        etags: the ICE sessions that it may be meant for (If-Match).
        fragment: the candidates of a PATCH; None for a look.
    """

    session_id: str
    device_id: str
    identity: Identity
    etags: tuple[str, ...] = ()
    fragment: Fragment | None = None


def receive(sessions: Sessions, visit: Visit) -> tuple[WatchSession, WhepViewer]:
    """Let a request to a session of its user's in, which by that goes on as long as its token.

    Raises:
        VisitRefused: there is no such session here, or the fragment is not for it.
    """
    session = sessions.find_of_user(visit.session_id, visit.identity.user_id)
    if (
        session is None
        or session.device_id != visit.device_id
        or not isinstance(session.viewer, WhepViewer)
    ):
        raise VisitRefused(NO_SESSION)
    viewer = session.viewer
    expire_with(sessions, session, viewer, visit.identity)
    if visit.fragment is not None:
        if not {"*", viewer.etag}.intersection(visit.etags):
            raise VisitRefused(OTHER_ICE)
        if not _is_of_session(visit.fragment, viewer):
            raise VisitRefused(NO_RESTART)
    return session, viewer


def signals(session_id: str, viewer: WhepViewer, fragment: Fragment) -> Iterator[SignalIce]:
    """Make of a fragment what the device is to hear, as far as the player may tell it more."""
    viewer.told_candidates |= bool(fragment.candidates)
    # The device can meet a player that tells no address, as many do; but not once it was told
    # that there is nobody to meet.
    is_end = fragment.has_all_candidates and viewer.told_candidates
    candidates = [*fragment.candidates, *([None] if is_end else [])]
    for candidate in candidates[: viewer.candidates_left]:
        viewer.candidates_left -= 1
        yield SignalIce(payload=SignalIce.Payload(session_id=session_id, candidate=candidate))


def expire_with(
    sessions: Sessions, session: WatchSession, viewer: WhepViewer, identity: Identity
) -> None:
    """Let the session end when the token does that was good for longest."""
    is_over = not sessions.is_live(session.session_id)
    if is_over or identity.expires_at_s <= viewer.expires_at_s:
        return
    viewer.expires_at_s = identity.expires_at_s
    if viewer.expiry is not None:
        viewer.expiry.cancel()
        session.timers.remove(viewer.expiry)

    def expire() -> None:
        sessions.end(session, "timeout", ended_by=viewer, message="token expired")

    viewer.expiry = asyncio.get_running_loop().call_later(identity.left_s, expire)
    # Cancelled with the session's own.
    session.timers.append(viewer.expiry)


def _is_of_session(fragment: Fragment, viewer: WhepViewer) -> bool:
    """Tell a fragment of this ICE session from one that would start another."""
    told, known = fragment.credentials, viewer.credentials
    return told.ufrag in {None, known.ufrag} and told.password in {None, known.password}
