"""Two network namespaces joined by a veth pair: a network with nothing on it but the benchmark."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """Where the two sides run.

    Attributes:
        near, far: what comes before a command to run it on that side.
        name: for people.
    """

    near: tuple[str, ...]
    far: tuple[str, ...]
    name: str


@contextlib.contextmanager
def link() -> Iterator[Link]:
    """Hold the two namespaces; where they cannot be made, both sides share this machine's address."""
    near, far = f"near-{os.getpid()}", f"far-{os.getpid()}"
    made: list[str] = []
    try:
        for name in (near, far):
            _ip("netns", "add", name)
            made.append(name)
        _ip("link", "add", "name", "bench", "netns", near, "type", "veth",
            "peer", "name", "bench", "netns", far)  # fmt: skip
        for host, name in enumerate((near, far), start=1):
            _ip("-n", name, "address", "add", f"10.77.0.{host}/24", "dev", "bench")
            for device in ("lo", "bench"):
                _ip("-n", name, "link", "set", device, "up")
        _deliver_on_the_last_core(far)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no network namespaces here: {error}")
        yield Link((), (), "this machine's own address")
    else:
        inside = ("ip", "netns", "exec")
        yield Link((*inside, near), (*inside, far), "two network namespaces and a veth pair")
    finally:
        for name in made:
            _ip("netns", "delete", name)


def _deliver_on_the_last_core(name: str) -> None:
    """Let the receiving half of the network be done, and counted, where the viewers run.

    A veth pair would do it in the sender's system call, which no other network does.
    """
    mask = 1 << max(os.sched_getaffinity(0))
    steering = "/sys/class/net/bench/queues/rx-0/rps_cpus"
    _ip("netns", "exec", name, "sh", "-c", f"echo {mask:x} > {steering}")


def _ip(*arguments: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    subprocess.run(["ip", *arguments], check=True, capture_output=True, env={"PATH": path})
