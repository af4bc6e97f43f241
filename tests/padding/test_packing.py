"""Training without the padding: the same outputs, gradients and weights as with it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.ops import core, numpy

from tests.padding.graphs import (
    IDS,
    PADDING_IS_IGNORED,
    PADDING_IS_READ,
    POOLS,
    ROWS,
    STEPS,
    counted_rows,
    masked,
    over,
    random_graph,
)
from tuning.models import cnn_features, mean_features, wide_deep_classifier, words_classifier
from tuning.models.words import mean_over_words, zero_padding
from tuning.padding.check import RULES
from tuning.padding.packing import LENGTHS_PER_OCTAVE, REDUCTIONS, join
from tuning.training.architecture import ignores_padding, without_padding

layers, ops = keras.layers, keras.ops

LENGTHS = np.array([1, 100])  # Numbers of words of texts that are worth packing.
# Graphs that draw words at random, or that have a recurrent layer.
DRAWN = {"mean with dropped words"}
RECURRENT = {
    *("maximum of an LSTM", "LSTM after dropped words", "LSTM that reads backwards"),
    *("LSTM of an LSTM", "states of an LSTM"),
}


def texts(n: int, length: int, *, shortest: int = 0) -> npt.NDArray[np.int32]:
    """Return ids (n, length) of texts, one of which has `shortest` words."""
    rng = np.random.default_rng(n)
    lengths = np.append(rng.integers(shortest, length + 1, n - 1), shortest)
    ids = rng.integers(1, ROWS, (n, length))
    ids[np.arange(length) >= lengths[:, None]] = 0
    return ids.astype(np.int32)


def run(model: keras.Model, inputs: Any) -> list[npt.NDArray[Any]]:
    """Return the outputs of a model in training, and the gradients of a sum of their squares."""
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=True)
        loss = tf.reduce_sum(tf.square(outputs))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    return [np.asarray(outputs), *(np.asarray(tf.convert_to_tensor(g)) for g in gradients)]


def assert_same(model: keras.Model, inputs: Any) -> None:
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0.1, 0.5, weight.shape))
    expected = run(model, inputs)
    with without_padding(model, LENGTHS) as is_packed, counted_rows() as n_rows:
        assert is_packed
        actual = run(model, inputs)
    assert len(n_rows) == 1
    for value, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", sorted(PADDING_IS_IGNORED.keys() - DRAWN - RECURRENT))
def test_graphs_give_the_same_outputs_and_gradients(name: str) -> None:
    assert_same(PADDING_IS_IGNORED[name](), IDS)


MODELS: dict[str, Callable[[], keras.Model]] = {
    "cnn": lambda: words_classifier(
        partial(cnn_features, vocab_size=ROWS, embedding_dim=6, filters=5, dropout=0.0)
    ),
    "cnn of five classes": lambda: words_classifier(
        partial(cnn_features, vocab_size=ROWS, filters=5, widths=(1, 7), dropout=0.0), n_classes=5
    ),
    "mean embedding": lambda: words_classifier(
        partial(mean_features, vocab_size=ROWS, embedding_dim=6, dropout=0.0)
    ),
    "keras' average": lambda: masked(
        layers.Dense(4, activation="tanh"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(1, activation="sigmoid"),
    ),
    "dilated and causal convolutions": lambda: over(
        lambda x, w: mean_over_words(
            layers.Conv1D(4, 3, padding="causal", dilation_rate=4)(
                zero_padding(layers.Conv1D(4, 2, padding="same")(zero_padding(x, w)), w)
            ),
            w,
        )
    ),
    "sums and maxima that keep the axis": lambda: over(
        lambda x, w: layers.Concatenate()(
            [
                ops.sum(zero_padding(x, w), axis=1, keepdims=True) * 1.0,
                ops.max(ops.where(w, ops.maximum(x, -0.5), -0.5), axis=1, keepdims=True) * 1.0,
            ]
        )
    ),
    "number of words": lambda: over(
        lambda x, w: ops.cast(ops.sum(w, axis=1), "float32") * 1.0,
    ),
    "maximum with an initial value": lambda: over(
        lambda x, w: ops.max(ops.where(w, ops.maximum(x, -9.0), -9.0), axis=1, initial=0.1)
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (2, 1), (17, 30)])
def test_models_give_the_same_outputs_and_gradients(name: str, shape: tuple[int, int]) -> None:
    # Keras' average of no words is not a number.
    assert_same(MODELS[name](), texts(*shape, shortest=int(name == "keras' average")))


@pytest.mark.parametrize("deep", [cnn_features, mean_features])
def test_ngrams_beside_words_give_the_same(deep: Callable[..., Any]) -> None:
    model = wide_deep_classifier(
        partial(deep, vocab_size=ROWS, embedding_dim=4, dropout=0.0), ngram_vocab_size=ROWS
    )
    assert_same(model, {"ids": texts(9, 20), "ngrams": texts(9, 5)})
    other_order = keras.Model(list(reversed(model.inputs)), model.outputs)
    assert_same(other_order, [texts(9, 5), texts(9, 20)])


def test_only_a_training_call_is_packed_and_only_in_the_context() -> None:
    model = MODELS["keras' average"]()
    with counted_rows() as joined:
        with without_padding(model, LENGTHS):
            model(IDS[:3])
            model.predict(IDS[:3], verbose=0)
            assert not joined
            model(IDS[:3], training=True)
            assert joined == [3]
        model(IDS[:3], training=True)
        assert joined == [3]


def compiled_for_xla() -> keras.Model:
    model = MODELS["cnn"]()
    model.compile(loss="binary_crossentropy", jit_compile=True)
    return model


def average(
    *, dtype: str | None = None, name: str | None = None, dropout: type = layers.Dropout
) -> keras.Model:
    ids = keras.Input((None,), dtype="int32", name=name)
    x = dropout(0.1)(layers.Embedding(ROWS, 2, mask_zero=True, dtype=dtype)(ids))
    return keras.Model(ids, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))


NOT_PACKED: dict[str, Callable[[], keras.Model]] = {
    **{name: PADDING_IS_IGNORED[name] for name in sorted(RECURRENT)},
    "sum over all": PADDING_IS_READ["sum over all"],
    "for XLA": compiled_for_xla,
    **{dtype: partial(average, dtype=dtype) for dtype in ("float16", "bfloat16", "mixed_bfloat16")},
    "n-grams alone": partial(average, name="ngrams"),
    "dropout of columns": partial(average, dropout=layers.SpatialDropout1D),
}


@pytest.mark.parametrize("name", NOT_PACKED)
def test_model_is_not_packed(name: str) -> None:
    with without_padding(NOT_PACKED[name](), LENGTHS) as is_packed:
        assert not is_packed


@pytest.mark.parametrize(
    ("lengths", "dilation", "expected"),
    [((20, 100), 1, True), ((99, 100), 1, False), ((20, 100), 30, False)],
)
def test_row_that_would_be_as_long_as_the_batch_is_not_used(
    lengths: tuple[int, int], dilation: int, expected: bool
) -> None:
    model = over(
        lambda x, w: mean_over_words(
            layers.Conv1D(4, 3, padding="same", dilation_rate=dilation)(zero_padding(x, w)), w
        )
    )
    with without_padding(model, np.array(lengths)) as is_packed:
        assert is_packed == expected


def test_call_that_the_user_has_set_is_kept() -> None:
    model = MODELS["cnn"]()
    own, calls = model.call, []
    model.call = lambda *arguments, **options: calls.append(1) or own(*arguments, **options)
    with without_padding(model, LENGTHS) as is_packed:
        assert not is_packed
        model(IDS, training=True)
    assert calls
    assert "call" in vars(model)


def test_ids_are_a_mask() -> None:
    ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(ROWS, 3)(ids)
    model = keras.Model(ids, layers.Dense(2)(layers.GlobalAveragePooling1D()(x, mask=ids)))
    assert_same(model, texts(9, 20, shortest=1))


def test_every_rule_says_how_its_operation_is_packed() -> None:
    by_word = {
        *(layers.Embedding, layers.Dropout, layers.Dense, layers.Activation, layers.Conv1D),
        *(layers.Concatenate, layers.Multiply, layers.Add, layers.Average),
        *(core.Cast, numpy.ExpandDims, numpy.NotEqual, numpy.Greater, numpy.Where),
        *(numpy.Multiply, numpy.Minimum, numpy.Maximum, numpy.Add, numpy.Divide, numpy.Sqrt),
        numpy.Concatenate,
    }
    not_packed = {layers.LSTM, layers.GRU, layers.Bidirectional, layers.SpatialDropout1D}
    assert set(RULES) == by_word | not_packed | set(REDUCTIONS)


def test_dropped_words_are_drawn_again_for_each_word() -> None:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    ones = layers.Embedding(ROWS, 64, mask_zero=True, embeddings_initializer="ones")(ids)
    model = keras.Model(ids, layers.GlobalAveragePooling1D()(layers.Dropout(0.5)(ones)))
    with without_padding(model, LENGTHS):
        means = np.asarray(model(np.full((20, 100), 3, np.int32), training=True))
    assert 0.97 < means.mean() < 1.03
    assert 0.08 < means.std() < 0.12  # of 100 draws


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    gap=st.integers(1, 5),
    n_more=st.integers(0, 5),
)
def test_row_contains_the_words_of_each_text_and_the_gap(
    lengths: list[int], gap: int, n_more: int
) -> None:
    ids = np.zeros((len(lengths), max(lengths) + n_more), np.int32)
    for text, length in enumerate(lengths):
        ids[text, :length] = text + 1
    row, (numbers, n_texts) = join(tf.constant(ids), gap)
    row, numbers = np.asarray(row), np.asarray(numbers)
    assert n_texts == len(lengths)
    assert row.shape == (1, len(numbers))
    assert (np.diff(numbers) >= 0).all()
    for text, length in enumerate(lengths):
        assert row[0, numbers == text].tolist() == [text + 1] * length + [0] * gap
    assert not row[0, numbers == n_texts].any()
    n_kept = sum(lengths) + gap * len(lengths)
    assert n_kept <= len(numbers) <= n_kept * (1 + 1 / LENGTHS_PER_OCTAVE) + 1


@pytest.mark.slow
@settings(max_examples=60)
@given(
    steps=st.lists(st.sampled_from(sorted(STEPS.keys() - {"dropout"})), max_size=5),
    pool=st.sampled_from(sorted(POOLS)),
)
def test_random_graph_gives_the_same_outputs(steps: list[str], pool: str) -> None:
    model = random_graph(steps, pool)
    if ignores_padding(model):
        expected = np.asarray(model(IDS, training=True))
        with without_padding(model, LENGTHS) as is_packed:
            assert is_packed
            np.testing.assert_allclose(model(IDS, training=True), expected, atol=1e-5)
