"""How much each hyperparameter decides whether a trial is among the best, and how sure that is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from tuning.config import sign
from tuning.evaluation.statistics import Interval, bootstrap_bounds
from tuning.study.summary import Summary
from tuning.study.trials import value_of

# PED-ANOVA compares the best tenth of the trials with all of them. In 100 simulated studies of four
# hyperparameters, one of which decides, that one came first in 19 % of the studies of 4 trials, in
# 26 % with 8 trials (chance: 25 %), 70 % with 20 and 98 % with 50.
MIN_TRIALS = 20
# The best tenth of 50 trials has the 5 trials that the documentation of
# `PedAnovaImportanceEvaluator` asks for. Of 20,000 simulated resamples of 20 trials, 42 % have a
# single trial, drawn several times, as their best tenth, and so an importance that no study gave;
# of 30 trials 13 %, of 40 trials 2.9 %, of 50 trials 0.6 %. An interval that leaves out 2.5 % at
# either end needs far fewer than 2.5 %.
MIN_INTERVAL_TRIALS = 50
N_RESAMPLES = 100  # of the trials


def importances(summary: Summary, *, seed: int = 0) -> dict[str, Interval]:
    """PED-ANOVA importances by the metric (Watanabe et al., IJCAI 2023), most important first;
    empty below `MIN_TRIALS` completed trials.

    Intervals are those of the percentile bootstrap over the completed trials; below
    `MIN_INTERVAL_TRIALS` their bounds are NaN.
    """
    trials = summary.ranked
    if len(trials) < MIN_TRIALS:
        return {}
    found = _evaluate(trials, summary)
    ordered = sorted(
        (name for name in found if not math.isnan(found[name])), key=lambda name: -found[name]
    )
    rng = np.random.default_rng(seed)
    n_resamples = N_RESAMPLES if len(trials) >= MIN_INTERVAL_TRIALS else 0
    resampled = [
        _evaluate([trials[n] for n in rng.integers(0, len(trials), len(trials))], summary)
        for _ in range(n_resamples)
    ]
    values = {name: np.array([one.get(name, math.nan) for one in resampled]) for name in ordered}
    return {name: Interval(found[name], *bootstrap_bounds(values[name])) for name in ordered}


def study_of(trials: Sequence[FrozenTrial], summary: Summary) -> optuna.Study:
    """A study in memory of these completed trials, its one objective the metric."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else a line for each study
    try:
        study = optuna.create_study(
            direction="maximize" if sign(summary.metric) > 0 else "minimize"
        )
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(
        [
            create_trial(value=value_of(t), params=t.params, distributions=t.distributions)
            for t in trials
        ]
    )
    return study


def _evaluate(trials: Sequence[FrozenTrial], summary: Summary) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about trials that are too alike; too few are refused above
        try:
            found: dict[str, float] = optuna.importance.get_param_importances(
                study_of(trials, summary), evaluator=PedAnovaImportanceEvaluator()
            )
        except (
            ValueError,
            RuntimeError,
            ZeroDivisionError,
        ):  # all values equal, or no parameter in every trial
            return {}
    return found
