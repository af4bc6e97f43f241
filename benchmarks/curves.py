"""A table of measured trainings of a search space, on which `make bench-search` replays searches.

    make bench-curves STUDY=films
    make bench-curves STUDY=amazon DATA=reviews.csv.gz LABEL=sentiment

The first part is a study of random configurations without a pruner, in which every training ends
by itself; the second trains some of the configurations with other seeds. A stopped command goes on
where it was. The table, `results/bench/curves-<study>.json`, contains no texts.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from optuna.trial import FrozenTrial, TrialState

import tuning
from benchmarks.program import program, run
from benchmarks.record import describe_machine
from tuning.atomic_io import read_json, write_json
from tuning.metrics import sign
from tuning.results import ResultsDir
from tuning.search.session import open_session
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter, Value, Values
from tuning.spaces.starting_points import CHOSEN
from tuning.study.handle import StudyHandle
from tuning.study.trials import (
    attributes_of,
    busy_seconds,
    epoch_values,
    seconds_of,
    values_of,
    was_trained,
    without_copies,
)
from tuning.workers.dispatcher import Dispatcher, run_jobs
from tuning.workers.messages import TrainingEnded

# Numbers of configurations that are trained with other seeds too, and of these seeds.
N_REPEATED, N_OTHER_SEEDS = 100, 2
EVALUATION = ("train", "evaluate")  # phases of a trial that its epochs share

Branch = tuple[Value | None, ...]
Pair = tuple[list[float], list[float]]  # the curves of two seeds of a configuration


@dataclass(frozen=True)
class Training:
    """A measured configuration: its metric after each epoch for each seed, the study's seed first,
    and the wall seconds of that training before its first epoch and in each epoch. `first_epoch`: 0
    if the model was evaluated before its training, else 1.
    """

    number: int
    values: Values
    start_seconds: float
    epoch_seconds: float
    first_epoch: int
    curves: list[list[float]]

    @classmethod
    def of(cls, trial: FrozenTrial, space: SearchSpace) -> Self:
        seconds, curve = seconds_of(trial), epoch_values(trial)
        in_epochs = sum(seconds.get(phase, 0.0) for phase in EVALUATION)
        return cls(
            number=trial.number,
            values=values_of(trial, space),
            start_seconds=busy_seconds(seconds) - in_epochs,
            epoch_seconds=in_epochs / max(curve),
            first_epoch=int(min(curve)),
            curves=[[*curve.values()]],
        )


@dataclass(frozen=True)
class Table:
    """The measured trainings of a study. `linear`: the value of the tuned linear model; `choice`:
    the hyperparameters of its n-grams, which some starting points get.
    """

    study: str
    space: str
    metric: str
    n_classes: int
    linear: float | None
    trainings: list[Training]
    machine: dict[str, Any] = field(default_factory=dict)
    choice: Values = field(default_factory=dict)

    def nearest(self, values: Mapping[str, Value], space: SearchSpace) -> Training:
        return min(self.trainings, key=lambda training: distance(values, training.values, space))

    def truth(self, training: Training) -> float:
        """Return the value of the best epoch on the study's seed, which counts as the truth."""
        direction = sign(self.metric)
        return direction * max(direction * value for value in training.curves[0])

    @property
    def best(self) -> float:
        direction = sign(self.metric)
        return direction * max(direction * self.truth(training) for training in self.trainings)


class Noise:
    """The values of one search's trainings: the truth plus the noise of its own of each training,
    which is the same whenever a side trains a configuration with the same seed again.

    The noise is the difference of two seeds of a configuration of the same branch of the space: an
    LSTM may vary twenty times as much as fitted n-grams.
    """

    def __init__(self, table: Table, space: SearchSpace, *, seed: int) -> None:
        self._seed, self._space = seed, space
        self._by_branch: dict[Branch, list[Pair]] = defaultdict(list)
        for training in table.trainings:
            self._by_branch[branch_of(training.values, space)] += itertools.combinations(
                training.curves, 2
            )

    def curve(self, training: Training, *, seed: int) -> list[float]:
        rng = np.random.default_rng([self._seed, training.number, seed])
        pairs = self._by_branch[branch_of(training.values, self._space)]
        if not pairs:  # No configuration of this branch has a second seed.
            pairs = [*itertools.chain.from_iterable(self._by_branch.values())]
        first, second = pairs[int(rng.integers(len(pairs)))]
        # A training that ended earlier keeps the difference of its last epoch.
        differences = [a - b for a, b in zip(first, second, strict=False)]
        sign_of_pair = rng.choice([-1, 1])
        return [
            value + sign_of_pair * differences[min(i, len(differences) - 1)] / math.sqrt(2)
            for i, value in enumerate(training.curves[0])
        ]


def branch_of(values: Mapping[str, Value], space: SearchSpace) -> Branch:
    """Return the values on which the conditions of the space depend."""
    return tuple(values.get(name) for name in space.deciding)


def distance(values: Mapping[str, Value], other: Mapping[str, Value], space: SearchSpace) -> float:
    """Return the root of the sum of squared differences, each scaled to the range of its
    hyperparameter; two choices are 1 apart. Two branches of a space are infinitely far apart.
    """
    if branch_of(values, space) != branch_of(other, space):
        return math.inf
    return math.hypot(
        *(
            _difference(item, values[item.name], other[item.name])
            for item in space.hyperparameters
            if item.kind != "fixed" and item.is_active(values) and item.is_active(other)
        )
    )


def _difference(item: Hyperparameter, value: Value, other: Value) -> float:
    if item.choices or item.low == item.high:
        return float(value != other)
    scale = math.log if item.log else float
    low, high, first, second = (
        scale(float(number)) for number in (item.low or 0.0, item.high or 0.0, value, other)
    )
    return (first - second) / (high - low)


def read_table(path: Path) -> Table:
    content = read_json(path)
    trainings = [Training(**training) for training in content.pop("trainings")]
    return Table(trainings=trainings, **content)


def table_of(study: StudyHandle, *, known: Table | None) -> Table:
    """`known` is an earlier table of the study, with curves of other seeds."""
    trials = without_copies(study.summary.trials)
    complete = [t for t in trials if t.state == TrialState.COMPLETE and was_trained(t)]
    curves = {training.number: training.curves for training in known.trainings} if known else {}
    trainings = [Training.of(trial, study.space) for trial in complete]
    linear = study.linear_reference
    return Table(
        study=study.name,
        space=study.config.space,
        metric=study.config.metric,
        n_classes=next(
            (int(i.default) for i in study.space.hyperparameters if i.name == "n_classes"), 2
        ),
        linear=linear.value(study.config.metric) if linear else None,
        trainings=[replace(t, curves=curves.get(t.number, t.curves)) for t in trainings],
        machine=describe_machine(),
        choice=next(
            (
                {name: value for name, value in values_of(t, study.space).items() if name in CHOSEN}
                for t in complete
                if attributes_of(t).get("linear_ngrams")
            ),
            {},
        ),
    )


def train_other_seeds(study: StudyHandle, table: Table, path: Path) -> None:
    """Train `N_REPEATED` configurations, evenly along the study, with `N_OTHER_SEEDS` further seeds
    each, and write the table after each training.
    """
    step = max(len(table.trainings) // N_REPEATED, 1)
    chosen = table.trainings[::step][:N_REPEATED]
    config = study.config
    jobs = [
        (training.number, config.seed + 1 + number)
        for training in chosen
        for number in range(len(training.curves) - 1, N_OTHER_SEEDS)
    ]
    by_number = {training.number: training for training in chosen}
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(
            open_session(
                config,
                study.results,
                check=lambda *_: None,
                study_of=lambda *_: stack.enter_context(study.opened()),
                workers=None,
                limits=None,
                subscribers=[],
            )
        )
        requests = {
            (number, seed): session.train_request(by_number[number].values) for number, seed in jobs
        }
        requests = {
            job: replace(request, job=replace(request.job, seed=job[1]))
            for job, request in requests.items()
        }
        dispatcher: Dispatcher[tuple[int, int]] = Dispatcher(session.pool, session.limits)
        for job, message in run_jobs(
            dispatcher, requests, is_stopped=lambda: session.interrupt.requested
        ):
            if isinstance(message, TrainingEnded):
                curve = [epoch.metrics[table.metric] for epoch in message.result.history]
                by_number[job[0]].curves.append(curve)
                write_json(path, asdict(table))
                print(f"trial {job[0]}, seed {job[1]}: {message.result.best_value:.4f}", flush=True)


def main(
    *,
    study: str = "measured",
    data: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    n_trials: int = 400,
) -> None:
    """Measure the trainings, and write their table.

    Args:
        study: name of the study of the measured trainings.
        data: data set, as for `tune`.
        text_column: name of the column of texts.
        label_column: name of the column of labels.
        split_column: name of the column of splits.
        n_trials: number of configurations.
    """
    tuning.tune(
        data
        and tuning.Data(
            data, text_column=text_column, label_column=label_column, split_column=split_column
        ),
        study=study,
        sampler="random",
        pruner="none",
        confirm=False,
        folds=1,
        n_trials=n_trials,
    )
    handle = StudyHandle.of(ResultsDir(Path("results")), study)
    path = Path("results/bench") / f"curves-{study}.json"
    table = table_of(handle, known=read_table(path) if path.exists() else None)
    write_json(path, asdict(table))
    train_other_seeds(handle, table, path)
    print(f"wrote {path}")


if __name__ == "__main__":
    run(program(main))
