"""Leaves pictures out, so that fewer per second are encoded. Pure."""


class Thinning:
    """Says of each picture whether it is to be encoded; of all of them, until a rate is set."""

    def __init__(self) -> None:
        self._interval_us = 0
        self._due_us = 0

    def set_rate(self, pictures_per_second: int) -> None:
        """Take no more than so many per second from now on."""
        self._interval_us = 1_000_000 // max(1, pictures_per_second)

    def takes(self, captured_at_us: int) -> bool:
        """Tell whether a picture of this time is to be encoded; times only grow.

        Those that come a little early, as a camera's do, are taken: what counts is the average.
        """
        interval_us = self._interval_us
        if captured_at_us + interval_us // 4 < self._due_us:
            return False
        self._due_us = max(self._due_us, captured_at_us - interval_us) + interval_us
        return True
