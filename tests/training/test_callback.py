"""The best epoch of a training whose first evaluations are on a share of the validation split."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras
import keras_tuner
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.numbered import TWO, score
from tuning import fidelity
from tuning.config import TrainConfig
from tuning.fidelity import epochs_at, is_evaluated
from tuning.training.built_model import BuiltModel, EncodedSplit
from tuning.training.callback import EvaluationCallback, Timings
from tuning.training.loss_form import LossForm
from tuning.training.result import Answer, FitResult, TrainingJob

Probabilities = npt.NDArray[np.float64]
N_TEXTS, PARTS = 40, 8
SHARE = 10  # The first evaluations are on these many texts.


@pytest.fixture(autouse=True, scope="module")
def _small_share() -> Iterator[None]:
    with mock.patch.object(fidelity, "MIN_EVALUATED", SHARE):
        yield


def callback_of(
    labels: npt.NDArray[np.int64],
    *,
    metric: str = "val_accuracy",
    epochs: int = 3,
    patience: int = 9,
    parts: int = PARTS,
    **changes: Any,
) -> EvaluationCallback:
    model = keras.Sequential()
    model.compile("sgd", "mse")
    train = TrainConfig(epochs=epochs, patience=patience, parts_per_epoch=parts)
    built = BuiltModel(
        hypermodel=keras_tuner.HyperModel(),
        hp=keras_tuner.HyperParameters(),
        model=model,
        form=LossForm(mock.Mock()),
        predict=mock.Mock(),
        job=TrainingJob(values={}, target=TWO, train=train, seed=0, metric=metric, **changes),
        result=FitResult(),
    )
    callback = EvaluationCallback(
        built,
        EncodedSplit(mock.Mock(), labels, labels),
        timings=Timings({}),
        on_epoch=lambda epoch: Answer.GO_ON,
    )
    callback.set_model(model)
    return callback


def evaluated(
    labels: npt.NDArray[np.int64], probabilities: dict[float, Probabilities], **options: Any
) -> FitResult:
    """Return the result of a training that has these probabilities after these epochs."""
    callback = callback_of(labels, **options)
    for epochs, of_all in probabilities.items():
        evaluate(callback, epochs, of_all)
    return callback.result


def evaluate(callback: EvaluationCallback, epochs: float, of_all: Probabilities) -> None:
    """Let a training have these probabilities of all texts after a number of epochs."""
    callback._predict = lambda view, *, target, rows: of_all if rows is None else of_all[rows]
    callback.on_epoch_end(fidelity.part_at(epochs, PARTS) - 1, {"loss": 0.5})


def right_for(labels: npt.NDArray[np.int64], rows: Any) -> Probabilities:
    """Return probabilities that are right for these rows and wrong for the others."""
    is_right = np.isin(np.arange(len(labels)), rows)
    return of_two_classes(np.where(is_right == labels, 0.9, 0.1))


def of_two_classes(positive: Probabilities) -> Probabilities:
    return np.column_stack([1 - positive, positive])


LABELS = np.arange(N_TEXTS) % 2
with mock.patch.object(fidelity, "MIN_EVALUATED", SHARE):
    FIRST = fidelity.evaluation_rows(1 / 8, N_TEXTS)
assert FIRST is not None and len(FIRST) == SHARE
OTHERS = np.setdiff1d(np.arange(N_TEXTS), FIRST)


def test_fraction_is_the_best_epoch_if_it_is_better_on_its_own_texts() -> None:
    """The whole epoch has a better value than the fraction, but on easier texts."""
    result = evaluated(
        LABELS,
        {
            1 / 8: right_for(LABELS, FIRST[:8]),
            1: right_for(LABELS, [*FIRST[:7], *OTHERS[:26]]),
            2: right_for(LABELS, [*FIRST[:8], *OTHERS[:5]]),  # on the share as good as the fraction
        },
    )
    values = [epoch.metrics["val_accuracy"] for epoch in result.history]
    assert values == pytest.approx([0.8, 33 / 40, 13 / 40])
    # The value on all texts is estimated: 0.1 more than the whole epoch, as on the share.
    assert (result.best_epoch, result.best_value) == (1 / 8, pytest.approx(33 / 40 + 0.1))
    assert result.metrics["val_accuracy"] == result.best_value


@pytest.mark.parametrize(
    ("metric", "right_at_1", "best_value"),
    [
        # The value is 0.875, and 0.5 worse on the share; an accuracy is at most 1.
        ("val_accuracy", [*FIRST[:5], *OTHERS], 1.0),
        # A loss stays that of its texts.
        ("val_loss", FIRST[:5], -np.log(0.9)),
    ],
)
def test_best_value_of_a_fraction_that_is_right_on_its_texts(
    metric: str, right_at_1: Any, best_value: float
) -> None:
    probabilities = {1 / 8: right_for(LABELS, FIRST), 1: right_for(LABELS, right_at_1)}
    result = evaluated(LABELS, probabilities, metric=metric)
    assert (result.best_epoch, result.best_value) == (1 / 8, pytest.approx(best_value))


def test_class_that_the_smallest_share_lacks_is_in_every_evaluation() -> None:
    labels = np.zeros(N_TEXTS, np.int64)
    labels[OTHERS[:2]] = 1
    of_all = right_for(labels, np.arange(N_TEXTS))
    result = evaluated(labels, {1 / 8: of_all}, metric="val_auc")
    assert result.best_value == 1


def test_epochs_that_an_own_fit_counts_again_may_be_the_best() -> None:
    callback = callback_of(LABELS, parts=1)
    for number, n_right in ((0, 30), (1, 35), (0, 34), (1, 39)):
        right = right_for(LABELS, np.arange(n_right))
        callback._predict = lambda view, *, target, rows, right=right: right
        callback.on_epoch_end(number, {"loss": 0.5})
    assert (callback.result.best_epoch, callback.result.best_value) == (2, pytest.approx(39 / 40))


@pytest.mark.parametrize(("best", "end"), [(1 / 2, 2), (1, 3)])
def test_patience_counts_whole_epochs(best: float, end: int) -> None:
    probabilities = {
        epochs: right_for(LABELS, np.arange(30 if epochs == best else 20))
        for epochs in (1 / 8, 1 / 4, 1 / 2, 1, 2, 3)
        if epochs <= end
    }
    *before, last = probabilities
    callback = callback_of(LABELS, epochs=9, patience=2)
    for epochs in before:
        evaluate(callback, epochs, probabilities[epochs])
        assert not callback.model.stop_training
    evaluate(callback, last, probabilities[last])
    assert callback.model.stop_training


def test_last_evaluation_of_a_fraction_is_on_all_texts() -> None:
    result = evaluated(
        LABELS,
        {
            1 / 8: right_for(LABELS, np.arange(20)),
            3 / 8: right_for(LABELS, np.arange(30)),
        },
        n_epochs=3 / 8,
    )
    assert [epoch.number for epoch in result.history] == [1 / 8, 3 / 8]
    assert result.history[-1].metrics["val_accuracy"] == pytest.approx(30 / 40)


def rows_at(epochs: float) -> npt.NDArray[np.int64]:
    rows = fidelity.evaluation_rows(epochs, N_TEXTS)
    return np.arange(N_TEXTS) if rows is None else rows


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["val_accuracy", "val_loss", "val_auc"]))
def test_every_later_epoch_is_worse_on_the_texts_of_the_best(seed: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(LABELS)
    numbers = [epochs_at(part, PARTS) for part in range(1, 25) if is_evaluated(part, PARTS)]
    of_all = {epochs: of_two_classes(rng.integers(1, 10, N_TEXTS) / 10) for epochs in numbers}
    with mock.patch.object(fidelity, "MIN_EVALUATED", 15):
        result = evaluated(labels, of_all, metric=metric)
        direction = -1 if metric == "val_loss" else 1

        def value_on(epochs: float, rows: npt.NDArray[np.int64]) -> float:
            scores = score(labels[rows], of_all[epochs][rows])
            return direction * scores[metric.removeprefix("val_")]

        best = result.best_epoch
        own = rows_at(best)
        expected = value_on(best, own)
        if best < 1 and direction == 1:  # The value on all texts is estimated, unless it is a loss.
            expected += value_on(1, np.arange(N_TEXTS)) - value_on(1, own)
        assert result.best_value == pytest.approx(direction * min(expected, 1))
        assert all(value_on(best, own) >= value_on(later, own) for later in numbers if later > best)
        previous = {epoch: rows_at(epoch) for epoch in numbers if epoch < best}
        assert not previous or any(
            value_on(best, rows) > value_on(epoch, rows) for epoch, rows in previous.items()
        )
