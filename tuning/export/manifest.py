"""The complete contents of `export.json`: the part that is read for predictions, and the facts of
the search, the training and the scores of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tuning.documents import OMIT_DEFAULT
from tuning.evaluation.scores import ScoreInterval, SplitScores
from tuning.export.parity import Measurements
from tuning.inference.manifest import ExportedFormat, Manifest
from tuning.inputs.data_card import DataFacts
from tuning.spaces.ranges import Values


@dataclass(frozen=True, kw_only=True)
class MeasuredFormat(ExportedFormat, Measurements):
    """A format with its measurements."""


@dataclass(frozen=True, kw_only=True)
class WrittenFormats:
    """The formats of an export by their paths, the reasons for the formats that were left out, and
    the limits of the model.
    """

    forms: Mapping[str, MeasuredFormat]
    left_out: dict[str, str]
    limits: list[str]
    n_parity_texts: int


@dataclass(frozen=True, kw_only=True)
class SearchFacts:
    sampler: str
    pruner: str
    n_trials: dict[str, int]
    value: float
    n_folds: int = field(default=1, metadata=OMIT_DEFAULT)
    is_baseline: bool
    starting_point: int | None = field(default=None, metadata=OMIT_DEFAULT)
    is_confirmed_best: bool
    # Version 0.1.0 did not write this field.
    n_shared_seeds: int = 0
    is_resplit: bool = field(default=False, metadata=OMIT_DEFAULT)
    repeats: dict[str, float | None]
    corrected_mean: ScoreInterval | None


@dataclass(frozen=True, kw_only=True)
class FullManifest(Manifest, SplitScores, WrittenFormats):
    forms: Mapping[str, MeasuredFormat]
    space: str
    data: str
    metric: str
    trial: int
    hyperparameters: Values
    epochs: float
    seed: int
    n_rows: dict[str, int]
    data_card: DataFacts
    majority_share: float
    data_fingerprint: str
    space_fingerprint: str
    versions: dict[str, str]
    git_commit: str | None
    weight_column: str | None = field(default=None, metadata=OMIT_DEFAULT)
    class_weight: str = field(default="", metadata=OMIT_DEFAULT)
    search: SearchFacts
