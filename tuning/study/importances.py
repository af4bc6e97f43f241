"""The importance of each hyperparameter for being among the best trials."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from tuning.metrics import sign
from tuning.study.summary import Summary
from tuning.study.trials import value_of, without_copies

# PED-ANOVA compares the best tenth of the trials with all of them. In 100 simulated studies of four
# hyperparameters, only one of which has an effect, that hyperparameter had the highest importance
# in 19 % of the studies of 4 trials, in 26 % with 8 trials (chance: 25 %), 70 % with 20 and 98 %
# with 50.
MIN_TRIALS = 20


def importances(summary: Summary) -> dict[str, float]:
    """Return the PED-ANOVA importance of each hyperparameter for the metric (Watanabe et al., IJCAI
    2023), in descending order; empty below `MIN_TRIALS` completed trials.
    """
    trials = without_copies(summary.ranked)
    if len(trials) < MIN_TRIALS:
        return {}
    with warnings.catch_warnings():
        # PED-ANOVA warns of trials that are too similar.
        warnings.simplefilter("ignore")
        try:
            importance: dict[str, float] = optuna.importance.get_param_importances(
                study_of(trials, summary), evaluator=PedAnovaImportanceEvaluator()
            )
        except (ValueError, RuntimeError, ZeroDivisionError):
            # All values are equal, or no hyperparameter is in every trial.
            return {}
    return {name: value for name, value in importance.items() if not math.isnan(value)}


def study_of(trials: Sequence[FrozenTrial], summary: Summary) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    # Optuna logs a line for each new study.
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
