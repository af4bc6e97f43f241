"""The recovery of trials that a call left RUNNING when its process died.

Optuna's TPE counts a trial in the state RUNNING as a bad point, so a trial that nobody trains must
be paused or failed.
"""

from __future__ import annotations

import contextlib
import logging

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from tuning.fidelity import part_at
from tuning.outcomes import LASTING, FailureReason
from tuning.search.open_trials import OpenTrial
from tuning.search.writer import DEATH_LIMIT, StudyWriter, furthest_epoch, is_unproven
from tuning.spaces.hyperparameters import defaults, from_params, to_params
from tuning.study.optuna_internals import (
    fail_trial,
    fixed_params_of,
    reopen_trial,
    set_intermediate_value,
)
from tuning.study.trials import attributes_of, is_at_work, is_named, set_attributes
from tuning.training import checkpoints

logger = logging.getLogger(__name__)

MAX_TRIES = 3  # Maximum number of trials of the baseline, or of a starting point.


def start(writer: StudyWriter, *, n_trials: int) -> list[OpenTrial]:
    """Return the paused trials. A RUNNING trial that an earlier call left with a checkpoint is
    paused; any other is failed, and queued again unless it was training at `DEATH_LIMIT` deaths.
    Queue the baseline of a new study.
    """
    writer.refresh()
    running = [trial for trial in writer.summary.trials if trial.state == TrialState.RUNNING]
    reopened = [(trial, _reopen(writer, trial)) for trial in running]
    for trial, opened in reopened:
        if opened is None:
            _fail_abandoned(writer, trial)
    writer.refresh()
    if not writer.summary.trials:
        space = writer.space.hyperparameters
        baseline = to_params(defaults(space), space)
        writer.study.enqueue_trial(baseline, user_attrs={"baseline": True})
    elif writer.summary.n_finished < n_trials:
        _queue_named_again(writer)
    writer.refresh()
    return [opened for _, opened in reopened if opened is not None]


def _queue_named_again(writer: StudyWriter) -> None:
    """Queue the baseline and each starting point again whose last try has failed for a reason that
    this call may not have, such as a time limit.
    """
    # The key is the number of the starting point, or 0 for the baseline.
    tries: dict[int, list[FrozenTrial]] = {}
    for trial in filter(is_named, writer.summary.trials):
        tries.setdefault(attributes_of(trial).get("starting_point", 0), []).append(trial)
    for *_, trial in filter(lambda named: len(named) < MAX_TRIES, tries.values()):
        attributes = attributes_of(trial)
        is_dropped = (
            attributes.get("reason") in (None, *LASTING)
            or attributes.get("n_deaths", 0) >= DEATH_LIMIT
        )
        if trial.state == TrialState.FAIL and not is_dropped:
            writer.enqueue_again(trial.number, trial.params, trial.user_attrs)


def _fail_abandoned(writer: StudyWriter, frozen: FrozenTrial) -> None:
    """Fail a trial whose process has died, and queue its values again."""
    trial, n_deaths = reopen_trial(writer.study, frozen.number), _n_deaths(writer, frozen)
    try:
        set_attributes(trial, {"reason": FailureReason.LOST.value, "n_deaths": n_deaths})
    except UpdateFinishedTrialError:  # Another program, such as the Dashboard, has finished it.
        return
    # The values are queued before the trial fails. If this process is killed in between, both are
    # in the storage, and `enqueue_again` does not queue the values a second time.
    if n_deaths < DEATH_LIMIT:
        # A trial without all its values draws them again, at the same draw index.
        params = fixed_params_of(frozen) if writer.values_of(frozen) is None else frozen.params
        attributes = {
            **frozen.user_attrs,
            "n_deaths": n_deaths,
            "furthest_epoch": furthest_epoch(frozen),
        }
        writer.queue_again(frozen.number, params, attributes, reason=FailureReason.INTERRUPTED)
    else:
        detail = (
            f"trial {frozen.number} is not tried again: its process has died {n_deaths} times"
            f" while it was at work, without an epoch after epoch {furthest_epoch(frozen):g}; it"
            " may need more memory than the machine has"
        )
        logger.warning(detail)
        values = from_params(frozen.params, writer.space.hyperparameters)
        writer.write_error(frozen.number, values, reason=FailureReason.LOST, detail=detail)
    with contextlib.suppress(UpdateFinishedTrialError):
        fail_trial(trial)
    writer.remove_checkpoint(frozen.number)


def _n_deaths(writer: StudyWriter, frozen: FrozenTrial) -> int:
    """Count the last death too, unless the configuration has trained a further epoch."""
    n_before = attributes_of(frozen).get("n_deaths", 0)
    if attributes_of(frozen).get("reason") not in (None, FailureReason.OVER_A_LIMIT):
        return n_before  # The call was ending the trial when a write failed.
    if not is_at_work(frozen) or writer.values_of(frozen) is None:
        return n_before
    return n_before + 1 if is_unproven(frozen) else 0


def _reopen(writer: StudyWriter, frozen: FrozenTrial) -> OpenTrial | None:
    """Return a trial of an earlier call in the state of its checkpoint; None where the trial can't
    go on from a checkpoint. Epochs after the checkpoint are trained again, with the same metrics.
    """
    path, n_deaths = writer.folder.checkpoint_path(frozen.number), _n_deaths(writer, frozen)
    result = checkpoints.read_result(path) if path.exists() else None
    values = writer.values_of(frozen)
    if values is None or result is None or not result.history or n_deaths >= DEATH_LIMIT:
        return None
    trial, parts = reopen_trial(writer.study, frozen.number), writer.config.train.parts_per_epoch
    steps = {part_at(epoch.number, parts): epoch for epoch in result.history}
    # The call may have been killed after its worker wrote the checkpoint, and before it
    # reported the epoch.
    for step, epoch in steps.items():
        if step not in frozen.intermediate_values:
            set_intermediate_value(trial, epoch.metrics[writer.config.metric], step=step)
    if is_at_work(frozen):  # The earlier call died while the trial was training.
        furthest = furthest_epoch(frozen)
        set_attributes(trial, {"paused": True, "n_deaths": n_deaths, "furthest_epoch": furthest})
    reported = frozenset(frozen.intermediate_values) | steps.keys()
    opened = OpenTrial(trial, values, result.history, reported)
    if attributes_of(frozen).get("n_epochs") != result.n_epochs:
        # The trial was stopped while a fold was trained: its attributes are of an earlier pause, or
        # missing, and its checkpoint is newer.
        writer.write_attributes(opened, result)
    writer.write_history(opened)
    return opened
