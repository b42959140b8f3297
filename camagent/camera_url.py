"""Where a camera is, of a URL that holds its password: what must be clear in it, and what may be told."""

import re
from urllib.parse import urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://)?")
_END_OF_HOST = re.compile(r"[/?#]")

_UNCLEAR = (
    "where the host begins and ends is not clear; in a user or password / is written %2F, ? is "
    "%3F, # is %23, [ is %5B and ] is %5D, and in all that follows the host @ is written %40"
)


def scheme_of(url: str) -> str:
    """Give the scheme in lower case; nothing for the path of a file or device."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def check_camera_url(url: str) -> None:
    """Raise ValueError, without quoting it, if `url` could be read in more than one way.

    The path of a file or device is none that could. In a URL a password with a slash would end the
    host early, and all behind it would be taken for what is no secret.
    """
    if scheme_of(url) in {"", "file"}:
        return
    try:
        parts = urlsplit(url)
        has_host = parts.port is not None or bool(parts.hostname)
    except ValueError:
        # Without the cause, which quotes the URL.
        raise ValueError(_UNCLEAR) from None
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ValueError(_UNCLEAR)
    if "://" in url and not has_host:
        raise ValueError("the host is missing")


def public_name(url: str) -> str:
    """Give scheme, host and port: a password may be in any other part. A path is given whole."""
    scheme = scheme_of(url)
    if scheme in {"", "file"}:
        return url
    authority = _END_OF_HOST.split(_SCHEME.sub("", url, count=1), maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2]}"
