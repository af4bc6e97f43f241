"""One contract over all kinds of targets, and the way of a number through a study, from the label
column to the predictions of an export.
"""

import io
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pandas as pd
import pytest

from tests.numbered import scores_of
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.data.sources import Reviews, load_reviews
from tuning.data.splits import SplitReviews, split_reviews
from tuning.data.stream import Row
from tuning.documents import structure, unstructure
from tuning.errors import ArgumentError, SpaceBug
from tuning.evaluation.linear_reference import LinearTask
from tuning.evaluation.ngram_model import all_references
from tuning.evaluation.statistics import score_intervals
from tuning.evaluation.test_split import BEST, evaluate_on_test_split
from tuning.inference.label_files import label, write_csv_rows
from tuning.inference.manifest import Manifest
from tuning.inputs.contract import ModelInput
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.report.tables import data_rows
from tuning.targets.kinds import KINDS, target_of
from tuning.targets.number import Number
from tuning.targets.target import LabelColumn, Target
from tuning.training.fit import fit
from tuning.training.loops import try_fit
from tuning.training.prediction import Predictor, make_view
from tuning.training.result import TrainingJob
from tuning.workers.messages import Train, decode, encode

# For each kind, a label column of which its `read` makes labels, and outputs of a model.
COLUMNS: dict[str, list[object]] = {
    "classes": ["b", "a", "c"],
    "labels": ["b", "a;c", "a;b"],
    "order": [2.0, 1.0, 5.0],
    "number": [2.5, -1.0, 4.0],
}
OUTPUTS = {
    "classes": np.eye(3)[[1, 0, 2]],
    "labels": np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
    "order": np.eye(3)[[1, 0, 2]],
    "number": np.array([[2.5], [-1.0], [4.0]]),
}
VALUES = {"vocab_size": 12, "sequence_length": 6}


# All kinds


def read(kind: str) -> LabelColumn:
    config = DataConfig(kind=kind)
    return KINDS[kind].read(pd.Series(COLUMNS[kind]), column="label", config=config)


def test_every_kind_is_in_these_tests() -> None:
    assert KINDS.keys() == COLUMNS.keys() == OUTPUTS.keys()


@pytest.mark.parametrize("kind", COLUMNS)
def test_labels_have_the_dtype_of_the_target(kind: str) -> None:
    column = read(kind)
    assert column.is_labeled.all() and column.labels.dtype == column.target.dtype
    assert column.target.examples(7).dtype == column.target.dtype
    assert column.target.strata(column.labels).shape == (3,)


@pytest.mark.parametrize("kind", COLUMNS)
def test_target_of_a_document_is_that_which_was_written(kind: str) -> None:
    target = read(kind).target
    assert target_of(target.names, kind) == Target.of_document(target.document()) == target
    assert ("predicts" in target.document()) == (kind != "classes")


@pytest.mark.parametrize("kind", COLUMNS)
def test_perfect_outputs_are_decided_as_the_labels(kind: str) -> None:
    column, target = read(kind), read(kind).target
    predictions = target.predictions(OUTPUTS[kind])
    assert predictions.dtype == np.float64 and predictions.shape == (3, target.width)
    assert target.decide(predictions).tolist() == column.labels.tolist()
    assert target.decide(np.stack([predictions] * 2)).shape == (2, *column.labels.shape)
    assert target.is_right(column.labels, np.stack([predictions] * 2)).tolist() == [[True] * 3] * 2
    assert target.labels_of(column.labels) == [
        f"{value}".removesuffix(".0") for value in COLUMNS[kind]
    ]
    confidence = target.confidence(predictions)
    assert confidence == ([1.0] * 3 if target.has_probabilities else [None] * 3)


@pytest.mark.parametrize("kind", COLUMNS)
def test_perfect_predictions_are_better_than_the_constant(kind: str) -> None:
    column, target = read(kind), read(kind).target
    perfect = target.predictions(OUTPUTS[kind])
    constant = np.tile(target.constant(column.labels), (3, 1))
    config = StudyConfig(study="s", data=DataConfig(kind=kind))
    assert config.metric == target.metrics[0].objective
    scores = scores_of(target, column.labels, perfect, np.ones((2, 3)))
    assert {metric.name for metric in target.metrics} <= scores.keys()
    assert all(values.shape == (2,) for values in scores.values())
    first = target.metrics[0]
    better = target.score(column.labels, perfect)[first.name]
    worse = target.score(column.labels, constant)[first.name]
    assert better > worse if first.maximized else better < worse


def test_kinds_predict_without_heavy_packages() -> None:
    heavy = {"keras", "tensorflow", "optuna", "pandas", "sklearn", "pyarrow"}
    code = f"import sys, tuning.targets.kinds; print({heavy} & sys.modules.keys() or '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"kind must be one of classes, labels, .*received 'x"):
        DataConfig(kind="x")
    with pytest.raises(ValueError, match=r"predicts: must be one of classes, labels, .*not 'x'"):
        target_of((), "x")


def test_metric_of_another_kind_is_refused() -> None:
    with pytest.raises(ArgumentError, match="metric must be one of val_mae"):
        StudyConfig(study="s", metric="val_accuracy", data=DataConfig(kind="number"))


# A number, from the column to the predictions


def build(hp: keras_tuner.HyperParameters, activation: Any = None) -> keras.Model:
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(12, 4)(ids))
    model = keras.Model(ids, keras.layers.Dense(1, activation)(x))
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mae"])
    return model


class Regression(keras_tuner.HyperModel):
    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return build(hp)

    def fit(self, hp: Any, model: keras.Model, x: Any, y: Any, **options: Any) -> Any:
        return model.fit(x, y, **options)


@pytest.fixture
def reviews(tmp_path: Path) -> Reviews:
    """The label of a text is the number of its words "good", plus a half."""
    n_good = np.random.default_rng(0).integers(0, 6, 200)
    texts = [
        " ".join(["good"] * n + ["bad"] * (5 - n) + [f"w{row}"]) for row, n in enumerate(n_good)
    ]
    frame = pd.DataFrame({"text": texts, "label": n_good + 0.5})
    frame.to_csv(tmp_path / "a.csv", index=False)
    return load_reviews(DataConfig(data=str(tmp_path / "a.csv"), kind="number"))


@pytest.fixture
def splits(reviews: Reviews) -> SplitReviews:
    return split_reviews(reviews, seed=0)


@pytest.fixture
def corpus(splits: SplitReviews, tmp_path: Path) -> Corpus:
    return build_corpus(tmp_path / splits.fingerprint, splits)


def test_fingerprint_depends_on_the_kind(reviews: Reviews, splits: SplitReviews) -> None:
    class Other(Number):
        kind = "other"

    other = split_reviews(replace(reviews, target=Other()), seed=0)
    assert other.fingerprint != splits.fingerprint


def test_number_is_trained_scored_and_predicted(splits: SplitReviews, corpus: Corpus) -> None:
    target = corpus.target
    assert target == Number() and corpus.split("train").labels.dtype == np.float64
    job = TrainingJob(
        values=VALUES,
        target=target,
        train=TrainConfig(epochs=12, batch_size=16, patience=12),
        seed=0,
        metric="val_mae",
    )
    message = Train("space.py", str(corpus.folder), job, takes_texts=False)
    assert decode(encode(message)) == message
    hypermodel = keras_tuner.HyperModel()
    hypermodel.build = build
    train, validation, test = (corpus.split(name) for name in ("train", "validation", "test"))
    model, result = fit(hypermodel, job, train=train, validation=validation)
    constant = np.tile(target.constant(train.labels), (len(validation.labels), 1))
    worst = target.score(validation.labels, constant)["mae"]
    assert result.best_value == result.metrics["val_mae"] < worst / 2

    predictions = Predictor(model)(make_view(model, VALUES, test.texts), target=target)
    assert target.score(test.labels, predictions)["mae"] < worst / 2
    texts = splits.frames["test"]["text"].tolist()
    references = all_references(splits, corpus, texts, task=LinearTask())
    assert references.keys() == {
        *("median", "mean", "TF-IDF + ridge regression", "tuned n-grams + ridge regression")
    }
    evaluation = evaluate_on_test_split(
        optuna.create_study(),
        corpus,
        {BEST: predictions, "mean": references["mean"].predictions},
        trials={BEST: 0},
        test_texts=texts,
        config=StudyConfig(study="s", data=DataConfig(kind="number")),
    )
    best, mean = (evaluation.entries[name].test["mae"] for name in (BEST, "mean"))
    assert best is not None and mean is not None and best < mean / 2
    comparison = evaluation.comparisons["mean"]
    change = comparison.difference("val_mae")
    assert change is not None and change.value == pytest.approx(best - mean)
    assert comparison.accuracy_difference is None and not evaluation.mistakes
    interval = score_intervals(target, test.labels, predictions, seed=0)["mae"]
    assert interval.low < interval.value < interval.high


def test_labels_that_a_last_layer_can_not_give_are_refused(corpus: Corpus) -> None:
    def trained(activation: Any, *, scale: float = 1.0, n_epochs: int | None = None) -> None:
        hypermodel = keras_tuner.HyperModel()
        hypermodel.build = partial(build, activation=activation)
        job = TrainingJob(
            values=VALUES,
            target=corpus.target,
            train=TrainConfig(epochs=1, batch_size=50),
            seed=0,
            metric="val_mae",
            n_epochs=n_epochs,
        )
        splits = (corpus.split(name) for name in ("train", "validation"))
        train, validation = (replace(split, labels=split.labels * scale) for split in splits)
        fit(hypermodel, job, train=train, validation=validation)

    for activation, reach in {"sigmoid": "0 to 1", "tanh": "-1 to 1", "softmax": "1 to 1"}.items():
        words = f"{activation} of one unit gives {reach}, and the labels are 0.5 to 5.5. End"
        with pytest.raises(SpaceBug, match=words):
            trained(activation)
    with pytest.raises(SpaceBug, match=r"relu of one unit gives 0 to inf, .* -5.5 to -0.5"):
        trained("relu", scale=-1.0)
    trained("relu")
    trained("sigmoid", scale=0.1)

    def sigmoid(x: Any) -> Any:
        return 6 * keras.activations.sigmoid(x)

    trained(sigmoid)
    trained("sigmoid", n_epochs=1)  # an export, whose rows are not those of the search


def test_own_fit_of_a_number_is_tried() -> None:
    hp = keras_tuner.HyperParameters()
    for name, value in {**VALUES, "n_classes": 1}.items():
        hp.Fixed(name, value)
    try_fit(Regression(), hp, build(hp), target=Number(), sequence_length=6)


def test_data_of_a_number_are_described_without_classes(corpus: Corpus) -> None:
    rows = dict(data_rows(corpus.card))
    assert "classes" not in rows and rows["number"] == ""
    assert corpus.card.class_counts == {"train": [], "validation": [], "test": []}


def test_export_of_a_number_predicts_numbers() -> None:
    manifest = Manifest(
        class_names=[],
        predicts="number",
        input=ModelInput(vocab_size=12, sequence_length=6, truncating="pre"),
        forms={},
        files={},
    )
    target = structure(unstructure(manifest), Manifest).target
    assert target == Number()
    rows, file = [Row("a.csv", 1, "good", "")], io.StringIO()
    labeled = label(rows, lambda texts: np.full((len(texts), 1), 2.5), target)
    write_csv_rows(labeled, file, lambda counts: None)
    assert file.getvalue().splitlines()[1] == "a.csv,1,2.5,,"
