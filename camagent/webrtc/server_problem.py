"""Why a STUN or TURN server is of no use, in words; credentials are not among them. Pure."""

import enum
import os
import socket
import ssl

from aioice import stun

_UNAUTHORIZED = 401


class Problem(enum.Enum):
    """Why a server is of no use: one kind for each cure."""

    URL = "url"
    """The URL cannot be read, or is of a kind that no session here uses."""

    NAME = "name"
    """The host's name does not resolve."""

    UNREACHABLE = "unreachable"
    """Nothing listens there, or no network leads there."""

    SILENT = "silent"
    """Nothing came back in time."""

    CERTIFICATE = "certificate"
    """TLS does not come up."""

    CREDENTIAL = "credential"
    """The server does not accept username and credential."""

    REFUSED = "refused"
    """The server answered with another error, or with what is no answer."""


def explain(error: Exception, *, deadline_s: float) -> tuple[Problem, str]:
    """Put into words what asking a server ended in, when it was given `deadline_s` to answer."""
    match error:
        case ssl.SSLCertVerificationError():
            problem = Problem.CERTIFICATE
            text = f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            problem = Problem.CERTIFICATE
            text = f"it does not agree on TLS: {error.reason or error}"
        case socket.gaierror() | ValueError():
            problem, text = Problem.NAME, "its name does not resolve"
        case TimeoutError() | stun.TransactionTimeout():
            problem, text = Problem.SILENT, f"no answer within {deadline_s:g} s"
        case stun.TransactionFailed():
            problem, text = _explain_answer(error.response)
        case KeyError():
            problem, text = Problem.REFUSED, "its answer lacks our address"
        case ConnectionRefusedError():
            problem, text = Problem.UNREACHABLE, "connection refused"
        case OSError(errno=int(number)):
            # Its own text is of the form: Connect call failed ('192.0.2.1', 3478).
            problem, text = Problem.UNREACHABLE, os.strerror(number).lower()
        case ConnectionError():
            problem, text = Problem.REFUSED, str(error)
        case _:
            problem, text = Problem.UNREACHABLE, str(error)
    return problem, text


def _explain_answer(response: stun.Message) -> tuple[Problem, str]:
    code, reason = response.attributes.get("ERROR-CODE", (0, ""))
    answer = f"{code} {reason[:80]}".rstrip()
    if code == _UNAUTHORIZED:
        return Problem.CREDENTIAL, f"{answer}: it does not accept our username and credential"
    return Problem.REFUSED, f"it answered with {answer}"
