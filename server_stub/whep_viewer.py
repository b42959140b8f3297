"""A viewer without a WebSocket: what it is told waits here until its HTTP request asks."""

import asyncio
import secrets

from camagent.signaling.messages import (
    Error,
    IceCandidate,
    IceServer,
    Message,
    SignalAnswer,
    SignalIce,
    WatchEnded,
    WatchReady,
)
from server_stub.sdp import MOST_CANDIDATES, IceCredentials


class WatchOver(Exception):
    """The session ended before there was an answer; the text says why."""

    def __init__(self, text: str, *, is_timeout: bool = False) -> None:
        super().__init__(text)
        self.is_timeout = is_timeout


class WhepViewer:
    """One WHEP player: the end of a watch session that is a resource.

    Attributes:
        credentials: those of its offer, by which its ICE session is known.
        told_candidates: it has told the device an address of its own.
        etag: what that ICE session is called in HTTP.
        ice_servers: what it may use; known once the session is open.
        candidates_left: how many more it may tell the device.
        expires_at_s: when its token ends, in Unix time.
        expiry: ends the session then.
    """

    def __init__(self, credentials: IceCredentials, *, told_candidates: bool) -> None:
        self.credentials = credentials
        self.told_candidates = told_candidates
        self.etag = secrets.token_urlsafe(12)
        self.ice_servers: tuple[IceServer, ...] = ()
        self.candidates_left = MOST_CANDIDATES
        self.expires_at_s = 0.0
        self.expiry: asyncio.TimerHandle | None = None
        self._answer: str | None = None
        self._candidates: list[IceCandidate] = []
        self._has_all_candidates = False
        self._over: WatchOver | None = None
        self._moved = asyncio.Event()

    def send(self, message: Message) -> None:
        """Take a message of the session. Candidates that nobody waits for any more are let go."""
        match message:
            case WatchReady(payload=ready):
                self.ice_servers = ready.ice_servers
            case SignalAnswer(payload=signal):
                self._answer = self._answer or signal.sdp.sdp
            case SignalIce(payload=signal):
                if signal.candidate is None or signal.is_end_of_candidates:
                    self._has_all_candidates = True
                elif len(self._candidates) < MOST_CANDIDATES:
                    self._candidates.append(signal.candidate)
            case WatchEnded(payload=end):
                text = end.message or f"the session ended: {end.reason}"
                self._over = WatchOver(text, is_timeout=end.reason == "timeout")
            case Error(payload=error):
                # What it told the device did not arrive.
                self._over = WatchOver(error.message)
            case _:
                return
        self._moved.set()

    def forget(self) -> None:
        """Hear that the relay stops: of an answer that did not come yet, nobody will hear here."""
        self._over = self._over or WatchOver("the relay stops")
        self._moved.set()

    async def answered(self) -> str:
        """Wait for the device's answer.

        Raises:
            WatchOver: there will be none.
        """
        while self._answer is None:
            await self._move()
        return self._answer

    async def gathered(self, deadline_s: float) -> tuple[tuple[IceCandidate, ...], bool]:
        """Wait for the device's candidates: what came in time, and whether these are all.

        Raises:
            WatchOver: the session ended meanwhile.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while not self._has_all_candidates:
                    await self._move()
        except TimeoutError:
            pass
        return tuple(self._candidates), self._has_all_candidates

    async def _move(self) -> None:
        if self._over is not None:
            raise self._over
        self._moved.clear()
        await self._moved.wait()
