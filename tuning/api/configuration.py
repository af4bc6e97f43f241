"""A configuration of a study as a Python object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Configuration:
    """The configuration of a trial and how good it is.

    Args:
        number: number of the trial.
        hyperparameters: value of each hyperparameter by name.
        value: value of the study's metric in the search.
        is_confirmed: whether the confirmation found it to be the best.
        mean: corrected mean of the metric over fresh seeds; None without a confirmation.
        interval: 95 % confidence interval of `mean`; None without a confirmation.
    """

    number: int
    hyperparameters: dict[str, Any]
    value: float
    is_confirmed: bool
    mean: float | None = None
    interval: tuple[float, float] | None = None
