"""`make confirm`: the best configurations and the baseline of a finished search, trained again on fresh seeds by the same workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from tuning import dashboard
from tuning.config import StudyConfig, sign
from tuning.confirmation import Confirmation, Finalist, confirmation
from tuning.corpus import prepare_corpus, release_memory, require_same_data
from tuning.datasets.files import Progress
from tuning.duplicates import key
from tuning.errors import SpaceBug, StudyError
from tuning.owner import owned
from tuning.pool import AnyPool, AnyWorker
from tuning.pools import PoolChoice, open_pool, start_early
from tuning.record import COUNTED, describe
from tuning.results import ResultsDir, StudyDir, read_json
from tuning.search import TICK_SECONDS, Interrupt
from tuning.spaces import SearchSpace, find_space, require_same_space
from tuning.storage import close_study
from tuning.study import load_study, recorded_config, recorded_space
from tuning.summary import Summary, summarize
from tuning.trials import busy_seconds, costs_of, is_over_limit, is_pruned_early, value_of, values_of
from tuning.tune import signals
from tuning.vocabulary import Corpus
from tuning.watch import TrialLimits, Watch
from tuning.worker import training_message

logger = logging.getLogger(__name__)

DEFAULT_TOP, DEFAULT_SEEDS, DEFAULT_SHARE, DEFAULT_PRUNED = 5, 5, 0.25, 5
MIN_COMPLETE = 3
MAX_LOST = 2  # a repeat that kills its worker twice is a failure

Said = Callable[[str, Confirmation], None]


def confirm(
    results: ResultsDir,
    folder: StudyDir,
    *,
    storage_url: str,
    top: int = DEFAULT_TOP,
    n_seeds: int = DEFAULT_SEEDS,
    share: float = DEFAULT_SHARE,
    n_pruned: int = DEFAULT_PRUNED,
    n_workers: int | None = None,
    limits: TrialLimits | None = None,
    pool_choice: PoolChoice = PoolChoice(),  # noqa: B008  # frozen
    progress: Progress | None = None,
    on_change: Said = lambda event, found: None,
) -> Confirmation:
    """Train the `top` best configurations and the baseline on up to `n_seeds` fresh seeds, for `share` of the search's seconds at most.

    If that leaves time, up to `n_pruned` pruned trials, drawn at random, are trained to the end: what pruning may have missed. The
    same call goes on where a stopped one was; a finished confirmation is begun anew when the search has new best trials, or when more
    seeds, finalists, pruned trials or time are asked for, and keeps every repeat that it has.

    Raises:
        StudyError: fewer than three completed trials, a trial in the middle, other data than the search's, or another owner.
        SpaceError: the search space has changed.
    """
    for name, value in (("--top", top), ("--seeds", n_seeds)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more; received {value}.")
    if n_pruned < 0:
        raise ValueError(f"--pruned must be 0 or more; received {n_pruned}.")
    if not share > 0:
        raise ValueError(f"--share must be more than 0; received {share:g}.")
    config, space = recorded_config(folder), recorded_space(folder)
    study = load_study(results, folder, storage_url=storage_url)
    try:
        summary = summarize(study, metric=config.metric)
        _require_finished(summary)
        with owned(folder):
            start_early(pool_choice, log_path=folder.log_path)
            corpus = prepare_corpus(config, results=results, progress=progress)[0]
            require_same_data(corpus, config, fingerprint=read_json(folder.config_path)["data_fingerprint"], doing="A confirmation")
            release_memory()
            pruned = pruned_sample(summary, space, n=n_pruned, epochs=config.train.epochs, seed=config.seed)
            finalists = finalists_of(summary, space, top=top)
            found = _begin(summary, finalists, pruned, folder, seed=config.seed, n_seeds=n_seeds, share=share)
            if progress:
                progress("starting the workers", 0.0)
            opened = open_pool(pool_choice, n_workers=n_workers, limits=limits or TrialLimits(), log_path=folder.log_path)
            with opened as (pool, within), signals() as interrupt:
                _Repeats(pool, found, folder, _job(pool, config, space, corpus), space, interrupt, on_change, within).run()
            dashboard.annotate(study, summary, folder=folder, card=corpus.card, space=space)
    finally:
        close_study(study)
    return found


def _job(pool: AnyPool, config: StudyConfig, space: SearchSpace, corpus: Corpus) -> dict[str, Any]:
    """What a worker is told of every training; refuses a space that is not the study's any more."""
    path = find_space(config.space)
    answer = pool.ask({"kind": "declare", "path": str(path), "n_classes": len(corpus.card["class_names"])})
    require_same_space(SearchSpace.from_dict(answer["space"]), space, path=path, doing="A confirmation")
    return training_message(config, space_path=path, corpus=corpus, known=[item.name for item in space.hyperparameters])


def _require_finished(summary: Summary) -> None:
    n_complete = summary.counts["complete"]
    if n_complete < MIN_COMPLETE:
        raise StudyError(
            f"A confirmation must have {MIN_COMPLETE} completed trials or more to choose from; {summary.study!r} has {n_complete}. "
            "Type `make tune` to go on."
        )
    if summary.counts["running"]:
        raise StudyError(
            f"A confirmation must follow a finished search; {summary.counts['running']} trials of {summary.study!r} were stopped in the "
            "middle. Type `make tune` to go on with them."
        )


def _begin(
    summary: Summary, finalists: list[Finalist], pruned: list[Finalist], folder: StudyDir, *, seed: int, n_seeds: int, share: float
) -> Confirmation:
    """The confirmation that stands in the study's folder, if it is of these finalists and seeds, or one that takes over its repeats."""
    seeds = [(seed + number) % 2**31 for number in range(1, n_seeds + 1)]
    search_seconds = sum(busy_seconds(trial.user_attrs.get("seconds", {})) for trial in summary.trials)
    new = confirmation(
        finalists, metric=summary.metric, seeds=seeds, search_seconds=search_seconds, share=share, pruned=pruned, search_seed=seed
    )
    old = Confirmation.load(folder)
    if old is None:
        return new
    if _terms(old) == _terms(new):
        return old
    kept = {one.trial: one for one in (*old.finalists, *old.pruned)}
    for one in (*new.finalists, *new.pruned):
        if one.trial in kept:
            one.repeats, one.failures = kept[one.trial].repeats, kept[one.trial].failures
    new.spent_seconds = old.spent_seconds
    return new


def _terms(one: Confirmation) -> tuple[Any, ...]:
    return one.seeds, one.budget_seconds, [f.trial for f in one.finalists], [f.trial for f in one.pruned]


def finalists_of(summary: Summary, space: SearchSpace, *, top: int) -> list[Finalist]:
    """The `top` best completed trials, each configuration once, and the baseline; of several objectives, `top` of the Pareto front."""
    groups: dict[Hashable, list[FrozenTrial]] = {}
    for trial in summary.ranked:
        groups.setdefault(key(values_of(trial, space)), []).append(trial)
    baseline = summary.baseline
    others = [members for members in groups.values() if baseline not in members and (not summary.has_costs or members[0] in summary.front)]
    chosen = [_finalist(members[0], members, space) for members in (_spread(others, top) if summary.has_costs else others[:top])]
    if baseline is not None:
        same = next((members for members in groups.values() if baseline in members), [baseline])
        chosen.append(replace(_finalist(baseline, same, space), is_baseline=True, is_over_limit=is_over_limit(baseline)))
    return sorted(chosen, key=lambda one: -sign(summary.metric) * one.search_value)


def _spread(front: list[list[FrozenTrial]], top: int) -> list[list[FrozenTrial]]:
    """So many of a front, its two ends among them."""
    return [front[number] for number in sorted({round(place) for place in np.linspace(0, len(front) - 1, min(top, len(front)))})]


def _finalist(trial: FrozenTrial, same: list[FrozenTrial], space: SearchSpace) -> Finalist:
    best_epoch, n_epochs = int(trial.user_attrs["best_epoch"]), int(trial.user_attrs["n_epochs"])
    return Finalist(
        trial=trial.number,
        values=values_of(trial, space),
        search_value=value_of(trial),
        seconds=busy_seconds(trial.user_attrs["seconds"]) * best_epoch / n_epochs,
        epochs=best_epoch,
        costs=[*costs_of(trial)],
        same=[t.number for t in same if t is not trial],
    )


def pruned_sample(summary: Summary, space: SearchSpace, *, n: int, epochs: int, seed: int) -> list[Finalist]:
    """Up to `n` pruned trials, drawn without replacement, to train for all their epochs."""
    pruned = [trial for trial in summary.trials if is_pruned_early(trial)]
    drawn = np.random.default_rng(seed).permutation(len(pruned))[:n]
    return [
        Finalist(
            trial=trial.number,
            values=values_of(trial, space),
            search_value=trial.intermediate_values[max(trial.intermediate_values)],
            seconds=busy_seconds(trial.user_attrs["seconds"]) * epochs / int(trial.user_attrs["n_epochs"]),
            epochs=epochs,
        )
        for trial in (pruned[number] for number in drawn)
    ]


class _Repeats:
    """One call of `confirm`, from its first training to its last; every result is written before the next is asked for."""

    def __init__(
        self,
        pool: AnyPool,
        found: Confirmation,
        folder: StudyDir,
        job: dict[str, Any],
        space: SearchSpace,
        interrupt: Interrupt,
        on_change: Said,
        limits: TrialLimits,
    ) -> None:
        self._pool, self._found, self._folder, self._job, self._space = pool, found, folder, job, space
        self._interrupt, self._on_change = interrupt, on_change
        self._watch = Watch(limits)
        self._running: dict[AnyWorker, tuple[Finalist, int]] = {}
        self._lost: dict[tuple[int, int], int] = {}

    def run(self) -> None:
        while not self._interrupt.requested and (waiting := self._found.due()):
            self._found.save(self._folder)
            self._round(waiting)
        self._found.save(self._folder)

    def _round(self, waiting: list[tuple[Finalist, int]]) -> None:
        while (waiting or self._running) and not self._interrupt.requested:
            for worker in self._pool.workers:
                if waiting and worker.is_ready and worker not in self._running:
                    finalist, seed = self._running[worker] = waiting.pop(0)
                    exactly = {"epochs": finalist.epochs, "patience": finalist.epochs} if self._is_repeat(seed) else {}
                    train = {**self._job["train"], **exactly}
                    worker.send({**self._job, "train": train, "values": finalist.values, "seed": seed})
                    self._watch.begin(worker)
            for worker, message in self._pool.wait(TICK_SECONDS):
                self._watch.heard(worker)
                if message is None:
                    waiting += self._replace(worker, "lost")
                elif message["kind"] == "epoch":
                    worker.send({"go": True})
                elif worker in self._running:
                    self._watch.end(worker)
                    self._keep(*self._running.pop(worker), message)
            for worker, reason, _ in self._watch.look():
                waiting += self._replace(worker, reason)

    def _keep(self, finalist: Finalist, seed: int, message: dict[str, Any]) -> None:
        if message["kind"] == "result":
            last = message["history"][-1]["metrics"][self._found.metric]
            value = finalist.repeats[seed] = last if self._is_repeat(seed) else message["best_value"]
            self._found.spent_seconds += busy_seconds(message["seconds"])
            event = f"{self._head(finalist, seed)}: {self._found.metric} {value:.4f}"
        elif message["kind"] == "infeasible":
            event = self._fail(finalist, seed, message["reason"])
        else:
            raise SpaceBug(
                f"Trial {finalist.trial} ({describe(finalist.values, self._space)}) stopped the confirmation: {message['message']}",
                traceback=message["traceback"],
            )
        self._found.save(self._folder)
        logger.info(event)
        self._on_change(event, self._found)

    def _is_repeat(self, seed: int) -> bool:
        """Whether a training repeats a finalist; one on the search's own seed takes a pruned trial to its end."""
        return seed != self._found.search_seed

    def _fail(self, finalist: Finalist, seed: int, reason: str) -> str:
        finalist.repeats[seed], finalist.failures[seed] = None, reason
        return f"{self._head(finalist, seed)} failed: {reason}"

    def _head(self, finalist: Finalist, seed: int) -> str:
        if self._is_repeat(seed):
            return f"round {self._found.rounds + 1} of {len(self._found.seeds)} at most: trial {finalist.trial}, seed {seed}"
        return f"pruned trial {finalist.trial}, trained to the end"

    def _replace(self, worker: AnyWorker, reason: str) -> list[tuple[Finalist, int]]:
        """A worker died or is over a limit: its training is tried once more, where the reason may pass."""
        self._watch.end(worker)
        self._pool.replace(worker)
        pair = self._running.pop(worker, None)
        if pair is None:
            return []
        key = (pair[0].trial, pair[1])
        self._lost[key] = self._lost.get(key, 0) + 1
        if self._lost[key] < MAX_LOST and reason in COUNTED:
            return [pair]
        event = self._fail(*pair, reason)
        self._found.save(self._folder)
        self._on_change(event, self._found)
        return []
