"""What keeps the device from its server: said aloud once, its repeats in a lower voice."""

import structlog

from camagent.errors import LinkError

log = structlog.get_logger(__name__)


class Trouble:
    """The trouble of one link."""

    def __init__(self) -> None:
        self._last: str | None = None

    def tell(self, event: str, group: BaseExceptionGroup[BaseException], **data: object) -> None:
        """Log `event` at warning, or at debug if its cause is that of the last time."""
        cause = _cause(group)
        write = log.debug if cause == self._last else log.warning
        self._last = cause
        write(event, cause=cause, **data)

    def is_over(self) -> None:
        """Take whatever comes next for news."""
        self._last = None


def _cause(group: BaseExceptionGroup[BaseException]) -> str:
    """Name the first real error inside possibly nested groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error)
    if isinstance(error, LinkError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
