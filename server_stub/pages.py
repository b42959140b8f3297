"""The viewer page: its files, each of which a browser keeps until it has changed."""

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files

from aiohttp import web

_CONTENT_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
# Kept, and asked about each time: the files belong together, and a new release changes all at once.
_CACHED = {"Cache-Control": "no-cache"}


def add_page_routes(router: web.UrlDispatcher) -> None:
    """Serve each file that lies in `web/`, and nothing else."""
    for entry in files("server_stub").joinpath("web").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _CONTENT_TYPES:
            path = "/" if entry.name == "index.html" else f"/{entry.name}"
            router.add_get(path, _page(entry.read_bytes(), _CONTENT_TYPES[suffix]))


def _page(content: bytes, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    digest = hashlib.sha256(content).hexdigest()[:32]

    async def serve(request: web.Request) -> web.Response:
        known = request.if_none_match or ()
        # A proxy that compresses makes the tag a weak one; it is the same file (RFC 9110, 13.1.2).
        if any(tag.value in {digest, "*"} for tag in known):
            response = web.Response(status=304, headers=_CACHED)
        else:
            response = web.Response(
                body=content, content_type=content_type, charset="utf-8", headers=_CACHED
            )
        response.etag = digest
        return response

    return serve
