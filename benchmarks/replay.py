"""Searches of the default space, replayed on measured trainings: TPE in groups, TPE that draws each
hyperparameter on its own, and random draws; with ASHA and without a pruner.

    .venv/bin/python -m tuning tune --study measured --sampler random --pruner none --no-confirm
    .venv/bin/python -m benchmarks.replay --study measured

`tuning.search.loop.Search` runs as in a study, on SQLite; only its workers are fake. A training of
a configuration gives the values of the epochs, and takes the seconds, of the measured training that
is nearest to it: of the same architecture, with the smallest distance. The distance is the root of
the sum of squares over the hyperparameters that both have, each scaled to its range from 0 to 1 (on
a log scale where the space has one); two different choices are 1 apart. The clock is simulated, as
in `benchmarks.scale_out`, so a search of many minutes takes seconds.

The objective is thus constant around each measured configuration, without noise: a sampler that
models the configurations well can gain from this only as much as the measured trainings show.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import numpy as np
import typer
from optuna.trial import FrozenTrial, TrialState

import tuning
from benchmarks.coordinator import fake_reviews
from benchmarks.default_space import space_path
from benchmarks.fake_workers import METRICS, Clock, FakePool, PausingWorker, fake_session
from benchmarks.ours import study_config
from tuning.config import DataConfig, TrainConfig
from tuning.data.corpus import build_corpus
from tuning.results import ResultsDir
from tuning.search.loop import Search
from tuning.search.progress import Progressed
from tuning.spaces.loading import SearchSpace, declare
from tuning.spaces.ranges import Hyperparameter, Value, Values
from tuning.study import samplers
from tuning.study.coordinators import Coordinators
from tuning.study.storage import close_study
from tuning.study.study import open_study
from tuning.study.trials import busy_seconds, rank, seconds_of, value_of, values_of
from tuning.training.result import Epoch, TrainingJob

METRIC = "val_accuracy"
ARCHITECTURE = "architecture"
N_TRIALS = 1_000  # more than fit in the time, which ends the search
SAMPLERS = ("tpe in groups", "independent tpe", "random")
PRUNERS = ("asha", "none")
EVALUATION = ("train", "evaluate")  # phases of a trial that its epochs share


@dataclasses.dataclass(frozen=True)
class Training:
    """A measured training: its configuration, its metric after each epoch, and its wall seconds
    before the first epoch and in each epoch.
    """

    number: int
    values: Values
    curve: tuple[float, ...]
    start_seconds: float
    epoch_seconds: float

    @classmethod
    def of(cls, trial: FrozenTrial, space: SearchSpace) -> Training:
        """Return the training of a completed trial."""
        curve = tuple(value for _, value in sorted(trial.intermediate_values.items()))
        seconds = seconds_of(trial)
        in_epochs = sum(seconds.get(phase, 0.0) for phase in EVALUATION)
        return cls(
            trial.number,
            values_of(trial, space),
            curve,
            busy_seconds(seconds) - in_epochs,
            in_epochs / len(curve),
        )

    @property
    def value(self) -> float:
        """The value of the best epoch, which is the value of the trial."""
        return max(self.curve)


def distance(values: Mapping[str, Value], training: Training, space: SearchSpace) -> float:
    """Return the distance of a configuration to a training; infinite between architectures."""
    if values[ARCHITECTURE] != training.values[ARCHITECTURE]:
        return math.inf
    return math.hypot(
        *(
            _difference(item, values[item.name], training.values[item.name])
            for item in space.hyperparameters
            if item.kind != "fixed" and item.is_active(values) and item.is_active(training.values)
        )
    )


def _difference(item: Hyperparameter, value: Value, other: Value) -> float:
    if item.kind == "choice":
        return float(value != other)
    scale = math.log if item.log else float
    low, high, first, second = (
        scale(float(number)) for number in (item.low or 0.0, item.high or 0.0, value, other)
    )
    return (first - second) / (high - low)


class ReplayWorker(PausingWorker):
    """A worker that sends the epochs of the nearest measured training."""

    def __init__(
        self,
        clock: Clock,
        trainings: Sequence[Training],
        space: SearchSpace,
        *,
        paused: dict[str, list[Epoch]],
    ) -> None:
        rng = np.random.default_rng(0)
        super().__init__(clock, epochs=1, rng=rng, trial_seconds=0.0, paused=paused)
        self._trainings, self._space, self._training = trainings, space, trainings[0]

    def _begin(self, job: TrainingJob) -> None:
        nearest = min(
            self._trainings, key=lambda training: distance(job.values, training, self._space)
        )
        self._training, self._epochs = nearest, len(nearest.curve)
        self._start_seconds, self._epoch_seconds = nearest.start_seconds, nearest.epoch_seconds
        super()._begin(job)

    def _epoch(self, number: int) -> Epoch:
        metrics = {**dict.fromkeys(METRICS, 0.5), METRIC: self._training.curve[number - 1]}
        return Epoch(number, metrics, self._training.epoch_seconds)


class IndependentTPE(samplers.FittedTPE):
    """TPE that draws each hyperparameter on its own, as Optuna did by default before version 5."""

    def __init__(self, trials: Sequence[FrozenTrial], **options: Any) -> None:
        super().__init__(trials, **{**options, "group": False, "multivariate": False})


@contextlib.contextmanager
def sampled_by(sampler: str) -> Iterator[str]:
    """Give the name of a sampler in the settings of a study, and let it be this sampler."""
    if sampler == "random":
        yield "random"
    elif sampler == "independent tpe":
        with mock.patch.object(samplers, "FittedTPE", IndependentTPE):
            yield "tpe"
    else:
        yield "tpe"


def replay(
    *,
    trainings: Sequence[Training],
    sampler: str,
    pruner: str,
    seed: int,
    seconds: float,
    n_workers: int,
) -> dict[str, Any]:
    """Search for `seconds` of the simulated clock.

    Returns:
        `best`: a pair of seconds and value for each trial that was better than all before it;
        `n_trials` by state; `architecture` of the best trial.
    """
    space = declare(space_path(), n_classes=2)
    with tempfile.TemporaryDirectory() as folder, sampled_by(sampler) as named:
        results = ResultsDir(Path(folder))
        train = TrainConfig(epochs=max(len(training.curve) for training in trainings))
        options = {"sampler": named, "pruner": pruner, "train": train}
        config = study_config("replay", DataConfig(), seed=seed, **options)
        corpus = build_corpus(results.cache_dir("fake"), fake_reviews())
        study = open_study(
            results, config, space, data_fingerprint="fake", storage_url=results.storage_url(None)
        )
        clock, paused = Clock(), dict[str, list[Epoch]]()
        workers = [ReplayWorker(clock, trainings, space, paused=paused) for _ in range(n_workers)]
        pool = FakePool(workers, clock)
        session = fake_session(study, config, space, corpus=corpus, results=results, pool=pool)
        started, best = clock.now(), list[tuple[float, float]]()

        def on_change(progressed: Progressed) -> None:
            now = clock.now() - started
            trial = progressed.summary.best
            if trial is not None and now <= seconds:
                value = value_of(trial)
                if not best or value > best[-1][1]:
                    best.append((round(now, 1), value))
            session.interrupt.requested |= now >= seconds

        Search(session, Coordinators(study, n_workers=n_workers), on_change=on_change).run(
            N_TRIALS, timeout_seconds=None
        )
        trials = study.get_trials(deepcopy=False)
        close_study(study)
    return {"best": best, **_trials_of(trials)}


def _trials_of(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return `n_trials` and `architecture` of a search with these trials."""
    states = [trial.state for trial in trials]
    chosen = rank((trial for trial in trials if trial.state == TrialState.COMPLETE), METRIC)[0]
    return {
        "n_trials": {state.name.lower(): states.count(state) for state in sorted(set(states))},
        ARCHITECTURE: chosen.params[ARCHITECTURE],
    }


def summary_of(searches: Sequence[Mapping[str, Any]], minutes: Sequence[float]) -> dict[str, Any]:
    """Return the mean of the best value after each number of minutes, with its standard error, the
    architectures of the best trials, and the mean number of completed trials.
    """
    chosen = [search[ARCHITECTURE] for search in searches]
    means = {}
    for limit in minutes:
        values = [max(v for at, v in search["best"] if at <= 60 * limit) for search in searches]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        means[f"{limit:g} minutes"] = {"mean": statistics.mean(values), "error": error}
    return {
        **means,
        "architectures": {name: chosen.count(name) for name in sorted(set(chosen))},
        "n_complete": statistics.mean(search["n_trials"].get("complete", 0) for search in searches),
    }


def main(
    *,
    study: Annotated[str, typer.Option(help="Name of the study of the measured trainings.")],
    results: Annotated[str, typer.Option(help="Folder of the study (default results).")] = (
        "results"
    ),
    minutes: Annotated[
        list[float] | None,
        typer.Option(help="Numbers of minutes after which the searches are compared (5, 15)."),
    ] = None,
    searches: Annotated[
        int, typer.Option(help="Number of searches of each kind, with other seeds (default 20).")
    ] = 20,
    workers: Annotated[int, typer.Option(help="Number of workers (default 2).")] = 2,
) -> None:
    """Print the comparison as JSON."""
    space = declare(space_path(), n_classes=2)
    complete = tuning.load_study(study, results=results).optuna_study.get_trials(
        deepcopy=False, states=(TrialState.COMPLETE,)
    )
    # Imported trials and copies of other trials were not trained.
    trainings = [Training.of(trial, space) for trial in complete if seconds_of(trial)]
    limits = minutes or [5.0, 15.0]
    record: dict[str, Any] = {
        "n_measured": len(trainings),
        "best_measured": max(training.value for training in trainings),
    }
    shared: dict[str, Any] = {
        "trainings": trainings,
        "seconds": 60 * max(limits),
        "n_workers": workers,
    }
    for sampler, pruner in itertools.product(SAMPLERS, PRUNERS):
        replays = [
            replay(sampler=sampler, pruner=pruner, seed=seed, **shared) for seed in range(searches)
        ]
        record[f"{sampler}, {pruner}"] = summary_of(replays, limits)
    print(json.dumps(record, indent=2, sort_keys=True))


if __name__ == "__main__":
    typer.run(main)
