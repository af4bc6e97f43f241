"""Several labels of a text: their columns, their loss and their metrics."""

from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from tuning.config import DataConfig
from tuning.errors import DataError, SpaceBug
from tuning.targets.labels import MultiLabel
from tuning.targets.target import LabelColumn

TARGET = MultiLabel(("a", "b", "c"))


def read(values: Any) -> LabelColumn:
    kind = pd.DataFrame if isinstance(values, dict) else pd.Series
    return MultiLabel.read(kind(values), column="tags", config=DataConfig())


# Columns


@pytest.mark.parametrize(
    "cells",
    [
        ["a;b", "b", "c"],
        ["a, b", "b,", "c"],
        ["b|a", " b ", "c|c"],
        ['["a", "b"]', '["b"]', '["c"]'],
        ["['a', 'b']", "['b']", "['c']"],
        {"a": ["1", "0", "0"], "b": ["1.0", "1", "0"], "c": ["False", "0", "true"]},
    ],
)
def test_read_finds_labels(cells: Any) -> None:
    column = read(cells)
    assert column.target == TARGET and column.is_labeled.all() and not column.dropped
    assert column.labels.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_read_distinguishes_no_labels_from_a_missing_cell() -> None:
    column = read(['["a", "b"]', "[]", "", None])
    assert column.labels[1].tolist() == [0, 0]
    assert column.is_labeled.tolist() == [True, True, False, False]
    assert column.dropped == {"without a label": 2}


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        (["a, b;c", "a"], "';'"),
        (["a|b, c", "a"], "'|'"),
        (["a b", "c"], "each cell is one label"),
        (["[]", "[1, 2]"], "each cell is a list"),
        ({"a": ["1", "0"], "b": ["0", "1"]}, "each column is a label"),
    ],
)
def test_rule_says_how_cells_became_labels(cells: Any, rule: str) -> None:
    assert rule in str(read(cells).rule)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"a": ["1", "2"], "b": ["0", "1"]}, "values 0 and 1; 'a' also has '2', in 1 rows"),
        (["a", "a"], "'tags' has 1. Use kind 'classes'"),
        ([";".join(map(str, range(101)))], "'tags' has 101. Keep the most frequent"),
        (['["a;b"]', '["c"]'], "must not contain ';'.*rename 'a;b'"),
        (["[a]", "[]"], r"must be written as.*'\[a\]'"),
        (['[{"a": 1}]', "[]"], "with texts or numbers"),
        ([None, ""], "'tags' has 0"),
        (["0", "1"], "only 0 and 1"),
        (["[0, 1]", "[1, 1]"], "only 0 and 1"),
    ],
)
def test_read_refuses(cells: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(cells)


@pytest.mark.parametrize(("n", "count"), [(3, "3 of 100"), (0, "0 of 100"), (95, "95 of 100")])
def test_label_of_few_or_nearly_all_texts_is_refused(n: int, count: str) -> None:
    labels = np.tile([0, 1, 1], (100, 1))
    labels[:50, 1:] = 0
    labels[:n, 0] = 1
    with pytest.raises(DataError, match=f"{count} have 'a'"):
        TARGET.require_enough(labels)


def test_strata_are_the_rarest_labels() -> None:
    labels = np.array([[1, 1, 0]] * 10 + [[0, 1, 0]] * 20 + [[0, 0, 0]] * 15 + [[0, 1, 1]] * 2)
    strata = TARGET.strata(labels).tolist()
    assert strata == [0] * 10 + [1] * 20 + [3] * 15 + [1] * 2


# Losses


def soft_focal(labels: Any, logits: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)


LOSSES: list[tuple[Any, str | None]] = [
    ("binary_crossentropy", None),
    (keras.losses.BinaryCrossentropy(label_smoothing=0.1), None),
    (keras.losses.BinaryFocalCrossentropy(gamma=2), None),
    (keras.losses.BinaryCrossentropy(from_logits=True), "sigmoid"),
    (keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2), "sigmoid"),
    (keras.losses.BinaryFocalCrossentropy(from_logits=True), "sigmoid"),
    (soft_focal, "sigmoid"),
    (None, None),
]


@pytest.mark.parametrize(("loss", "activation"), LOSSES)
def test_form_of_loss(loss: Any, activation: str | None) -> None:
    encode, found = TARGET.form_of(loss, (3,))
    assert found == activation
    assert encode(np.array([[1, 0, 1]])).dtype == np.float32


@pytest.mark.parametrize(
    "loss",
    [
        "categorical_crossentropy",
        keras.losses.CategoricalCrossentropy(from_logits=True),
        keras.losses.CategoricalFocalCrossentropy(),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        "sparse_categorical_crossentropy",
        "mse",
    ],
)
def test_loss_of_one_class_is_refused(loss: Any) -> None:
    with pytest.raises(SpaceBug, match="binary_crossentropy"):
        TARGET.form_of(loss, (3,))


@pytest.mark.parametrize("shape", [(1,), (2,), (4,)])
def test_output_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"each of 3 labels.*Dense\(3, 'sigmoid'\)"):
        TARGET.form_of("binary_crossentropy", shape)


# Metrics


@given(
    labels=arrays.arrays(np.int64, (12, 3), elements=st.integers(0, 1)),
    tenths=arrays.arrays(np.int64, (12, 3), elements=st.integers(0, 10)),
    counts=arrays.arrays(np.int64, 12, elements=st.integers(1, 3)),
)
def test_scores_are_those_of_scikit_learn(labels: Any, tenths: Any, counts: Any) -> None:
    predictions, decided = tenths / 10, tenths >= 5
    scores = TARGET.weighted_scores(labels, predictions, counts[None].astype(float))
    found = {name: float(values[0]) for name, values in scores.items()}
    weighted = {"sample_weight": counts, "zero_division": 0}
    of_labels = metrics.f1_score(labels, decided, average=None, **weighted)
    known = (labels | decided).any(axis=0)
    expected = {
        "f1_micro": metrics.f1_score(labels, decided, average="micro", **weighted),
        "f1_macro": of_labels[known].mean() if known.any() else 0.0,
        "accuracy": metrics.accuracy_score(labels, decided, sample_weight=counts),
    }
    clipped = np.clip(predictions, 1e-7, 1 - 1e-7)
    losses = [
        metrics.log_loss(column, p, labels=[0, 1], sample_weight=counts)
        for column, p in zip(labels.T, clipped.T, strict=True)
    ]
    expected["loss"] = np.mean(losses)
    areas = [
        metrics.roc_auc_score(column, p, sample_weight=counts)
        for column, p in zip(labels.T, predictions.T, strict=True)
        if 0 < column.sum() < len(column)
    ]
    expected["auc"] = np.mean(areas) if areas else np.nan
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    by_label = [found[f"f1_{number}"] for number in range(3)]
    np.testing.assert_allclose(by_label, np.where(known, of_labels, np.nan))


def test_constants_are_shares_and_the_labels_with_the_highest_f1() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 1]])
    shares, frequent = TARGET.constants(labels).values()
    assert shares.tolist() == [0.75, 0.5, 0.25]
    all_equal = [np.tile(row, (4, 1)) for row in np.ndindex(2, 2, 2)]
    best = max(all_equal, key=lambda same: metrics.f1_score(labels, same, average="micro"))
    assert frequent.tolist() == best[0].tolist()


def test_decision_is_right_if_all_labels_are() -> None:
    labels, predictions = np.array([[1, 0, 1], [0, 0, 0]]), np.array([[0.5, 0.2, 0.9], [0, 0.6, 0]])
    assert TARGET.is_right(labels, np.stack([predictions] * 2)).tolist() == [[True, False]] * 2
    assert TARGET.labels_of(TARGET.decide(predictions)) == ["a;c", "b"]
    assert TARGET.confidence(predictions) == pytest.approx([0.5 * 0.8 * 0.9, 0.6])
