"""A plain Optuna script in the style of Optuna's Keras example: one process, one objective function
and a pruning callback.
"""

from __future__ import annotations

import time
from typing import Any

import keras
import optuna
from optuna_integration import KerasPruningCallback

from benchmarks.configurations import DIGITS, RANGES, Configuration
from benchmarks.peers.model import masked_lstm, vectorized
from benchmarks.processes import cpu_seconds
from tuning.data.splits import SplitReviews


def train_list(
    *, splits: SplitReviews, configurations: list[Configuration], epochs: int, seed: int
) -> dict[str, Any]:
    """Train the configurations, each for all epochs; only `study.optimize` is timed."""

    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        values = {name: trial.suggest_int(name, low, high) for name, (low, high) in RANGES.items()}
        learning_rate = trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True)
        length = values.pop("sequence_length")
        train, validation = vectorized(
            splits, vocab_size=values["vocab_size"], sequence_length=length, seed=seed
        )
        model = masked_lstm(**values, learning_rate=learning_rate)
        callbacks = [KerasPruningCallback(trial, "val_accuracy")]
        history = model.fit(
            train, validation_data=validation, epochs=epochs, callbacks=callbacks, verbose=0
        )
        return round(float(max(history.history["val_accuracy"])), DIGITS)

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        # The example has MedianPruner, but all sides must finish the same trials.
        pruner=optuna.pruners.NopPruner(),
    )
    for values in configurations:
        study.enqueue_trial(values)
    started, cpu_started = time.perf_counter(), cpu_seconds()
    study.optimize(objective, n_trials=len(configurations))
    seconds, cpu_used = time.perf_counter() - started, cpu_seconds() - cpu_started
    trials = [
        {
            "values": trial.params,
            "val_accuracy": trial.value,
            "seconds": round(trial.duration.total_seconds(), 3) if trial.duration else None,
        }
        for trial in study.trials
    ]
    return {"seconds": seconds, "cpu_seconds": cpu_used, "trials": trials}
