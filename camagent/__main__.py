"""Start of the `camagent` program: the command line, and what its failures exit with."""

import os
import sys

import structlog

from camagent.cli import run_command
from camagent.configuration import EX_CONFIG
from camagent.errors import AgentError, RestartNeeded, SettingsError
from camagent.journal import is_journal
from camagent.logs import configure_logs

log = structlog.get_logger("camagent")


def main() -> None:
    """Run the command; exit with 0 if asked to stop, 1 if it failed, 78 if a setting is wrong."""
    configure_logs("auto", "info")
    # The journal takes a line for an error by this; elsewhere it would only be in the way.
    as_error = "<3>" if is_journal(os.environ) else ""
    try:
        run_command(sys.argv[1:])
    except* SettingsError as group:
        for error in _leaves(group):
            for problem in getattr(error, "problems", ()):
                sys.stderr.write(f"{as_error}camagent: {problem}\n")
        sys.exit(EX_CONFIG)
    except* AgentError as group:
        for error in _leaves(group):
            log.critical("agent.failed", cause=str(error))
        if group.subgroup(RestartNeeded) is not None:
            # Leaving in order would wait for the camera once more: picamera2 closes it at exit.
            sys.stderr.flush()
            os._exit(1)
        sys.exit(1)
    except* Exception:
        log.critical("agent.crashed", exc_info=True)
        sys.exit(1)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


if __name__ == "__main__":
    main()
