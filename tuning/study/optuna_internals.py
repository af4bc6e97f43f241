"""The private members and keys of Optuna that this program uses. No other module uses them.

Optuna may rename or change a private member or key in any release, so `pyproject.toml` bounds
Optuna to the minor versions with which `tests/study/test_optuna_internals.py` passes. That module
has a test for each member and key.

Optuna's own heartbeat (`RDBStorage(heartbeat_interval=...)`) would need no private member, and is
not used: one process writes a study, under a lock. Optuna 5.0:
- writes it only inside `Study.optimize`, and this program calls `ask` and `tell`;
- never counts a trial as stale that was killed before its first heartbeat, so its slot would be
  lost;
- has a heartbeat for each trial, and fails each RUNNING trial whose heartbeat is old. A trial that
  is paused at a rung is RUNNING in the storage too.
"""

from __future__ import annotations

from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState


def storage_of(study: optuna.Study) -> BaseStorage:
    # No public method of `Study` gives the database engine, and none writes to a trial that another
    # process created.
    return study._storage


def engine_of(storage: BaseStorage) -> sqlalchemy.Engine:
    # Optuna wraps each `RDBStorage` that it is given in a cache, which does not give the public
    # `RDBStorage.engine`.
    relational: Any = getattr(storage, "_backend", storage)
    engine: sqlalchemy.Engine = relational.engine
    return engine


def reopen_trial(study: optuna.Study, number: int) -> Trial:
    # The public interface returns a writable trial only from `Study.ask`, and `FrozenTrial` objects
    # afterwards.
    storage = storage_of(study)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    return Trial(study, trial_id)


def claim_trial(study: optuna.Study, *, any_waiting: bool) -> int:
    """Set the trial that has waited longest to RUNNING, or create a trial; return its id.
    `any_waiting`: whether a trial waits, by the last read of the caller.
    """
    # `Study.ask` does the same, but each call reads the waiting trials from the storage: a query
    # over all unfinished trials.
    study._thread_local.cached_all_trials = None  # The next draw must read the newest trials.
    # `_pop_waiting_trial_id` is safe where several processes take queued trials at once.
    waiting = study._pop_waiting_trial_id() if any_waiting else None
    return storage_of(study).create_new_trial(study._study_id) if waiting is None else waiting


def set_intermediate_value(trial: Trial, value: float, *, step: int) -> None:
    # `Trial.report` does the same for studies of one objective. For studies of several, it raises
    # `NotImplementedError`.
    trial.storage.set_trial_intermediate_value(trial._trial_id, step, value)


def fail_trial(trial: Trial) -> None:
    # `Study.tell` raises the same `ValueError` for a trial that another process has finished as for
    # any other wrong argument; this call raises `UpdateFinishedTrialError`.
    trial.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def read_trial(trial: Trial) -> FrozenTrial:
    # `Study.get_trials` would read all unfinished trials with their values.
    return trial.storage.get_trial(trial._trial_id)


def fixed_params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters with which a trial was queued by `Study.enqueue_trial`; empty for any
    other trial.
    """
    # The public `params` of a queued trial are empty until it has drawn its values.
    params: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return params
