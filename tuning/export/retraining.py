"""Retraining of the best configuration, the baseline and the members of an ensemble on the train
and validation splits.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

from optuna.trial import FrozenTrial

from tuning.config import Limits, StudyConfig
from tuning.data.files import Progress
from tuning.errors import ExportError
from tuning.evaluation.scores import ModelScores, Scores
from tuning.export.writers import Source
from tuning.hardware import available_gpus
from tuning.inputs.corpus import Corpus
from tuning.inputs.features import TRAINED_LAYERS
from tuning.inputs.kinds import FEATURES
from tuning.metrics import metric_of
from tuning.spaces.files import find_space
from tuning.spaces.loading import (
    SearchSpace,
    changed_source,
    declare,
    has_own_fit,
    load_hypermodel,
    require_same_space,
)
from tuning.spaces.ranges import PRESET
from tuning.study.prepare import sizes_of
from tuning.study.summary import Summary
from tuning.study.trials import attributes_of, busy_seconds, value_of, values_of, was_trained
from tuning.targets.target import Array
from tuning.training import fit, loops
from tuning.training.result import FitResult
from tuning.workers.dispatcher import Dispatcher, run_jobs
from tuning.workers.messages import (
    Ending,
    EpochEnded,
    ErrorRaised,
    Train,
    TrainingFailed,
    raise_error,
    train_request,
)
from tuning.workers.pool import Pool, default_workers, with_memory

# How many times faster an encoder trains with twice as many threads: an assumption.
SPEEDUP = 1.7


@dataclass(frozen=True, eq=False)
class Retraining:
    trial: FrozenTrial
    epochs: float
    seed: int

    @classmethod
    def of(cls, trial: FrozenTrial, *, seed: int) -> Self:
        if not was_trained(trial):
            raise ExportError(
                f"A trial to export must have been trained here; trial {trial.number} was finished"
                " by another program. Name another trial, or enqueue its configuration."
            )
        return cls(trial, epochs=attributes_of(trial)["best_epoch"], seed=seed)


def presets_of(retrainings: Iterable[Retraining], space: SearchSpace) -> list[str]:
    values = [values_of(retraining.trial, space) for retraining in retrainings]
    return list(dict.fromkeys(str(own[PRESET]) for own in values if PRESET in own))


@dataclass(frozen=True)
class Trained:
    """A configuration that was retrained on the train and validation splits; or an ensemble, whose
    `trial` is the confirmed best, and whose `epochs` and `seconds` are those of all members.

    Attributes:
        hypermodel: the hypermodel, with whose settings of Keras the model is used.
        expect: gives the class probabilities that an ensemble must have for raw texts, from its
            members; None for a single model.
    """

    trial: FrozenTrial
    source: Source
    epochs: float
    seconds: float
    hypermodel: object
    expect: Callable[[list[str]], Array] | None = None

    def model_scores(self, summary: Summary, scores: Scores) -> ModelScores:
        # The search has no value of an ensemble.
        value = {} if self.expect else {metric_of(summary.metric).name: value_of(self.trial)}
        return ModelScores(
            **vars(scores),
            trial=self.trial.number,
            epochs=self.epochs,
            seconds=round(self.seconds, 1),
            validation=value,
        )


def _require_present_space(
    recorded: SearchSpace, config: StudyConfig, corpus: Corpus, *, warn: Callable[[str], None]
) -> None:
    path = find_space(config.space, study=config.study)
    now = declare(
        path,
        **corpus.target.facts,
        preset=config.preset,
        sizes=sizes_of(config, corpus),
        try_fit=partial(loops.try_fit, target=corpus.target),
    )
    require_same_space(now, recorded, path=path, doing="An export")
    for sentence in changed_source(now, recorded, path=path):
        warn(sentence)


def retrain(
    retrainings: Sequence[Retraining],
    config: StudyConfig,
    space: SearchSpace,
    *,
    corpus: Corpus,
    log_path: Path,
    warn: Callable[[str], None],
    progress: Progress | None = None,
) -> dict[Retraining, Trained]:
    """Retrain the configurations of trials on the train and validation splits.

    As many trainings as this machine has GPUs or cores for run at the same time, each in a worker.
    A hypermodel with its own `fit` may train another number of epochs.
    """
    _require_present_space(space, config, corpus, warn=warn)
    space_path = find_space(config.space)
    with tempfile.TemporaryDirectory() as folder:
        requests: dict[Retraining, Train] = {}
        for number, retraining in enumerate(retrainings):
            request = train_request(
                config,
                values_of(retraining.trial, space),
                space=space,
                space_path=space_path,
                corpus=corpus,
            )
            job = replace(
                request.job,
                n_epochs=retraining.epochs,
                seed=retraining.seed,
                with_validation=True,
                redraw=None,
                weights=str(Path(folder) / f"{number}.npz"),
            )
            requests[retraining] = replace(request, job=job)
        results = _train(requests, space=space_path, log_path=log_path, progress=progress)
        hypermodel = load_hypermodel(space_path)
        trained: dict[Retraining, Trained] = {}
        for retraining, request in requests.items():
            result = results[retraining]
            epochs, trial = result.n_epochs, retraining.trial
            if epochs != retraining.epochs and not has_own_fit(hypermodel):
                raise ExportError(
                    f"Trial {trial.number} must be trained again for its best number of epochs,"
                    f" {retraining.epochs:g}; the number of trained epochs is {epochs:g}."
                )
            built = fit.load_trained(hypermodel, request.job)
            source = Source(
                built.model, request.job.values, corpus, corpus.target, built.form.to_probabilities
            )
            seconds = busy_seconds(result.seconds)
            trained[retraining] = Trained(trial, source, epochs, seconds, hypermodel)
    return trained


def _train(
    requests: Mapping[Retraining, Train],
    *,
    space: Path,
    log_path: Path,
    progress: Progress | None,
) -> dict[Retraining, FitResult]:
    numbers = dict.fromkeys(retraining.trial.number for retraining in requests)
    doing = f"training again: {', '.join(f'trial {number}' for number in numbers)}"
    n_epochs = sum(retraining.epochs for retraining in requests) or 1.0  # 0 of fitted models
    done = dict.fromkeys(requests, 0.0)
    results: dict[Retraining, FitResult] = {}
    # The longest training would run alone at the end if it began last.
    longest_first = dict(sorted(requests.items(), key=lambda item: _seconds(item[0]), reverse=True))
    n_workers = _n_workers(requests)
    limits = with_memory(Limits(), n_workers=n_workers)
    if progress:
        progress(doing, 0.0)
    memory_mb = limits.trial_memory_mb
    with Pool(n_workers, log_path=log_path, memory_mb=memory_mb, space=space) as pool:
        dispatcher: Dispatcher[Retraining] = Dispatcher(pool, limits)
        for retraining, message in run_jobs(dispatcher, longest_first):
            if isinstance(message, EpochEnded):
                done[retraining] = message.epoch.number
                if progress:  # A space's own `fit` may train more epochs than it was asked for.
                    progress(doing, min(sum(done.values()) / n_epochs, 1.0))
            else:
                results[retraining] = _result_of(retraining.trial, message)
    return results


def _seconds(retraining: Retraining) -> float:
    return busy_seconds(attributes_of(retraining.trial).get("seconds", {}))


def _n_workers(requests: Mapping[Retraining, Train]) -> int:
    """Return the number of workers. The products of a pretrained encoder use all threads of a
    worker, so the encoders of a machine without GPUs may end sooner in fewer workers.
    """
    most = min(len(requests), default_workers())
    has_encoder = any(
        "preset" in values and (FEATURES.declared_by not in values or values.get(TRAINED_LAYERS))
        for values in (request.job.values for request in requests.values())
    )
    if available_gpus() or not has_encoder:
        return most
    return n_workers_of([*map(_seconds, requests)], most=most)


def n_workers_of(seconds: Sequence[float], *, most: int) -> int:
    """Return the number of workers, up to `most`, with which trainings end first if twice as many
    threads make a training `SPEEDUP` times as fast; of equally good numbers the largest. `seconds`
    are the durations of the trainings with all threads.
    """

    def end(n_workers: int) -> float:
        ends = [0.0] * n_workers
        for duration in sorted(seconds, reverse=True):
            ends[ends.index(min(ends))] += duration * n_workers ** math.log2(SPEEDUP)
        return max(ends)

    return min(range(most, 0, -1), key=end)


def _result_of(trial: FrozenTrial, message: Ending) -> FitResult:
    if isinstance(message, ErrorRaised):
        raise_error(message)
    if isinstance(message, TrainingFailed):
        raise ExportError(
            f"Trial {trial.number} must be trained again for an export; the training failed with"
            f" the reason {message.reason.value!r}: {message.detail}"
        )
    return message.result
