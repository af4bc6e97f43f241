"""Requests that share a batch of the model."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from tests.servers import fake
from tuning.serving import microbatch
from tuning.targets.target import Array


def test_answers_of_a_batch_go_to_their_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that fits no batch with others is a batch of its own."""
    monkeypatch.setattr(microbatch, "MAX_BATCH", 4)
    requests = [["good"] * 9, ["bad"], ["good", "bad", "fine"], ["fine"] * 2]
    sizes: list[int] = []

    def counted(texts: Sequence[str]) -> Array:
        sizes.append(len(texts))
        return fake(texts)

    async def ask() -> list[Array]:
        batcher = microbatch.MicroBatcher(counted)
        return await asyncio.gather(*map(batcher.run, requests))

    for outputs, texts in zip(asyncio.run(ask()), requests, strict=True):
        np.testing.assert_array_equal(outputs, fake(texts))
    assert sizes == [9, 4, 2]


def test_client_that_goes_away_leaves_the_others_their_answers() -> None:
    async def ask() -> tuple[bool, Array]:
        batcher = microbatch.MicroBatcher(fake)
        gone, stays = (asyncio.create_task(batcher.run([text])) for text in ("bad", "good"))
        await asyncio.sleep(0)
        gone.cancel()
        return (await asyncio.gather(gone, return_exceptions=True)) != [], await stays

    _, outputs = asyncio.run(ask())
    np.testing.assert_allclose(outputs, fake(["good"]))
