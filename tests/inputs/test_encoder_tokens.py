import numpy as np
import pytest

from tuning.inputs.contract import Rows
from tuning.inputs.encoder_tokens import PresetTexts, TokenView
from tuning.inputs.ngrams import NgramTexts, NgramView
from tuning.inputs.tokenizer import truncated
from tuning.training.batching import GROUP_BATCHES, View, training_batches

ROWS = [[11, 12, 13, 14, 15], [21], [], [31, 32, 33]]
TEXTS = PresetTexts(
    np.array([n for row in ROWS for n in row], dtype=np.int32),
    np.cumsum([0, *map(len, ROWS)], dtype=np.int64),
    (3,),
    (4,),
)


@pytest.mark.parametrize("truncating", ["pre", "post", "middle"])
@pytest.mark.parametrize("length", [3, 4, 5, 6, 7, 20])
def test_batch_has_the_special_tokens_around_the_kept_tokens(length: int, truncating: str) -> None:
    view = TokenView(TEXTS, length, truncating)
    batch = view.batch(np.array([3, 0, 1, 2]))
    expected = [[3, *truncated(ROWS[row], length - 2, truncating), 4] for row in (3, 0, 1, 2)]
    width = max(map(len, expected))
    assert batch.tolist() == [row + [0] * (width - len(row)) for row in expected]
    assert batch.dtype == np.int32
    assert view.lengths.tolist() == [min(len(row) + 2, length) for row in ROWS]


def test_batch_of_texts_without_tokens_has_the_special_tokens() -> None:
    assert TokenView(TEXTS, 8).batch(np.array([2])).tolist() == [[3, 4]]
    none = PresetTexts(np.empty(0, np.int32), np.zeros(2, np.int64), (), ())
    assert TokenView(none, 8).batch(np.array([0])).tolist() == [[0]]


def texts_of_lengths(lengths: np.ndarray) -> PresetTexts:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return PresetTexts(np.ones(offsets[-1], np.int32), offsets, (3,), (4,))


def padding_share(tokens: TokenView, batches: list[Rows]) -> float:
    n_ids = sum(tokens.width(rows) * len(rows) for rows in batches)
    return 1 - float(tokens.lengths.sum()) / n_ids


@pytest.mark.parametrize("has_ngrams", [False, True])
def test_training_batches_have_every_row_once_and_little_padding(has_ngrams: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 3_000)
    # Keras orders the inputs of a dictionary by their names.
    ngrams = NgramTexts(np.full(3_000, 2, np.int32), np.arange(3_001), np.ones(3, np.uint8))
    tokens = TokenView(texts_of_lengths(lengths), 128)
    others = {"ngrams": NgramView(ngrams, order=1, vocab_size=3)} if has_ngrams else {}
    view = View({**others, "tokens": tokens})
    assert view.evaluation_batch_size == 64
    batches = training_batches(view, batch_size=16, seed=0, epoch=1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(3_000))
    assert len(batches) == 188
    assert padding_share(tokens, batches) < 0.1
    at_random = [np.arange(start, start + 16) for start in range(0, 2_992, 16)]
    assert padding_share(tokens, at_random) > 0.3


def test_short_and_long_batches_are_mixed() -> None:
    n = 4 * 8 * GROUP_BATCHES
    view = View({"tokens": TokenView(texts_of_lengths(np.arange(n)), n)})
    batches = training_batches(view, batch_size=8, seed=0, epoch=1)
    means = np.array([batch.mean() for batch in batches])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3
