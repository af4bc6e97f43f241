"""Graphs of chains of layers: the outputs of onnxruntime and Keras are equal."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest

from tuning.export.onnx_graph import Unsupported, chain, write_graph

layers = keras.layers
LENGTH, ROWS = 12, 20
Stack = Callable[[], list[keras.layers.Layer]]


def classifier(*stack: keras.layers.Layer, masked: bool, n_classes: int = 2) -> keras.Model:
    keras.utils.set_random_seed(0)
    last = layers.Dense(1, "sigmoid") if n_classes == 2 else layers.Dense(n_classes, "softmax")
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(ROWS, 4, mask_zero=masked),
            *stack,
            last,
        ]
    )
    # With larger weights, and biases other than 0, misplaced weights change the output.
    rng = np.random.default_rng(0)
    model.set_weights([2 * w + rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model


def right_padded() -> Any:
    ids = np.random.default_rng(1).integers(1, ROWS, (6, LENGTH)).astype(np.int32)
    for row, length in enumerate((0, 1, 2, 7, LENGTH - 1, LENGTH)):
        ids[row, length:] = 0
    return ids


def by_keras(model: keras.Model, ids: Any, n_classes: int) -> Any:
    output = model.predict_on_batch(ids)
    return np.hstack([1 - output, output]) if n_classes == 2 and output.shape[1] == 1 else output


def session_of(
    model: keras.Model, *, n_classes: int = 2, length: int | None = LENGTH
) -> onnxruntime.InferenceSession:
    layer_chain = chain(model)
    assert layer_chain is not None
    return onnxruntime.InferenceSession(
        write_graph(layer_chain, length=length, n_classes=n_classes).SerializeToString()
    )


STACKS: dict[str, Stack] = {
    "lstm": lambda: [layers.LSTM(3, dropout=0.2, recurrent_dropout=0.2)],
    "no bias": lambda: [layers.LSTM(3, use_bias=False)],
    "backwards": lambda: [layers.LSTM(3, go_backwards=True)],
    "two lstms": lambda: [
        layers.SpatialDropout1D(0.2),
        layers.LSTM(5, return_sequences=True),
        layers.LSTM(3),
        layers.Dropout(0.2),
    ],
    "bidirectional": lambda: [layers.Bidirectional(layers.LSTM(3))],
    "bidirectional, mean": lambda: [
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.GlobalAveragePooling1D(),
    ],
    "mean": lambda: [layers.LSTM(3, return_sequences=True), layers.GlobalAveragePooling1D()],
    "gru": lambda: [layers.GRU(3, dropout=0.2)],
    "gru, reset before": lambda: [layers.GRU(3, reset_after=False)],
    "gru, no bias": lambda: [layers.GRU(3, use_bias=False)],
    "bidirectional gru, mean": lambda: [
        layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        layers.GlobalAveragePooling1D(),
        layers.Dense(4),
    ],
    "dense over time": lambda: [
        layers.Dense(5, "tanh"),
        layers.LSTM(3),
        layers.Dense(4),
        layers.Activation("relu"),
    ],
    "maximum": lambda: [layers.LSTM(3, return_sequences=True), layers.GlobalMaxPooling1D()],
    "bidirectional, maximum": lambda: [
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.GlobalMaxPooling1D(),
    ],
}


@pytest.mark.parametrize(
    ("stack", "masked", "n_classes"),
    # The number of classes changes the end of a graph alone, so five classes end two stacks.
    [
        *((stack, False, 2) for stack in STACKS),
        *((stack, True, 2) for stack in STACKS if "maximum" not in stack),
        ("lstm", False, 5),
        ("dense over time", True, 5),
    ],
)
def test_graph_gives_what_keras_gives(stack: str, masked: bool, n_classes: int) -> None:
    model = classifier(*STACKS[stack](), masked=masked, n_classes=n_classes)
    ids = right_padded()
    expected = by_keras(model, ids, n_classes)
    (probabilities,) = session_of(model, n_classes=n_classes).run(["probabilities"], {"ids": ids})
    # Both give NaN for the mean of no token.
    np.testing.assert_allclose(probabilities, expected, atol=2e-6)
    assert len(np.unique(expected[:, 0].round(4))) > 3


def test_free_length_takes_a_text_without_its_padding() -> None:
    model = classifier(layers.Bidirectional(layers.LSTM(3)), masked=True)
    session, ids = session_of(model, length=None), right_padded()
    expected = by_keras(model, ids, 2)
    for row, expected_row in zip(ids[1:], expected[1:], strict=True):
        (probabilities,) = session.run(None, {"ids": row[None, : np.count_nonzero(row)]})
        np.testing.assert_allclose(probabilities[0], expected_row, atol=2e-6)


@pytest.mark.parametrize("name", ["lstm", "mean"])
def test_functional_chain_is_the_chain_of_its_layers(name: str) -> None:
    ids = value = keras.Input((None,), dtype="int32")
    stack = [layers.Embedding(ROWS, 4, mask_zero=True), *STACKS[name](), layers.Dense(2)]
    for layer in stack:
        value = layer(value)
    assert chain(keras.Model(ids, value)) == stack


def own_mask(words: Any) -> Any:
    mask = keras.ops.greater(keras.ops.mean(words, axis=-1), 0)
    return layers.GlobalAveragePooling1D()(words, mask=mask)


def branch(words: Any) -> Any:
    both = layers.Add()([words, layers.LSTM(4, return_sequences=True)(words)])
    return layers.LSTM(2)(both)


def with_state(words: Any) -> Any:
    state = keras.ops.mean(words, axis=1)
    return layers.LSTM(4)(words, initial_state=[state, state])


def one_of_several_outputs(words: Any) -> Any:
    return layers.LSTM(4, return_state=True)(words)[1]


@pytest.mark.parametrize("body", [own_mask, branch, with_state, one_of_several_outputs])
def test_other_models_are_no_chain(body: Callable[[Any], Any]) -> None:
    ids = keras.Input((None,), dtype="int32")
    words = layers.Embedding(ROWS, 4)(ids)
    assert chain(keras.Model(ids, layers.Dense(1)(body(words)))) is None


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        (lambda: [layers.SimpleRNN(3)], "SimpleRNN"),
        (lambda: [layers.LSTM(3, recurrent_activation="hard_sigmoid")], "activations"),
        (lambda: [layers.LSTM(3, zero_output_for_mask=True)], "activations"),
        (lambda: [layers.GRU(3, zero_output_for_mask=True)], "activations"),
        (
            lambda: [layers.LSTM(3, return_sequences=True, go_backwards=True), layers.LSTM(2)],
            "reverse order",
        ),
        (lambda: [layers.Bidirectional(layers.LSTM(3), merge_mode="sum")], "must concatenate"),
        (lambda: [layers.LSTM(3), layers.Dense(2, "gelu")], "gelu"),
        (
            lambda: [
                layers.Bidirectional(
                    layers.GRU(3), backward_layer=layers.LSTM(3, go_backwards=True)
                )
            ],
            "equal settings",
        ),
        (lambda: [layers.LSTM(3, return_sequences=True)], "one row for each text"),
    ],
)
def test_what_has_no_graph_here_is_refused(stack: Stack, why: str) -> None:
    model = classifier(*stack(), masked=True)
    with pytest.raises(Unsupported, match=why):
        write_graph(chain(model) or [], length=LENGTH, n_classes=2)
