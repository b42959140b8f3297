"""A relay with its usual settings, for the tests that need no others."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server_stub.relay import Relay
from tests.server_stub.peers import relay_at


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with relay_at(tmp_path) as held:
        yield held
