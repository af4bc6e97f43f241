"""Requests that share a batch of the model."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from tests.servers import fake
from tuning.serving import microbatch
from tuning.targets.target import Array


def test_answers_of_a_batch_go_to_their_requests() -> None:
    async def ask() -> list[Array]:
        batcher = microbatch.MicroBatcher(fake)
        return await asyncio.gather(*(batcher.run(["good"] * n) for n in range(1, 6)))

    assert [len(outputs) for outputs in asyncio.run(ask())] == [1, 2, 3, 4, 5]


def test_request_that_fits_no_batch_with_others_is_a_batch_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(microbatch, "MAX_BATCH", 4)
    sizes: list[int] = []

    def counted(texts: Sequence[str]) -> Array:
        sizes.append(len(texts))
        return fake(texts)

    async def ask() -> None:
        batcher = microbatch.MicroBatcher(counted)
        await asyncio.gather(*(batcher.run(["good"] * n) for n in (9, 2, 2, 2)))

    asyncio.run(ask())
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


def test_error_of_the_model_reaches_every_request_of_its_batch_and_no_other() -> None:
    def broken(texts: Sequence[str]) -> Array:
        if "break" in texts:
            raise ValueError("of the model")
        return fake(texts)

    async def ask() -> list[object]:
        batcher = microbatch.MicroBatcher(broken)
        first = await asyncio.gather(batcher.run(["break"]), return_exceptions=True)
        return [*first, *await asyncio.gather(batcher.run(["good"]), return_exceptions=True)]

    error, outputs = asyncio.run(ask())
    assert isinstance(error, ValueError)
    assert isinstance(outputs, np.ndarray)
