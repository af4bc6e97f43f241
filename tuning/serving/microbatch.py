"""One model for many requests: the model predicts the texts of all waiting requests in one call.
The calls run in a thread, so the server can answer other requests meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tuning.inference.load import Probabilities
from tuning.targets.target import Array

# Maximum number of texts in one call of the model, unless a single request has more.
MAX_BATCH = 1_024
# Maximum number of requests that wait for the model or are in its current call.
MAX_REQUESTS = 256
# Maximum number of texts that wait. Further requests are refused at once instead of after a long
# wait.
MAX_WAITING = 20_000


class Busy(Exception):
    """The error for a request that is refused because too many requests or texts wait."""


class MicroBatcher:
    """A queue of requests, which are answered in the order of their arrival with as few calls of
    the model as possible.

    No request waits for later requests: the requests that arrive during a call of the model are the
    next batch.
    """

    def __init__(self, probabilities: Probabilities) -> None:
        self._probabilities = probabilities
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[Sequence[str], asyncio.Future[Array]]] = deque()
        self._n_requests = 0
        self._worker: asyncio.Task[None] | None = None

    async def run(self, texts: Sequence[str]) -> Array:
        n_waiting = sum(len(request) for request, _ in self._waiting)
        if self._n_requests >= MAX_REQUESTS or n_waiting + len(texts) > MAX_WAITING:
            raise Busy
        answer: asyncio.Future[Array] = asyncio.get_running_loop().create_future()
        self._waiting.append((texts, answer))
        self._n_requests += 1
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await answer
        finally:
            self._n_requests -= 1

    async def _work(self) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="model")
        while self._waiting:
            batch = self._next_batch()
            texts = [text for request, _ in batch for text in request]
            call = asyncio.get_running_loop().run_in_executor(
                self._thread, self._probabilities, texts
            )
            await asyncio.wait([call])
            error = call.exception()
            ends = np.cumsum([len(request) for request, _ in batch])
            for (request, answer), end in zip(batch, ends, strict=True):
                if answer.done():  # The client closed its connection.
                    continue
                if error is None:
                    answer.set_result(call.result()[end - len(request) : end])
                else:
                    answer.set_exception(error)

    def _next_batch(self) -> list[tuple[Sequence[str], asyncio.Future[Array]]]:
        batch = [self._waiting.popleft()]
        n_texts = len(batch[0][0])
        while self._waiting and n_texts + len(self._waiting[0][0]) <= MAX_BATCH:
            batch.append(self._waiting.popleft())
            n_texts += len(batch[-1][0])
        return batch

    def close(self) -> None:
        if self._thread:
            self._thread.shutdown()
        self._thread = None
