"""Searches on small data: folds with a confirmation on fresh folds, beside one split with a
confirmation by seeds, and beside cross-validation as a `CVTuner` of KerasTuner does it.

    make bench-folds DATA=reviews.csv.gz TEXT=review_body LABEL=sentiment

Each subsample of the data has a table of trainings: of the defaults of a space and of random
configurations. All sides choose from this table, this program by its own rules for pruning and
confirmation. The truth is the accuracy, on rows outside the subsample, of models that are trained
on all rows that are not test. A stopped command goes on with the trainings that no file has.
"""

from __future__ import annotations

import gc
import itertools
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

# TensorFlow reads this variable when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import optuna
import typer

from benchmarks.curves import EVALUATION
from benchmarks.data import write_corpus
from benchmarks.processes import log_to
from benchmarks.record import describe_machine, markdown_table
from tuning.atomic_io import read_json, write_json
from tuning.config import AUTO_FOLDS, SPLITS, DataConfig, StudyConfig, TrainConfig
from tuning.confirmation.estimates import estimate
from tuning.confirmation.plan import plan_confirmation
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.data.redraw import redrawn
from tuning.data.rows import Redraw
from tuning.data.sources import load_reviews
from tuning.data.splits import SHARES, split_reviews
from tuning.evaluation.statistics import mean_interval
from tuning.inputs.contract import resplit
from tuning.inputs.corpus import Corpus
from tuning.inputs.kinds import narrowed
from tuning.search.asha import Rungs, rungs_of
from tuning.search.confirm import DEFAULT_SEEDS, DEFAULT_TOP
from tuning.spaces.files import find_space
from tuning.spaces.hyperparameters import defaults, suggest
from tuning.spaces.loading import declare, load_hypermodel
from tuning.spaces.ranges import Values
from tuning.study.trials import busy_seconds
from tuning.training.result import TrainingJob
from tuning.workers.worker import WorkerSettings, prepare

METRIC, TRAIN = "val_accuracy", TrainConfig(evaluates_fitted=True)
# Networks that the random configurations leave out. Training one takes up to three times as long as
# training another model, and on 850 rows they are far less accurate than n-grams.
SLOW = {"lstm", "gru", "cnn", "bilstm_pooling"}
# Number of rows for the truth, and the seeds of its trainings, which no side uses.
N_TRUTH, TRUTH_SEEDS = 5_000, (1_001, 1_002)
OURS, ONE_SPLIT = "folds, confirmed on fresh folds", "one split, confirmed by seeds"
CROSS_VALIDATED = "cross-validation of each configuration"


class Rows(StrEnum):
    """The rows for training and for validation. Folds are drawn by the seed of a training. `PART`
    is the truth of a training of a fold's size: on the training rows of the first fold.
    """

    FOLDS = "folds"
    SPLIT = "split"
    TRUTH = "truth"
    PART = "part"


@dataclass(frozen=True)
class Training:
    """The accuracy after each epoch, from `first_epoch`, which is 0 for a model that was evaluated
    before its training; and CPU seconds on one core before the first epoch and in each epoch.
    """

    values: list[float]
    first_epoch: int
    best_epoch: int
    start_seconds: float
    epoch_seconds: float

    @property
    def best(self) -> float:
        return self.values[self.best_epoch - self.first_epoch]

    def seconds(self, epochs: float | None = None) -> float:
        n_epochs = self.first_epoch + len(self.values) - 1 if epochs is None else epochs
        return self.start_seconds + n_epochs * self.epoch_seconds


# Trains a configuration with a seed, for a number of epochs or, with None, as a trial of a search.
Measure = Callable[[Values, Rows, int, float | None], list[Training]]


@dataclass(frozen=True)
class Table:
    """The trainings of a subsample, five on folds and otherwise one, by a key of their arguments. A
    training is measured when a side first asks for it. The first configuration is the baseline.
    """

    seed: int
    configurations: list[Values]
    known: dict[str, list[Training]]
    measure: Measure

    def trainings(
        self, number: int, rows: Rows, *, seed: int, epochs: float | None = None
    ) -> list[Training]:
        key = f"{number}, {rows}, seed {seed}, {epochs} epochs"
        if key not in self.known:
            self.known[key] = self.measure(self.configurations[number], rows, seed, epochs)
        return self.known[key]

    def truth(self, trial: Trial, rows: Rows = Rows.TRUTH) -> float:
        return statistics.fmean(
            self.trainings(trial.number, rows, seed=seed, epochs=trial.epochs)[0].values[-1]
            for seed in TRUTH_SEEDS
        )


@dataclass(frozen=True)
class Trial:
    """`steps`: the values after each epoch, or the means after each fold, and the seconds of it."""

    number: int
    trainings: list[Training]
    steps: dict[int, tuple[float, float]]
    value: float
    epochs: int

    @classmethod
    def of(cls, table: Table, number: int, rows: Rows) -> Trial:
        trainings = table.trainings(number, rows, seed=table.seed)
        values = [training.best for training in trainings]
        steps = {
            n: (statistics.fmean(values[:n]), training.seconds())
            for n, training in enumerate(trainings, start=1)
        }
        if rows is Rows.SPLIT:
            (one,) = trainings
            seconds = [one.seconds(one.first_epoch), *[one.epoch_seconds] * len(one.values)]
            pairs = zip(one.values, seconds, strict=False)
            steps = dict(enumerate(pairs, start=one.first_epoch))
        # Half up, as `fit_folds` rounds.
        epochs = int(statistics.fmean(training.best_epoch for training in trainings) + 0.5)
        return cls(number, trainings, steps, statistics.fmean(values), epochs)

    @property
    def seconds_anew(self) -> float:
        """CPU seconds if each training builds its model, as in a `CVTuner`. This program's folds
        share the model of the first.
        """
        start = self.trainings[0].start_seconds
        return sum(start + t.seconds() - t.start_seconds for t in self.trainings)

    def seconds_of_resuming(self, step: int) -> float:
        """CPU seconds of building the model again after a pause. `step`: the next step."""
        shared = self.trainings[step - 1].start_seconds if len(self.trainings) > 1 else 0.0
        return self.trainings[0].start_seconds - shared


def search(trials: Sequence[Trial], *, n_steps: int) -> tuple[list[Trial], float]:
    """Return the complete trials of a search with ASHA and one worker, and its CPU seconds."""
    rungs = Rungs(rungs_of(n_steps), direction=1, n_trials=len(trials))
    waiting, n_begun, seconds = dict[int, float](), 0, 0.0
    complete: list[Trial] = []
    while True:
        number = rungs.promotable(waiting)
        if number is None:
            if n_begun == len(trials):
                return complete, seconds
            number, n_begun = n_begun, n_begun + 1
        trial, reached = trials[number], waiting.pop(number, -1)
        if reached >= 0:
            seconds += trial.seconds_of_resuming(int(reached) + 1)
        for step in (step for step in trial.steps if step > reached):
            value, step_seconds = trial.steps[step]
            seconds += step_seconds
            # ASHA does not pause the baseline, and compares it at the first rung alone.
            if number or step in (0, *rungs.epochs[:1]):
                rungs.record(number, step, value)
            if number and step < max(trial.steps) and not rungs.goes_on(number, step):
                waiting[number] = step
                break
        else:
            complete.append(trial)


def confirm(table: Table, complete: Sequence[Trial], rows: Rows, *, seconds: float) -> Confirmation:
    """Return the confirmation of a search, with the finalists and the budget of this program."""
    others = sorted((t for t in complete if t.number), key=lambda t: (-t.value, t.number))
    chosen = others[:DEFAULT_TOP]
    chosen += [trial for trial in others if not trial.epochs and trial not in chosen][:1]
    planned = plan_confirmation(
        [
            Finalist(
                trial.number,
                {},
                trial.value,
                sum(training.seconds(trial.epochs) for training in trial.trainings),
                is_baseline=not trial.number,
                epochs=trial.epochs,
            )
            for trial in [*chosen, *(t for t in complete if not t.number)]
        ],
        metric=METRIC,
        seeds=[table.seed + number for number in range(1, DEFAULT_SEEDS + 1)],
        search_seconds=seconds,
    )
    overlap = 1 / (AUTO_FOLDS - 1) if rows is Rows.FOLDS else 0.0
    confirmation, due = replace(planned, overlap=overlap).advance()
    while due:
        for f, seed in due:
            trainings = table.trainings(f.trial, rows, seed=seed, epochs=f.epochs)
            values = [training.values[-1] for training in trainings]
            used = sum(training.seconds() for training in trainings)
            confirmation = confirmation.with_repeat(
                f.trial, seed, statistics.fmean(values), seconds=used, folds=values
            )
        confirmation, due = confirmation.advance()
    return confirmation


def compare(table: Table) -> dict[str, dict[str, float]]:
    """Return for each side the number of its configurations, its CPU seconds, the regret of its
    choice and its lead over the baseline; with a confirmation, also the error of the confirmed
    value, and whether its interval contains the truth. With folds, `held_of_fold` is whether it
    contains the truth of a training of a fold's size.
    """
    numbers = range(len(table.configurations))
    on_folds = [Trial.of(table, number, Rows.FOLDS) for number in numbers]
    truths = [table.truth(trial) for trial in on_folds]

    def outcome(trial: Trial, *, n: int, seconds: float) -> dict[str, float]:
        truth = table.truth(trial)
        lead = truth - truths[0] if trial.number else 0.0
        return {"n": n, "seconds": seconds, "regret": max(truths) - truth, "lead": lead}

    sides: dict[str, dict[str, float]] = {}
    for name, rows in ((OURS, Rows.FOLDS), (ONE_SPLIT, Rows.SPLIT)):
        trials = [Trial.of(table, number, rows) for number in numbers]
        n_steps = AUTO_FOLDS if rows is Rows.FOLDS else TRAIN.epochs
        complete, seconds = search(trials, n_steps=n_steps)
        confirmation = confirm(table, complete, rows, seconds=seconds)
        estimates, best = estimate(confirmation), max(complete, key=_rank)
        seconds += confirmation.spent_seconds
        if estimates is None or not estimates.is_confirmed:
            sides[name] = outcome(best, n=len(numbers), seconds=seconds)
            continue
        best = trials[estimates.best.trial]
        truth, mean = table.truth(best), estimates.means[best.number]
        sides[name] = outcome(best, n=len(numbers), seconds=seconds) | {
            "error": mean.value - truth,
            "held": mean.low <= truth <= mean.high,
        }
        if rows is Rows.FOLDS:
            of_fold = table.truth(best, Rows.PART)
            sides[name]["held_of_fold"] = mean.low <= of_fold <= mean.high
    ends = itertools.accumulate(trial.seconds_anew for trial in on_folds)
    n_in_time = max(sum(end <= sides[OURS]["seconds"] for end in ends), 1)
    of_peer = on_folds[:n_in_time]
    seconds = sum(trial.seconds_anew for trial in of_peer)
    sides[CROSS_VALIDATED] = outcome(max(of_peer, key=_rank), n=n_in_time, seconds=seconds)
    return sides


def _rank(trial: Trial) -> tuple[float, int]:
    return trial.value, -trial.number


class Trainer:
    """Trains on a subsample, whose test split are rows outside the subsample."""

    def __init__(self, data: DataConfig, space: str, folder: Path, *, n_rows: int, seed: int):
        reviews = load_reviews(data)
        # The rows of the subsample that its study would test on are not used.
        n_used = round(n_rows * (1 - SHARES["test"]))
        places = np.random.default_rng(seed).permutation(len(reviews.frame))
        frame = reviews.frame.iloc[[*places[:n_used], *places[n_rows : n_rows + N_TRUTH]]].copy()
        frame["split"] = np.where(np.arange(len(frame)) < n_used, "train", "test")
        splits = split_reviews(
            replace(reviews, frame=frame.reset_index(drop=True)),
            seed=seed,
            config=replace(data, split_column="split"),
        )
        write_corpus(splits=splits, folder=folder)
        self._corpus = Corpus(folder)
        self._hypermodel = load_hypermodel(find_space(space))

    def __call__(
        self, values: Values, rows: Rows, seed: int, epochs: float | None
    ) -> list[Training]:
        splits = [narrowed(self._corpus.split(name), values, takes_texts=False) for name in SPLITS]
        train, validation, test = splits
        pairs = [(train, validation) if rows is Rows.SPLIT else (train + validation, test)]
        if rows in (Rows.FOLDS, Rows.PART):
            folds = redrawn(self._corpus.rows, Redraw(seed=seed, n_folds=AUTO_FOLDS))
            pairs = [resplit(train, validation, places) for places in folds]
        if rows is Rows.PART:
            pairs = [(pairs[0][0], test)]
        job = TrainingJob(
            values=values, target=self._corpus.target, train=TRAIN, seed=seed, n_epochs=epochs
        )
        # The imports load Keras, which takes seconds.
        from tuning.training.fit import build_anew
        from tuning.training.folds import Models

        build = Models() if len(pairs) > 1 else build_anew
        return [self._train(job, *pair, build=build) for pair in pairs]

    def _train(self, job: TrainingJob, train: Any, validation: Any, *, build: Any) -> Training:
        from tuning.training.fit import fit

        started = time.process_time()
        result = fit(self._hypermodel, job, train=train, validation=validation, build=build)[1]
        seconds = time.process_time() - started
        share = sum(result.seconds[phase] for phase in EVALUATION) / busy_seconds(result.seconds)
        return Training(
            [epoch.metrics[METRIC] for epoch in result.history],
            int(result.history[0].number),
            int(result.best_epoch),
            seconds * (1 - share),
            seconds * share / max(result.n_epochs, 1),
        )


def measure(
    seed: int, *, data: DataConfig, space: str, n_rows: int, n_trials: int, folder: Path
) -> tuple[int, dict[str, dict[str, float]]]:
    """Return what each side chose in a subsample, after the trainings that its file lacks."""
    path = folder / f"{seed}.json"
    stored = read_json(path) if path.exists() else {"trainings": {}}
    known = {key: [Training(**t) for t in group] for key, group in stored["trainings"].items()}
    n_known = len(known)
    with tempfile.TemporaryDirectory() as corpus:
        trainers: list[Trainer] = []

        def train(*arguments: Any) -> list[Training]:
            if not trainers:
                options: Any = {"n_rows": n_rows, "seed": seed}
                trainers.append(Trainer(data, space, Path(corpus), **options))
            return trainers[0](*arguments)

        configurations = draw(space, n_trials=n_trials, seed=seed)
        sides = compare(Table(seed, configurations, known, train))
    if len(known) > n_known:
        trainings = {key: [asdict(training) for training in group] for key, group in known.items()}
        write_json(path, {"configurations": configurations, "trainings": trainings})
    return seed, sides


def draw(space: str, *, n_trials: int, seed: int) -> list[Values]:
    """Return the defaults of a space, and random configurations without the `SLOW` networks."""
    hyperparameters = declare(find_space(space), n_classes=2).hyperparameters
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = (suggest(study.ask(), hyperparameters) for _ in itertools.count())
    fast = (values for values in drawn if not SLOW & set(map(str, values.values())))
    return [defaults(hyperparameters), *itertools.islice(fast, n_trials - 1)]


def rows_of(searches: Sequence[Mapping[str, Mapping[str, float]]]) -> list[list[str]]:
    """Return the row of each side in the table that the command prints."""

    def points(values: Sequence[float]) -> str:
        mean = mean_interval(values)
        return f"{100 * mean.value:+.2f} ± {50 * (mean.high - mean.low):.2f}"

    rows = []
    for name in searches[0]:
        sides, ours = [search[name] for search in searches], [search[OURS] for search in searches]
        confirmed = [side for side in sides if "held" in side]
        of_folds = [side["held_of_fold"] for side in sides if "held_of_fold" in side]
        behind = [side["regret"] - own["regret"] for side, own in zip(sides, ours, strict=True)]
        regret = statistics.fmean(side["regret"] for side in sides)
        less = f", {statistics.fmean(behind) / regret:.0%}" if regret else ""
        rows.append(
            [
                name,
                f"{statistics.fmean(side['n'] for side in sides):.1f}",
                f"{statistics.fmean(side['seconds'] for side in sides):.0f}",
                f"{100 * regret:.2f}",
                "" if name == OURS else f"{points(behind)}{less}",
                f"{sum(side['lead'] < 0 for side in sides)} of {len(sides)}",
                f"{sum(side['held'] for side in confirmed):.0f} of {len(confirmed)}",
                f"{sum(of_folds):.0f} of {len(of_folds)}" if of_folds else "",
                points([side["error"] for side in confirmed]) if confirmed else "",
            ]
        )
    return rows


def begin(log_path: Path) -> None:
    """Prepare a process for trainings on one core. Ctrl-C ends it."""
    log_to(log_path)
    # The workers of a search do the same: after `gc.freeze` a garbage collection leaves out the
    # objects that importing Keras has made. They would add 0.2 s before each training.
    import_module("tuning.training.folds")
    gc.freeze()
    prepare(WorkerSettings(number=0, n_threads=1, log_path=""))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def main(  # noqa: PLR0913 - the options of the command
    *,
    data: Annotated[str, typer.Option(help="Data set, as for `tune`.")] = DataConfig.data,
    text_column: Annotated[str | None, typer.Option(help="Name of the column of texts.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Name of the column of labels.")] = None,
    space: Annotated[str, typer.Option(help="Search space.")] = StudyConfig.space,
    subsamples: Annotated[int, typer.Option(help="Number of subsamples.")] = 40,
    n_rows: Annotated[int, typer.Option(help="Number of rows of a subsample.")] = 1_000,
    n_trials: Annotated[int, typer.Option(help="Number of configurations.")] = 16,
    workers: Annotated[int, typer.Option(help="Number of processes.")] = 1,
) -> None:
    """Measure the subsamples, print a table, and write a record."""
    source = DataConfig(data=data, text_column=text_column, label_column=label_column)
    names = (Path(data).name.split(".")[0], Path(space).stem, n_rows, n_trials)
    folder = Path("results/bench") / f"folds-{'-'.join(map(str, names))}"
    options: Any = {"space": space, "n_rows": n_rows, "n_trials": n_trials, "folder": folder}
    searches: dict[int, dict[str, dict[str, float]]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "bench.log"
    with get_context("spawn").Pool(workers, initializer=begin, initargs=(log_path,)) as pool:
        numbers = range(subsamples)
        for seed, sides in pool.imap_unordered(partial(measure, data=source, **options), numbers):
            searches[seed] = sides
            regrets = ", ".join(f"{side['regret']:.4f}" for side in sides.values())
            print(f"subsample {seed}, {len(searches)} of {subsamples}: {regrets}", flush=True)
    in_order = [searches[seed] for seed in sorted(searches)]
    write_json(folder / "summary.json", {"machine": describe_machine(), "searches": in_order})
    columns = (
        *("side", "configurations", "CPU seconds", "regret, points", "saved by folds"),
        *("worse than the baseline", "interval contains the truth"),
        *("interval contains the truth of a fold's size", "confirmed minus true"),
    )
    print(markdown_table(columns, rows_of(in_order)))


if __name__ == "__main__":
    typer.run(main)
