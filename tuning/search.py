"""Ask → dispatch → report, prune → tell; the only writer of a study."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, cast

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState

from tuning import dashboard
from tuning.config import StudyConfig
from tuning.datasets import load_reviews, split_reviews
from tuning.datasets.files import Progress
from tuning.errors import SpaceBug, StudyError
from tuning.hyperparameters import Values, defaults, suggest, to_params
from tuning.pool import Pool, Worker, default_workers
from tuning.results import ResultsDir, StudyDir, translated, write_csv, write_json, write_text
from tuning.spaces import SearchSpace, find_space, list_spaces
from tuning.study import (
    FINISHED,
    Summary,
    grid_points,
    make_sampler,
    open_study,
    recorded_config,
    storage_errors,
    summarize,
    value_of,
)
from tuning.vocabulary import Corpus, build_corpus
from tuning.worker import Message

logger = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 10
TICK_SECONDS = 0.5
RETRIED = ("interrupted", "timeout", "lost")  # reasons that may pass: the same values are queued again
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


@dataclass(frozen=True)
class Outcome:
    """A search that ended: its study's summary, and why it ended ("finished", "timeout", "interrupted", "exhausted")."""

    summary: Summary
    space: SearchSpace
    ended: str


@dataclass
class _Running:
    trial: Trial
    values: Values
    worker: Worker
    n_epochs: int = 0
    stop: str = ""  # why it was told to stop: "pruned", "timeout" or nothing
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Interrupt:
    requested: bool = False


def tune(
    config: StudyConfig,
    *,
    results: ResultsDir,
    storage_url: str,
    n_trials: int,
    timeout_seconds: float | None = None,
    n_workers: int | None = None,
    progress: Progress | None = None,
    on_start: Callable[[Corpus, SearchSpace], None] = lambda corpus, space: None,
    on_change: Callable[[Progressed], None] = lambda progressed: None,
) -> Outcome:
    """Prepare the data, open the study and search until `n_trials` trials are finished in all, or the time is up.

    Raises:
        TuningError: what a user can mend; nothing that was finished is lost.
    """
    if n_trials < 1:
        raise ValueError(f"--n-trials must be 1 or more; received {n_trials}.")
    if timeout_seconds is not None and timeout_seconds <= 0:
        raise ValueError(f"--timeout-seconds must be more than 0; received {timeout_seconds:g}.")
    folder = results.study(config.study)
    space_path = find_space(config.space)
    with translated(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with _owned(folder), Pool(n_workers or default_workers(), log_path=folder.log_path) as pool:
            corpus = prepare_corpus(config, results=results, progress=progress)
            card = corpus.card
            if progress:
                progress("starting the workers", 0.0)
            answer = pool.ask({"kind": "declare", "path": str(space_path), "n_classes": len(card["class_names"])})
            space = SearchSpace.from_dict(answer["space"])
            if config.sampler == "grid":
                grid_points(space, seed=config.seed)  # refuses a space without a grid before anything is written
            with storage_errors(storage_url):
                study = open_study(results, config, space, data_fingerprint=corpus.fingerprint, storage_url=storage_url)
                on_start(corpus, space)
                dashboard.annotate(study, summarize(study, metric=config.metric), folder=folder, card=card, space=space)
                try:
                    with _signals() as interrupt:
                        search = _Search(study, pool, config, space, space_path, corpus, results, interrupt, on_change)
                        ended = search.run(n_trials=n_trials, timeout_seconds=timeout_seconds)
                finally:
                    summary = summarize(study, metric=config.metric)
                    dashboard.annotate(study, summary, folder=folder, card=card, space=space)
        return Outcome(summary, space, ended)
    except BaseException:
        _remove_if_new(folder)
        raise


def prepare_corpus(config: StudyConfig, *, results: ResultsDir, progress: Progress | None = None) -> Corpus:
    """Read, split and tokenise the study's data, or find it in the cache.

    Raises:
        DataError: the data can't be used.
    """
    reviews = load_reviews(config.data, progress=progress)
    splits = split_reviews(reviews, seed=config.seed)
    corpus = build_corpus(results.cache_dir(splits.fingerprint), splits, progress=progress)
    for place in reviews.broken[:20]:
        logger.warning("left out: %s", place)
    reading: dict[str, Any] = {"data": config.data.data, "text_column": reviews.text_column, "label_column": reviews.label_column}
    reading |= {"dropped": reviews.dropped, "n_broken_lines": len(reviews.broken), "broken_lines": list(reviews.broken[:20])}
    card = corpus.card
    if {name: card.get(name) for name in reading} != reading:
        write_json(corpus.folder / "data_card.json", {**card, **reading})
    return corpus


@contextlib.contextmanager
def _owned(folder: StudyDir) -> Iterator[None]:
    """Own a study until this process ends; the lock is the kernel's, so a killed owner leaves none."""
    lock = FileLock(folder.lock_path)
    try:
        with translated(folder.lock_path):
            lock.acquire(timeout=0)
    except Timeout:
        raise StudyError(
            f"A study must have one owner at a time; another process is tuning {folder.name!r} (it holds {folder.lock_path}). "
            "Wait for it, stop it, or start another study with --study NAME."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _signals() -> Iterator[_Interrupt]:
    """The first Ctrl-C or SIGTERM asks the search to end, between two storage calls; the second ends it at once."""
    interrupt = _Interrupt()

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _remove_if_new(folder: StudyDir) -> None:
    """Take away the folder of a study that was never created: it holds a log and a lock at most."""
    if not folder.config_path.exists() and folder.path.is_dir():
        for path in (folder.log_path, folder.lock_path, folder.space_path):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something of the user's is in it
            folder.path.rmdir()


class _Search:
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
        interrupt: _Interrupt,
        on_change: Callable[[Progressed], None],
    ) -> None:
        self._study, self._pool, self._config, self._space = study, pool, config, space
        self._results, self._folder = results, results.study(config.study)
        self._interrupt, self._on_change = interrupt, on_change
        self._n_trials, self._timeout = 1, cast("float | None", None)
        self._running: dict[Worker, _Running] = {}
        self._started = time.monotonic()
        self._failures_in_a_row = 0
        self._exhausted = False
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
            self._study.enqueue_trial(
                to_params(defaults(self._space.hyperparameters), self._space.hyperparameters), user_attrs={"baseline": True}
            )
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
            seen = [t.params for t in trials if t.state in (*FINISHED, TrialState.RUNNING)]
            point = next((p for p in grid_points(self._space, seed=self._config.seed) if p not in seen), None)
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
        else:
            self._stop_for(running, message)

    def _report(self, running: _Running, message: Message) -> None:
        """Report an epoch, ask the pruner, and tell the worker to go on or to stop. The baseline is never pruned."""
        number, value = message["number"], message["metrics"][self._config.metric]
        running.n_epochs = number
        running.history.append({"epoch": number, "seconds": round(message["seconds"], 3), **message["metrics"]})
        running.trial.report(value, step=number)
        prune = running.trial.should_prune()
        last = number >= self._config.train.epochs
        if self._time_is_up() and not last:
            running.stop = "timeout"
        elif prune and not last and not running.trial.user_attrs.get("baseline"):
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
        sign = -1 if self._config.direction == "minimize" else 1
        if len(best) == dashboard.N_BEST and sign * message["best_value"] <= sign * value_of(best[-1]):
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
        if reason not in RETRIED:
            self._failures_in_a_row += 1
        self._free(running, f"trial {trial.number} failed: {reason}")
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise StudyError(
                f"A search must finish some of its trials; {MAX_FAILURES_IN_A_ROW} failed one after the other, the last for "
                f"{reason!r}. See {self._folder.error_path(trial.number)}, and narrow the search space."
            )

    def _queue_again(self, params: dict[str, Any], attributes: dict[str, Any], reason: str) -> None:
        n_lost = int(attributes.get("n_lost", 0)) + (reason == "lost")
        if (reason in RETRIED or reason == "bug") and params and n_lost < LOST_LIMIT:
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
                self._queue_again(frozen.params, {**frozen.user_attrs, "n_lost": 0}, "interrupted")
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
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items() if name in searched)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trial_line(trial: FrozenTrial) -> str:
    """The parameters of a trial in one line."""
    return ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())


def configure(study: str, flags: dict[str, Any], folder: StudyDir) -> StudyConfig:
    """The configuration of this call: the study's own where it exists, else the defaults, with `flags` over it.

    What a flag changes of an existing study is refused by `open_study`.

    Raises:
        ValueError: a value out of range, or an unknown metric, sampler or pruner.
    """
    base = recorded_config(folder) if folder.config_path.exists() else StudyConfig(study=study)
    values = base.to_dict()
    for name, value in flags.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) else value
    return StudyConfig.from_dict(values)


def declared_spaces(*, n_classes: int) -> dict[str, tuple[Path, SearchSpace]]:
    """Every search space with its file, read by a worker."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, Pool(1, log_path=Path(folder) / "worker.log") as pool:
        for name, path in list_spaces().items():
            answer = pool.ask({"kind": "declare", "path": str(path.absolute()), "n_classes": n_classes})
            found[name] = (path, SearchSpace.from_dict(answer["space"]))
    return found
