"""KerasTuner as its users call it: `Tuner.search` with a HyperModel whose `fit` adapts a
`TextVectorization` layer.

KerasTuner does the rest with its defaults: it clears the session before each model, builds the
model, saves a checkpoint of the best epoch, and writes its oracle's files.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import keras
import keras_tuner
from keras_tuner.engine.hyperparameters import Fixed
from keras_tuner.engine.trial import TrialStatus

from benchmarks.configurations import DIGITS, Configuration
from benchmarks.peers.model import masked_lstm, vectorized
from benchmarks.processes import cpu_seconds
from benchmarks.spaces.same_space import SameSpace
from benchmarks.texts import Texts

PATIENCE = 2  # the patience of this program's trials


class BudgetSpent(keras_tuner.errors.FatalError):
    """Raised when the time limit of the comparison is reached. It is a `FatalError`, because only a
    `FatalError` ends `Tuner.search`.
    """


class Recorder(keras.callbacks.Callback):
    """A callback that records the validation accuracy of each epoch and the seconds since the start
    of the search, and ends the search at its time limit.
    """

    def __init__(self, *, budget_seconds: float | None = None) -> None:
        super().__init__()
        self.begin()
        self.epochs: list[dict[str, float]] = []
        self._budget_seconds = budget_seconds

    def begin(self) -> None:
        """Count the seconds from now on."""
        self._started, self._cpu_started = time.perf_counter(), cpu_seconds()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.perf_counter() - self._started
        if self._budget_seconds is not None and seconds > self._budget_seconds:
            raise BudgetSpent
        self.epochs.append(
            {
                "seconds": round(seconds, 3),
                "cpu_seconds": round(cpu_seconds() - self._cpu_started, 3),
                "val_accuracy": round(float((logs or {})["val_accuracy"]), DIGITS),
            }
        )


class AnyPeer(Protocol):
    """A hypermodel that records its epochs and the ends of its trainings."""

    recorder: Recorder
    ends: list[float]


class Peer(SameSpace):
    """The declarations of the search space, with the model and the `fit` of this peer."""

    def __init__(self, *, seed: int, recorder: Recorder) -> None:
        super().__init__(name="peer")
        self._seed, self.recorder = seed, recorder
        self.ends: list[float] = []

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        keras.utils.set_random_seed(self._seed)
        names = ("vocab_size", "embedding_dim", "lstm_units", "learning_rate")
        return masked_lstm(**{name: hp.get(name) for name in names})

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, texts: Texts, **options: Any
    ) -> Any:
        length = hp.get("sequence_length")
        train, validation = vectorized(
            texts, vocab_size=hp.get("vocab_size"), sequence_length=length, seed=self._seed
        )
        options["callbacks"] = [*options["callbacks"], self.recorder]
        history = model.fit(train, validation_data=validation, **options)
        self.ends.append(time.perf_counter())
        return history


class FixedListOracle(keras_tuner.oracles.RandomSearchOracle):
    """The oracle of RandomSearch, except that it takes the values of its trials from a list."""

    def __init__(self, configurations: list[Configuration], *, seed: int) -> None:
        super().__init__(objective="val_accuracy", max_trials=len(configurations), seed=seed)
        self._configurations = configurations

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        space = self.hyperparameters.space
        fixed = {item.name: item.value for item in space if isinstance(item, Fixed)}
        return {
            "status": TrialStatus.RUNNING,
            "values": {**fixed, **self._configurations[int(trial_id)]},
        }


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


def train_list(
    *, texts: Texts, configurations: list[Configuration], epochs: int, seed: int
) -> dict[str, Any]:
    """Train the configurations by `Tuner.search`, each for all epochs; only `search` is timed.

    Raises:
        RuntimeError: a trial did not complete.
    """
    peer = Peer(seed=seed, recorder=Recorder())
    return train_list_by(peer, texts, configurations=configurations, epochs=epochs, seed=seed)


def train_list_by(
    peer: AnyPeer, data: Any, *, configurations: list[Configuration], epochs: int, seed: int
) -> dict[str, Any]:
    """Train the configurations of a hypermodel, whose `fit` takes `data`, by `Tuner.search`.

    Raises:
        RuntimeError: a trial did not complete.
    """
    with tempfile.TemporaryDirectory() as folder:
        oracle = FixedListOracle(configurations, seed=seed)
        keep_values(oracle)
        tuner = keras_tuner.Tuner(oracle, peer, directory=folder, project_name="fixed_list")
        started, cpu_started = time.perf_counter(), cpu_seconds()
        tuner.search(data, epochs=epochs, verbose=0)
        seconds, cpu_used = time.perf_counter() - started, cpu_seconds() - cpu_started
    finished = [oracle.trials[number] for number in oracle.start_order]
    if any(trial.status != TrialStatus.COMPLETED for trial in finished):
        raise RuntimeError(
            f"KerasTuner must complete every trial; it left {[trial.status for trial in finished]}:"
            f" {finished[-1].message}"
        )
    starts = [started, *peer.ends]
    trials = [
        {
            "values": dict(trial.hyperparameters.values),
            "val_accuracy": round(float(trial.score), DIGITS),
            "seconds": round(end - start, 3),
        }
        for trial, start, end in zip(finished, starts, peer.ends, strict=False)
    ]
    return {"seconds": seconds, "cpu_seconds": cpu_used, "trials": trials}


def search(
    *, tuner: str, texts: Texts, epochs: int, seed: int, budget_seconds: float
) -> list[dict[str, float]]:
    """Search with "random" or "hyperband" for `budget_seconds`.

    Returns:
        The wall and CPU seconds since the start and the validation accuracy of every epoch.
    """
    peer = Peer(seed=seed, recorder=Recorder(budget_seconds=budget_seconds))
    return search_by(peer, texts, tuner=tuner, epochs=epochs, seed=seed)


def search_by(
    peer: AnyPeer, data: Any, *, tuner: str, epochs: int, seed: int
) -> list[dict[str, float]]:
    """Search the space of a hypermodel, whose `fit` takes `data`, until its recorder ends it.

    Early stopping follows KerasTuner's guide, with the same patience as this program.
    """
    stopping = keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=PATIENCE)
    with tempfile.TemporaryDirectory() as folder:
        made = _tuner(tuner, peer, epochs=epochs, seed=seed, folder=Path(folder))
        keep_values(made.oracle)
        peer.recorder.begin()
        with contextlib.suppress(BudgetSpent):
            made.search(data, epochs=epochs, callbacks=[stopping], verbose=0)
    return peer.recorder.epochs


def _tuner(name: str, peer: AnyPeer, *, epochs: int, seed: int, folder: Path) -> keras_tuner.Tuner:
    """Return a tuner with so many trials that only the time limit ends its search."""
    options = {
        "objective": "val_accuracy",
        "seed": seed,
        "directory": str(folder),
        "project_name": name,
    }
    if name == "hyperband":
        return keras_tuner.Hyperband(peer, max_epochs=epochs, hyperband_iterations=1000, **options)
    return keras_tuner.RandomSearch(peer, max_trials=1_000_000, **options)
