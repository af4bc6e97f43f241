"""Ask → dispatch → report, prune → tell; the only writer of a study."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from tuning import dashboard
from tuning.config import StudyConfig, sign
from tuning.errors import SpaceBug, StudyError
from tuning.hyperparameters import Values, defaults, suggest, to_params, value_text
from tuning.pool import Pool, Worker
from tuning.results import ResultsDir, write_csv, write_text
from tuning.spaces import SearchSpace
from tuning.study import grid_points, make_sampler
from tuning.summary import Summary, summarize, value_of
from tuning.vocabulary import Corpus
from tuning.worker import Message

logger = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 10
TICK_SECONDS = 0.5
RETRIED = ("interrupted", "timeout", "lost", "bug")  # reasons that may pass: the same values are queued again
MIN_EPOCHS_SAVED = 2  # a trial with one epoch to go is not pruned: little is saved, and a completed trial is lost
LOST_LIMIT = 2  # a configuration that kills its worker twice is not tried a third time


@dataclass(frozen=True)
class Progressed:
    """A search as it stands, for a progress display. `running` maps a trial's number to its finished epochs."""

    summary: Summary
    n_trials: int
    epochs: int
    running: dict[int, int]
    elapsed_seconds: float
    seconds_left: float | None
    event: str = ""


@dataclass
class _Running:
    trial: Trial
    values: Values
    worker: Worker
    n_epochs: int = 0
    stop: str = ""  # why it was told to stop: "pruned", "timeout" or nothing
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Interrupt:
    """Whether the user has asked the search to end; a signal handler sets it."""

    requested: bool = False


class Search:
    """One call of `tune`: from its first `ask` to its last `tell`."""

    def __init__(
        self,
        study: optuna.Study,
        pool: Pool,
        config: StudyConfig,
        space: SearchSpace,
        space_path: Path,
        corpus: Corpus,
        results: ResultsDir,
        interrupt: Interrupt,
        on_change: Callable[[Progressed], None],
    ) -> None:
        self._study, self._pool, self._config, self._space = study, pool, config, space
        self._results, self._folder = results, results.study(config.study)
        self._interrupt, self._on_change = interrupt, on_change
        self._n_trials = 0
        self._timeout: float | None = None
        self._running: dict[Worker, _Running] = {}
        self._started = time.monotonic()
        self._failures_in_a_row = 0
        self._exhausted = False
        self._grid = grid_points(space, seed=config.seed) if config.sampler == "grid" else []
        self._class_names = corpus.card["class_names"]
        self._summary = summarize(study, metric=config.metric)
        self._n_before = self._summary.n_finished
        self._job = {
            "kind": "train",
            "space_path": str(space_path),
            "corpus": str(corpus.folder.absolute()),
            "n_classes": len(self._class_names),
            "train": config.to_dict()["train"],
            "seed": config.seed,
            "metric": config.metric,
            "known": [item.name for item in space.hyperparameters],
        }

    def run(self, *, n_trials: int, timeout_seconds: float | None) -> str:
        """Search until `n_trials` trials are finished in all or the time is up; returns why it ended."""
        self._n_trials, self._timeout = n_trials, timeout_seconds
        self._settle_orphans()
        if not self._summary.trials:
            baseline = to_params(defaults(self._space.hyperparameters), self._space.hyperparameters)
            self._study.enqueue_trial(baseline, user_attrs={"baseline": True})
        try:
            while not self._interrupt.requested:
                self._dispatch()
                if not self._running:
                    return self._reason_to_end()
                self._notify()
                for worker, message in self._pool.wait(TICK_SECONDS):
                    self._handle(worker, message)
        finally:
            for running in list(self._running.values()):
                self._fail(running, "interrupted", "the search was stopped")
        return "interrupted"

    def _reason_to_end(self) -> str:
        if self._summary.n_finished >= self._n_trials:
            return "finished"
        return "exhausted" if self._exhausted else "timeout"

    def _time_is_up(self) -> bool:
        return self._timeout is not None and time.monotonic() - self._started >= self._timeout

    def _dispatch(self) -> None:
        for worker in self._pool.workers:
            wanted = self._n_trials - self._summary.n_finished - len(self._running)
            if worker in self._running or wanted <= 0 or self._time_is_up():
                continue
            trial = self._ask()
            if trial is None:
                return
            values = suggest(trial, self._space.hyperparameters)
            self._running[worker] = _Running(trial, values, worker)
            worker.send({**self._job, "values": values})
            self._notify(f"trial {trial.number} starts: {describe(values, self._space)}")

    def _ask(self) -> Trial | None:
        """The next trial, or None when a grid has no point left."""
        trials = self._study.get_trials(deepcopy=False)
        if self._config.sampler == "grid" and not any(t.state == TrialState.WAITING for t in trials):
            seen = [t.params for t in trials]
            point = next((p for p in self._grid if p not in seen), None)
            self._exhausted = point is None
            if point is None:
                return None
            self._study.enqueue_trial(point)
        self._study.sampler = make_sampler(self._config.sampler, space=self._space, seed=self._config.seed, number=len(trials))
        return self._study.ask()

    def _handle(self, worker: Worker, message: Message | None) -> None:
        running = self._running.get(worker)
        if message is None:
            replaced = self._pool.replace(worker)
            if running:
                code = worker.process.exitcode
                self._fail(running, "lost", f"its worker ended with exit status {code} and was replaced by process {replaced.process.pid}")
                self._check_failures(running, "lost")
            return
        if running is None:
            return
        kind = message["kind"]
        if kind == "epoch":
            self._report(running, message)
        elif kind == "result":
            self._finish(running, message)
        elif kind == "infeasible":
            self._fail(running, message["reason"], message["detail"])
            self._check_failures(running, message["reason"])
        else:
            self._stop_for(running, message)

    def _report(self, running: _Running, message: Message) -> None:
        """Report an epoch, ask the pruner, and tell the worker to go on or to stop. The baseline is never pruned."""
        number, value = message["number"], message["metrics"][self._config.metric]
        running.n_epochs = number
        running.history.append({"epoch": number, "seconds": round(message["seconds"], 3), **message["metrics"]})
        running.trial.report(value, step=number)
        prune = running.trial.should_prune()
        n_left = self._config.train.epochs - number
        if self._time_is_up() and n_left:
            running.stop = "timeout"
        elif prune and n_left >= MIN_EPOCHS_SAVED and not running.trial.user_attrs.get("baseline"):
            running.stop = "pruned"
        running.worker.send({"go": not running.stop})
        write_csv(self._folder.history_path(running.trial.number), running.history)
        self._notify(f"trial {running.trial.number} epoch {number}: {self._config.metric} {value:.4f}")

    def _finish(self, running: _Running, message: Message) -> None:
        trial = running.trial
        if running.stop == "timeout":
            self._fail(running, "timeout", "the time of this call was up; its values are queued again")
            return
        attributes = {
            "best_epoch": message["best_epoch"],
            "n_epochs": len(message["history"]),
            "seconds": {phase: round(seconds, 3) for phase, seconds in message["seconds"].items()},
            "n_parameters": message["n_parameters"],
            "n_fused_layers": message["n_fused_layers"],
            "padding_share": round(message["padding_share"], 4),
            "peak_memory_mb": round(message["peak_memory_mb"]),
            "seed": self._config.seed,
            **{name: round(value, 5) for name, value in message["metrics"].items() if not math.isnan(value)},
        }
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        if running.stop == "pruned":
            self._study.tell(trial, state=TrialState.PRUNED)
            event = f"trial {trial.number} pruned after epoch {running.n_epochs}"
        else:
            self._keep_confusion(trial, message)
            self._study.tell(trial, message["best_value"])
            event = f"trial {trial.number} complete: {self._config.metric} {message['best_value']:.4f} in epoch {message['best_epoch']}"
        self._failures_in_a_row = 0
        self._free(running, event)

    def _keep_confusion(self, trial: Trial, message: Message) -> None:
        """An artifact for a trial that is among the five best so far; Optuna takes none after `tell`."""
        best = self._summary.ranked[: dashboard.N_BEST]
        towards = sign(self._config.metric)
        if len(best) == dashboard.N_BEST and towards * message["best_value"] <= towards * value_of(best[-1]):
            return
        path = self._folder.confusion_path(trial.number)
        write_text(path, dashboard.confusion_svg(message["confusion"], self._class_names, title=f"Trial {trial.number}, validation"))
        dashboard.upload(trial, path, artifacts_dir=self._results.artifacts_dir)

    def _fail(self, running: _Running, reason: str, detail: str) -> None:
        """Tell a trial FAIL with its reason; queue its values again where the reason may pass."""
        trial = running.trial
        trial.set_user_attr("reason", reason)
        write_text(self._folder.error_path(trial.number), f"{reason}: {detail}\n\n{describe(running.values, self._space)}\n")
        self._study.tell(trial, state=TrialState.FAIL)
        self._queue_again(trial.params, trial.user_attrs, reason)
        self._free(running, f"trial {trial.number} failed: {reason}")

    def _check_failures(self, running: _Running, reason: str) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise StudyError(
                f"A search must finish some of its trials; {MAX_FAILURES_IN_A_ROW} failed one after the other, the last for "
                f"{reason!r}. See {self._folder.error_path(running.trial.number)}, and narrow the search space."
            )

    def _queue_again(self, params: dict[str, Any], attributes: dict[str, Any], reason: str) -> None:
        n_lost = int(attributes.get("n_lost", 0)) + (reason == "lost")
        if reason in RETRIED and params and n_lost < LOST_LIMIT:
            kept = {"baseline": True} if attributes.get("baseline") else {}
            self._study.enqueue_trial(params, user_attrs={**kept, "n_lost": n_lost})

    def _stop_for(self, running: _Running, message: Message) -> None:
        """A bug in the space's code: keep its traceback, fail the trial and stop the study."""
        number, values = running.trial.number, describe(running.values, self._space)
        self._fail(running, "bug", f"{message['message']}\n\n{message['traceback']}")
        raise SpaceBug(
            f"Trial {number} ({values}) stopped the study: {message['message']} The traceback is in "
            f"{self._folder.error_path(number)}; mend the space, then go on with the same command.",
            traceback=message["traceback"],
        )

    def _settle_orphans(self) -> None:
        """Trials that a dead owner left RUNNING are told FAIL and queued again before anything new is asked."""
        for frozen in self._summary.trials:
            if frozen.state == TrialState.RUNNING:
                trial = Trial(self._study, frozen._trial_id)
                trial.set_user_attr("reason", "lost")
                self._study.tell(frozen.number, state=TrialState.FAIL)
                queued = frozen.system_attrs.get("fixed_params", {})  # of a trial that died before it was given its values
                self._queue_again({**queued, **frozen.params}, frozen.user_attrs, "interrupted")
        self._refresh()

    def _free(self, running: _Running, event: str) -> None:
        self._running.pop(running.worker, None)
        self._refresh()
        self._notify(event)

    def _refresh(self) -> None:
        self._summary = summarize(self._study, metric=self._config.metric)

    def _notify(self, event: str = "") -> None:
        if event:
            logger.info(event)
        elapsed = time.monotonic() - self._started
        done = self._summary.n_finished - self._n_before
        left = elapsed / done * max(self._n_trials - self._summary.n_finished, 0) if done else None
        if self._timeout is not None:
            until_timeout = max(self._timeout - elapsed, 0.0)
            left = until_timeout if left is None else min(left, until_timeout)
        running = {r.trial.number: r.n_epochs for r in self._running.values()}
        self._on_change(Progressed(self._summary, self._n_trials, self._config.train.epochs, running, elapsed, left, event))


def describe(values: Values, space: SearchSpace) -> str:
    """The searched values of a configuration in one line."""
    searched = {item.name for item in space.searched}
    return ", ".join(f"{name} {value_text(value)}" for name, value in values.items() if name in searched)


def trial_line(trial: FrozenTrial) -> str:
    """The parameters of a trial in one line."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in trial.params.items())
