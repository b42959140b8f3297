"""How many frames of a WebSocket may come, counted before anything is made of them (RFC 6455, 5.2). Pure.

Whole messages are not all that costs: aiohttp answers each ping by itself, keeps every empty
message that nobody has taken yet, and waits without end for a last fragment. Six bytes are enough
for each of these, so that a few clients at the speed of a wire would hold up everybody.
"""

from typing import Protocol

_MESSAGES_PER_FRAME = 0.25
"""For who splits messages, and for pings and pongs."""
_SHORTEST_EXTENDED = 126
_EXTENDED = {_SHORTEST_EXTENDED: 2, 127: 8}
"""How many bytes more the length has."""
_SHORT_HEADER = 6
"""With a mask, as all that a client sends has to have one."""


class Sender(Protocol):
    """Whoever sends the frames."""

    def stop_flood(self) -> None:
        """Turn away who sends too much."""


class FrameAllowance:
    """Passes on what one client sends, up to the frame that is one too many.

    Each frame is a fraction of what messages it may send.
    """

    # No object beside this one: thousands are connected.
    __slots__ = (
        "_at_once",
        "_filled_at_s",
        "_header",
        "_is_spent",
        "_left",
        "_messages",
        "_per_second",
        "_sender",
    )

    def __init__(self, *, messages_per_second: float, messages_at_once: int, now_s: float) -> None:
        self._per_second = messages_per_second
        self._at_once = messages_at_once
        self._messages = float(messages_at_once)
        self._filled_at_s = now_s
        self._header = b""
        self._left = 0
        self._is_spent = False
        self._sender: Sender | None = None

    def watch(self, sender: Sender) -> None:
        """Have its flood stopped once there are too many, at once if there were."""
        self._sender = sender
        if self._is_spent:
            sender.stop_flood()

    def pass_on(self, data: bytes, now_s: float) -> bytes:
        """Give as much of `data`, which came next, as may be parsed; nothing any more after that."""
        if self._is_spent:
            return b""
        messages = self._messages + (now_s - self._filled_at_s) * self._per_second
        self._messages = min(self._at_once, messages)
        self._filled_at_s = now_s
        if self._is_short_frame(data) and self._messages >= _MESSAGES_PER_FRAME:
            self._messages -= _MESSAGES_PER_FRAME
            return data
        text = self._header + data if self._header else data
        begun, at = len(self._header), self._left
        while at < len(text) and (size := _frame_size(text, at)):
            if self._messages < _MESSAGES_PER_FRAME:
                self._spend()
                return data[: max(0, at - begun)]
            self._messages -= _MESSAGES_PER_FRAME
            at += size
        # What is left over is the beginning of a header, or else the rest of a frame is to come.
        self._header = text[at:]
        self._left = max(0, at - len(text))
        return data

    def _is_short_frame(self, data: bytes) -> bool:
        """Tell, quickly, whether this is one whole frame, as a message of a device's mostly comes."""
        size = len(data) - _SHORT_HEADER
        return (
            0 <= size < _SHORTEST_EXTENDED
            and data[1] == 0x80 | size
            and not self._left
            and not self._header
        )

    def _spend(self) -> None:
        self._is_spent = True
        if self._sender is not None:
            self._sender.stop_flood()


def _frame_size(text: bytes, at: int) -> int:
    """Tell how long the frame is that begins at `at`; 0 while its header is not whole."""
    if at + 2 > len(text):
        return 0
    has_mask, length = text[at + 1] & 0x80, text[at + 1] & 0x7F
    extended = _EXTENDED.get(length, 0)
    payload_at = at + 2 + extended
    if payload_at > len(text):
        return 0
    if extended:
        length = int.from_bytes(text[at + 2 : payload_at], "big")
    return 2 + extended + (4 if has_mask else 0) + length
