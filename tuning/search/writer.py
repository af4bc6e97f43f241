"""The record of a search: what a coordinator writes into its study, and each trial's files beside
it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from tuning.config import COSTS, StudyConfig, exceeded, sign
from tuning.errors import SpaceError
from tuning.report import dashboard
from tuning.results import ResultsDir, write_csv, write_text
from tuning.spaces.hyperparameters import defaults, from_params, suggest, to_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values, value_text
from tuning.study import housekeeping
from tuning.study.coordinators import COORDINATOR, FIRST, Coordinators, asked_for, is_at_work
from tuning.study.samplers import RETRY_OF, grid_points, make_sampler, stream_position
from tuning.study.summary import Summary, summarize
from tuning.study.trials import ENDED, value_of
from tuning.training import checkpoints
from tuning.workers.worker import Message

logger = logging.getLogger(__name__)

RETRIED = (
    "interrupted",
    "timeout",
    "lost",
    "silent",
    "bug",
)  # reasons that may pass: the same values are queued again
COUNTED = ("lost", "silent")
# Attributes of a trial: how often its coordinator has died since its configuration last got
# further, and after how many epochs.
DEATHS, FURTHEST = "n_deaths", "furthest_epoch"
TAKEN = (*ENDED, TrialState.RUNNING)  # the states of a trial that holds a ticket
LOST_LIMIT = 2  # a configuration whose worker dies or falls silent twice is not tried a third time
# A coordinator's death may also be a loss of power, in which the configurations at work have no
# part: so the last try is made alone.
DEATH_LIMIT = 3


@dataclass
class OpenTrial:
    """A trial that is not told yet: at work, or paused at an epoch (`n_epochs`) with its checkpoint
    on disk.
    """

    trial: Trial
    values: Values
    history: list[dict[str, Any]] = field(default_factory=list)
    reported: frozenset[int] = frozenset()  # epochs that an earlier owner reported
    storage_seconds: float = 0.0

    @property
    def number(self) -> int:
        return int(self.trial.number)

    @property
    def n_epochs(self) -> int:
        return len(self.history)

    @property
    def is_baseline(self) -> bool:
        return bool(self.trial.user_attrs.get("baseline"))

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count what is done inside to the seconds that this trial spends on storage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.storage_seconds += time.perf_counter() - started


class Record:
    """A study as a search writes it; `summary` is what it holds after the last change."""

    def __init__(
        self,
        study: optuna.Study,
        config: StudyConfig,
        space: SearchSpace,
        results: ResultsDir,
        class_names: list[str],
        coordinators: Coordinators,
    ) -> None:
        self.summary: Summary = summarize(study, metric=config.metric)
        self.is_exhausted = False  # a grid has no point left
        self._study, self._config, self._space, self._coordinators = (
            study,
            config,
            space,
            coordinators,
        )
        self._results, self._folder = results, results.study(config.study)
        self._class_names = class_names
        self._grid = grid_points(space, seed=config.seed) if config.sampler == "grid" else []

    def start(self) -> list[OpenTrial]:
        """Settle what this coordinator left when it died, and queue the baseline in a new study;
        returns its trials that are paused.

        A trial left RUNNING that has a checkpoint is paused; any other is told FAIL and queued
        again. A configuration that was at work in `DEATH_LIMIT` deaths is given up.
        """
        paused = []
        with self._coordinators.asking():
            self.refresh()
            for frozen in self.summary.trials:
                if frozen.state != TrialState.RUNNING or not self._coordinators.is_own(frozen):
                    continue
                opened = self._reopen(Trial(self._study, frozen._trial_id), frozen)
                if opened is not None:
                    paused.append(opened)
                else:
                    self._release(frozen)
            if not self.summary.trials:
                baseline = to_params(
                    defaults(self._space.hyperparameters), self._space.hyperparameters
                )
                self._study.enqueue_trial(baseline, user_attrs={"baseline": True})
        self.refresh()
        return paused

    def asked_for(self) -> int | None:
        """How many trials the study is to have, as the newest call has told."""
        return asked_for(self._study)

    def take_over(self, *, paused: bool) -> bool:
        """Settle the trials of coordinators that are gone, also those `paused` on their disks;
        returns whether there were any.
        """
        if not self._left_by_the_gone(paused=paused):
            return False
        with self._coordinators.asking():
            self._coordinators.hear()  # it may have come back
            self.refresh()  # another coordinator may have been first
            left = self._left_by_the_gone(paused=paused)
            for frozen in left:
                self._release(frozen)
        self.refresh()
        return bool(left)

    def _left_by_the_gone(self, *, paused: bool) -> list[FrozenTrial]:
        running = [t for t in self.summary.trials if t.state == TrialState.RUNNING]
        # One without a name is nobody's: who asked for it did not live to say so, if that is seen
        # under the lock.
        gone = [
            t for t in running if COORDINATOR not in t.user_attrs or self._coordinators.is_gone(t)
        ]
        return [t for t in gone if paused or is_at_work(t)]

    def _release(self, frozen: FrozenTrial) -> None:
        """Tell a trial that nobody works on FAIL, and queue its values again, unless it seems to be
        what ends its coordinators.
        """
        n_deaths = self._n_deaths(frozen)
        try:
            Trial(self._study, frozen._trial_id).set_user_attr("reason", "lost")
            self._study._storage.set_trial_state_values(frozen._trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:  # its coordinator is alive after all, and has told it
            return
        if n_deaths >= DEATH_LIMIT:
            self._give_up_for_good(frozen, n_deaths)
            return
        # One that died before it had all its values draws them again, from the same place of the
        # stream.
        params = (
            frozen.params if self.has_all(frozen) else frozen.system_attrs.get("fixed_params", {})
        )
        self._queue_again(
            frozen.number,
            params,
            {**frozen.user_attrs, DEATHS: n_deaths, FURTHEST: _furthest(frozen)},
            "interrupted",
        )

    def _give_up_for_good(self, frozen: FrozenTrial, n_deaths: int) -> None:
        says = (
            f"trial {frozen.number} is not tried again: its coordinator has died {n_deaths} times"
            f" while it was at work, without an epoch after epoch {_furthest(frozen)}; it may need"
            " more memory than the machine has"
        )
        logger.warning(says)
        values = describe(from_params(frozen.params, self._space.hyperparameters), self._space)
        write_text(self._folder.error_path(frozen.number), f"lost: {says}\n\n{values}\n")
        self._folder.checkpoint_path(frozen.number).unlink(missing_ok=True)

    def _n_deaths(self, frozen: FrozenTrial) -> int:
        """The deaths of coordinators since a configuration last got further than in the tries
        before, the last death included.
        """
        known = int(frozen.user_attrs.get(DEATHS, 0))
        if not is_at_work(frozen) or not self.has_all(frozen):
            return known
        return known + 1 if _is_unproven(frozen) else 0

    def has_all(self, frozen: FrozenTrial) -> bool:
        """Whether a trial has a value for each hyperparameter."""
        try:
            from_params(frozen.params, self._space.hyperparameters)
        except SpaceError:
            return False
        return True

    def _reopen(self, trial: Trial, frozen: FrozenTrial) -> OpenTrial | None:
        """A trial of an earlier owner that has a checkpoint, as the checkpoint knows it; None where
        it is not to go on from one.

        Epochs after it are trained again, to the same metrics. An epoch before it that the owner
        did not live to report is reported.
        """
        path, n_deaths = self._folder.checkpoint_path(frozen.number), self._n_deaths(frozen)
        epochs = checkpoints.read_history(path) if path.exists() and self.has_all(frozen) else None
        if epochs is None or n_deaths >= DEATH_LIMIT:
            return None
        for epoch in epochs:
            if epoch["number"] not in frozen.intermediate_values:
                value = epoch["metrics"][self._config.metric]
                self._study._storage.set_trial_intermediate_value(
                    trial._trial_id, epoch["number"], value
                )
        if not frozen.user_attrs.get("paused"):  # its owner died while it was at work again
            trial.set_user_attr("paused", True)
            trial.set_user_attr(DEATHS, n_deaths)
            trial.set_user_attr(FURTHEST, _furthest(frozen))
        if COORDINATOR not in frozen.user_attrs:  # of an older version
            trial.set_user_attr(COORDINATOR, self._coordinators.own)
        history = [_row(epoch) for epoch in epochs]
        write_csv(self._folder.history_path(frozen.number), history)
        reported = frozenset(frozen.intermediate_values) | {epoch["number"] for epoch in epochs}
        return OpenTrial(
            trial, from_params(frozen.params, self._space.hyperparameters), history, reported
        )

    def ask(self, *, n_trials: int) -> OpenTrial | None:
        """The next trial; None where no ticket of the study's `n_trials` is free, or a grid has no
        point left (`is_exhausted`).

        None also while a trial must be alone at work, because its coordinator has died too often
        with it.
        """
        started = time.perf_counter()
        with self._coordinators.asking():
            self.refresh()
            trials, counts = self.summary.trials, self.summary.counts
            if sum(counts[state.name.lower()] for state in TAKEN) >= n_trials or self._must_wait():
                return None
            any_waiting = counts["waiting"] > 0
            if self._config.sampler == "grid" and not any_waiting:
                seen = [
                    params
                    for t in trials
                    for params in (t.params, t.system_attrs.get("fixed_params"))
                ]
                point = next((p for p in self._grid if p not in seen), None)
                self.is_exhausted = point is None
                if point is None:
                    return None
                self._study.enqueue_trial(point)
                any_waiting = True
            trial_id = self._take_ticket(any_waiting=any_waiting)
            # The one sequence of QMC is the study's; others draw for longer, and without the lock,
            # so that another may ask meanwhile.
            opened = self._draw(trial_id, trials) if self._config.sampler == "qmc" else None
        opened = opened or self._draw(trial_id, trials)
        self._reread(opened)
        opened.storage_seconds = time.perf_counter() - started
        return opened

    def _must_wait(self) -> bool:
        """Whether the trial that is next, or one at work, is on its last try: until it gets
        further, only it may end the machine.
        """
        own = [
            t
            for t in self.summary.trials
            if is_at_work(t) and self._coordinators.is_own(t) and _is_unproven(t)
        ]
        waiting = [t for t in self.summary.trials if t.state == TrialState.WAITING][:1]
        return bool(own) and any(
            int(t.user_attrs.get(DEATHS, 0)) >= DEATH_LIMIT - 1 for t in (*own, *waiting)
        )

    def _draw(self, trial_id: int, trials: list[FrozenTrial]) -> OpenTrial:
        self._study.sampler = self._sampler(trials)
        trial = Trial(self._study, trial_id)
        return OpenTrial(trial, suggest(trial, self._space.hyperparameters))

    def _take_ticket(self, *, any_waiting: bool) -> int:
        """The id of the trial that waits longest, or of a new one. `Study.ask` does the same, and
        draws while it does.
        """
        storage = self._study._storage
        self._study._thread_local.cached_all_trials = None
        waiting = self._study._pop_waiting_trial_id() if any_waiting else None
        trial_id = storage.create_new_trial(self._study._study_id) if waiting is None else waiting
        storage.set_trial_user_attr(trial_id, COORDINATOR, self._coordinators.own)
        return trial_id

    def _sampler(self, trials: list[FrozenTrial]) -> optuna.samplers.BaseSampler:
        own = [t for t in trials if t.state == TrialState.WAITING or self._coordinators.is_own(t)]
        return make_sampler(
            self._config.sampler,
            space=self._space,
            seed=self._config.seed,
            number=stream_position(own),
            stream=self._coordinators.stream,
            trials=trials,
            metric=self._config.metric,
        )

    def report(self, opened: OpenTrial, message: Message) -> bool:
        """Keep an epoch's metrics; returns whether Optuna's pruner would stop the trial."""
        with opened.timed():
            number, value = message["number"], message["metrics"][self._config.metric]
            opened.history.append(_row(message))
            write_csv(self._folder.history_path(opened.number), opened.history)
            if number in opened.reported:
                return False  # trained again after its owner died: the value is the same
            if self._config.costs:  # Optuna's own `report` is for studies of one objective
                self._study._storage.set_trial_intermediate_value(
                    opened.trial._trial_id, number, value
                )
                return False
            opened.trial.report(value, step=number)
            return bool(opened.trial.should_prune())

    def pause(self, opened: OpenTrial, message: Message) -> None:
        """Keep the attributes of a trial that has been paused; it stays RUNNING in the study."""
        self._set_attributes(opened, message)
        self.mark(opened, paused=True)

    def mark(self, opened: OpenTrial, *, paused: bool) -> None:
        """Say whether an open trial is paused or at work."""
        opened.trial.set_user_attr("paused", paused)
        self._reread(opened)

    def wait_for(self, opened: OpenTrial, number: int) -> None:
        """Say that a trial waits for the end of another, of the same configuration."""
        opened.trial.set_user_attr("waits_for", number)

    def can_go_on(self, opened: OpenTrial) -> bool:
        """Whether a trial has been paused before, and may be again as it was then."""
        return self._folder.checkpoint_path(opened.number).exists()

    def give_up(self, opened: OpenTrial) -> None:
        """Tell a paused trial PRUNED."""
        self._tell(opened, state=TrialState.PRUNED)

    def finish(self, opened: OpenTrial, message: Message, *, pruned: bool) -> None:
        """Tell a trial that ended by itself COMPLETE, with its best epoch's value, or one that was
        stopped PRUNED.

        The baseline is PRUNED too where it is over a limit: whoever looks for the best among the
        complete trials must not find it.
        """
        self._set_attributes(opened, message)
        if self._is_over_limit(message):
            opened.trial.set_user_attr("best_value", message["best_value"])
        if pruned or self._is_over_limit(message):
            self._tell(opened, state=TrialState.PRUNED)
        else:
            self._keep_confusion(opened.trial, message)
            self._tell(
                opened,
                [message["best_value"], *(message[COSTS[cost]] for cost in self._config.costs)],
            )

    def refuse(self, opened: OpenTrial, message: Message) -> None:
        """Tell a trial whose model is over a limit, and was not trained, PRUNED."""
        self._set_attributes(opened, message)
        self._tell(opened, state=TrialState.PRUNED)

    def copy(self, opened: OpenTrial, other: FrozenTrial) -> None:
        """Tell a trial what another of the same configuration gave: training it again would give
        the same.
        """
        own = (
            "baseline",
            "n_lost",
            DEATHS,
            FURTHEST,
            "seconds",
            "n_tokens",
            "paused",
            COORDINATOR,
            RETRY_OF,
        )
        attributes = {name: value for name, value in other.user_attrs.items() if name not in own}
        for name, value in (attributes | {"same_as": other.number, "seconds": {}}).items():
            opened.trial.set_user_attr(name, value)
        for name, value in other.constraints.items():
            opened.trial.set_constraint(name, value)
        for step, value in other.intermediate_values.items():
            self._study._storage.set_trial_intermediate_value(opened.trial._trial_id, step, value)
        history = self._folder.history_path(other.number)
        if history.exists():
            write_text(
                self._folder.history_path(opened.number), history.read_text(encoding="utf-8")
            )
        if other.state == TrialState.COMPLETE:
            self._tell(opened, other.values)
        else:
            self._tell(opened, state=TrialState.PRUNED)

    def fail(
        self, opened: OpenTrial, reason: str, detail: str, *, queue_again: bool = True
    ) -> None:
        """Tell a trial FAIL with its reason; queue its values again where the reason may pass,
        unless another trial has them.
        """
        trial = opened.trial
        trial.set_user_attr("reason", reason)
        write_text(
            self._folder.error_path(trial.number),
            f"{reason}: {detail}\n\n{describe(opened.values, self._space)}\n",
        )
        with (
            self._coordinators.asking()
        ):  # so that nobody takes the free ticket before the values are queued
            self._tell(opened, state=TrialState.FAIL)
            if queue_again:
                self._queue_again(trial.number, trial.params, trial.user_attrs, reason)
        self.refresh()

    def _tell(
        self,
        opened: OpenTrial,
        values: Sequence[float] | None = None,
        *,
        state: TrialState | None = None,
    ) -> None:
        try:
            self._study.tell(opened.trial, values, state=state)
        except ValueError as error:
            if not self._study._storage.get_trial(opened.trial._trial_id).state.is_finished():
                raise
            raise UpdateFinishedTrialError(
                f"trial {opened.number} has been told by another program"
            ) from error
        self._folder.checkpoint_path(opened.number).unlink(missing_ok=True)
        self._reread(opened)

    def _set_attributes(self, opened: OpenTrial, message: Message) -> None:
        seconds = {**message["seconds"], "storage": opened.storage_seconds}
        attributes = {
            "best_epoch": message["best_epoch"],
            "n_epochs": len(message["history"]),
            "seconds": {phase: round(value, 3) for phase, value in seconds.items()},
            "n_parameters": message["n_parameters"],
            **(
                {"latency_ms": round(message["latency_ms"], 3)}
                if message["latency_ms"] is not None
                else {}
            ),
            "n_fused_layers": message["n_fused_layers"],
            "n_tokens": message["n_tokens"],
            "padding_share": round(message["padding_share"], 4),
            "ignores_padding": message["ignores_padding"],
            "peak_memory_mb": round(message["peak_memory_mb"]),
            "seed": self._config.seed,
            **{
                name: round(value, 5)
                for name, value in message["metrics"].items()
                if not math.isnan(value)
            },
        }
        if self._is_over_limit(message):
            attributes["reason"] = "over a limit"
        for name, value in attributes.items():
            opened.trial.set_user_attr(name, value)
        for name, most in self._config.limits.items() if not opened.trial.constraints else ():
            opened.trial.set_constraint(name, message[name] / most - 1)

    def _is_over_limit(self, message: Message) -> bool:
        return bool(exceeded(self._config.limits, message))

    def _keep_confusion(self, trial: Trial, message: Message) -> None:
        """An artifact for a trial that is among the five best so far; Optuna takes none after
        `tell`.
        """
        best = self.summary.ranked[: housekeeping.N_BEST]
        towards = sign(self._config.metric)
        if len(best) == housekeeping.N_BEST and towards * message[
            "best_value"
        ] <= towards * value_of(best[-1]):
            return
        path = self._folder.confusion_path(trial.number)
        write_text(
            path,
            dashboard.confusion_svg(
                message["confusion"], self._class_names, title=f"Trial {trial.number}, validation"
            ),
        )
        if (
            self._coordinators.own == FIRST
        ):  # the Dashboard finds artifacts in the results folder that it serves
            dashboard.upload(trial, path, artifacts_dir=self._results.artifacts_dir)
            for gone in housekeeping.bound_artifacts(self._results, self._study._storage):
                logger.info("removed %s: artifacts have a limit", gone)

    def _queue_again(
        self, number: int, params: dict[str, Any], attributes: dict[str, Any], reason: str
    ) -> None:
        n_lost = int(attributes.get("n_lost", 0)) + (reason in COUNTED)
        if reason in RETRIED and n_lost < LOST_LIMIT:
            kept = {
                name: attributes[name]
                for name in ("baseline", DEATHS, FURTHEST)
                if attributes.get(name)
            }
            self._study.enqueue_trial(
                params,
                user_attrs={**kept, "n_lost": n_lost, RETRY_OF: attributes.get(RETRY_OF, number)},
            )

    def _reread(self, opened: OpenTrial) -> None:
        """Read one trial again. All would have the storage read each that runs, with its values, on
        every change.
        """
        trials = [*self.summary.trials]
        if opened.number > len(trials):  # others have asked meanwhile
            self.refresh()
            return
        trials[opened.number : opened.number + 1] = [
            self._study._storage.get_trial(opened.trial._trial_id)
        ]
        self.summary = Summary.of(self._study.study_name, self._config.metric, trials)

    def refresh(self) -> None:
        """Read the study again."""
        self.summary = summarize(self._study, metric=self._config.metric)
        if self.summary.counts["waiting"]:
            self.is_exhausted = False  # a point of the grid is to be made again


def _furthest(trial: FrozenTrial) -> int:
    """The last epoch that has ended in any try of a trial's configuration."""
    return max(*trial.intermediate_values, int(trial.user_attrs.get(FURTHEST, 0)), 0)


def _is_unproven(trial: FrozenTrial) -> bool:
    """Whether no epoch of a trial has ended after those of its checkpoint and of the
    tries before.
    """
    before = max(int(trial.user_attrs.get("n_epochs", 0)), int(trial.user_attrs.get(FURTHEST, 0)))
    return max(trial.intermediate_values, default=0) <= before


def _row(epoch: Message) -> dict[str, Any]:
    """An epoch as a row of `history.csv`."""
    return {"epoch": epoch["number"], "seconds": round(epoch["seconds"], 3), **epoch["metrics"]}


def describe(values: Values, space: SearchSpace) -> str:
    """The searched values of a configuration in one line."""
    searched = {item.name for item in space.searched}
    return ", ".join(
        f"{name} {value_text(value)}" for name, value in values.items() if name in searched
    )
