"""The writer of a search: its trials in the storage, and the files of each trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from tuning.atomic_io import write_csv, write_text
from tuning.config import COSTS, exceeded
from tuning.errors import SpaceError
from tuning.fidelity import part_at
from tuning.outcomes import LOST_REASONS, MAX_LOST, FailureReason
from tuning.search.open_trials import OpenTrial
from tuning.search.session import Session
from tuning.spaces.hyperparameters import from_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values, value_text
from tuning.study.optuna_internals import read_trial, set_intermediate_value
from tuning.study.summary import Summary, summarize
from tuning.study.trials import (
    OWN_ATTRIBUTES,
    TrialAttributes,
    attributes_of,
    epoch_values,
    set_attributes,
)
from tuning.training.result import Epoch, FitResult

# Temporary reasons: a trial that failed for one of them is queued again.
RETRIED = (FailureReason.INTERRUPTED, FailureReason.TIMEOUT, *LOST_REASONS, FailureReason.BUG)
# Number of deaths after which a configuration is dropped. A coordinator may also die because the
# power fails, so the last try of a configuration trains alone.
DEATH_LIMIT = 3
# Attribute of a study in which each configuration of the grid has a trial.
EXHAUSTED = "exhausted"


class StudyWriter:
    """`summary`: the study after the last read or change. `is_exhausted`: whether the sampler has
    proposed all configurations.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.study, self.config, self.space = session.study, session.config, session.space
        self.folder = session.folder
        self.summary: Summary = summarize(self.study, metric=self.config.metric)
        self.is_exhausted = bool(self.study.user_attrs.get(EXHAUSTED))

    def refresh(self) -> None:
        self.summary = summarize(self.study, metric=self.config.metric)

    def values_of(self, trial: FrozenTrial) -> Values | None:
        """Return None for a trial that has not drawn all of its values."""
        try:
            return from_params(trial.params, self.space.hyperparameters)
        except SpaceError:
            return None

    def report(self, opened: OpenTrial, epoch: Epoch) -> bool:
        """Write an epoch's metrics; return whether Optuna's pruner would stop the trial."""
        with opened.timed():
            opened.history.append(epoch)
            self.write_history(opened)
            step = part_at(epoch.number, self.config.train.parts_per_epoch)
            if step in opened.reported:
                return False  # an earlier coordinator has reported the same value
            value = epoch.metrics[self.config.metric]
            if self.config.costs:  # Optuna's own `report` is for studies of one objective
                set_intermediate_value(opened.trial, value, step=step)
                return False
            opened.trial.report(value, step=step)
            return bool(opened.trial.should_prune())

    def write_history(self, opened: OpenTrial) -> None:
        rows = [
            {
                self.config.train.step: epoch.number,
                "seconds": round(epoch.seconds, 3),
                **epoch.metrics,
            }
            for epoch in opened.history
        ]
        write_csv(self.folder.history_path(opened.number), rows)

    def pause(self, opened: OpenTrial, result: FitResult) -> None:
        # Optuna has no state for a paused trial, which stays RUNNING.
        self.write_attributes(opened, result)
        self.mark(opened, paused=True)

    def mark(self, opened: OpenTrial, *, paused: bool) -> None:
        set_attributes(opened.trial, {"paused": paused})
        self.reread(opened)

    def wait_for(self, opened: OpenTrial, number: int) -> None:
        set_attributes(opened.trial, {"waits_for": number})

    def prune(self, opened: OpenTrial, result: FitResult | None = None) -> None:
        """Finish a trial as PRUNED. `result` is the result of a trial that has just stopped, or
        whose model is beyond a limit; the attributes of a paused trial are written already.
        """
        if result is not None:
            self.write_attributes(opened, result)
        else:
            self.mark(opened, paused=False)
        self._tell(opened, state=TrialState.PRUNED)

    def complete(self, opened: OpenTrial, result: FitResult) -> None:
        # Optuna refuses attributes of a finished trial, so these are written before `tell`.
        self.write_attributes(opened, result)
        # Only the baseline is trained beyond a limit. It is PRUNED, so that the best complete trial
        # is within the limits.
        if self.is_over_limit(result):
            set_attributes(opened.trial, {"best_value": result.best_value})
            self._tell(opened, state=TrialState.PRUNED)
            return
        costs = [getattr(result, COSTS[cost]) for cost in self.config.costs]
        self._tell(opened, [result.best_value, *costs])

    def copy(self, opened: OpenTrial, other: FrozenTrial) -> None:
        kept = {n: value for n, value in other.user_attrs.items() if n not in OWN_ATTRIBUTES}
        for name, value in (kept | {"same_as": other.number, "seconds": {}}).items():
            opened.trial.set_user_attr(name, value)
        for name, value in other.constraints.items():
            opened.trial.set_constraint(name, value)
        for step, value in other.intermediate_values.items():
            set_intermediate_value(opened.trial, value, step=step)
        history = self.folder.history_path(other.number)
        if history.exists():
            text = history.read_text(encoding="utf-8")
            write_text(self.folder.history_path(opened.number), text)
        if other.state == TrialState.COMPLETE:
            self._tell(opened, other.values)
        else:
            self._tell(opened, state=TrialState.PRUNED)

    def fail(
        self, opened: OpenTrial, reason: FailureReason, detail: str, *, queue_again: bool = True
    ) -> None:
        """Finish a trial as FAIL, and queue its values again where the reason is temporary.

        `queue_again=False`: another trial has the same values, or the search goes on without them.
        """
        trial = opened.trial
        set_attributes(trial, {"reason": reason.value})
        self.write_error(trial.number, opened.values, reason=reason, detail=detail)
        # If this process is killed in between, the values are queued.
        if queue_again and not read_trial(trial).state.is_finished():
            self.queue_again(trial.number, trial.params, trial.user_attrs, reason=reason)
        self._tell(opened, state=TrialState.FAIL)
        self.refresh()

    def write_error(
        self, number: int, values: Values, *, reason: FailureReason, detail: str
    ) -> None:
        text = f"{reason}: {detail}\n\n{describe(values, self.space)}\n"
        write_text(self.folder.error_path(number), text)

    def remove_checkpoint(self, number: int) -> None:
        self.folder.checkpoint_path(number).unlink(missing_ok=True)

    def queue_again(
        self,
        number: int,
        params: dict[str, Any],
        attributes: Mapping[str, Any],
        *,
        reason: FailureReason,
    ) -> None:
        n_lost = int(attributes.get("n_lost", 0)) + (reason in LOST_REASONS)
        if reason in RETRIED and n_lost < MAX_LOST:
            self.enqueue_again(number, params, attributes, n_lost=n_lost)

    def enqueue_again(
        self, number: int, params: dict[str, Any], attributes: Mapping[str, Any], *, n_lost: int = 0
    ) -> None:
        """Queue the values of a trial again, unless a later trial has them."""
        names = (
            *("baseline", "starting_point", "linear_ngrams", "imported"),
            *("n_deaths", "furthest_epoch"),
        )
        kept = {name: attributes[name] for name in names if attributes.get(name)}
        retry_of = attributes.get("retry_of", number)
        later = self.summary.trials[number + 1 :]
        if any(attributes_of(trial).get("retry_of") == retry_of for trial in later):
            return  # They were queued before a kill.
        self.study.enqueue_trial(
            params, user_attrs={**kept, "n_lost": n_lost, "retry_of": retry_of}
        )

    def _tell(
        self,
        opened: OpenTrial,
        values: Sequence[float] | None = None,
        *,
        state: TrialState | None = None,
    ) -> None:
        try:
            self.study.tell(opened.trial, values, state=state)
        except RuntimeError as error:
            # A sampler that has proposed all configurations calls `Study.stop`, which Optuna
            # refuses outside `Study.optimize`. The trial has been told.
            if "Study.stop" not in str(error):
                raise
            self.is_exhausted = True
            if self.config.sampler == "grid":
                self.study.set_user_attr(EXHAUSTED, True)
        except ValueError as error:  # Optuna raises it for wrong values too.
            if not read_trial(opened.trial).state.is_finished():
                raise
            raise UpdateFinishedTrialError(
                f"trial {opened.number} has been finished by another program"
            ) from error
        self.reread(opened)

    def write_attributes(self, opened: OpenTrial, result: FitResult) -> None:
        seconds = {**result.seconds, "storage": opened.storage_seconds}
        attributes: TrialAttributes = {
            "best_epoch": result.best_epoch,
            "n_epochs": result.n_epochs,
            "seconds": {phase: round(value, 3) for phase, value in seconds.items()},
            "n_parameters": result.n_parameters,
            "n_fused_layers": result.n_fused_layers,
            "n_tokens": result.n_tokens,
            "peak_memory_mb": round(result.peak_memory_mb),
            "seed": self.config.seed,
        }
        if result.folds:
            attributes["n_fold_epochs"] = result.n_fold_epochs
        if result.latency_ms is not None:
            attributes["latency_ms"] = round(result.latency_ms, 3)
        set_attributes(opened.trial, attributes)
        for name, value in result.metrics.items():
            if not math.isnan(value):
                opened.trial.set_user_attr(name, round(value, 5))
        if self.is_over_limit(result):
            set_attributes(opened.trial, {"reason": FailureReason.OVER_A_LIMIT.value})
        # A trial that was paused has its constraints, and Optuna warns if they are set again.
        if not opened.trial.constraints:
            for name, maximum in self.config.limits.items():
                opened.trial.set_constraint(name, getattr(result, name) / maximum - 1)

    def is_over_limit(self, result: FitResult) -> bool:
        return bool(exceeded(self.config.limits, vars(result)))

    def reread(self, opened: OpenTrial) -> None:
        # `refresh` reads every running trial with its values, which takes too long after each
        # change of a study with 100 workers.
        trials = [*self.summary.trials]
        if opened.number > len(trials):
            self.refresh()
            return
        trials[opened.number : opened.number + 1] = [read_trial(opened.trial)]
        self.summary = Summary(self.study.study_name, self.config.metric, trials)


def furthest_epoch(trial: FrozenTrial) -> float:
    """Return the last epoch that any try of a trial's configuration has trained."""
    return max([*epoch_values(trial), attributes_of(trial).get("furthest_epoch", 0)])


def is_unproven(trial: FrozenTrial) -> bool:
    """Return whether a trial has trained no epoch beyond its checkpoint and the earlier tries."""
    attributes = attributes_of(trial)
    before = max(attributes.get("n_epochs", 0), attributes.get("furthest_epoch", 0))
    return bool(max(epoch_values(trial), default=0) <= before)


def describe(values: Values, space: SearchSpace) -> str:
    searched = {item.name for item in space.searched}
    return ", ".join(
        f"{name} {value_text(value)}" for name, value in values.items() if name in searched
    )
