"""One contract over all kinds of targets, the way of a number from the label column to the test
split, and the way of each kind through the commands.
"""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pandas as pd
import pytest
import tensorflow as tf

import tuning
from tests.commands import Ran
from tests.export.models import TARGETS
from tests.numbered import scores_of
from tests.paths import ROOT
from tuning.config import Data, DataConfig, StudyConfig, TrainConfig
from tuning.data.sources import Reviews, load_reviews
from tuning.data.splits import SplitReviews, split_reviews
from tuning.errors import ArgumentError, SpaceBug
from tuning.evaluation.linear_reference import LinearTask
from tuning.evaluation.ngram_model import all_references
from tuning.evaluation.statistics import score_intervals
from tuning.evaluation.test_split import BEST, evaluate_on_test_split
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.report.tables import data_rows
from tuning.results import ResultsDir
from tuning.targets.kinds import KINDS, target_of
from tuning.targets.number import Number
from tuning.targets.target import LabelColumn, Target
from tuning.training.fit import fit
from tuning.training.loops import try_fit
from tuning.training.prediction import Predictor, make_view
from tuning.training.result import FitResult, TrainingJob
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
VALUES = {"vocab_size": 40, "sequence_length": 8}


every_kind = pytest.mark.parametrize("kind", COLUMNS)


# All kinds


def read(kind: str) -> LabelColumn:
    config = DataConfig(kind=kind)
    return KINDS[kind].read(pd.Series(COLUMNS[kind]), column="label", config=config)


def test_every_kind_is_in_these_tests() -> None:
    assert KINDS.keys() == COLUMNS.keys() == OUTPUTS.keys()
    assert {"classes", *(target.kind for target in TARGETS.values())} == {*KINDS}


@every_kind
def test_kind_is_described(kind: str) -> None:
    assert f"\n| `{kind}`" in (ROOT / "docs" / "data.md").read_text()
    assert re.search(rf"\b{kind}\b", inspect.getdoc(Data) or "")


@every_kind
def test_target_has_labels_of_its_dtype_and_a_document(kind: str) -> None:
    column, target = read(kind), read(kind).target
    assert column.is_labeled.all() and column.labels.dtype == target.dtype
    assert target.examples(7).dtype == target.dtype
    assert target.strata(column.labels).shape == (3,)
    assert target_of(target.names, kind) == Target.of_document(target.document()) == target
    assert ("predicts" in target.document()) == (kind != "classes")


@every_kind
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


@every_kind
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


@every_kind
def test_own_fit_is_tried_with_the_labels_that_its_loss_takes(kind: str) -> None:
    target, shapes = read(kind).target, set[tuple[int, ...]]()
    losses = {"number": "mse", "labels": "binary_crossentropy"}
    loss = losses.get(kind, "sparse_categorical_crossentropy")

    class Own(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            return model_of(keras.layers.Dense(target.width, "sigmoid"), loss)

        def fit(self, hp: Any, model: keras.Model, x: Any, y: Any, **options: Any) -> Any:
            shapes.add(y.shape[1:])
            return model.fit(x, y, batch_size=8, **options)

    hp = keras_tuner.HyperParameters()
    for name, value in {**VALUES, **target.facts}.items():
        hp.Fixed(name, value)
    try_fit(Own(), hp, Own().build(hp), target=target, sequence_length=6)
    assert shapes == {(target.width,) if kind in losses else ()}


def test_unknown_kind_and_metric_of_another_kind_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"kind must be one of classes, .* received 'x'"):
        DataConfig(kind="x")
    with pytest.raises(ArgumentError, match=r"kind classes or .* are val_mae,"):
        StudyConfig(study="s", metric="val_accuracy", data=DataConfig(kind="number"))
    # A metric of two classes; ordered classes are three or more.
    with pytest.raises(ArgumentError, match="come with kind classes; received kind order"):
        StudyConfig(study="s", metric="val_recall_at_precision_0.9", data=DataConfig(kind="order"))


# From the column to the test split


def tagged(n: int) -> tuple[list[str], list[str]]:
    """Return texts with a word for each of their tags, which may be none, and the tags."""
    rows = np.random.default_rng(0).random((n, 3)) < 0.4
    words, names = np.array(["alpha", "beta", "gamma"]), np.array(["a", "b", "c"])
    texts = [" ".join([*words[row], f"w{i} x{i % 9}"]) for i, row in enumerate(rows)]
    return texts, [json.dumps([*names[row]]) for row in rows]


def starred(n: int) -> tuple[list[str], list[int]]:
    """Return texts of which the stars are one more than the number of their words "good"."""
    n_good = np.random.default_rng(0).integers(0, 5, n)
    texts = ["good " * k + "bad " * (4 - k) + f"w{i}" for i, k in enumerate(n_good)]
    return texts, (n_good + 1).tolist()


def model_of(last: keras.layers.Layer, loss: str) -> keras.Model:
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(40, 8)(ids))
    model = keras.Model(ids, last(x))
    model.compile(keras.optimizers.Adam(0.05), loss)
    return model


def trained(
    build: Callable[[Any], keras.Model],
    corpus: Corpus,
    *,
    epochs: int,
    scale: float = 1,
    **changes: Any,
) -> tuple[keras.Model, FitResult]:
    """Train a model of a corpus, whose labels are multiplied by `scale`."""
    job = TrainingJob(
        values=VALUES,
        target=corpus.target,
        train=TrainConfig(epochs=epochs, batch_size=16, patience=epochs),
        seed=0,
        metric=corpus.target.metrics[0].objective,
        **changes,
    )
    message = Train("space.py", str(corpus.folder), job, takes_texts=False)
    assert decode(encode(message)) == message
    hypermodel = keras_tuner.HyperModel()
    hypermodel.build = build
    splits = (corpus.split(name) for name in ("train", "validation"))
    train, validation = (replace(split, labels=split.labels * scale) for split in splits)
    return fit(hypermodel, job, train=train, validation=validation)


def compared(model: keras.Model, splits: SplitReviews, corpus: Corpus) -> Any:
    """Return the evaluation of a model and the references on the test split."""
    references = all_references(corpus, task=LinearTask())
    view = make_view(model, VALUES, corpus.split("test").texts)
    return evaluate_on_test_split(
        optuna.create_study(),
        corpus,
        {
            BEST: Predictor(model)(view, target=corpus.target),
            **{name: reference.predictions for name, reference in references.items()},
        },
        trials={BEST: 0},
        frame=splits.frames["test"],
        config=StudyConfig(study="s", data=DataConfig(kind=corpus.target.kind)),
    )


@pytest.fixture
def reviews(tmp_path: Path) -> Reviews:
    texts, stars = starred(200)
    frame = pd.DataFrame({"text": texts, "label": np.array(stars) - 0.5})
    frame.to_csv(tmp_path / "a.csv", index=False)
    return load_reviews(DataConfig(data=str(tmp_path / "a.csv"), kind="number"))


@pytest.fixture
def splits(reviews: Reviews) -> SplitReviews:
    return split_reviews(reviews, seed=0)


@pytest.fixture
def corpus(splits: SplitReviews, tmp_path: Path) -> Corpus:
    return build_corpus(tmp_path / splits.fingerprint, splits)


def test_number_is_trained_scored_and_compared(splits: SplitReviews, corpus: Corpus) -> None:
    target = corpus.target
    assert target == Number() and corpus.split("train").labels.dtype == np.float64
    model, result = trained(lambda hp: model_of(keras.layers.Dense(1), "mse"), corpus, epochs=12)
    validation = corpus.split("validation").labels
    constant = np.tile(target.constant(corpus.split("train").labels), (len(validation), 1))
    worst = target.score(validation, constant)["mae"]
    assert result.best_value == result.metrics["val_mae"] < worst / 2
    evaluation = compared(model, splits, corpus)
    linear = "tuned n-grams + ridge regression"
    assert [*evaluation.entries] == [BEST, "median", "mean", linear]
    best, mean = (evaluation.entries[name].test["mae"] for name in (BEST, "mean"))
    assert best is not None and mean is not None and best < mean / 2
    comparison = evaluation.comparisons["mean"]
    change = comparison.difference("val_mae")
    assert change is not None and change.value == pytest.approx(best - mean)
    assert comparison.accuracy_difference is None and not evaluation.mistakes
    kept = evaluation.predictions
    interval = score_intervals(target, kept.labels, kept.probabilities, seed=0)["mae"]
    assert interval.low < interval.value < interval.high


def test_labels_that_a_last_layer_can_not_give_are_refused(corpus: Corpus) -> None:
    def train(activation: Any, **options: Any) -> None:
        def build(hp: Any) -> keras.Model:
            return model_of(keras.layers.Dense(1, activation), "mse")

        trained(build, corpus, epochs=1, **options)

    for activation, reach in {"sigmoid": "0 to 1", "tanh": "-1 to 1", "softmax": "1 to 1"}.items():
        words = f"{activation} of one unit gives {reach}, and the labels are 0.5 to 4.5. End"
        with pytest.raises(SpaceBug, match=words):
            train(activation)
    for activation in ("relu", "softplus", "exponential"):
        with pytest.raises(SpaceBug, match=f"{activation} of one unit gives 0 to inf, .* -4.5 to"):
            train(activation, scale=-1.0)
    train("relu")
    train("sigmoid", scale=0.1)
    train(lambda x: 6 * keras.activations.sigmoid(x))
    train("sigmoid", n_epochs=1)  # an export, whose rows are not those of the search


def test_data_of_a_number_are_described_without_classes(corpus: Corpus) -> None:
    rows = dict(data_rows(corpus.card))
    assert "classes" not in rows and rows["number"] == ""
    assert corpus.card.class_counts == {"train": [], "validation": [], "test": []}


# From a file to a report


OF_STARS = "--space mean_embedding --epochs 6 --n-trials 4 --pruner none"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "of_search", "of_export", "says", "title"),
    [
        (
            "number",
            OF_STARS,
            "",
            ("ridge regression on", "val_mae ", "90% intervals are the predictions ±"),
            "Labels and predictions",
        ),
        (
            "order",
            OF_STARS,
            "",
            ("logistic regression", "val_quadratic_kappa ", "quadratic kappa"),
            "Confusion matrix",
        ),
        (
            "labels",
            "--space ngrams --epochs 2 --n-trials 3",
            "--ensemble 2",
            ("logistic regression", "validation micro F1", "a;c 1, no label 1"),
            "F1 by label",
        ),
    ],
    ids=["number", "order", "labels"],
)
def test_kind_is_tuned_exported_predicted_and_reported(
    kind: str,
    of_search: str,
    of_export: str,
    says: tuple[str, str, str],
    title: str,
    run_cli: Callable[..., Ran],
    tmp_path: Path,
) -> None:
    texts, labels = tagged(240) if kind == "labels" else starred(400)
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "a.csv", index=False)
    stars = ["good " * 4, "bad " * 4, "good bad " * 2]
    given = ["alpha gamma x1", "x2"] if kind == "labels" else stars
    pd.DataFrame({"text": given}).to_csv(tmp_path / "new.csv", index=False)
    printed = ""
    for command, *flags in (
        ("tune", "--data", tmp_path / "a.csv", "--kind", kind, "--folds", 1, *of_search.split()),
        ("export-best", *of_export.split()),
        ("predict", "--file", tmp_path / "new.csv", "--output", tmp_path / "p.csv"),
        ("report",),
    ):
        ran = run_cli(command, "--study", "s", *flags)
        assert ran.code == 0, ran.err
        printed += ran.out + ran.err
    assert [part for part in says if part not in printed] == []
    folder = ResultsDir(tmp_path / "results").study("s")
    export = tuning.load_export(folder.best_dir)
    assert {"model.keras", "model.onnx"} <= export.manifest.forms.keys()
    predictions = export.predict(given, probabilities=kind == "labels")
    rows = pd.read_csv(tmp_path / "p.csv", keep_default_na=False)
    of_file = rows["label"].astype(predictions["label"].dtype)
    assert of_file.tolist() == predictions["label"].tolist()
    saved = tf.saved_model.load(str(folder.best_dir / "saved_model")).signatures
    assert ("low" in rows) == ("classify" not in saved) == (kind == "number")
    if kind == "number":
        label, margins = predictions["label"], [export.manifest.margin] * 3
        assert label[0] > label[2] > label[1]
        assert (predictions["high"] - label).tolist() == pytest.approx(margins, abs=1e-4)
        (values,) = saved["serving_default"](text=tf.constant(given)).values()
        assert values.numpy()[:, 0] == pytest.approx(label, abs=1e-4)
    else:
        classified = saved["classify"](text=tf.constant(given))
        assert classified["label"].numpy().astype(str).tolist() == predictions["label"].tolist()
        assert classified["probability"].numpy() == pytest.approx(predictions["probability"], 1e-4)
    if kind == "labels":
        assert predictions["label"].tolist() == ["a;c", ""]
        of_labels = predictions[[f"probability_{name}" for name in "abc"]].to_numpy()
        right = np.where(of_labels >= 0.5, of_labels, 1 - of_labels).prod(axis=1)
        assert predictions["probability"].tolist() == pytest.approx(right, rel=1e-5)
    else:
        errors = export.scores.set_index("model")["mae"]  # The exported model is the first.
        assert errors.iloc[0] < errors["median" if kind == "number" else "median class"]
    page = folder.report_path.read_text(encoding="utf-8")
    titles = ("Labels and predictions", "Confusion matrix", "F1 by label")
    assert [each for each in titles if each in page] == [title]
