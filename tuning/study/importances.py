"""The importance of each hyperparameter for being among the best trials, with its interval."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from tuning.evaluation.statistics import Interval, bootstrap_bounds
from tuning.metrics import sign
from tuning.study.summary import Summary
from tuning.study.trials import value_of, without_copies

# PED-ANOVA compares the best tenth of the trials with all of them. In 100 simulated studies of four
# hyperparameters, only one of which has an effect, that hyperparameter had the highest importance
# in 19 % of the studies of 4 trials, in 26 % with 8 trials (chance: 25 %), 70 % with 20 and 98 %
# with 50.
MIN_TRIALS = 20
# The best tenth of 50 trials has the 5 trials that the documentation of
# `PedAnovaImportanceEvaluator` requires. The best tenth of a resample can be a single trial that
# was drawn several times, which gives an importance that no study can have. That is so in 42 % of
# 20,000 simulated resamples of 20 trials, in 13 % with 30 trials, 2.9 % with 40 and 0.6 % with 50.
# An interval that leaves out 2.5 % at either end needs a share far below 2.5 %.
MIN_INTERVAL_TRIALS = 50
N_RESAMPLES = 100  # Number of bootstrap samples of the trials.


def importances(summary: Summary) -> dict[str, Interval]:
    """Return the PED-ANOVA importance of each hyperparameter for the metric (Watanabe et al., IJCAI
    2023), in descending order; empty below `MIN_TRIALS` completed trials.

    The intervals are from the percentile bootstrap over the completed trials. Below
    `MIN_INTERVAL_TRIALS` completed trials their bounds are NaN.
    """
    trials = without_copies(summary.ranked)
    if len(trials) < MIN_TRIALS:
        return {}
    importance = _evaluate(trials, summary)
    defined = [name for name in importance if not math.isnan(importance[name])]
    ordered = sorted(defined, key=lambda name: -importance[name])
    rng = np.random.default_rng(0)
    n_resamples = N_RESAMPLES if len(trials) >= MIN_INTERVAL_TRIALS else 0
    resampled = [
        _evaluate([trials[n] for n in rng.integers(0, len(trials), len(trials))], summary)
        for _ in range(n_resamples)
    ]
    values = {
        name: np.array([sample.get(name, math.nan) for sample in resampled]) for name in ordered
    }
    return {name: Interval(importance[name], *bootstrap_bounds(values[name])) for name in ordered}


def study_of(trials: Sequence[FrozenTrial], summary: Summary) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    # Optuna logs a line for each new study, and there are `N_RESAMPLES`.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
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
        # PED-ANOVA warns of trials that are too similar, and of too few trials, which `importances`
        # excludes.
        warnings.simplefilter("ignore")
        try:
            importance: dict[str, float] = optuna.importance.get_param_importances(
                study_of(trials, summary), evaluator=PedAnovaImportanceEvaluator()
            )
        except (ValueError, RuntimeError, ZeroDivisionError):
            # All values are equal, or no hyperparameter is in every trial.
            return {}
    return importance
