"""What a WHEP request says: who asks, about what, and with which body.

Whatever is wrong with it ends it by a `Problem`.
"""

import asyncio
import base64
from http import HTTPStatus

import structlog
from aiohttp import web

from camagent.signaling.messages import (
    LARGEST_MESSAGE_BYTES,
    IceServer,
    Offer,
    SignalOffer,
    encode,
)
from server_stub.auth import Identity, TokenInvalid, TokenUnchecked, bearer
from server_stub.problem import Problem
from server_stub.relay import RELAY
from server_stub.sdp import IceCredentials, NothingToWatch, SdpInvalid, read_offer
from server_stub.watching import NOT_FOUND

log = structlog.get_logger(__name__)

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"


async def identify(request: web.Request) -> Identity:
    """Tell who asks, by the Bearer token, or by a password that is such a token.

    A player that knows no token, as go2rtc, can have it in its URL: https://any:TOKEN@host/whep/…
    """
    header = request.headers.get("Authorization")
    token = bearer(header) or _password(header)
    try:
        return await request.app[RELAY].tokens.read(token or "")
    except TokenUnchecked as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Tokens cannot be checked now") from error
    except TokenInvalid as error:
        log.info("whep.refused", problem=str(error))
        raise Problem(
            HTTPStatus.UNAUTHORIZED, "Invalid token", {"WWW-Authenticate": "Bearer"}
        ) from error


def _password(header: str | None) -> str | None:
    """Take the password out of an `Authorization: Basic …` header (RFC 7617)."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return None


def device_id_of(request: web.Request) -> str:
    """Tell which device the path names."""
    device_id = request.match_info["device_id"]
    # PostgreSQL takes no NUL in a text, not even to compare it.
    if "\0" in device_id:
        raise Problem(HTTPStatus.NOT_FOUND, NOT_FOUND)
    return device_id


def look_over(text: str) -> IceCredentials:
    """Look over an offer, as far as the device need not be asked."""
    try:
        credentials = read_offer(text)
    except SdpInvalid as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
    except NothingToWatch as error:
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, str(error)) from error
    payload = SignalOffer.Payload(session_id="0" * 36, sdp=Offer(sdp=text))
    if len(encode(SignalOffer(payload=payload)).encode()) > LARGEST_MESSAGE_BYTES:
        # Passed on, it would cost the device its connection.
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the offer is too large")
    return credentials


async def read_body(request: web.Request, content_type: str) -> str:
    """Read a body of this type, within the time that a hello may take."""
    if request.content_type.lower() != content_type:
        header = "Accept-Post" if content_type == SDP else "Accept-Patch"
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the body has to be {content_type}",
            {header: content_type},
        )
    try:
        async with asyncio.timeout(request.app[RELAY].limits.hello_deadline_s):
            return (await request.read()).decode()
    except TimeoutError as error:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has more than {LARGEST_MESSAGE_BYTES} bytes",
        ) from error
    except UnicodeDecodeError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not UTF-8") from error


def add_links(response: web.Response, servers: tuple[IceServer, ...]) -> None:
    """Tell ICE servers, each URL in a Link header of its own (RFC 8288)."""
    for server in servers:
        for url in server.all_urls:
            link = f'<{url}>; rel="ice-server"'
            if server.username is not None:
                link += (
                    f'; username="{server.username}"; credential="{server.credential}"'
                    '; credential-type="password"'
                )
            response.headers.add("Link", link)


def read_precondition(request: web.Request) -> tuple[str, ...]:
    """Read If-Match (RFC 9110, section 13.1.1): it tells which ICE sessions may be meant."""
    wanted = request.if_match
    if wanted is None:
        raise Problem(HTTPStatus.PRECONDITION_REQUIRED, "If-Match is missing")
    return tuple(tag.value for tag in wanted if not tag.is_weak)
