"""An HTTP error as RFC 9457 has it: for a person to read, and for a program to tell."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

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
