"""The page's connection to the relay where that does not come about at once."""

from pathlib import Path

from tests.end_to_end.conftest import OpenPage
from tests.end_to_end.house import relay
from tests.end_to_end.played import expect_state

# As if the computer slept between the handshake and the first message: that one is not sent.
SWALLOW_THE_FIRST = """
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function () {
    WebSocket.prototype.send = send;
    window.isSwallowed = true;
  };
"""


async def test_a_hello_that_comes_too_late_costs_nobody_the_token(
    page_for: OpenPage, tmp_path: Path
) -> None:
    """The relay closes as it does for a bad token, but says why: the page tries again, signed in."""
    async with relay(tmp_path, hello_deadline_s=1.5) as server:
        page = await page_for(server.port, before=SWALLOW_THE_FIRST)
        await expect_state(page, state="choosing", link="active")
        assert await page.evaluate("isSwallowed")
