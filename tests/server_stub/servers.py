"""A Redis and a PostgreSQL of our own, which can be stopped and started again."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from redis.asyncio import Redis

from tests.support import frozen

_DEADLINE_S = 30.0


class RedisServer:
    """A Redis behind a Unix socket."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder / 'redis.sock'}"

    def start(self) -> None:
        path = self._folder / "redis.sock"
        command = [self._program, "--port", "0", "--unixsocket", path, "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", self._folder], stdout=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + _DEADLINE_S
        while not self._answers(path):
            assert time.monotonic() < deadline_s
            assert self._process.poll() is None
            time.sleep(0.01)

    def _answers(self, path: Path) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                return False
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def frozen(self) -> AbstractContextManager[None]:
        """Let it accept and answer nothing."""
        assert self._process is not None
        return frozen(self._process.pid)

    async def keys(self) -> set[str]:
        async with Redis.from_url(self.url) as redis:
            return {key.decode() for key in await redis.keys("*")}

    async def empty(self) -> None:
        async with Redis.from_url(self.url) as redis:
            await redis.flushall()


class PostgresServer:
    """A PostgreSQL behind a Unix socket, run by a user that is not root, as it demands."""

    def __init__(self, folder: Path, *, initdb: str, postgres: str) -> None:
        self._folder = folder
        self._postgres = postgres
        self._initdb = initdb
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://relay@/postgres?host={folder}"

    def create(self) -> None:
        if self._user is not None:
            subprocess.run(["chown", self._user, self._folder], check=True)
            _let_others_through_to(self._folder)
        subprocess.run(
            [
                *(self._initdb, "--pgdata", self._folder / "data", "--username", "relay"),
                *("--auth", "trust", "--no-sync", "--locale", "C", "--encoding", "UTF8"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd=self._folder,
        )

    def start(self) -> None:
        if self._user is not None:
            # Again: pytest closes the folder of all its runs with each one that begins.
            _let_others_through_to(self._folder)
        self._process = subprocess.Popen(
            [
                *(self._postgres, "-D", self._folder / "data", "-k", self._folder),
                *("-c", "listen_addresses=", "-c", "fsync=off"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd=self._folder,
        )
        deadline_s = time.monotonic() + _DEADLINE_S
        while "ready" not in self._status():
            assert time.monotonic() < deadline_s
            assert self._process.poll() is None
            time.sleep(0.02)

    def _status(self) -> str:
        """Read what the server last wrote about itself: line 8 of its lock file."""
        path = self._folder / "data" / "postmaster.pid"
        lines = path.read_text().splitlines() if path.exists() else []
        return lines[7] if len(lines) > 7 else ""

    def empty_database(self, name: str) -> str:
        """Make a database of its own and give its URL."""
        statement = f"CREATE DATABASE {name}"
        single = ["psql", "--quiet", "--host", self._folder, "--username", "relay", "postgres"]
        subprocess.run([*single, "--command", statement], check=True)
        return f"postgresql://relay@/{name}?host={self._folder}"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it answer nothing, on old connections and on new ones."""
        assert self._process is not None
        # The first to stop, so that no more come.
        with ExitStack() as stack:
            stack.enter_context(frozen(self._process.pid))
            pid = self._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in map(int, children):
                os.kill(child, signal.SIGSTOP)
                stack.callback(os.kill, child, signal.SIGCONT)
            yield

    def stop(self) -> None:
        """Stop at once, connections included."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None


def _let_others_through_to(folder: Path) -> None:
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
