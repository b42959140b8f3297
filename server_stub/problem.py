"""An HTTP error as RFC 9457 has it: for a person to read, and for a program to tell."""

import json
from collections.abc import Awaitable, Mapping
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)

_RETRY_AFTER_S = 5
_WORTH_ANOTHER_TRY = {
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
}


class Problem(web.HTTPException):
    """Ends a request with `status`; `detail` is a sentence for whoever asked."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status_code = status.value
        told = {"title": status.phrase, "status": status.value, "detail": detail}
        super().__init__(
            headers=headers, text=json.dumps(told), content_type="application/problem+json"
        )
        self.headers["Cache-Control"] = "no-store"
        if status in _WORTH_ANOTHER_TRY:
            self.headers["Retry-After"] = str(_RETRY_AFTER_S)


@web.middleware
def tell_of_database(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
    """Answer what cannot be answered without the database with 503: that is no fault in the code.

    What becomes a WebSocket tells it in messages, and would keep a coroutine for as long as it lasts.
    """
    if request.path.startswith("/ws/"):
        return handler(request)
    return _telling(request, handler)


async def _telling(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except SQLAlchemyError as error:
        log.warning("relay.database_away", problem=type(error).__name__)
        status = HTTPStatus.SERVICE_UNAVAILABLE
        raise Problem(status, "The database does not answer") from error
