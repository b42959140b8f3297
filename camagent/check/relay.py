"""Asks the relay, over plain HTTP, which STUN and TURN servers this device would get."""

import asyncio
import os
import ssl
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from camagent.check.findings import Finding, Verdict
from camagent.signaling.messages import LARGEST_MESSAGE_BYTES, IceServer, IceServers
from camagent.signaling.options import LinkOptions

ICE = "ice"
"""The name of the findings about STUN and TURN servers."""

M = TypeVar("M", bound=BaseModel)

_STEP_DEADLINE_S = 5.0
_ANSWER_DEADLINE_S = 10.0
_DEVICE_PATH = "/ws/device"
_SCHEMES = {"ws": "http", "wss": "https"}
# The relay's words; without them a 404 comes from a server that has no such list.
_DEVICE_NOT_FOUND = "Device not found"


class _Told(BaseModel):
    """The relay's answer."""

    ice_servers: IceServers


class _Refused(BaseModel):
    """The relay's answer to a device that it does not know."""

    error: str


async def ask_relay(options: LinkOptions) -> tuple[IceServer, ...] | Finding:
    """Give what the relay hands out, or what came instead of it."""
    try:
        async with asyncio.timeout(_ANSWER_DEADLINE_S):
            status, body = await asyncio.to_thread(_get, options)
    except (OSError, HTTPException) as error:
        return Finding(ICE, Verdict.SKIPPED, f"the server cannot be asked: {_reason(error)}")
    return _read(status, body)


def _read(status: int, body: bytes) -> tuple[IceServer, ...] | Finding:
    told, refused = _parse(_Told, body), _parse(_Refused, body)
    if told is not None and status == HTTPStatus.OK:
        return told.ice_servers
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        text = f"the server cannot tell its ICE servers now: HTTP {status}"
        fix = "the server or a proxy before it is in trouble: look at its log"
        return Finding(ICE, Verdict.FAILED, text, fix)
    is_known_path = status != HTTPStatus.NOT_FOUND or (
        refused is not None and refused.error == _DEVICE_NOT_FOUND
    )
    if refused is not None and is_known_path:
        text = f"the server does not tell this device its ICE servers: {refused.error[:80]}"
        fix = "check CAMAGENT_DEVICE_ID and CAMAGENT_DEVICE_TOKEN against the server"
        return Finding(ICE, Verdict.FAILED, text, fix)
    text = "this server does not tell its ICE servers"
    return Finding(ICE, Verdict.SKIPPED, text, "name one with --ice-server")


def _parse(kind: type[M], body: bytes) -> M | None:
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for the answer: the token is for this server alone."""

    def redirect_request(self, *_: object) -> None:
        return None


def _get(options: LinkOptions) -> tuple[int, bytes]:
    """Give status and body of the answer; a body that is too long is cut, and so no JSON."""
    headers = {"Accept": "application/json"}
    if options.device_token is not None:
        headers["Authorization"] = f"Bearer {options.device_token}"
    request = urllib.request.Request(_address(options), headers=headers)  # noqa: S310 - http(s) only
    https = urllib.request.HTTPSHandler(context=options.tls)
    opener = urllib.request.build_opener(_NoRedirects, https)
    try:
        with opener.open(request, timeout=_STEP_DEADLINE_S) as answer:
            return answer.status, answer.read(LARGEST_MESSAGE_BYTES)
    except HTTPError as answer:
        with answer:
            return answer.code, answer.read(LARGEST_MESSAGE_BYTES)


def _address(options: LinkOptions) -> str:
    """Put the list beside the device's socket: a path before that belongs to a proxy."""
    parts = urlsplit(options.url)
    prefix = parts.path.removesuffix(_DEVICE_PATH) if parts.path.endswith(_DEVICE_PATH) else ""
    query = urlencode({"device_id": options.device_id})
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}{prefix}/api/ice-servers?{query}"


def _reason(error: Exception) -> str:
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    match error:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLError():
            return error.reason or "no TLS"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number).lower()
        case OSError(strerror=str(words)):
            return words.lower()
    return str(error)[:80] or type(error).__name__
