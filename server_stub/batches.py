"""Many questions that come at once, answered by one: a thousand devices that come back together."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(eq=False)
class _Batch(Generic[V]):
    keys: set[str] = field(default_factory=set)
    answers: Mapping[str, V] | None = None
    error: Exception | None = None


class Batched(Generic[V]):
    """Asks for one key at once, and for all that come meanwhile together, as soon as that is over.

    Nothing is remembered: every answer was asked for after its question.
    """

    def __init__(self, ask: Callable[[set[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._ask = ask
        self._turn = asyncio.Lock()
        self._collecting: _Batch[V] = _Batch()

    async def get(self, key: str) -> V | None:
        """Give what belongs to `key`, or None.

        Raises:
            Exception: what asking raised, for everybody who asked together.
        """
        batch = self._collecting
        batch.keys.add(key)
        async with self._turn:
            if batch.answers is None and batch.error is None:
                if batch is self._collecting:
                    self._collecting = _Batch()
                await self._answer(batch)
        if batch.error is not None:
            raise batch.error
        assert batch.answers is not None
        return batch.answers.get(key)

    async def _answer(self, batch: _Batch[V]) -> None:
        try:
            batch.answers = await self._ask(batch.keys)
        except Exception as error:  # noqa: BLE001 - told to each who asked
            batch.error = error
