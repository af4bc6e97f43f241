"""The configuration of a study: data, search space, objective, sampler, pruner and training.

The dataclasses are frozen and validated, and those of a study are saved as JSON. The module has
over 500 lines because two kinds of dataclasses use the same limits and checks: the groups of
arguments, whose docstrings are the help of their flags, and the settings of a study.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from cyclopts import Parameter

from tuning.documents import OMIT_DEFAULT
from tuning.errors import ArgumentError
from tuning.metrics import DEFAULT_TARGET, METRICS, OBJECTIVES, metric_of, objectives_of, sign

if TYPE_CHECKING:
    import pandas as pd

    Rows: TypeAlias = str | Path | pd.DataFrame | None
    ColumnNames: TypeAlias = str | Sequence[str] | None
else:  # The command line reads annotations, takes texts, and must not import pandas.
    Rows = ColumnNames = str | None

SAMPLERS = ("tpe", "random", "cmaes", "grid", "qmc", "gp")
PRUNERS = ("asha", "hyperband", "successive_halving", "median", "none")
POOLS = ("process", "ray")
DEFAULT_TRIALS = 20
MAX_TRIALS = 1_000_000  # number of trials of a search that only its duration limits
AUTO = "auto"  # value of `folds` for a number that depends on the data
DEFAULT_POSITIVE_FROM = 3.0  # the notebook's rule: 3 stars or more are positive
# Minimum number of texts that a trial trains before it is compared with other trials for the first
# time. Data sets of fewer than twice as many training texts have whole epochs only. In a search on
# the film reviews, the architectures differ clearly after one epoch of 17,500 texts.
MIN_TEXTS = 16_384
SPLITS = ("train", "validation", "test")


def counted_splits(counts_validation: bool) -> tuple[str, ...]:
    """Return the splits in which words and n-grams are counted."""
    return SPLITS[:2] if counts_validation else SPLITS[:1]


MAX_FOLDS = 20
# Number of folds of a new study whose data have fewer rows that are not test. On a small validation
# split luck decides: of 150 rows, three are two points of accuracy. Five folds cost about
# twice as much as one split on 1,000 rows (docs/search.md).
AUTO_FOLDS, AUTO_FOLDS_ROWS = 5, 5_000
BALANCED = "balanced"  # the class weights that give all classes the same weight in the loss
CLASS_WEIGHT = re.compile(r"(.+?):([^:,]+)(?:,|$)")  # The name of a class may have commas.
TFDS_SPLIT = "tfds_split"  # the column with the split of each row of a TFDS data set
# Objectives that are minimized beside the metric → the trial's attribute that contains their value.
COSTS = {"n_params": "n_parameters", "latency_ms": "latency_ms"}
# Maximum number of workers of a call. All start together, and each is a process with TensorFlow of
# its own; no machine has 1,000 GPUs, and few have 1,000 CPU cores.
MAX_WORKERS = 1_000
# A worker that computes uses CPU time in every second; 60 s is far above the pauses of a busy disk.
SILENT_SECONDS = 60.0


def check_name(kind: str, value: str, allowed: tuple[str, ...]) -> None:
    # An Objective of KerasTuner can't be compared with a text.
    if not isinstance(value, str) or value not in allowed:
        raise ArgumentError(f"{kind} must be one of {', '.join(allowed)}; received {value!r}.")


def as_number(name: str, value: Any, *, is_integer: bool) -> float:
    """Return a number of Python for a number of NumPy, and an integer for a float such as 1e6."""
    plain = value.item() if hasattr(value, "item") and not getattr(value, "ndim", 0) else value
    is_number = isinstance(plain, int | float) and not isinstance(plain, bool)
    if not is_number or (is_integer and not float(plain).is_integer()):
        kind = "a whole number" if is_integer else "a number"
        raise ArgumentError(f"{name} must be {kind}; received {value!r}.")
    number: float = int(plain) if is_integer else plain
    return number


def number_of_folds(value: int | str | None) -> int | str | None:
    if value is None or value == AUTO:
        return value
    try:
        given = float(value) if isinstance(value, str) else value
        number = int(as_number("folds", given, is_integer=True))
    except ValueError:
        raise ArgumentError(
            f"folds must be a whole number, or {AUTO!r}; received {value!r}."
        ) from None
    TrainConfig(n_folds=number)  # refuses a number out of range
    return number


def require_positive(settings: Mapping[str, float | None]) -> None:
    for name, value in settings.items():
        # `value <= 0` would accept NaN.
        if value is not None and not as_number(name, value, is_integer=False) > 0:
            raise ArgumentError(f"{name} must be more than 0; received {value:g}.")


def class_weight_table(text: str) -> dict[str, float]:
    """Return the weight of each class in a text such as "negative:1,positive:5"."""
    return {name.strip(): float(weight) for name, weight in CLASS_WEIGHT.findall(text)}


def class_weight_text(value: str | Mapping[Any, Any]) -> str:
    text: Any = value
    if isinstance(value, Mapping):
        text = ",".join(f"{name}:{weight}" for name, weight in value.items())
    if text in ("", BALANCED):
        return str(text)
    try:
        table, others = class_weight_table(text), CLASS_WEIGHT.sub("", text).strip()
    except (TypeError, ValueError):
        table, others = {}, ""
    is_finite = all(map(math.isfinite, table.values()))
    if not table or others or not is_finite or len(table) < len(CLASS_WEIGHT.findall(text)):
        raise ArgumentError(
            f"class_weight must be {BALANCED}, or a number for each class, as in"
            f" negative:1,positive:5; received {value!r}."
        )
    require_positive({f"class_weight of {name!r}": weight for name, weight in table.items()})
    # Equal weights must give equal texts, because a study refuses a text that differs from its own.
    return ",".join(f"{name}:{weight:.15g}" for name, weight in sorted(table.items()))


def weights_text(weight_column: str | None, class_weight: str) -> str:
    classes = "balanced weights" if class_weight == BALANCED else f"the weights {class_weight}"
    rows = f"rows were weighted by the column {weight_column}" if weight_column else ""
    return " and ".join(filter(None, (rows, class_weight and f"classes had {classes}")))


@dataclass(frozen=True)
class Data:
    """The labeled texts of a study.

    Args:
        data: data set: movie_reviews, tfds:NAME for a data set of TensorFlow Datasets, the path or
            pattern of files, or, in Python, a data frame, which is written into the study's folder
            (default movie_reviews).
        texts: the texts as a list, instead of `data` (default: none).
        labels: the labels of `texts`: one for each text, or for kind labels lists of names, or
            columns of 0 and 1 (default: none).
        text_column: name of the column of texts (default: the first that exists of review_body,
            text, review, sentence, content, body).
        label_column: name of the column of labels, or for kind labels the names of several columns
            of 0 and 1, with commas between them or, in Python, in a list (default: the first that
            exists of star_rating, rating, stars, sentiment, label).
        data_dir: folder of prepared TensorFlow Datasets (default ~/tensorflow_datasets).
        kind: what the model predicts of a text: classes, one of 2 to 100; labels, none, one or
            several of 2 to 100; order, one of several numbers, such as 1 to 5 stars; or number, any
            number (default classes).
        positive_from: minimum number of stars of a positive review; 0 makes each number of stars a
            class (default 3).
        drop_stars: numbers of stars whose rows are not used (default: all rows are used).
        group_column: name of a column of groups, such as products or authors: all rows of a group
            are in the same split (default: the splits are drawn by text).
        time_column: name of a column of dates or numbers: the test split is the last in time, and
            the validation split the last of the rest (default: the splits are drawn at random).
        weight_column: name of a column of numbers, 0 or more, by which the loss of each row is
            multiplied in the training (default: all rows count equally).
        split_column: name of a column with the split of each row: train, validation (or val, dev,
            valid) or test. A split that the column lacks is drawn from train (default: all splits
            are drawn; a data set of TensorFlow Datasets keeps its own test split).
        validation: path or pattern of the files of the validation split, with the columns of `data`
            (default: the validation split is drawn).
        test: path or pattern of the files of the test split, with the columns of `data` (default:
            the test split is drawn).

    Example:
        >>> data = tuning.Data("reviews.csv", positive_from=4, drop_stars=[3])
    """

    data: Rows = None
    _: KW_ONLY
    texts: Annotated[Sequence[str] | None, Parameter(parse=False)] = None
    labels: Annotated[Sequence[Any] | None, Parameter(parse=False)] = None
    text_column: str | None = None
    label_column: ColumnNames = None
    data_dir: str | Path | None = None
    kind: str | None = None
    positive_from: float | None = None
    drop_stars: Sequence[float] = ()
    group_column: str | None = None
    time_column: str | None = None
    weight_column: str | None = None
    split_column: str | None = None
    validation: str | Path | None = None
    test: str | Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.drop_stars, int | float):
            raise ArgumentError(
                f"drop_stars must be a list of numbers; received {self.drop_stars}."
            )
        if self.positive_from is not None:
            number = as_number("positive_from", self.positive_from, is_integer=False)
            object.__setattr__(self, "positive_from", number)


@dataclass(frozen=True)
class Workers:
    """The workers that train. They are not stored with a study, because its results do not depend
    on them.

    Args:
        n_workers: number of workers (default: one for each GPU, or for each CPU core if there is no
            GPU; with pool ray, as many as the cluster has room for).
        pool: where trials are trained: process, on this machine, or ray, on a Ray cluster (default
            process).
        ray_address: address of a running Ray cluster: auto or HOST:PORT (default: this call starts
            a Ray cluster of its own on this machine).
        cpus_per_worker: number of CPUs that Ray reserves for each worker (default 1).
        gpus_per_worker: number of GPUs that Ray reserves for each worker; 0.5 lets two workers
            share a GPU (default: 1 if the cluster has GPUs, otherwise 0).

    Raises:
        ArgumentError: a value is out of range, or needs another `pool`.

    Example:
        >>> workers = tuning.Workers(8, pool="ray", ray_address="auto")
    """

    n_workers: Annotated[int | None, Parameter(name="--workers")] = None
    _: KW_ONLY
    pool: str = "process"
    ray_address: str | None = None
    cpus_per_worker: float | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        check_name("pool", self.pool, POOLS)
        if self.n_workers is not None:
            object.__setattr__(
                self, "n_workers", as_number("workers", self.n_workers, is_integer=True)
            )
            if not 1 <= self.n_workers <= MAX_WORKERS:
                raise ArgumentError(
                    f"workers must be a number from 1 to {MAX_WORKERS}; received {self.n_workers}."
                )
        for name in ("ray_address", "cpus_per_worker", "gpus_per_worker"):
            value = getattr(self, name)
            if value is not None and self.pool != "ray":
                raise ArgumentError(
                    f"{name} must go with pool 'ray'; received {value!r} with pool {self.pool!r}."
                )
        require_positive({"cpus_per_worker": self.cpus_per_worker})
        if self.gpus_per_worker is not None and not self.gpus_per_worker >= 0:
            raise ArgumentError(
                f"gpus_per_worker must be 0 or more; received {self.gpus_per_worker:g}."
            )
        if self.ray_address is not None and "://" in self.ray_address:
            raise ArgumentError(
                "ray_address must be auto or host:port, on a machine of the cluster; received"
                f" {self.ray_address!r}."
            )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one trial. A worker that exceeds one of them is replaced, and its trial fails.

    Args:
        trial_seconds: maximum duration of a trial, in seconds (default: no limit).
        trial_memory_mb: maximum memory of a worker, in MB (default: an equal share of 90 % of the
            machine's memory, but at least 2048 MB).
        silent_seconds: maximum time, in seconds, in which a worker sends no message and uses no CPU
            (default 60).

    Raises:
        ArgumentError: a limit is not more than 0.

    Example:
        >>> limits = tuning.Limits(trial_seconds=600, trial_memory_mb=4096)
    """

    trial_seconds: float | None = None
    trial_memory_mb: float | None = None
    silent_seconds: float = SILENT_SECONDS

    def __post_init__(self) -> None:
        require_positive(vars(self))


def parse_objectives(text: str) -> tuple[str, tuple[str, ...]]:
    """Split `val_accuracy,latency_ms` into the metric and the costs."""
    metric, *costs = (name.strip() for name in text.split(","))
    if (
        metric not in OBJECTIVES
        or not costs
        or not set(costs) <= set(COSTS)
        or len(set(costs)) < len(costs)
    ):
        raise ArgumentError(
            f"objectives must be a metric ({', '.join(OBJECTIVES)}), then {' or '.join(COSTS)} or"
            f" both; received {text!r}."
        )
    return metric, tuple(costs)


def exceeded(limits: Mapping[str, float], sizes: Mapping[str, Any]) -> dict[str, float]:
    return {name: limit for name, limit in limits.items() if sizes[name] > limit}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A source of labeled texts, how its labels are read, and which rows are for training,
    validation and test. `kind` is the kind of target.
    """

    # A study of a newer version may have a setting that this version does not apply. The document
    # must not be read as a study without this setting.
    refuses_unknown_keys: ClassVar[bool] = True

    data: str = "movie_reviews"
    text_column: str | None = None
    label_column: str | None = None
    data_dir: str | None = None
    positive_from: float = DEFAULT_POSITIVE_FROM
    drop_stars: tuple[float, ...] = ()
    group_column: str | None = field(default=None, metadata=OMIT_DEFAULT)
    time_column: str | None = field(default=None, metadata=OMIT_DEFAULT)
    weight_column: str | None = field(default=None, metadata=OMIT_DEFAULT)
    split_column: str | None = field(default=None, metadata=OMIT_DEFAULT)
    validation: str | None = field(default=None, metadata=OMIT_DEFAULT)
    test: str | None = field(default=None, metadata=OMIT_DEFAULT)
    kind: str = field(default=DEFAULT_TARGET, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "drop_stars", tuple(sorted(float(star) for star in self.drop_stars))
        )
        if not self.data:
            raise ArgumentError("data must name a source; received an empty string.")
        known = {target for metric in METRICS.values() for target in metric.targets}
        check_name("kind", self.kind, tuple(sorted(known)))
        if self.positive_from != DEFAULT_POSITIVE_FROM and self.kind != DEFAULT_TARGET:
            raise ArgumentError(
                f"positive_from must be left out with kind {self.kind!r}, which makes no classes of"
                f" stars; received {self.positive_from:g}."
            )
        if self.drop_stars and self.kind == "labels":
            stars = ", ".join(f"{star:g}" for star in self.drop_stars)
            raise ArgumentError(
                "drop_stars must be left out with kind 'labels', which has no stars; received"
                f" {stars}."
            )
        for name in SPLITS[1:]:
            if getattr(self, name) and self.split_column:
                raise ArgumentError(
                    f"split_column must be left out with files of the {name} split; received"
                    f" {self.split_column!r}."
                )

    @property
    def files(self) -> dict[str, str]:
        return given(validation=self.validation, test=self.test)

    @property
    def roles(self) -> dict[str, str]:
        """The columns that decide the splits, by what they contain."""
        return given(group=self.group_column, time=self.time_column, split=self.split_column)

    @property
    def split(self) -> str:
        """The kind of split in `tuning.data.splits` that draws the rows of a split."""
        return "time" if self.time_column else "group" if self.group_column else "random"

    def with_own_splits(self) -> DataConfig:
        """Return the settings of a new study: a data set of TensorFlow Datasets keeps its own test
        split.
        """
        if not self.data.startswith("tfds:") or self.split_column or self.files:
            return self
        return replace(self, split_column=TFDS_SPLIT)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of one training. The defaults are the baseline's: 5 epochs, batches of 128.

    `parts_per_epoch` is the number of equal parts of an epoch, after some of which a training is
    evaluated (`fidelity`); 1 if it is evaluated after whole epochs only. A training ends after
    `patience` whole epochs without a better value. `evaluates_fitted`: whether a model that `adapt`
    has fitted is evaluated before its training too; False for studies of earlier versions.
    `n_folds`: number of folds of the rows that are not test, on each of which a configuration is
    trained; 1 for the training and the validation split. `class_weight`: as `class_weight_text`
    returns it; empty if all classes have the weight 1.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    epochs: int = 5
    batch_size: int = 128
    patience: int = 2
    parts_per_epoch: int = field(default=1, metadata=OMIT_DEFAULT)
    evaluates_fitted: bool = field(default=False, metadata=OMIT_DEFAULT)
    n_folds: int = field(default=1, metadata=OMIT_DEFAULT)
    class_weight: str = field(default="", metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "parts_per_epoch"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be 1 or more; received {getattr(self, name)}.")
        object.__setattr__(self, "class_weight", class_weight_text(self.class_weight))
        if not 1 <= self.n_folds <= MAX_FOLDS:
            raise ArgumentError(
                f"folds must be a number from 1 to {MAX_FOLDS}, or {AUTO!r}; received"
                f" {self.n_folds}."
            )

    @property
    def step(self) -> str:
        """What a trial reports a value after, and may be paused after."""
        return "epoch" if self.n_folds == 1 else "fold"

    @property
    def n_steps(self) -> int:
        return self.epochs if self.n_folds == 1 else self.n_folds


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """The settings that all trials of a study share, which makes the trials comparable.

    The default of `metric` is the first objective of the kind of target: `val_accuracy` of classes.
    `costs` are minimized beside the metric. A study with costs has a Pareto front, and prunes no
    trial: a trial with a worse metric may still be on the front. A trial whose model has more than
    `max_parameters`, or a latency above `max_latency_ms` for a single text, can't be the best.
    `sampler` and `pruner` are words, or the class names of objects that a user has passed.
    `preset`, `vocab_size` and `sequence_length` are the values of the hyperparameters of these
    names, or None if the search space decides them. `resplit`: whether each seed of a confirmation
    draws training and validation rows of its own; None for studies of earlier versions, which have
    confirmations on one split. `counts_validation`: whether words and n-grams are counted in the
    validation split too; None with one split, and for studies with folds of earlier versions, which
    count in the training split alone.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    study: str
    space: str = "text"
    metric: str = ""
    costs: tuple[str, ...] = ()
    max_parameters: int | None = None
    max_latency_ms: float | None = None
    sampler: str = "tpe"
    pruner: str = "asha"
    seed: int = 0
    preset: str | None = field(default=None, metadata=OMIT_DEFAULT)
    vocab_size: int | None = field(default=None, metadata=OMIT_DEFAULT)
    sequence_length: int | None = field(default=None, metadata=OMIT_DEFAULT)
    resplit: bool | None = field(default=None, metadata=OMIT_DEFAULT)
    counts_validation: bool | None = field(default=None, metadata=OMIT_DEFAULT)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        objectives = objectives_of(self.data.kind)
        object.__setattr__(self, "metric", self.metric or objectives[0])
        self._check_metric(objectives)
        if not 0 <= self.seed < 2**31:
            raise ArgumentError(f"seed must lie in 0..{2**31 - 1}; received {self.seed}.")
        if self.preset == "":  # The path "" would be the working directory.
            raise ArgumentError(
                "preset must be a folder, an address, a name or a file; received ''."
            )
        object.__setattr__(self, "costs", tuple(self.costs))
        require_positive(
            {"max_parameters": self.max_parameters, "max_latency_ms": self.max_latency_ms}
        )
        for name, size, smallest in (
            # The rows of padding, of unknown words and of one word.
            ("vocab_size", self.vocab_size, 3),
            ("sequence_length", self.sequence_length, 1),
        ):
            if size is not None and size < smallest:
                raise ArgumentError(f"{name} must be {smallest} or more; received {size}.")
        self._check_costs()

    def _check_metric(self, objectives: tuple[str, ...]) -> None:
        is_known = isinstance(self.metric, str) and self.metric in OBJECTIVES
        if is_known and self.metric not in objectives:
            raise ArgumentError(
                f"metric {self.metric!r} must come with kind"
                f" {' or '.join(metric_of(self.metric).targets)}; received kind {self.data.kind},"
                f" whose metrics are {', '.join(objectives)}."
            )
        check_name("metric", self.metric, objectives)

    def _check_costs(self) -> None:
        for cost in self.costs:
            check_name("cost", cost, tuple(COSTS))
        if self.costs and self.pruner != "none":
            raise ArgumentError(
                f"pruner must be none in a study of several objectives; received {self.pruner!r}."
            )
        # Optuna's CmaEsSampler refuses a study of several objectives.
        if self.costs and self.sampler in ("cmaes", "CmaEsSampler"):
            raise ArgumentError(
                "sampler must be tpe, random, grid, qmc or gp in a study of several objectives;"
                f" received {self.sampler!r}."
            )

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        directions: list[Literal["minimize", "maximize"]] = [
            "minimize" if sign(self.metric) < 0 else "maximize"
        ]
        return directions + ["minimize"] * len(self.costs)

    @property
    def limits(self) -> dict[str, float]:
        limits = {"n_parameters": self.max_parameters, "latency_ms": self.max_latency_ms}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def measures_latency(self) -> bool:
        return "latency_ms" in self.costs or self.max_latency_ms is not None


# The search space of a new study with a preset.
SPACE_OF_PRESETS = "frozen_encoder"


def is_keras_file(preset: object) -> bool:
    """Return whether a preset, which may be None, is a file of a Keras model, which takes the texts
    themselves.
    """
    return str(preset).endswith(".keras") and "://" not in str(preset)


def differences(
    recorded: Mapping[str, Any], requested: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Return both values at each place, such as `train.epochs`, where they differ."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted(set(recorded) | set(requested)):
        old, new = recorded.get(name), requested.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found[f"{prefix}{name}"] = (old, new)
    return found


def given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
