"""Start of the `camagent-relay` program: the command line, and what its failures exit with."""

import os
import sys

import structlog

from camagent.configuration import EX_CONFIG
from camagent.errors import SettingsError
from camagent.logs import configure_logs

try:
    from sqlalchemy.exc import SQLAlchemyError

    from server_stub.cli import run_command
    from server_stub.commands import CommandFailed
except ModuleNotFoundError as missing:
    # An agent is installed without what only a relay needs.
    sys.exit(f"camagent-relay: {missing.name} is missing; pip install 'camagent[server]'")

log = structlog.get_logger("server_stub")


def main() -> None:
    """Run the command; exit with 0 if all went well, 1 if not, 78 if a setting is wrong."""
    configure_logs("auto", "info")
    try:
        run_command(sys.argv[1:])
        sys.stdout.flush()
    except SettingsError as error:
        _say(*error.problems)
        sys.exit(EX_CONFIG)
    except CommandFailed as error:
        _say(str(error))
        sys.exit(1)
    except (SQLAlchemyError, ImportError) as error:
        cause = error.__cause__ or error
        _say(f"the database (CAMAGENT_RELAY_DATABASE_URL) cannot be used: {cause}")
        sys.exit(1)
    except OSError as error:
        # Whoever reads with `head` has read enough.
        if not isinstance(error, BrokenPipeError):
            _say(f"the output cannot be written: {error}")
        # What is left of it would be tried once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _say(*sentences: str) -> None:
    for sentence in sentences:
        sys.stderr.write(f"camagent-relay: {sentence}\n")


if __name__ == "__main__":
    main()
