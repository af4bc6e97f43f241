"""The view of a trial: ids are cut and padded, and the batches contain every row once."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.texts import word_view
from tuning.inputs.contract import Rows, TokenizedTexts
from tuning.training.batching import (
    EVALUATION_BATCH_SIZE,
    View,
    evaluation_batches,
    training_batches,
)


def texts_of(rows: list[list[int]]) -> TokenizedTexts:
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return TokenizedTexts(np.array(list(itertools.chain(*rows)), dtype=np.int32), offsets)


def random_view(n_texts: int, *, pads_to_longest: bool) -> View:
    """Return a view of texts of up to 39 words, cut to 30. Every word has the id 2."""
    lengths = np.random.default_rng(0).integers(0, 40, n_texts)
    texts = texts_of([[2] * n for n in lengths.tolist()])
    return word_view(texts, 3, 30, pads_to_longest=pads_to_longest)


def flat(batches: list[Rows]) -> list[int]:
    return [int(row) for rows in batches for row in rows]


ROWS = st.lists(st.lists(st.integers(1, 12), max_size=9), min_size=1, max_size=8)


# Ids of a batch


@settings(max_examples=200)
@given(
    rows=ROWS,
    vocab_size=st.integers(3, 14),
    sequence_length=st.integers(1, 12),
    truncating=st.sampled_from(["pre", "post"]),
    data=st.data(),
)
def test_batch_equals_pad_sequences(
    rows: list[list[int]],
    vocab_size: int,
    sequence_length: int,
    truncating: str,
    data: st.DataObject,
) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    cut = [[i if i < vocab_size else 1 for i in rows[row]] for row in chosen]
    expected = keras.utils.pad_sequences(
        cut, maxlen=sequence_length, padding="post", truncating=truncating
    )
    view = word_view(texts_of(rows), vocab_size, sequence_length, truncating=truncating)
    np.testing.assert_array_equal(view.batch(np.array(chosen)), expected, strict=True)


@settings(max_examples=200)
@given(rows=ROWS, sequence_length=st.integers(1, 12), truncating=st.sampled_from(["pre", "post"]))
def test_trimmed_batch_equals_the_untrimmed_one_without_its_padding(
    rows: list[list[int]], sequence_length: int, truncating: str
) -> None:
    texts = texts_of(rows)
    whole = word_view(texts, 8, sequence_length, truncating=truncating).array()
    view = word_view(texts, 8, sequence_length, truncating=truncating, pads_to_longest=True)
    trimmed = view.array()
    width = trimmed.shape[1]
    assert width == max(1, min(sequence_length, max(map(len, rows))))
    np.testing.assert_array_equal(trimmed, whole[:, :width])
    assert not whole[:, width:].any()


# Bad arguments


def test_view_refuses_another_part_to_drop() -> None:
    with pytest.raises(ValueError, match=r"truncating .* received 'both'"):
        word_view(texts_of([[2]]), 3, 5, truncating="both").array()


def test_training_batches_refuse_batch_size_below_one() -> None:
    with pytest.raises(ValueError, match=r"batch_size .* received 0"):
        training_batches(random_view(10, pads_to_longest=False), batch_size=0, seed=0, epoch=1)


# Batches


@settings(max_examples=100)
@given(
    n_texts=st.integers(0, 300),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**31 - 1),
    epoch=st.integers(1, 50),
    pads_to_longest=st.booleans(),
)
def test_training_batches_hold_every_row_once(
    n_texts: int, batch_size: int, seed: int, epoch: int, pads_to_longest: bool
) -> None:
    view = random_view(n_texts, pads_to_longest=pads_to_longest)
    batches = training_batches(view, batch_size=batch_size, seed=seed, epoch=epoch)
    assert sorted(flat(batches)) == list(range(n_texts))
    assert all(len(rows) == batch_size for rows in batches[:-1])


@pytest.mark.parametrize("pads_to_longest", [False, True])
@pytest.mark.parametrize("n_texts", [0, 1, EVALUATION_BATCH_SIZE, 2 * EVALUATION_BATCH_SIZE + 1])
def test_evaluation_batches_have_every_row_once_and_go_by_length_if_trimmed(
    n_texts: int, pads_to_longest: bool
) -> None:
    view = random_view(n_texts, pads_to_longest=pads_to_longest)
    lengths = view.lengths if pads_to_longest else np.zeros(n_texts)
    expected = np.argsort(lengths, kind="stable").tolist()
    assert flat(evaluation_batches(view)) == expected


@pytest.mark.parametrize("pads_to_longest", [False, True])
def test_training_order_differs_between_epochs_and_seeds(pads_to_longest: bool) -> None:
    view = random_view(200, pads_to_longest=pads_to_longest)
    orders = [
        flat(training_batches(view, batch_size=8, seed=seed, epoch=epoch))
        for seed, epoch in ((3, 1), (3, 2), (4, 1))
    ]
    assert len(set(map(tuple, orders))) == 3


def test_trimmed_batches_are_the_random_ones_with_their_longest_texts_first() -> None:
    whole, view = (random_view(100, pads_to_longest=pads) for pads in (False, True))
    plain, trimmed = (
        training_batches(each, batch_size=8, seed=0, epoch=1) for each in (whole, view)
    )
    for random, ordered in zip(plain, trimmed, strict=True):
        assert sorted(random) == sorted(ordered)
        assert (np.diff(view.lengths_of(ordered)) <= 0).all()
