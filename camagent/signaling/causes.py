"""What ended a connection, in words, and whose fault it was. Pure."""

import errno
import socket
import ssl

from camagent.errors import ClockNotSet, LinkError, ServerVanished

_NO_NETWORK = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_LOST_ON_THE_WAY = _NO_NETWORK | {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EHOSTDOWN}


# The first that fits; what the system says of it follows.
_SENTENCES: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "the server's name is not found"),
    (ConnectionRefusedError, "nothing listens at the server's address"),
    (TimeoutError, "the server does not answer"),
    (ssl.SSLCertVerificationError, "the server's certificate is not trusted"),
)


def describe_error(error: BaseException) -> str:
    """Name the cause of a lost connection in one line."""
    error = _first_error(error)
    text = str(error)
    if isinstance(error, LinkError):
        return text
    found = (sentence for kind, sentence in _SENTENCES if isinstance(error, kind))
    sentence = "there is no network" if _lacks_network(error) else next(found, type(error).__name__)
    return f"{sentence}: {text}" if text else sentence


def is_ours(error: BaseException) -> bool:
    """Tell whether no server was asked at all, for want of a network, name service or clock."""
    error = _first_error(error)
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return isinstance(error, ClockNotSet) or _lacks_network(error)


def lost_silently(cause: BaseException | None) -> LinkError:
    """Make the error for a connection without a goodbye: broken on its way, or by the server."""
    if isinstance(cause, OSError) and cause.errno in _LOST_ON_THE_WAY:
        return LinkError(f"connection lost on the way: {cause}")
    return ServerVanished()


def is_vanished(error: BaseException) -> bool:
    """Tell whether the server went away and not the network: its end said so, without a goodbye."""
    return isinstance(_first_error(error), ServerVanished)


def _lacks_network(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_NETWORK


def _first_error(error: BaseException) -> BaseException:
    """Find the first real error inside possibly nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
