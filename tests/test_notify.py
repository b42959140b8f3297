"""What systemd hears of us, at a real socket."""

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from camagent.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(5)
        yield line


def notifier(manager: socket.socket, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname()} | more)


def test_each_call_is_one_state(manager: socket.socket) -> None:
    """READY, STATUS, WATCHDOG and STOPPING are told as sd_notify(3) has them."""
    ours = notifier(manager)
    ours.ready()
    ours.status("online · 2 viewers\nREADY=0")
    ours.alive()
    ours.stopping()

    assert [manager.recv(1024).decode() for _ in range(4)] == [
        "READY=1",
        "STATUS=online · 2 viewers READY=0",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_an_abstract_socket_is_one_too() -> None:
    """A name that starts with @ is in no folder."""
    name = f"camagent-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0{name}")
        line.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()

        assert line.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    """Neither a missing variable nor a manager that has gone is an error."""
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()


def test_children_do_not_inherit_the_line(manager: socket.socket) -> None:
    """A child that ends or hangs must not speak for the service."""
    environment = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }

    assert Notifier(environment).watchdog_s == 30
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_ours_or_none(given: dict[str, str], expected: float | None) -> None:
    """Another process's watchdog, and one that is no number, are not ours to feed."""
    assert Notifier(dict(given)).watchdog_s == expected
