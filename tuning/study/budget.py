"""The budget of a study, in attributes of the study: the number of its trials, or the duration of
the searches of a comparison. Also the names of the studies of a comparison.
"""

from __future__ import annotations

import optuna

from tuning.results import safe_name
from tuning.spaces.files import short_name
from tuning.study.trials import trial_seconds

N_TRIALS = "n_trials"  # the last requested number of trials
N_WORKERS = "n_workers"  # the number of workers of the last search
TOTAL_SECONDS = "total_seconds"  # the requested duration of all searches
SEARCHED_SECONDS = "searched_seconds"  # the requested duration that is over


def set_n_trials(study: optuna.Study, n_trials: int) -> None:
    if study.user_attrs.get(N_TRIALS) != n_trials:
        study.set_user_attr(N_TRIALS, n_trials)


def requested_n_trials(study: optuna.Study) -> int | None:
    n_trials: int | None = study.user_attrs.get(N_TRIALS)
    return n_trials


def is_of_comparison(study: optuna.Study) -> bool:
    """Return whether `make compare` has searched the study, which takes a duration. The number of
    trials does not show this: at its end, such a search replaces it by that of its trials.
    """
    return TOTAL_SECONDS in study.user_attrs


def study_name(comparison: str, space: str) -> str:
    return f"{comparison}-{safe_name(short_name(space))}"


def comparison_name(study: str, space: str) -> str:
    """Return the name of the comparison of a study, whose name `study_name` has made."""
    return study.removesuffix(study_name("", space))


def comparison_that_searched(study: optuna.Study, space: str) -> str | None:
    """Return the name of the comparison that has searched the study; None without one."""
    return comparison_name(study.study_name, space) if is_of_comparison(study) else None


def searched_seconds(study: optuna.Study) -> float:
    """Return the duration of a study's searches so far: the requested duration if it is over, else
    the seconds of all trials, divided by the number of workers.
    """
    searched = study.user_attrs.get(SEARCHED_SECONDS)
    if searched is not None and searched == study.user_attrs.get(TOTAL_SECONDS):
        return float(searched)
    seconds = sum(map(trial_seconds, study.get_trials(deepcopy=False)))
    return float(seconds / study.user_attrs.get(N_WORKERS, 1))
