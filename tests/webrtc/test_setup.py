"""Who begins the DTLS handshake, where the offer leaves it to us and where it does not."""

import pytest

from camagent.webrtc.peer import PeerOptions
from tests.webrtc.viewers import Viewer, camera, served, viewer


class Insisting:
    """A viewer that has made up its mind about its part."""

    def __init__(self, one: Viewer, setup: str) -> None:
        self._one, self._setup = one, setup
        self.accept = one.accept

    async def offer(self) -> str:
        return (await self._one.offer()).replace("a=setup:actpass", f"a=setup:{self._setup}")


@pytest.mark.parametrize("prefers_gcm", [False, True])
@pytest.mark.parametrize(
    ("setup", "answered"), [("passive", "active"), ("active", "passive")], ids=str
)
async def test_a_viewer_may_choose_its_part(
    setup: str, answered: str, *, prefers_gcm: bool
) -> None:
    """We take the other one, whichever cipher we prefer, and the picture comes."""
    async with (
        camera() as capture,
        viewer() as one,
        served(
            Insisting(one, setup), capture, options=PeerOptions(prefers_gcm=prefers_gcm)
        ) as service,
    ):
        assert f"a=setup:{answered}\r\n" in service.answer
        await one.picture()
