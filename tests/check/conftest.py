"""What the tests of the check borrow from those of the link."""

from tests.signaling.conftest import server

__all__ = ["server"]
