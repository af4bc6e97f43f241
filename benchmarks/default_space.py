"""The default search space, `reviews`, as both this program and KerasTuner search it, and the
configurations of it that `make bench-throughput` trains.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.configurations import Configuration
from tuning.config import StudyConfig
from tuning.data.corpus import build_corpus
from tuning.data.ngrams import build_ngrams
from tuning.data.splits import SplitReviews
from tuning.spaces.files import find_space
from tuning.spaces.hyperparameters import defaults
from tuning.spaces.loading import declare

EPOCHS = 1  # number of epochs of a trial; the models are larger than in `configurations`


def space_path() -> Path:
    """Return the path of the default search space."""
    return find_space(StudyConfig.space)


def starting_points() -> list[Configuration]:
    """Return the space's defaults, which are the notebook's model, and its starting points: one
    configuration of each architecture.
    """
    space = declare(space_path(), n_classes=2)
    points: list[Any] = [defaults(space.hyperparameters), *space.starting_points]
    return points


def write_corpus(*, splits: SplitReviews, folder: Path) -> None:
    """Tokenize the texts and count their n-grams for KerasTuner, before its time is measured."""
    build_ngrams(build_corpus(folder, splits))
