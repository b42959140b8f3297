"""What the page makes of the words that an agent has for its camera."""

from typing import get_args

from camagent.presence import CameraWord
from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenPage

SAY = """async words => {
  const { describePresence, describeWarnings } = await import('/presence.js');
  return words.map((camera) => {
    const device = { isOnline: true, presence: { camera, camera_problem: 'no cable' } };
    return [describePresence(device), describeWarnings(device)];
  });
}"""


async def test_the_page_knows_each_word_for_the_camera(server: Relay, page_for: OpenPage) -> None:
    """An agent says no others (that is its type), and of each the page says something."""
    words = get_args(CameraWord)
    page = await page_for(server.port, token=None)
    said = await page.evaluate(SAY, [*words, "unheard of"])
    assert dict(zip((*words, None), said, strict=True)) == {
        "idle": [["camera ready"], []],
        "starting": [["camera starting"], []],
        "live": [["camera on"], []],
        "off": [["camera switched off"], []],
        "error": [[], ["camera fault: no cable"]],
        None: [[], []],
    }
