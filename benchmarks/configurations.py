"""The two lists of configurations that the sides of `make bench-throughput` train, and the settings
that all sides share.

The configurations of the fixed list were chosen by hand before any timing: both ends of every range
occur, small and large models alternate, and the first configuration is the search space's default,
because trial 0 of a study is its baseline. All have a learning rate of 0.001 and a dropout of 0.2.
"""

from pathlib import Path
from typing import Any

from tuning.config import StudyConfig
from tuning.spaces.files import find_space
from tuning.spaces.hyperparameters import defaults
from tuning.spaces.loading import declare

SPACE_PATH = Path(__file__).parent / "spaces" / "same_space.py"
BATCH_SIZE = 128
DROPOUT = 0.2
LEARNING_RATE = 1e-3
# Decimal digits of an accuracy. Keras computes float32, in which accuracies of equally many texts
# can differ in the eighth digit.
DIGITS = 6

RANGES = {
    "vocab_size": (1_000, 30_000),
    "sequence_length": (40, 200),
    "embedding_dim": (8, 64),
    "lstm_units": (8, 128),
}
_ROWS = (
    (20_000, 100, 20, 32),
    (1_000, 40, 8, 8),
    (30_000, 200, 64, 128),
    (5_000, 120, 32, 16),
    (10_000, 160, 16, 64),
    (2_000, 200, 16, 24),
    (15_000, 80, 48, 96),
    (8_000, 60, 64, 48),
)

Configuration = dict[str, Any]


def fixed_list() -> list[Configuration]:
    return [
        {**dict(zip(RANGES, row, strict=True)), "learning_rate": LEARNING_RATE} for row in _ROWS
    ]


def default_space_path() -> Path:
    return find_space(StudyConfig.space)


def starting_points() -> list[Configuration]:
    """Return the notebook's model, which is the default space's default, and a configuration of
    each architecture.
    """
    space = declare(default_space_path(), n_classes=2)
    return [defaults(space.hyperparameters), *space.starting_points]
