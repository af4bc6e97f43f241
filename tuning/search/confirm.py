"""`make confirm`: the best configurations and the baseline of a finished search, trained again on
fresh seeds by the same workers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from tuning.config import StudyConfig, sign
from tuning.confirmation.rounds import Confirmation, Finalist, confirmation
from tuning.data.corpus import Corpus
from tuning.data.files import Progress
from tuning.data.prepare import prepare_corpus, release_memory, require_same_data
from tuning.errors import SpaceBug, StudyError
from tuning.report import dashboard
from tuning.results import ResultsDir, StudyDir
from tuning.search.duplicates import key
from tuning.search.loop import TICK_SECONDS
from tuning.search.tune import Session, signals
from tuning.search.writer import COUNTED, describe
from tuning.spaces.loading import SearchSpace, find_space, require_same_space
from tuning.study.lock import owned
from tuning.study.record import read_record
from tuning.study.storage import close_study
from tuning.study.study import load_study, recorded_config, recorded_space
from tuning.study.summary import Summary, summarize
from tuning.study.trials import (
    busy_seconds,
    costs_of,
    is_over_limit,
    is_pruned_early,
    value_of,
    values_of,
)
from tuning.workers.limits import TrialLimits, Watch
from tuning.workers.pool import AnyPool, AnyWorker
from tuning.workers.pools import PoolChoice, open_pool, start_early
from tuning.workers.worker import training_message

logger = logging.getLogger(__name__)

DEFAULT_TOP, DEFAULT_SEEDS, DEFAULT_PRUNED = 5, 5, 5
MIN_COMPLETE = 3
MAX_LOST = 2  # a repeat that kills its worker twice is a failure

Said = Callable[[str, Confirmation], None]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a confirmation is asked for.

    Args:
        top: best configurations to train again, beside the baseline.
        n_seeds: maximum number of fresh seeds.
        share: maximum of its worker seconds as a share of the search's. None: `DEFAULT_SHARE`, and
            more where `MIN_ROUNDS` seeds of the two best and the baseline need more.
        n_pruned: pruned trials to train to the end, if that leaves time: what pruning may have
            missed.
    """

    top: int = DEFAULT_TOP
    n_seeds: int = DEFAULT_SEEDS
    share: float | None = None
    n_pruned: int = DEFAULT_PRUNED

    def __post_init__(self) -> None:
        for name, value in (("--top", self.top), ("--seeds", self.n_seeds)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more; received {value}.")
        if self.n_pruned < 0:
            raise ValueError(f"--pruned must be 0 or more; received {self.n_pruned}.")
        if self.share is not None and not self.share > 0:
            raise ValueError(f"--share must be more than 0; received {self.share:g}.")


def confirm(
    results: ResultsDir,
    folder: StudyDir,
    *,
    storage_url: str,
    terms: Terms = Terms(),  # frozen
    n_workers: int | None = None,
    limits: TrialLimits | None = None,
    pool_choice: PoolChoice = PoolChoice(),  # noqa: B008  # frozen
    progress: Progress | None = None,
    on_start: Callable[[Confirmation, int], None] = lambda found, n_workers: None,
    on_change: Said = lambda event, found: None,
) -> Confirmation:
    """Prepare the data of a finished search, start workers, and `confirm_within` them.

    Raises:
        StudyError: fewer than three completed trials, a trial in the middle, other data than the
            search's, or another owner.
        SpaceError: the search space has changed.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    study = load_study(results, folder, storage_url=storage_url)
    try:
        _require_finished(summarize(study, metric=config.metric))
        with owned(folder):
            start_early(pool_choice, log_path=folder.log_path)
            corpus = prepare_corpus(config, results=results, progress=progress)[0]
            require_same_data(
                corpus,
                config,
                fingerprint=read_record(folder).data_fingerprint,
                doing="A confirmation",
            )
            release_memory()
            if progress:
                progress("starting the workers", 0.0)
            opened = open_pool(
                pool_choice,
                n_workers=n_workers,
                limits=limits or TrialLimits(),
                log_path=folder.log_path,
            )
            with opened as (pool, within), signals() as interrupt:
                session = Session(
                    study=study,
                    config=config,
                    space=space,
                    space_path=_same_space(pool, config, space, corpus),
                    folder=folder,
                    corpus=corpus,
                    pool=pool,
                    limits=within,
                    interrupt=interrupt,
                )
                found = confirm_within(session, terms, on_start=on_start, on_change=on_change)
            dashboard.annotate(
                study,
                summarize(study, metric=config.metric),
                folder=folder,
                card=corpus.card,
                space=space,
            )
    finally:
        close_study(study)
    return found


def confirm_within(
    session: Session,
    terms: Terms = Terms(),  # frozen
    *,
    on_start: Callable[[Confirmation, int], None] = lambda found, n_workers: None,
    on_change: Said = lambda event, found: None,
) -> Confirmation:
    """Train the best configurations and the baseline on fresh seeds, with the workers of a session.

    `on_start` gets what is going to be trained and the number of workers. The same call goes on
    where a stopped one was. A finished confirmation goes on when the search has new best trials, or
    when more seeds, finalists, pruned trials or time are asked for; every configuration that has
    repeats stays among the finalists.

    Raises:
        StudyError: fewer than three completed trials, or a trial in the middle.
    """
    config, space = session.config, session.space
    summary = summarize(session.study, metric=config.metric)
    _require_finished(summary)
    found = _begin(summary, session, terms)
    on_start(found, len(session.pool.workers))
    known = [item.name for item in space.hyperparameters]
    job = training_message(
        config, space_path=session.space_path, corpus=session.corpus, known=known
    )
    _Repeats(session, found, job, on_change).run()
    return found


def _same_space(pool: AnyPool, config: StudyConfig, space: SearchSpace, corpus: Corpus) -> Path:
    """The file of a study's space, which must still declare what it declared."""
    path = find_space(config.space)
    answer = pool.ask(
        {"kind": "declare", "path": str(path), "n_classes": len(corpus.card.class_names)}
    )
    require_same_space(
        SearchSpace.from_dict(answer["space"]), space, path=path, doing="A confirmation"
    )
    return path


def _require_finished(summary: Summary) -> None:
    n_complete = summary.counts["complete"]
    if n_complete < MIN_COMPLETE:
        raise StudyError(
            f"A confirmation must have {MIN_COMPLETE} completed trials or more to choose from;"
            f" {summary.study!r} has {n_complete}. Type `make tune` to go on."
        )
    if summary.counts["running"]:
        raise StudyError(
            f"A confirmation must follow a finished search; {summary.counts['running']} trials of"
            f" {summary.study!r} were stopped in the middle. Type `make tune` to go on with them."
        )


def _begin(summary: Summary, session: Session, terms: Terms) -> Confirmation:
    """The confirmation in the study's folder if it has all that is asked for, else one that takes
    over its finalists with repeats.
    """
    seed, epochs = session.config.seed, session.config.train.epochs
    old = Confirmation.load(session.folder)
    seeds = [(seed + number) % 2**31 for number in range(1, terms.n_seeds + 1)]
    new = confirmation(
        _with_repeats(
            finalists_of(summary, session.space, top=terms.top), old.finalists if old else []
        ),
        metric=summary.metric,
        seeds=max(seeds, old.seeds if old else [], key=len),  # both begin with the same seeds
        search_seconds=sum(
            busy_seconds(trial.user_attrs.get("seconds", {})) for trial in summary.trials
        ),
        spent_seconds=old.spent_seconds if old else 0.0,
        share=terms.share,
        pruned=_with_repeats(
            pruned_sample(summary, session.space, n=terms.n_pruned, epochs=epochs, seed=seed),
            old.pruned if old else [],
        ),
        search_seed=seed,
    )
    return old if old and _has_all(old, new) else new


def _with_repeats(finalists: list[Finalist], known: list[Finalist]) -> list[Finalist]:
    """Finalists with the repeats that an earlier confirmation has of them, and its other ones that
    have repeats.
    """
    for one in finalists:
        for earlier in known:
            if one.trial in (earlier.trial, *earlier.same):
                one.repeats, one.failures = earlier.repeats, earlier.failures
    numbers = {number for one in finalists for number in (one.trial, *one.same)}
    others = [
        one for one in known if one.repeats and one.trial not in numbers and not one.is_baseline
    ]
    return [*finalists, *(replace(one, dropped_in=0) for one in others)]


def _has_all(old: Confirmation, new: Confirmation) -> bool:
    """Whether an earlier confirmation has the seeds, finalists, pruned trials and time
    of another.
    """
    budgets = new.budget_seconds <= old.budget_seconds and new.n_guaranteed <= old.n_guaranteed
    return budgets and len(new.seeds) <= len(old.seeds) and _numbers(new) <= _numbers(old)


def _numbers(one: Confirmation) -> set[int]:
    return {finalist.trial for finalist in (*one.finalists, *one.pruned)}


def finalists_of(summary: Summary, space: SearchSpace, *, top: int) -> list[Finalist]:
    """The `top` best completed trials, each configuration once, and the baseline; of several
    objectives, `top` of the Pareto front.
    """
    groups: dict[Hashable, list[FrozenTrial]] = {}
    for trial in summary.ranked:
        groups.setdefault(key(values_of(trial, space)), []).append(trial)
    baseline = summary.baseline
    others = [
        members
        for members in groups.values()
        if baseline not in members and (not summary.has_costs or members[0] in summary.front)
    ]
    chosen = [
        _finalist(members[0], members, space)
        for members in (_spread(others, top) if summary.has_costs else others[:top])
    ]
    if baseline is not None:
        same = next((members for members in groups.values() if baseline in members), [baseline])
        chosen.append(
            replace(
                _finalist(baseline, same, space),
                is_baseline=True,
                is_over_limit=is_over_limit(baseline),
            )
        )
    return sorted(chosen, key=lambda one: -sign(summary.metric) * one.search_value)


def _spread(front: list[list[FrozenTrial]], top: int) -> list[list[FrozenTrial]]:
    """So many of a front, its two ends among them."""
    return [
        front[number]
        for number in sorted(
            {round(place) for place in np.linspace(0, len(front) - 1, min(top, len(front)))}
        )
    ]


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


def pruned_sample(
    summary: Summary, space: SearchSpace, *, n: int, epochs: int, seed: int
) -> list[Finalist]:
    """Up to `n` pruned trials, drawn without replacement, to train for all their epochs."""
    pruned = [trial for trial in summary.trials if is_pruned_early(trial)]
    drawn = np.random.default_rng(seed).permutation(len(pruned))[:n]
    return [
        Finalist(
            trial=trial.number,
            values=values_of(trial, space),
            search_value=trial.intermediate_values[max(trial.intermediate_values)],
            seconds=busy_seconds(trial.user_attrs["seconds"])
            * epochs
            / int(trial.user_attrs["n_epochs"]),
            epochs=epochs,
        )
        for trial in (pruned[number] for number in drawn)
    ]


class _Repeats:
    """One call of `confirm`, from its first training to its last; every result is written before
    the next is asked for.
    """

    def __init__(
        self, session: Session, found: Confirmation, job: dict[str, Any], on_change: Said
    ) -> None:
        self._pool, self._folder, self._space, self._interrupt = (
            session.pool,
            session.folder,
            session.space,
            session.interrupt,
        )
        self._found, self._job, self._on_change, self._keep_going = (
            found,
            job,
            on_change,
            session.keep_going,
        )
        self._watch = Watch(session.limits)
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
                    exactly = (
                        {"epochs": finalist.epochs, "patience": finalist.epochs}
                        if self._is_repeat(seed)
                        else {}
                    )
                    train = {**self._job["train"], **exactly}
                    worker.send(
                        {**self._job, "train": train, "values": finalist.values, "seed": seed}
                    )
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
            value = finalist.repeats[seed] = (
                last if self._is_repeat(seed) else message["best_value"]
            )
            self._found.spent_seconds += busy_seconds(message["seconds"])
            event = f"{self._head(finalist, seed)}: {self._found.metric} {value:.4f}"
        elif message["kind"] == "infeasible":
            event = self._fail(finalist, seed, message["reason"])
        elif self._keep_going:
            event = self._fail(finalist, seed, "bug")
        else:
            raise SpaceBug(
                f"Trial {finalist.trial} ({describe(finalist.values, self._space)}) stopped the"
                f" confirmation: {message['message']}",
                traceback=message["traceback"],
            )
        self._found.save(self._folder)
        logger.info(event)
        self._on_change(event, self._found)

    def _is_repeat(self, seed: int) -> bool:
        """Whether a training repeats a finalist; one on the search's own seed takes a pruned trial
        to its end.
        """
        return seed != self._found.search_seed

    def _fail(self, finalist: Finalist, seed: int, reason: str) -> str:
        finalist.repeats[seed], finalist.failures[seed] = None, reason
        self._found.spent_seconds += finalist.seconds  # how long it took is not known
        return f"{self._head(finalist, seed)} failed: {reason}"

    def _head(self, finalist: Finalist, seed: int) -> str:
        if self._is_repeat(seed):
            return (
                f"round {self._found.rounds + 1} of {len(self._found.seeds)} at most: trial"
                f" {finalist.trial}, seed {seed}"
            )
        return f"pruned trial {finalist.trial}, trained to the end"

    def _replace(self, worker: AnyWorker, reason: str) -> list[tuple[Finalist, int]]:
        """A worker died or is over a limit: its training is tried once more, where the reason may
        pass.
        """
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
