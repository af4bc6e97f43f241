"""What a study is: data, search space, objective, sampler, pruner and training; frozen, validated,
saved as JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

METRICS = ("val_accuracy", "val_balanced_accuracy", "val_f1", "val_auc", "val_loss")
SAMPLERS = ("tpe", "random", "cmaes", "grid", "qmc")
PRUNERS = ("asha", "hyperband", "median", "none")
DEFAULT_TRIALS = 20
DEFAULT_POSITIVE_FROM = 3.0  # the notebook's rule: 3 stars or more are positive
SPLITS = ("train", "validation", "test")
# Objectives beside the metric, of which less is better → the attribute of a trial that holds them.
COSTS = {"n_params": "n_parameters", "latency_ms": "latency_ms"}


def check_name(kind: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a name that is not in `allowed`.

    Raises:
        ValueError: with the allowed names.
    """
    if value not in allowed:
        raise ValueError(f"{kind} must be one of {', '.join(allowed)}; received {value!r}.")


def sign(metric: str) -> int:
    """1 for a metric of which more is better, -1 for one of which less is."""
    return -1 if metric == "val_loss" else 1


def parse_objectives(text: str) -> tuple[str, tuple[str, ...]]:
    """The metric and the costs out of `val_accuracy,latency_ms`.

    Raises:
        ValueError: not one metric, then costs, each once.
    """
    metric, *costs = (name.strip() for name in text.split(","))
    if (
        metric not in METRICS
        or not costs
        or not set(costs) <= set(COSTS)
        or len(set(costs)) < len(costs)
    ):
        raise ValueError(
            f"--objectives must be a metric ({', '.join(METRICS)}), then {' or '.join(COSTS)} or"
            f" both; received {text!r}."
        )
    return metric, tuple(costs)


def exceeded(limits: Mapping[str, float], sizes: Mapping[str, Any]) -> dict[str, float]:
    """The limits that a model's sizes are over, by name."""
    return {name: most for name, most in limits.items() if sizes[name] > most}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A source of labelled texts and how its labels become classes."""

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
            raise ValueError("data must name a source; received an empty string.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training. The defaults are the baseline's: 5 epochs of batches of 128."""

    refuses_unknown_keys: ClassVar[bool] = True

    epochs: int = 5
    batch_size: int = 128
    patience: int = 2

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; received {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything that makes two trials of a study comparable.

    `costs` are minimised beside the metric: with one, the study has a Pareto front, and no trial is
    pruned, because one that is worse by the metric may be on it. A model of more than
    `max_parameters`, or of more than `max_latency_ms` for a single review, can't win.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    study: str
    space: str = "baseline_lstm"
    metric: str = "val_accuracy"
    costs: tuple[str, ...] = ()
    max_parameters: int | None = None
    max_latency_ms: float | None = None
    sampler: str = "tpe"
    pruner: str = "asha"
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_name("metric", self.metric, METRICS)
        check_name("sampler", self.sampler, SAMPLERS)
        check_name("pruner", self.pruner, PRUNERS)
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must lie in 0..{2**31 - 1}; received {self.seed}.")
        object.__setattr__(self, "costs", tuple(self.costs))
        for cost in self.costs:
            check_name("cost", cost, tuple(COSTS))
        for name, limit in (
            ("--max-parameters", self.max_parameters),
            ("--max-latency-ms", self.max_latency_ms),
        ):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be more than 0; received {limit:g}.")
        if self.costs and self.pruner != "none":
            raise ValueError(
                f"pruner must be none where there are several objectives; received {self.pruner!r}."
            )
        if self.costs and self.sampler == "cmaes":
            raise ValueError(
                "sampler must be tpe, random, grid or qmc where there are several objectives;"
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
        """The most that an attribute of a trial may be."""
        limits = {"n_parameters": self.max_parameters, "latency_ms": self.max_latency_ms}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def measures_latency(self) -> bool:
        """Whether a trial must know its latency."""
        return "latency_ms" in self.costs or self.max_latency_ms is not None


def differences(
    recorded: Mapping[str, Any], requested: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Lines "name: recorded X, requested Y" for each value that differs, nested dicts by dotted
    name.
    """
    lines = []
    for name in sorted(set(recorded) | set(requested)):
        old, new = recorded.get(name), requested.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{name}.")
        elif old != new and not (
            isinstance(old, list | tuple) and isinstance(new, list | tuple) and [*old] == [*new]
        ):
            lines.append(f"{prefix}{name}: the study has {old!r}, this command asks for {new!r}")
    return lines
