"""KerasTuner as its users call it: `Tuner.search` with a HyperModel, over the small space and over
the default space of this program.

KerasTuner does the rest with its defaults: it clears the session before each model, builds the
model, saves a checkpoint of the best epoch, and writes its oracle's files.

The hypermodel of the small space adapts a `TextVectorization` layer in its `fit`. The class of the
default space runs here unchanged, with Keras' own layers; its `fit` reads the token ids and n-grams
of this program's corpus, which were counted before its time is measured, and the same batches.
Users of KerasTuner would have to write code for both.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import Fixed
from keras_tuner.engine.trial import TrialStatus

from benchmarks.configurations import BATCH_SIZE, DIGITS, Configuration, default_space_path
from benchmarks.peers.model import masked_lstm, vectorized
from benchmarks.processes import cpu_seconds
from benchmarks.spaces.same_space import SameSpace
from tuning.data.splits import SplitReviews
from tuning.inputs.contract import Rows
from tuning.inputs.corpus import Corpus
from tuning.spaces.loading import load_hypermodel
from tuning.training.batching import evaluation_batches, in_order, training_batches
from tuning.training.prediction import dataset, make_view

PATIENCE = 2  # the patience of this program's trials
DefaultSpace: Any = type(load_hypermodel(default_space_path()))


class BudgetSpent(keras_tuner.errors.FatalError):
    """Raised when the time limit of the comparison is reached. It is a `FatalError`, because only a
    `FatalError` ends `Tuner.search`.
    """


class Recorder(keras.callbacks.Callback):
    """A callback that records the validation accuracy of each epoch and the seconds since the start
    of the search, and ends the search at its time limit.

    A hypermodel adds it in its `fit`, because KerasTuner copies the callbacks of a search.
    """

    def __init__(self, *, budget_seconds: float = math.inf) -> None:
        super().__init__()
        self.begin()
        self.epochs: list[dict[str, float]] = []
        self.ends: list[float] = []
        self._budget_seconds = budget_seconds

    def begin(self) -> None:
        self._started, self._cpu_started = time.perf_counter(), cpu_seconds()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.perf_counter() - self._started
        if seconds > self._budget_seconds:
            raise BudgetSpent
        self.epochs.append(
            {
                "seconds": round(seconds, 3),
                "cpu_seconds": round(cpu_seconds() - self._cpu_started, 3),
                "val_accuracy": round(float((logs or {})["val_accuracy"]), DIGITS),
            }
        )

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.ends.append(time.perf_counter())


class Peer(SameSpace):
    def __init__(self, recorder: Recorder, *, seed: int) -> None:
        super().__init__(name="peer")
        self._recorder, self._seed = recorder, seed

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        keras.utils.set_random_seed(self._seed)
        names = ("vocab_size", "embedding_dim", "lstm_units", "learning_rate")
        return masked_lstm(**{name: hp.get(name) for name in names})

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        splits: SplitReviews,
        **options: Any,
    ) -> Any:
        length = hp.get("sequence_length")
        train, validation = vectorized(
            splits, vocab_size=hp.get("vocab_size"), sequence_length=length, seed=self._seed
        )
        options["callbacks"] = [*options["callbacks"], self._recorder]
        return model.fit(train, validation_data=validation, **options)


class DefaultPeer(DefaultSpace):
    def __init__(self, recorder: Recorder, *, seed: int) -> None:
        super().__init__(name="default_space_peer")
        self._recorder, self._seed = recorder, seed

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        keras.utils.set_random_seed(self._seed)
        return super().build(hp)

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, corpus: Corpus, **options: Any
    ) -> Any:
        train, validation = corpus.split("train"), corpus.split("validation")
        train_targets, validation_targets = (
            split.labels.astype(np.float32)[:, None] for split in (train, validation)
        )
        view = make_view(model, hp.values, train.texts)
        ordered = in_order(view)
        in_one_order = dataset(lambda: iter(ordered), view, None, n_batches=len(ordered))
        self.adapt(hp, model, in_one_order, train.labels)
        batch_size, epoch = int(hp.values.get("batch_size", BATCH_SIZE)), 0

        def batches() -> Iterator[Rows]:
            nonlocal epoch
            epoch += 1
            return iter(training_batches(view, batch_size=batch_size, seed=self._seed, epoch=epoch))

        n_batches = math.ceil(len(train.labels) / batch_size)
        validated = make_view(model, hp.values, validation.texts)
        evaluated = evaluation_batches(validated)
        options["callbacks"] = [*options["callbacks"], self._recorder]
        return model.fit(
            dataset(batches, view, train_targets, n_batches=n_batches),
            validation_data=dataset(
                lambda: iter(evaluated), validated, validation_targets, n_batches=len(evaluated)
            ),
            **options,
        )


def keep_values(oracle: Any) -> None:
    """Let an oracle keep all values of its trials.

    KerasTuner 1.4.8 removes the value of a name that is declared in two conditional scopes if the
    later scope is inactive (`HyperParameters.ensure_active_values`). The default search space of
    this program has such names, and two of its architectures would fail.
    """
    record_values = oracle._record_values

    def record_and_keep(trial: Any) -> None:
        values = dict(trial.hyperparameters.values)
        record_values(trial)
        trial.hyperparameters.values = values

    oracle._record_values = record_and_keep


def hypermodel(
    data: SplitReviews | Path, recorder: Recorder, *, seed: int
) -> tuple[keras_tuner.HyperModel, SplitReviews | Corpus]:
    """Return the hypermodel of the small space for texts, or of the default space for a corpus's
    folder.
    """
    if isinstance(data, Path):
        return DefaultPeer(recorder, seed=seed), Corpus(data)
    return Peer(recorder, seed=seed), data


def train_list(
    *, data: SplitReviews | Path, configurations: list[Configuration], epochs: int, seed: int
) -> dict[str, Any]:
    """Train the configurations by `Tuner.search`, each for all epochs; only `search` is timed."""
    recorder = Recorder()
    model, source = hypermodel(data, recorder, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.RandomSearch(
            model,
            objective="val_accuracy",
            max_trials=len(configurations),
            seed=seed,
            directory=folder,
        )
        oracle = tuner.oracle
        keep_values(oracle)

        # Each trial gets one of the given configurations instead of a random one.
        def populate_space(trial_id: str) -> dict[str, Any]:
            space = oracle.hyperparameters.space
            fixed = {item.name: item.value for item in space if isinstance(item, Fixed)}
            values = {**fixed, **configurations[int(trial_id)]}
            return {"status": TrialStatus.RUNNING, "values": values}

        oracle.populate_space = populate_space
        started, cpu_started = time.perf_counter(), cpu_seconds()
        tuner.search(source, epochs=epochs, verbose=0)
        seconds, cpu_used = time.perf_counter() - started, cpu_seconds() - cpu_started
    finished = [oracle.trials[number] for number in oracle.start_order]
    if any(trial.status != TrialStatus.COMPLETED for trial in finished):
        raise RuntimeError(
            f"KerasTuner must complete every trial; it left {[trial.status for trial in finished]}:"
            f" {finished[-1].message}"
        )
    moments = [started, *recorder.ends]
    trials = [
        {
            "values": dict(trial.hyperparameters.values),
            "val_accuracy": round(float(trial.score), DIGITS),
            "seconds": round(end - start, 3),
        }
        for trial, (start, end) in zip(finished, pairwise(moments), strict=True)
    ]
    return {"seconds": seconds, "cpu_seconds": cpu_used, "trials": trials}


def search(
    *, data: SplitReviews | Path, tuner: str, epochs: int, seed: int, budget_seconds: float
) -> list[dict[str, float]]:
    """Return the wall and CPU seconds since the start and the accuracy of every epoch."""
    # KerasTuner's guide also stops early; the patience is that of this program.
    stopping = keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=PATIENCE)
    recorder = Recorder(budget_seconds=budget_seconds)
    model, source = hypermodel(data, recorder, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        options = {"objective": "val_accuracy", "seed": seed, "directory": folder}
        # Only the time limit ends the search.
        made = (
            keras_tuner.Hyperband(model, max_epochs=epochs, hyperband_iterations=1000, **options)
            if tuner == "hyperband"
            else keras_tuner.RandomSearch(model, max_trials=1_000_000, **options)
        )
        keep_values(made.oracle)
        recorder.begin()
        with contextlib.suppress(BudgetSpent):
            made.search(source, epochs=epochs, callbacks=[stopping], verbose=0)
    return recorder.epochs
