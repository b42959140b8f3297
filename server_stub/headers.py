"""What every answer carries: what a browser may do with it, and who may ask for it."""

from aiohttp import web

from server_stub.addresses import origin_is_allowed

_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob: mediastream:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    # Not which version of what serves here.
    "Server": "camagent-relay",
    "X-Content-Type-Options": "nosniff",
}
# A player may be another's page, where that is allowed. Its right is the token that it shows.
_OPEN_TO_PLAYERS = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Allow-Methods": "DELETE, GET, OPTIONS, PATCH, POST",
    "Access-Control-Expose-Headers": "Accept-Patch, ETag, Link, Location, Retry-After",
    "Access-Control-Max-Age": "7200",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_WHEP = "/whep/"


class ClientConnection(web.RequestHandler):
    """One connection of a client's. What aiohttp itself answers has the headers, too: to what is no HTTP."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that cannot be read, or that nobody answered; the connection ends."""
        response = super().handle_error(request, status, exc, message)
        response.headers.update(_SECURITY)
        return response


async def add_security(_request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer has, for `on_response_prepare`: errors and answers of nobody's included."""
    response.headers.update(_SECURITY)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add that, and what WHEP's answers have beside it."""
    await add_security(request, response)
    if request.path.startswith(_WHEP):
        response.headers.update(_OPEN_TO_PLAYERS)
        response.headers.add("Vary", "Origin")
        if "Origin" in request.headers and origin_is_allowed(request):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
