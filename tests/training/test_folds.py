"""A training on folds: its result is the mean of as many trainings, also after a pause."""

import contextlib
import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from tests.numbered import TWO
from tests.texts import ngram_splits
from tests.training.test_fit import (
    LENGTH,
    TRAIN,
    VALIDATION,
    VALUES,
    Hyper,
    layers,
    mean,
    stacked,
)
from tuning.config import TrainConfig
from tuning.data.redraw import redrawn
from tuning.data.rows import Redraw, Rows
from tuning.evaluation.predictions import read_probabilities
from tuning.inputs.contract import resplit
from tuning.models import FittedStart, ngram_classifier
from tuning.models.classifier import TrainingOptions
from tuning.padding import packing
from tuning.training import loops
from tuning.training.fit import fit
from tuning.training.folds import fit_folds
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob

N, N_FOLDS = len(TRAIN.labels) + len(VALIDATION.labels), 3
LABELS = np.concatenate([TRAIN.labels, VALIDATION.labels])
ROWS = Rows(np.arange(N), LABELS, groups=np.arange(N) // 4)
REDRAW = Redraw(seed=7, n_folds=N_FOLDS)
JOB = TrainingJob(
    values=VALUES,
    target=TWO,
    train=TrainConfig(epochs=4, batch_size=16, patience=2),
    seed=3,
    redraw=REDRAW,
)
MODEL = Hyper(lambda hp: mean(rate=10.0))


def train(
    answer: Callable[[Epoch], Answer] = lambda epoch: Answer.GO_ON,
    *,
    model: Hyper = MODEL,
    rows: Rows = ROWS,
    **changes: Any,
) -> FitResult:
    splits = {"train": TRAIN, "validation": VALIDATION}
    return fit_folds(model, replace(JOB, **changes), **splits, rows=rows, on_epoch=answer)


def single(fold: int, *, model: Hyper = MODEL, **changes: Any) -> tuple[FitResult, np.ndarray]:
    """Return the result of a training on one fold, and the rows that it evaluates."""
    places = redrawn(ROWS, REDRAW)[fold]
    of_train, of_validation = resplit(TRAIN, VALIDATION, places)
    job = replace(JOB, redraw=None, **changes)
    return fit(model, job, train=of_train, validation=of_validation)[1], places[1]


def test_result_is_the_mean_of_as_many_trainings_on_the_redrawn_rows() -> None:
    reported: list[Epoch] = []
    result = train(lambda epoch: [reported.append(epoch), Answer.GO_ON][1])
    folds = [single(fold)[0] for fold in range(N_FOLDS)]
    assert len({fold.best_epoch for fold in folds}) > 1  # the means would be equal otherwise
    assert result.best_value == statistics.fmean(fold.best_value for fold in folds)
    assert result.metrics["val_loss"] == statistics.fmean(f.metrics["val_loss"] for f in folds)
    assert result.best_epoch == round(statistics.fmean(fold.best_epoch for fold in folds))
    assert (result.history, result.n_epochs) == (reported, N_FOLDS)
    assert [epoch.number for epoch in reported] == [1, 2, 3]
    assert reported[0].metrics == folds[0].metrics
    assert result.n_tokens == sum(fold.n_tokens for fold in folds)
    assert result.n_fold_epochs == sum(fold.n_epochs for fold in folds)
    assert (result.stopped, result.paused) == (False, False)


class Pretrained(Hyper):
    """Its `adapt` trains the model with targets of another shape."""

    def adapt(self, hp: Any, model: keras.Model, x: Any, y: Any) -> None:
        rows = np.concatenate(list(x))
        model.fit(rows, np.asarray(y, np.float32), verbose=0)


class Normalizing(Hyper):
    def adapt(self, hp: Any, model: keras.Model, x: Any, y: Any) -> None:
        model.layers[2].adapt(np.asarray(y, np.float32)[:, None] * np.ones(3))


class WithFit(Hyper):
    def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        model.optimizer.learning_rate = float(model.optimizer.learning_rate) / 2
        return model.fit(*args, **kwargs)


class Growing(layers.Layer):
    """Multiplies by the number of its calls, a state outside its variables."""

    n_calls = 0

    def call(self, inputs: Any) -> Any:
        self.n_calls += 1
        return inputs * self.n_calls


def distributed(hp: Any) -> keras.Model:
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        return mean(eager=False, optimizer="adam")


def decaying() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.5))


@pytest.mark.parametrize(
    ("model", "n_built"),
    [
        (Hyper(lambda hp: mean(rate=10.0)), 1),
        (Hyper(lambda hp: mean(eager=False, optimizer=decaying())), 1),
        (Hyper(lambda hp: stacked(layers.GRU(3), masked=True, eager=False)), 1),
        (
            Hyper(
                lambda hp: stacked(
                    *(
                        layers.Dropout(0.5),
                        layers.GlobalMaxPooling1D(),
                        layers.BatchNormalization(),
                    ),
                    optimizer=keras.optimizers.Adam(0.1, use_ema=True),
                )
            ),
            1,
        ),
        (Pretrained(lambda hp: mean(eager=False, length=LENGTH)), N_FOLDS),
        (Hyper(lambda hp: mean(jit_compile=True, eager=False)), N_FOLDS),
        (Hyper(distributed), 1),
        (
            Normalizing(lambda hp: stacked(layers.GlobalMaxPooling1D(), layers.Normalization())),
            N_FOLDS,
        ),
        (WithFit(lambda hp: mean(rate=10.0)), N_FOLDS),
        (Hyper(lambda hp: stacked(layers.GlobalMaxPooling1D(), Growing())), N_FOLDS),
    ],
)
def test_folds_share_a_model_whose_training_changes_its_variables_alone(
    model: Hyper, n_built: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_made, make = 0, model._make

    def counted(hp: Any) -> keras.Model:
        nonlocal n_made
        n_made += 1
        return make(hp)

    monkeypatch.setattr(model, "_make", counted)
    result = train(model=model)
    assert n_made == n_built
    alone = [single(fold, model=model)[0] for fold in range(N_FOLDS)]
    assert [epoch.metrics for epoch in result.folds] == [fold.metrics for fold in alone]
    assert len({fold.metrics["val_loss"] for fold in alone}) == N_FOLDS


class Ngrams(FittedStart, keras_tuner.HyperModel):
    n_built = 0

    def build(self, hp: Any) -> keras.Model:
        self.n_built += 1
        training = TrainingOptions(learning_rate=0.1, ema_momentum=0.9)
        return ngram_classifier(vocab_size=40, training=training)


def test_fitted_ngrams_share_a_model_also_where_epoch_0_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = ngram_splits(tmp_path)
    values = {"ngrams": 2, "ngram_vocab_size": 40, "ngram_c": 1.0, "n_classes": 2}
    job = replace(JOB, values=values, train=replace(JOB.train, evaluates_fitted=True))
    labels = np.concatenate([split.labels for split in splits])

    def metrics(n_built: int, n_epochs: int | None) -> list[dict[str, float]]:
        hypermodel = Ngrams()
        result = fit_folds(
            hypermodel,
            replace(job, n_epochs=n_epochs),
            train=splits[0],
            validation=splits[1],
            rows=Rows(np.arange(len(labels)), labels),
            on_epoch=lambda epoch: Answer.GO_ON,
        )
        assert hypermodel.n_built == n_built
        return [fold.metrics for fold in result.folds]

    shared = [metrics(1, n_epochs) for n_epochs in (None, 0)]
    monkeypatch.setattr("tuning.training.folds.MAX_PARAMETERS", 0)
    assert shared == [metrics(N_FOLDS, n_epochs) for n_epochs in (None, 0)]


def test_a_fold_leaves_out_the_padding_although_the_fold_before_did_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the order of time, the first fold may have only long texts."""
    monkeypatch.setattr(packing, "WORTHWHILE", 1.0)
    has_long_texts, without_padding = itertools.cycle([True, False, False]), loops.without_padding
    monkeypatch.setattr(
        loops,
        "without_padding",
        lambda *arguments: (
            contextlib.nullcontext(False) if next(has_long_texts) else without_padding(*arguments)
        ),
    )
    with mock.patch.object(packing, "join", side_effect=packing.join) as join:
        train(model=Hyper(lambda hp: mean(masked=True, eager=False)))
    join.assert_called()


@pytest.mark.parametrize(("numbers", "expected"), [([0, 1], 1), ([0, 0, 1], 0)])
def test_best_epoch_of_folds_is_rounded_half_up(
    numbers: list[int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [
        FitResult([Epoch(4, {}, 1.0)], best_epoch=number, metrics={JOB.metric: 0.5})
        for number in numbers
    ]
    monkeypatch.setattr("tuning.training.folds.fit", lambda *args, **kwargs: (None, left.pop(0)))
    assert train(redraw=replace(REDRAW, n_folds=len(numbers))).best_epoch == expected


def test_exact_number_of_epochs_has_the_values_of_the_last_epoch(tmp_path: Path) -> None:
    path = tmp_path / "repeat.npz"
    result = train(n_epochs=3, predictions=str(path))
    probabilities = read_probabilities(path)
    assert probabilities is not None
    assert result.best_epoch == 3
    folds = []
    for fold in range(N_FOLDS):
        kept = tmp_path / f"{fold}.npz"
        own, places = single(fold, n_epochs=3, predictions=str(kept))
        folds.append(own.history[-1].metrics["val_accuracy"])
        np.testing.assert_array_equal(probabilities[places], read_probabilities(kept))
    assert result.history[-1].metrics["val_accuracy"] == statistics.fmean(folds)


def test_rows_that_no_fold_evaluates_have_no_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "repeat.npz"
    train(rows=replace(ROWS, groups=None, times=np.arange(N)), predictions=str(path))
    probabilities = read_probabilities(path)
    assert probabilities is not None
    first = math.ceil(N / (N_FOLDS + 1)) - 1
    assert np.isnan(probabilities[:first]).all()
    assert np.isfinite(probabilities[first + 1 :]).all()


@pytest.mark.parametrize("pauses", [{2}, {1, 2, 3}])
def test_resumed_training_has_the_result_of_one_that_never_paused(
    pauses: set[int], tmp_path: Path
) -> None:
    path = str(tmp_path / "checkpoint.npz")
    reported: list[Epoch] = []

    def pause(epoch: Epoch) -> Answer:
        reported.append(epoch)
        return Answer.PAUSE if epoch.number in pauses else Answer.GO_ON

    result = train(pause, checkpoint=path)
    while result.paused:
        result = train(pause, checkpoint=path, resume=True)

    def untimed(result: FitResult) -> FitResult:
        history, folds = (
            [replace(epoch, seconds=0.0) for epoch in epochs]
            for epochs in (result.history, result.folds)
        )
        return replace(result, history=history, folds=folds, seconds={}, peak_memory_mb=0.0)

    assert untimed(result) == untimed(train())
    assert [epoch.number for epoch in reported] == [1, 2, 3]


def test_training_that_is_killed_goes_on_after_its_last_fold(tmp_path: Path) -> None:
    path, reported = str(tmp_path / "checkpoint.npz"), list[int]()

    def answer(epoch: Epoch) -> Answer:
        reported.append(epoch.number)
        if reported == [1, 2]:
            raise KeyboardInterrupt
        return Answer.GO_ON

    with pytest.raises(KeyboardInterrupt):
        train(answer, checkpoint=path)
    result = train(answer, checkpoint=path, resume=True)
    assert reported == [1, 2, 2, 3]
    assert result.best_value == train().best_value


@pytest.mark.parametrize(("answer", "number"), [(Answer.STOP, 1), (Answer.PAUSE, 2)])
def test_stopped_training_ends_after_its_fold_and_one_without_a_checkpoint_too(
    answer: Answer, number: int
) -> None:
    result = train(lambda epoch: answer if epoch.number == number else Answer.GO_ON)
    assert (result.n_epochs, result.stopped, result.paused) == (number, True, False)
