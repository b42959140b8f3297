"""What all tests share."""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aioice import ice
from hypothesis import HealthCheck, settings

from tests import network as networks
from tests.media.usb_camera import build_library
from tests.support import reached_by

# A busy machine takes its time for an example, and for finding one.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def missing(reason: str) -> None:
    """Skip the test for `reason`; where everything has to be there, fail instead."""
    if os.environ.get("CAMAGENT_REQUIRE_ALL") == "1":
        pytest.fail(f"CAMAGENT_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def fresh_names() -> None:
    """Forget aioice's lock around multicast DNS: it is a thread's, and each test's loop is new."""
    vars(ice._mdns).clear()


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], str]:
    """Find a program's path by its name, or skip, naming the Debian package that has it."""

    def find(name: str, package: str) -> str:
        path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            missing(f"{name} is not installed (Debian package {package})")
        assert path is not None
        return path

    return find


@pytest.fixture(scope="session")
def own_address() -> str:
    """Give this machine's own address: media cannot use loopback, which ICE leaves out."""
    try:
        address = reached_by()
    except OSError:
        missing("this machine has no address but loopback")
    return address


@pytest.fixture(scope="session")
def usb_camera_library(
    program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Build what makes a USB camera appear to the processes that preload it, or skip."""
    return build_library(program("gcc", "gcc"), tmp_path_factory.mktemp("usb_camera"))


@pytest.fixture
async def network() -> AsyncIterator[networks.Network]:
    """Hold two networks joined by a cable, or skip."""
    try:
        async with networks.network() as built:
            yield built
    except networks.NoNetwork as error:
        missing(f"this machine has no network to test with: {error}")
