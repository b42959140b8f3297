"""A network with a browser at its far end, started once for all tests of a module."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext

from tests import network as networks
from tests.chromium import chromium
from tests.conftest import missing
from tests.network import Network
from tests.webrtc.browser_viewer import FLAGS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def far_network() -> AsyncIterator[Network]:
    """Hold two joined networks, in the device's of which the test runs, or skip."""
    try:
        async with networks.network() as built:
            with built.device.entered():
                yield built
    except networks.NoNetwork as error:
        missing(f"this machine has no network to test with: {error}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def far_browser(
    far_network: Network,
    program: Callable[[str, str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[BrowserContext]:
    """Hold a Chromium in the viewer's network."""
    folder = tmp_path_factory.mktemp("chromium")
    path = far_network.viewer.launcher(program("chromium", "chromium"), folder)
    async with chromium(str(path), FLAGS) as browser:
        yield await browser.new_context()
