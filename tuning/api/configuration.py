"""A configuration of a study as a Python object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.spaces.loading import SearchSpace
    from tuning.study.summary import Best


@dataclass(frozen=True)
class Configuration:
    """The configuration of a trial, and its values of the metric.

    Args:
        number: number of the trial.
        hyperparameters: value of each hyperparameter by name.
        value: value of the study's metric in the search.
        is_confirmed: whether the confirmation found it to be the best.
        mean: corrected mean of the metric over fresh seeds; None without a confirmation.
        interval: 95 % confidence interval of `mean`; None without a confirmation.

    Example:
        >>> best = tuning.load_study("ngrams-reviews").best
        >>> best.hyperparameters["ngrams"], best.value
    """

    number: int
    hyperparameters: dict[str, Any]
    value: float
    is_confirmed: bool
    mean: float | None = None
    interval: tuple[float, float] | None = None


def configuration_of(best: Best, space: SearchSpace) -> Configuration:
    """Return the best trial of a study as a configuration."""
    from tuning.study.trials import value_of, values_of

    mean = best.mean
    return Configuration(
        number=best.trial.number,
        hyperparameters=dict(values_of(best.trial, space)),
        value=value_of(best.trial),
        is_confirmed=best.is_confirmed,
        mean=mean.value if mean else None,
        interval=(mean.low, mean.high) if mean else None,
    )
