"""What ended a connection, in words, and whose fault it was. Pure."""

import errno
import socket

from camagent.errors import ClockNotSet, LinkError

_NO_NETWORK = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


def describe_error(error: BaseException) -> str:
    """Name the cause of a lost connection in one line."""
    error = _first_error(error)
    text = str(error)
    if isinstance(error, LinkError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_ours(error: BaseException) -> bool:
    """Tell whether no server was asked at all, for want of a network, name service or clock."""
    error = _first_error(error)
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, OSError):
        return error.errno in _NO_NETWORK
    return isinstance(error, ClockNotSet)


def _first_error(error: BaseException) -> BaseException:
    """Find the first real error inside possibly nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
