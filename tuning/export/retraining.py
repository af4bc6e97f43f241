"""The best configuration, or the baseline, trained again on train and validation splits
together.
"""

from __future__ import annotations

import time
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
from tuning.spaces.hyperparameters import Values
from tuning.spaces.loading import SearchSpace, has_own_fit, load_hypermodel
from tuning.study.summary import Summary
from tuning.study.trials import value_of, values_of
from tuning.training import fit, prediction
from tuning.training.callback import Epoch


@dataclass(frozen=True)
class Trained:
    """One configuration retrained on train + validation."""

    trial: FrozenTrial
    values: Values
    epochs: int
    model: keras.Model
    seconds: float

    def classifier(self, n_classes: int) -> Classifier:
        return lambda texts: prediction.predict(
            self.model, prediction.make_view(self.model, self.values, texts), n_classes=n_classes
        )

    def model_scores(self, summary: Summary, scores: Scores) -> ModelScores:
        """Its scores on the test split, with what the search measured of its trial."""
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
    trial: FrozenTrial,
    config: StudyConfig,
    space: SearchSpace,
    space_path: Path,
    corpus: Corpus,
    progress: Progress | None,
) -> Trained:
    """Train on train + validation for the trial's best number of epochs.

    A hypermodel with its own `fit` may train another number, which is the one that is kept.

    Raises:
        ExportError: fewer or more epochs were trained.
    """
    started = time.monotonic()
    epochs, values = int(trial.user_attrs["best_epoch"]), values_of(trial, space)
    n_classes = len(corpus.card.class_names)

    def on_epoch(epoch: Epoch) -> bool:
        if progress:
            progress(f"training trial {trial.number} again", epoch.number / epochs)
        return True

    if progress:
        progress(f"training trial {trial.number} again", 0.0)
    hypermodel = load_hypermodel(space_path)
    model, result = fit.fit(
        hypermodel,
        values,
        train=corpus.split("train") + corpus.split("validation"),
        validation=None,
        n_classes=n_classes,
        config=replace(config.train, epochs=epochs),
        seed=config.seed,
        metric=config.metric,
        on_epoch=on_epoch,
    )
    trained = len(result.history)
    if trained != epochs and not has_own_fit(hypermodel):
        raise ExportError(
            f"Trial {trial.number} must be trained for the {epochs} epochs after which it was best;"
            f" {trained} were trained."
        )
    return Trained(trial, values, trained, model, time.monotonic() - started)
