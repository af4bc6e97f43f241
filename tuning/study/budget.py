"""The budget of a study, in an attribute of the study: the number of its trials."""

from __future__ import annotations

import optuna

N_TRIALS = "n_trials"  # the last requested number of trials


def set_n_trials(study: optuna.Study, n_trials: int) -> None:
    if study.user_attrs.get(N_TRIALS) != n_trials:
        study.set_user_attr(N_TRIALS, n_trials)


def requested_n_trials(study: optuna.Study) -> int | None:
    n_trials: int | None = study.user_attrs.get(N_TRIALS)
    return n_trials
