"""The low rung: a second, smaller encoding for viewers whose way is narrow, while there are any."""

from collections.abc import Callable

import structlog

from camagent.errors import CameraError, RestartNeeded
from camagent.media.frame import Encoding, RungRate
from camagent.media.hub import VideoHub
from camagent.media.opening import Opening

log = structlog.get_logger(__name__)


class LowRung:
    """Encoded exactly while its hub has subscribers and the camera is open.

    `on_wish` is told whenever that may have changed, and `adapt` is to be called then.

    Attributes:
        hub: where its frames go.
        problem: why it could not be had last, until it can; tried again at the next subscription.
    """

    def __init__(self, *, on_wish: Callable[[], None]) -> None:
        self.hub = VideoHub(self._force_keyframe, on_change=on_wish)
        self.problem: str | None = None
        self._encoding: Encoding | None = None
        self._rate: RungRate | None = None
        self._failed_for = 0

    def set_rate(self, rate: RungRate) -> None:
        """Encode at `rate` from now on, also when it starts again."""
        self._rate = rate
        if self._encoding is not None:
            rate.apply_to(self._encoding)

    async def adapt(self, opening: Opening, *, deadline_s: float) -> None:
        """Start or stop it as its subscribers want it.

        Raises:
            RestartNeeded: a call into the camera did not return in `deadline_s`.
        """
        wanted_by = self.hub.subscriber_count
        # Those who were refused do not ask again by staying.
        self._failed_for = min(wanted_by, self._failed_for)
        try:
            if wanted_by > self._failed_for and self._encoding is None:
                await self._start(opening, deadline_s)
            elif not wanted_by and self._encoding is not None:
                self._encoding = None
                await opening.stop_low_rung(deadline_s=deadline_s)
        except RestartNeeded:
            raise
        except CameraError as error:
            self._failed_for = wanted_by
            self.problem = str(error)
            log.warning("low_rung.failed", problem=self.problem)

    def closed(self) -> None:
        """Note that the camera was closed, and this rung with it."""
        self._encoding = None
        self._failed_for = 0

    async def _start(self, opening: Opening, deadline_s: float) -> None:
        encoding = await opening.start_low_rung(self.hub, deadline_s=deadline_s)
        self._encoding, self.problem = encoding, None
        self.hub.begin(keeps_group=False)
        if self._rate is not None:
            self._rate.apply_to(encoding)

    def _force_keyframe(self) -> None:
        if self._encoding is not None:
            self._encoding.force_keyframe()
