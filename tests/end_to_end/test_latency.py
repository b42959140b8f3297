"""The page's arithmetic of latency, in the browser, with clocks and ways that a test makes up."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from camagent.webrtc.media_clock import MediaClock
from tests.end_to_end.house import relay

# A device whose clock is `aheadMs` from ours sends a report and a picture a second over ways that
# take `ways` milliseconds, here and back, in turn; each picture is shown 30 ms after its capture.
_LIVE = """async ({ mediaClock, aheadMs, ways, seconds }) => {
  const { Latency, readMediaClock } = await import('/latency.js');
  const latency = new Latency(readMediaClock(`v=0\\r\\na=mediaclk:direct=${mediaClock}\\r\\n`));
  const ticks = (deviceMs) => (mediaClock + Math.round((deviceMs + 2208988800000) * 90)) % 2 ** 32;
  const read = [];
  for (let second = 1; second <= seconds; second += 1) {
    const [hereMs, backMs] = ways[Math.floor((second - 1) * ways.length / seconds)];
    const nowMs = 1000 * second;
    const sentAtMs = nowMs + aheadMs;
    const queuedMs = second % 3 === 2 ? 40 : 0;
    latency.clock.takeReport({ sentAtMs, arrivedAtMs: nowMs + hereMs + queuedMs });
    const trip = { roundTripMs: hereMs + backMs, count: second };
    latency.clock.takeRoundTrip(trip, nowMs);
    latency.takeFrame(ticks(sentAtMs), nowMs + 30);
    read.push(latency.read());
  }
  return read;
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, tmp_path: Path) -> AsyncIterator[Page]:
    """Hold the page, signed out."""
    async with relay(tmp_path) as server:
        one = await browser.new_page()
        await one.goto(f"http://127.0.0.1:{server.port}/")
        yield one
        await one.close()


async def live(page: Page, ways: list[tuple[int, int]], **changes: Any) -> list[Any]:
    clock = MediaClock(4_294_000_000).direct_offset
    given = {"mediaClock": clock, "aheadMs": 1.7e12, "ways": ways, "seconds": 20}
    return list(await page.evaluate(_LIVE, given | changes))


async def test_the_latency_is_that_of_the_pictures(page: Page) -> None:
    """Whatever the device's clock shows, on ways that become longer and shorter."""
    for ahead_ms in (0, 1.7e12, -3.2e11):
        *_, latest = await live(page, [(20, 20)], aheadMs=ahead_ms)
        assert latest["latencyMs"] == pytest.approx(30, abs=0.1)
        assert latest["doubtMs"] == 20

    read = await live(page, [(5, 5), (80, 80), (10, 10)], seconds=120)
    assert [one["latencyMs"] for one in read] == pytest.approx([30] * len(read), abs=1)

    # Ways of unlike length cannot be told from a clock that is off; the doubt covers that.
    *_, latest = await live(page, [(10, 90)])
    assert latest["latencyMs"] == pytest.approx(30 + 40, abs=0.1)
    assert latest["doubtMs"] == 50


async def test_little_is_kept_and_nothing_guessed(page: Page) -> None:
    """Lists are bounded; an answer without a media clock leaves the latency unknown."""
    kept = await page.evaluate(
        """async () => {
          const { ClockOffset, Latency } = await import('/latency.js');
          const push = Array.prototype.push;
          let longest = 0;
          Array.prototype.push = function (...values) {
            const length = push.apply(this, values);
            longest = Math.max(longest, length);
            return length;
          };
          const clock = new ClockOffset();
          const latency = new Latency(0);
          for (let index = 0; index < 20000; index += 1) {
            latency.takeFrame(index, index);
            clock.takeReport({ sentAtMs: index, arrivedAtMs: index });
            clock.takeRoundTrip({ roundTripMs: 1, count: index }, index / 1000);
          }
          Array.prototype.push = push;
          return longest;
        }"""
    )
    assert kept <= 121

    script = """async () => {
      const { Latency, readMediaClock } = await import('/latency.js');
      const latency = new Latency(readMediaClock('v=0\\r\\n'));
      latency.clock.takeReport({ sentAtMs: 1, arrivedAtMs: 2 });
      latency.clock.takeRoundTrip({ roundTripMs: 1, count: 1 }, 3);
      latency.takeFrame(1, 2);
      return latency.read();
    }"""
    assert await page.evaluate(script) is None
