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
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from benchmarks.configurations import DIGITS, Configuration
from benchmarks.peers.model import masked_lstm, vectorized
from benchmarks.spaces.same_space import SameSpace
from benchmarks.texts import Texts

PATIENCE = 2  # as in this program's trials


class BudgetSpent(keras_tuner.errors.FatalError):
    """The time limit of the comparison is reached. It is a `FatalError`, because only that ends
    `Tuner.search`.
    """


class Recorder(keras.callbacks.Callback):
    """Records the validation accuracy of each epoch and the seconds since the start of the search,
    and ends the search at its time limit.
    """

    def __init__(self, *, budget_seconds: float | None = None) -> None:
        super().__init__()
        self.started = time.perf_counter()
        self.epochs: list[dict[str, float]] = []
        self._budget_seconds = budget_seconds

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.perf_counter() - self.started
        if self._budget_seconds is not None and seconds > self._budget_seconds:
            raise BudgetSpent
        self.epochs.append(
            {
                "seconds": round(seconds, 3),
                "val_accuracy": round(float((logs or {})["val_accuracy"]), DIGITS),
            }
        )


class Peer(SameSpace):
    """The declarations of the search space, with the model and the `fit` of this peer."""

    def __init__(self, *, seed: int, recorder: Recorder) -> None:
        super().__init__(name="peer")
        self._seed, self._recorder = seed, recorder
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
        options["callbacks"] = [*options["callbacks"], self._recorder]
        history = model.fit(train, validation_data=validation, **options)
        self.ends.append(time.perf_counter())
        return history


class FixedListOracle(keras_tuner.oracles.RandomSearchOracle):
    """The oracle of RandomSearch, except that it takes the values of its trials from a list."""

    def __init__(self, configurations: list[Configuration], *, seed: int) -> None:
        super().__init__(objective="val_accuracy", max_trials=len(configurations), seed=seed)
        self._configurations = configurations

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        return {
            "status": TrialStatus.RUNNING,
            "values": {**self.hyperparameters.values, **self._configurations[int(trial_id)]},
        }


def train_list(
    *, texts: Texts, configurations: list[Configuration], epochs: int, seed: int
) -> dict[str, Any]:
    """Train the configurations by `Tuner.search`, each for all epochs; only `search` is timed.

    Raises:
        RuntimeError: a trial did not complete.
    """
    with tempfile.TemporaryDirectory() as folder:
        oracle = FixedListOracle(configurations, seed=seed)
        peer = Peer(seed=seed, recorder=Recorder())
        tuner = keras_tuner.Tuner(oracle, peer, directory=folder, project_name="fixed_list")
        started = time.perf_counter()
        tuner.search(texts, epochs=epochs, verbose=0)
        seconds = time.perf_counter() - started
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
    return {"seconds": seconds, "trials": trials}


def search(
    *, tuner: str, texts: Texts, epochs: int, seed: int, budget_seconds: float
) -> list[dict[str, float]]:
    """Search with "random" or "hyperband" for `budget_seconds`.

    Early stopping follows KerasTuner's guide, with the same patience as this program.

    Returns:
        The seconds since the start and the validation accuracy of every epoch.
    """
    recorder = Recorder(budget_seconds=budget_seconds)
    peer = Peer(seed=seed, recorder=recorder)
    stopping = keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=PATIENCE)
    with tempfile.TemporaryDirectory() as folder:
        made = _tuner(tuner, peer, epochs=epochs, seed=seed, folder=Path(folder))
        recorder.started = time.perf_counter()
        with contextlib.suppress(BudgetSpent):
            made.search(texts, epochs=epochs, callbacks=[stopping], verbose=0)
    return recorder.epochs


def _tuner(name: str, peer: Peer, *, epochs: int, seed: int, folder: Path) -> keras_tuner.Tuner:
    """A tuner with so many trials that only the time limit ends its search."""
    options = {
        "objective": "val_accuracy",
        "seed": seed,
        "directory": str(folder),
        "project_name": name,
    }
    if name == "hyperband":
        return keras_tuner.Hyperband(peer, max_epochs=epochs, hyperband_iterations=1000, **options)
    return keras_tuner.RandomSearch(peer, max_trials=1_000_000, **options)
