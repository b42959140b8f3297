"""What a service tells systemd about itself: sd_notify(3). Without systemd, nothing happens."""

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """The line to the service manager that started this process, if one did.

    Takes the variables that name the line out of `environment`, so that children do not speak on it.
    """

    def __init__(self, environment: "os._Environ[str] | dict[str, str]" = os.environ) -> None:
        self.watchdog_s = _watchdog_s(environment)
        """The service is killed after so long without `alive`; None if nobody watches."""
        address = environment.pop("NOTIFY_SOCKET", "")
        environment.pop("WATCHDOG_USEC", None)
        environment.pop("WATCHDOG_PID", None)
        # A name that starts with @ is one of Linux's abstract sockets.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """Tell that the service is up, once."""
        self._tell("READY=1")

    def status(self, line: str) -> None:
        """Tell people how it is: what `systemctl status` shows."""
        self._tell("STATUS=" + line.replace("\n", " "))

    def alive(self) -> None:
        """Keep the watchdog quiet for another while."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Tell that the service is on its way out."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        # A manager that is away or busy is no reason to fail; it may restart us for our silence.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.settimeout(0)
            line.sendto(state.encode(), self._address)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    pid = environment.get("WATCHDOG_PID")
    text = environment.get("WATCHDOG_USEC", "")
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        return None
    if pid is not None and pid != str(os.getpid()):
        return None
    return int(text) / 1e6
