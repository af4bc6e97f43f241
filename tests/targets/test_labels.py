"""Several labels of a text: their columns, their loss and their metrics."""

from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from tests.numbered import scores_of
from tests.targets.test_contract import compared, tagged, trained
from tuning.config import SPLITS, DataConfig
from tuning.data.sources import Reviews, load_reviews
from tuning.data.splits import SplitReviews, split_reviews
from tuning.errors import DataError, SpaceBug
from tuning.evaluation.predictions import read_predictions, write_predictions
from tuning.evaluation.slices import slices_of
from tuning.evaluation.test_split import BEST
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.report.quality import calibration_figure
from tuning.report.tables import data_rows
from tuning.targets.labels import MultiLabel
from tuning.targets.target import LabelColumn

TARGET = MultiLabel(("a", "b", "c"))


def read(values: Any) -> LabelColumn:
    kind = pd.DataFrame if isinstance(values, dict) else pd.Series
    return MultiLabel.read(kind(values), column="tags", config=DataConfig())


# Columns


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        (["a;b", "b", "c"], "';'"),
        (["a, b", "b,", "c"], "','"),
        (["b|a", " b ", "c|c"], "'|'"),
        (['["a", "b"]', '["b"]', '["c"]'], "each cell is a list"),
        (["['a', 'b', '']", "['b']", "['c']"], "each cell is a list"),
        (["['a' 'b']", "['b'\n 'b']", "['c']"], "each cell is a list"),  # arrays of NumPy
        (["('a', 'b')", "('b',)", "('c',)"], "each cell is a list"),
        (["{'a', 'b'}", "{'b'}", "{'c'}"], "each cell is a list"),
        (
            {"a": ["1", "0", "0"], "b": ["1.0", "1", "0"], "c": ["False", "0", "true"]},
            "each column is a label",
        ),
    ],
)
def test_read_finds_labels(cells: Any, rule: str) -> None:
    column = read(cells)
    assert column.target == TARGET and column.is_labeled.all() and not column.dropped
    assert column.labels.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert rule in str(column.rule)


@pytest.mark.parametrize("both", ['["a", "b"]', "a;b"])
def test_read_distinguishes_no_labels_from_a_missing_cell(both: str) -> None:
    column = read([both, "[]", "", None])
    assert column.labels[:2].tolist() == [[1, 1], [0, 0]]
    assert column.is_labeled.tolist() == [True, True, False, False]
    assert column.dropped == {"with an empty cell (write a text without labels as [])": 2}


def test_empty_tuples_and_sets_have_no_labels() -> None:
    assert read(["('a', 'b')", "()"]).labels.tolist() == [[1, 1], [0, 0]]
    assert read(["{'a', 'b'}", "set()"]).labels.tolist() == [[1, 1], [0, 0]]
    assert read(['["a", " "]', '["b"]', "['a', ' ']"]).labels.tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        (["a, b;c", "a"], "';'"),
        (["a|b, c", "a"], "'|'"),
        (["a b", "c"], "each cell is one label"),
        (["[removed]", "(other)", "c"], "each cell is one label"),
        (["[90s]", '("x") or (y)', "()", "pop"], "each cell is one label"),
        (["a", "[]", "c"], "each cell is one label or none"),
        (["[]", "[1, 2]"], "each cell is a list"),
        (["{1, 2}", "{3}"], "each cell is a list"),
    ],
)
def test_rule_says_how_cells_became_labels(cells: Any, rule: str) -> None:
    column = read(cells)
    assert rule in str(column.rule)
    doubts = column.target.doubts(column.rule)
    assert ("kind 'classes'" in doubts) == (rule == "each cell is one label")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"a": ["1", "2"], "b": ["0", "1"]}, "values 0 and 1; 'a' also has '2', in 1 rows"),
        (["a", "a"], "'tags' has 1. Use kind 'classes'"),
        ([";".join(map(str, range(101)))], "'tags' has 101. Keep the most frequent"),
        (['["a;b"]', '["c"]'], "must not contain ';'.*rename 'a;b'"),
        (["[a]", "[]"], r"must be written as.*'\[a\]'"),
        (["['a']", "a, b"], "must be written as.*'a, b'"),
        (['[{"a": 1}]', "[]"], "with texts or numbers"),
        (["[]", None, ""], "'tags' has 0. Name labels in it, or choose another"),
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


def sigmoid_loss(labels: Any, logits: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)


@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        ("binary_crossentropy", None),
        (keras.losses.BinaryCrossentropy(label_smoothing=0.1), None),
        (keras.losses.BinaryCrossentropy(from_logits=True), "sigmoid"),
        (keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2), "sigmoid"),
        (sigmoid_loss, "sigmoid"),
        (None, None),
    ],
)
def test_form_of_loss(loss: Any, activation: str | None) -> None:
    encode, found = TARGET.form_of(loss, (3,))
    assert found == activation
    assert encode(np.array([[1, 0, 1]])).dtype == np.float32


@pytest.mark.parametrize(
    "loss",
    [
        "categorical_crossentropy",
        keras.losses.CategoricalCrossentropy(from_logits=True),
        "sparse_categorical_crossentropy",
        "mse",
    ],
)
def test_loss_for_one_class_or_a_number_is_refused(loss: Any) -> None:
    with pytest.raises(SpaceBug, match="a sigmoid, and use binary_crossentropy"):
        TARGET.form_of(loss, (3,))


@pytest.mark.parametrize("shape", [(1,), (2,), (4,)])
def test_output_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpaceBug, match=r"each of 3 labels.*Dense\(3, 'sigmoid'\)"):
        TARGET.form_of("binary_crossentropy", shape)


# Metrics


@given(
    labels=arrays.arrays(np.int64, (12, 3), elements=st.integers(0, 1)),
    tenths=arrays.arrays(np.int64, (12, 3), elements=st.integers(0, 10)),
    counts=arrays.arrays(np.int64, 12, elements=st.integers(1, 3)),
)
def test_scores_are_those_of_scikit_learn(labels: Any, tenths: Any, counts: Any) -> None:
    predictions, decided = tenths / 10, tenths >= 5
    scores = scores_of(TARGET, labels, predictions, counts[None].astype(float))
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


# From the column to the predictions


@pytest.fixture
def reviews(tmp_path: Path) -> Reviews:
    """The first cell is empty."""
    texts, tags = tagged(240)
    frame = pd.DataFrame({"text": texts, "tags": ["", *tags[1:]]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    config = DataConfig(data=str(tmp_path / "a.csv"), label_column="tags", kind="labels")
    return load_reviews(config)


@pytest.fixture
def splits(reviews: Reviews) -> SplitReviews:
    return split_reviews(reviews, seed=0)


@pytest.fixture
def corpus(splits: SplitReviews, tmp_path: Path) -> Corpus:
    return build_corpus(tmp_path / splits.fingerprint, splits)


def test_texts_without_labels_are_kept(reviews: Reviews, corpus: Corpus) -> None:
    assert len(reviews.labels) == 239 and reviews.target == corpus.target == TARGET
    assert not reviews.labels.any(axis=1).all()
    assert reviews.labels.sum() == sum(corpus.split(name).labels.sum() for name in SPLITS)
    assert dict(data_rows(corpus.card))["labels"] == "a 87 (36.4%), b 77 (32.2%), c 99 (41.4%)"


def test_columns_of_labels_are_named_with_commas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"w{n}" for n in range(60)], "toxic": [0, 1] * 30})
    frame.assign(insult=[0, 0, 1] * 20).to_csv(tmp_path / "a.csv", index=False)
    path = str(tmp_path / "a.csv")
    found = load_reviews(DataConfig(data=path, kind="labels", label_column="toxic,insult"))
    assert found.target.names == ("toxic", "insult") and found.label_column == "toxic,insult"
    assert found.labels.sum(axis=0).tolist() == [30, 20]
    for columns, says in {"toxic,threat": "be one of.*'threat'", "toxic,toxic": "once"}.items():
        with pytest.raises(DataError, match=f"label_column must .*{says}"):
            load_reviews(DataConfig(data=path, kind="labels", label_column=columns))
    with pytest.raises(DataError, match=r"be one column.*'toxic,insult'\. Add kind=labels"):
        load_reviews(DataConfig(data=path, label_column="toxic,insult"))


def tagger(loss: Any, *, activation: str | None = "sigmoid", metrics: Any = None) -> Any:
    """Return a function that builds a model as tutorials do."""

    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        ids = keras.Input((None,), dtype="int32")
        x = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(40, 8)(ids))
        model = keras.Model(ids, keras.layers.Dense(3, activation)(x))
        model.compile(keras.optimizers.Adam(0.05), loss, metrics=metrics)
        return model

    return build


STYLES = [
    tagger("binary_crossentropy", metrics=["accuracy"]),
    tagger(
        keras.losses.BinaryFocalCrossentropy(),
        metrics=[
            keras.metrics.F1Score(average="macro", threshold=0.5),
            keras.metrics.F1Score(),  # It has a value for each label.
            keras.metrics.AUC(multi_label=True, num_labels=3),
            keras.metrics.Precision(),
            keras.metrics.Recall(),
        ],
    ),
    tagger(keras.losses.BinaryCrossentropy(from_logits=True), activation=None),
]


@pytest.mark.parametrize("build", STYLES)
def test_models_of_tutorials_are_trained(build: Any, corpus: Corpus) -> None:
    result = trained(build, corpus, epochs=8)[1]
    assert result.best_value == result.metrics["val_f1_micro"] > 0.9
    assert {"val_f1_macro", "val_auc", "val_loss", "val_accuracy"} <= result.metrics.keys()


def test_models_are_compared_with_linear_models(splits: SplitReviews, corpus: Corpus) -> None:
    model, _ = trained(STYLES[0], corpus, epochs=8)
    evaluation = compared(model, splits, corpus)
    linear = "tuned n-grams + logistic regression"
    assert [*evaluation.entries] == [BEST, *TARGET.constant_names, linear]
    test = {name: entry.test["f1_micro"] for name, entry in evaluation.entries.items()}
    assert all(value and value > 0.9 for name, value in test.items() if name in {BEST, linear})
    assert test["label shares"] == 0 and 0.5 < test["frequent labels"] < 0.7
    by_label = evaluation.entries[BEST].test_f1_by_class
    assert by_label.keys() == set(TARGET.names)
    change = evaluation.comparisons["frequent labels"].difference("val_f1_micro")
    assert change is not None and change.low > 0
    write_predictions(corpus.folder / "test.npz", evaluation.predictions)
    kept = read_predictions(corpus.folder / "test.npz", TARGET)
    assert kept is not None and kept.is_right.tolist() == evaluation.predictions.is_right.tolist()
    (title, slices), *_ = slices_of(kept)
    assert title == "F1 by label"
    assert [s.name for s in slices] == [*TARGET.names]
    assert all(0.5 < s.accuracy.value <= 1 for s in slices)
    assert calibration_figure(kept).data
