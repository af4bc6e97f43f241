"""Words that are hidden, and requests that share a model."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from tests.servers import fake
from tuning.evaluation.metrics import Array
from tuning.serving import microbatch, occlusion
from tuning.serving.occlusion import effects, hide_words

HIDDEN = "\ue000"


def test_each_different_word_is_hidden_wherever_it_stands() -> None:
    hidden = hide_words("Good - good!\ttoo", sequence_length=9, truncating="pre")
    assert (hidden.words, hidden.counts) == (("good", "too"), (2, 1))
    assert hidden.texts == ("Good good! too", f"{HIDDEN} {HIDDEN} too", f"Good good! {HIDDEN}")


@pytest.mark.parametrize(("truncating", "words"), [("pre", ("c", "d")), ("post", ("a", "b"))])
def test_words_that_the_model_does_not_see_are_not_hidden(
    truncating: str, words: tuple[str, ...]
) -> None:
    assert hide_words("a b c d", sequence_length=2, truncating=truncating).words == words


def test_words_over_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "MAX_WORDS", 3)
    hidden = hide_words("a b c d e a", sequence_length=9, truncating="pre")
    assert (hidden.words, len(hidden.texts), hidden.n_left_out) == (("a", "b", "c"), 4, 2)


def test_explanation_of_a_long_text_hides_fewer_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "MAX_CHARACTERS", 30)
    hidden = hide_words("aaaa bbbb cccc dddd", sequence_length=9, truncating="pre")
    assert (len(hidden.words), hidden.n_left_out) == (1, 3)


@pytest.mark.parametrize("text", ["", " \n", "!? --"])
def test_text_without_a_word_has_nothing_to_hide(text: str) -> None:
    assert hide_words(text, sequence_length=9, truncating="pre").texts == ("",)


def test_effect_is_what_the_label_loses_without_the_word() -> None:
    hidden = hide_words("good but bad", sequence_length=9, truncating="pre")
    found = effects(hidden, fake(hidden.texts))
    assert [(word.word, round(word.effect, 6)) for word in found] == [
        ("bad", 0.4),
        ("good", -0.3),
        ("but", 0.0),
    ]


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
