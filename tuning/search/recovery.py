"""Settles the trials that a coordinator left when it died: this one, or another that is gone.

A trial that was left RUNNING would count as a bad point for TPE until the study knows its end.
"""

from __future__ import annotations

import logging

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from tuning.atomic_io import write_text
from tuning.fidelity import part_at
from tuning.outcomes import FailureReason
from tuning.search.open_trials import OpenTrial
from tuning.search.writer import (
    DEATH_LIMIT,
    DEATHS,
    FURTHEST,
    StudyWriter,
    describe,
    furthest_epoch,
    is_unproven,
)
from tuning.spaces.hyperparameters import defaults, from_params, to_params
from tuning.study.coordinators import COORDINATOR, is_at_work
from tuning.study.optuna_internals import fail_trial, reopen_trial, set_intermediate_value
from tuning.training import checkpoints

logger = logging.getLogger(__name__)


def start(writer: StudyWriter) -> list[OpenTrial]:
    """Settle what this coordinator left when it died, and queue the baseline in a new study.

    A trial left RUNNING that has a checkpoint is paused. Any other is told FAIL and queued again,
    but a configuration that was training at `DEATH_LIMIT` deaths is given up.

    Returns:
        The paused trials of this coordinator.
    """
    paused = []
    with writer.coordinators.slot_lock():
        writer.refresh()
        for trial in writer.summary.trials:
            if trial.state != TrialState.RUNNING or not writer.coordinators.is_own(trial):
                continue
            opened = _reopen(writer, reopen_trial(writer.study, trial.number), trial)
            if opened is not None:
                paused.append(opened)
            else:
                _release(writer, trial)
        if not writer.summary.trials:
            space = writer.space.hyperparameters
            baseline = to_params(defaults(space), space)
            writer.study.enqueue_trial(baseline, user_attrs={"baseline": True})
    writer.refresh()
    return paused


def take_over(writer: StudyWriter, *, paused: bool) -> bool:
    """Settle the trials of coordinators that are gone; return whether there were any.

    `paused`: also the trials that are paused with a checkpoint on the disk of such a coordinator.
    """
    if not _left_by_the_gone(writer, paused=paused):
        return False
    with writer.coordinators.slot_lock():
        writer.coordinators.read_heartbeats()  # the other coordinator may have come back
        writer.refresh()  # a third one may have been first
        left = _left_by_the_gone(writer, paused=paused)
        for trial in left:
            _release(writer, trial)
    writer.refresh()
    return bool(left)


def _left_by_the_gone(writer: StudyWriter, *, paused: bool) -> list[FrozenTrial]:
    # A trial without a coordinator's name belongs to none: whoever asked for it died before it
    # could write its name, because the trial is seen under the lock.
    gone = [
        trial
        for trial in writer.summary.trials
        if trial.state == TrialState.RUNNING
        and (COORDINATOR not in trial.user_attrs or writer.coordinators.is_abandoned(trial))
    ]
    return [trial for trial in gone if paused or is_at_work(trial)]


def _release(writer: StudyWriter, frozen: FrozenTrial) -> None:
    """Tell a trial that no coordinator has FAIL, and queue its values again, unless it seems to be
    the cause of its coordinators' deaths.
    """
    n_deaths = _n_deaths(writer, frozen)
    try:
        trial = reopen_trial(writer.study, frozen.number)
        trial.set_user_attr("reason", FailureReason.LOST.value)
        fail_trial(trial)
    except UpdateFinishedTrialError:  # its coordinator is alive after all, and was first
        return
    if n_deaths >= DEATH_LIMIT:
        _give_up_for_good(writer, frozen, n_deaths)
        return
    # A trial that died before it had all its values draws them again, at the same draw index of
    # the seed stream.
    has_all = writer.has_all_values(frozen)
    params = frozen.params if has_all else frozen.system_attrs.get("fixed_params", {})
    attributes = {**frozen.user_attrs, DEATHS: n_deaths, FURTHEST: furthest_epoch(frozen)}
    writer.queue_again(frozen.number, params, attributes, reason=FailureReason.INTERRUPTED)


def _give_up_for_good(writer: StudyWriter, frozen: FrozenTrial, n_deaths: int) -> None:
    text = (
        f"trial {frozen.number} is not tried again: its coordinator has died {n_deaths} times"
        f" while it was at work, without an epoch after epoch {furthest_epoch(frozen):g}; it may"
        " need more memory than the machine has"
    )
    logger.warning(text)
    values = describe(from_params(frozen.params, writer.space.hyperparameters), writer.space)
    path = writer.folder.error_path(frozen.number)
    write_text(path, f"{FailureReason.LOST}: {text}\n\n{values}\n")
    writer.folder.checkpoint_path(frozen.number).unlink(missing_ok=True)


def _n_deaths(writer: StudyWriter, frozen: FrozenTrial) -> int:
    """Return how often coordinators have died since a configuration last trained an epoch that the
    tries before did not reach, the last death included.
    """
    known = int(frozen.user_attrs.get(DEATHS, 0))
    if not is_at_work(frozen) or not writer.has_all_values(frozen):
        return known
    return known + 1 if is_unproven(frozen) else 0


def _reopen(writer: StudyWriter, trial: Trial, frozen: FrozenTrial) -> OpenTrial | None:
    """Return a trial of an earlier call as its checkpoint has it; None where it does not go on from
    a checkpoint.

    Epochs after the checkpoint are trained again, to the same metrics. An epoch before it that the
    earlier call did not report is reported now.
    """
    path, n_deaths = writer.folder.checkpoint_path(frozen.number), _n_deaths(writer, frozen)
    can_go_on = path.exists() and writer.has_all_values(frozen)
    history = checkpoints.read_history(path) if can_go_on else None
    if history is None or n_deaths >= DEATH_LIMIT:
        return None
    parts = writer.config.train.parts_per_epoch
    steps = {part_at(epoch.number, parts): epoch for epoch in history}
    for step, epoch in steps.items():
        if step not in frozen.intermediate_values:
            set_intermediate_value(trial, epoch.metrics[writer.config.metric], step=step)
    if not frozen.user_attrs.get("paused"):  # the earlier call died while the trial was training
        trial.set_user_attr("paused", True)
        trial.set_user_attr(DEATHS, n_deaths)
        trial.set_user_attr(FURTHEST, furthest_epoch(frozen))
    if COORDINATOR not in frozen.user_attrs:  # a study of an older version
        trial.set_user_attr(COORDINATOR, writer.coordinators.own)
    values = from_params(frozen.params, writer.space.hyperparameters)
    reported = frozenset(frozen.intermediate_values) | steps.keys()
    opened = OpenTrial(trial, values, history, reported)
    writer.write_history(opened)
    return opened
