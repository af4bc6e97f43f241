"""Retraining of the best configuration and the baseline on the train and validation splits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
from optuna.trial import FrozenTrial

from tuning.config import StudyConfig
from tuning.data.corpus import Corpus
from tuning.data.files import Progress
from tuning.errors import ExportError
from tuning.evaluation.scores import ModelScores, Scores
from tuning.evaluation.test_split import Classifier
from tuning.spaces.loading import SearchSpace, has_own_fit, load_hypermodel
from tuning.spaces.ranges import Values
from tuning.study.summary import Summary
from tuning.study.trials import attributes_of, value_of, values_of, was_trained
from tuning.training import fit, prediction
from tuning.training.result import Answer, FitResult
from tuning.workers.dispatcher import TICK_SECONDS, Dispatcher
from tuning.workers.limits import TrialLimits, with_memory
from tuning.workers.messages import (
    Ending,
    EpochEnded,
    ErrorRaised,
    Train,
    TrainingFailed,
    train_request,
)
from tuning.workers.pool import Pool
from tuning.workers.worker import raise_error


@dataclass(frozen=True)
class Trained:
    """A configuration that was retrained on the train and validation splits."""

    trial: FrozenTrial
    values: Values
    epochs: int
    model: keras.Model
    seconds: float

    def classifier(self, n_classes: int) -> Classifier:
        """Return a function from texts to the class probabilities of the model."""
        return lambda texts: prediction.predict(
            self.model, prediction.make_view(self.model, self.values, texts), n_classes=n_classes
        )

    def model_scores(self, summary: Summary, scores: Scores) -> ModelScores:
        """Return the model's scores on the test split, and the trial's value in the search."""
        name = f"validation_{summary.metric.removeprefix('val_')}"
        validation: dict[str, Any] = {name: value_of(self.trial)}
        return ModelScores(
            **vars(scores),
            trial=self.trial.number,
            epochs=self.epochs,
            seconds=round(self.seconds, 1),
            **validation,
        )


def retrain(
    trials: Sequence[FrozenTrial],
    config: StudyConfig,
    space: SearchSpace,
    *,
    space_path: Path,
    corpus: Corpus,
    log_path: Path,
    progress: Progress | None = None,
) -> list[Trained]:
    """Retrain the configurations of trials on the train and validation splits.

    Each configuration is trained for the trial's best number of epochs, in a worker of its own; all
    workers train at the same time. A hypermodel with its own `fit` may train another number of
    epochs.

    Raises:
        ExportError: if a training failed, or if the number of trained epochs is wrong.
        SpaceBug: if the search space's code raised an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        requests = [
            _request(
                trial,
                train_request(
                    config,
                    values_of(trial, space),
                    space=space,
                    space_path=space_path,
                    corpus=corpus,
                ),
                weights=Path(folder) / f"{trial.number}.npz",
            )
            for trial in trials
        ]
        results = _train(trials, requests, log_path=log_path, progress=progress)
        hypermodel = load_hypermodel(space_path)
        trained = []
        for trial, request, (result, seconds) in zip(trials, requests, results, strict=True):
            epochs, wanted = int(result.n_epochs), request.job.train.epochs
            if epochs != wanted and not has_own_fit(hypermodel):
                raise ExportError(
                    f"Trial {trial.number} must be trained again for its best number of epochs,"
                    f" {wanted}; the number of trained epochs is {epochs}."
                )
            model = fit.load_trained(hypermodel, request.job)
            trained.append(Trained(trial, request.job.values, epochs, model, seconds))
    return trained


def _request(trial: FrozenTrial, request: Train, *, weights: Path) -> Train:
    """Return a request to train on both splits for the trial's best number of epochs.

    Raises:
        ExportError: another program has finished the trial.
    """
    if not was_trained(trial):
        raise ExportError(
            f"A trial to export must have been trained here; trial {trial.number} was finished by"
            " another program. Name another one with --trial, or queue its configuration with"
            " `make enqueue`."
        )
    job = replace(
        request.job,
        train=replace(request.job.train, epochs=int(attributes_of(trial)["best_epoch"])),
        with_validation=True,
        weights=str(weights),
    )
    return replace(request, job=job)


def _train(
    trials: Sequence[FrozenTrial],
    requests: Sequence[Train],
    *,
    log_path: Path,
    progress: Progress | None,
) -> list[tuple[FitResult, float]]:
    """Train each request in a worker of its own; return each result and its seconds."""
    numbers = " and ".join(str(trial.number) for trial in trials)
    doing = f"training trial{'s' if len(trials) > 1 else ''} {numbers} again"
    n_epochs = sum(request.job.train.epochs for request in requests)
    done = dict.fromkeys((trial.number for trial in trials), 0.0)
    results: dict[int, tuple[FitResult, float]] = {}
    limits = with_memory(TrialLimits(), n_workers=len(trials))
    started = time.monotonic()
    with Pool(len(trials), log_path=log_path, memory_mb=limits.memory_mb) as pool:
        dispatcher: Dispatcher[FrozenTrial] = Dispatcher(pool, limits)
        for worker, trial, request in zip(dispatcher.free(), trials, requests, strict=True):
            dispatcher.start(worker, trial, request)
        while dispatcher.running:
            if progress:
                progress(doing, min(sum(done.values()) / n_epochs, 1.0))
            for trial, message in dispatcher.events(TICK_SECONDS):
                if isinstance(message, EpochEnded):
                    done[trial.number] = message.epoch.number
                    dispatcher.reply(trial, Answer.GO_ON)
                else:
                    result = _result_of(trial, message)
                    results[trial.number] = result, time.monotonic() - started
    return [results[trial.number] for trial in trials]


def _result_of(trial: FrozenTrial, message: Ending) -> FitResult:
    if isinstance(message, ErrorRaised):
        raise_error(message)
    if isinstance(message, TrainingFailed):
        raise ExportError(
            f"Trial {trial.number} must be trained again for an export; the training failed with"
            f" the reason {message.reason.value!r}: {message.detail}"
        )
    return message.result
