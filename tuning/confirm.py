"""`make confirm`: the best configurations and the baseline of a finished search, trained again on fresh seeds by the same workers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from optuna.trial import FrozenTrial

from tuning import dashboard
from tuning.config import StudyConfig
from tuning.confirmation import Confirmation, Finalist, confirmation
from tuning.corpus import prepare_corpus, release_memory, require_same_data
from tuning.datasets.files import Progress
from tuning.errors import SpaceBug, StudyError
from tuning.pool import Pool, Worker, default_workers, start_server
from tuning.record import describe
from tuning.results import ResultsDir, StudyDir, read_json
from tuning.search import TICK_SECONDS, Interrupt
from tuning.spaces import SearchSpace, find_space, require_same_space
from tuning.study import close_study, load_study, recorded_config, recorded_space
from tuning.summary import Summary, busy_seconds, summarize, value_of, values_of
from tuning.tune import owned, signals
from tuning.vocabulary import FIRST_WORD_ID, Corpus
from tuning.worker import training_message

logger = logging.getLogger(__name__)

DEFAULT_TOP, DEFAULT_SEEDS, DEFAULT_SHARE = 5, 5, 0.25
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
    n_workers: int | None = None,
    progress: Progress | None = None,
    on_change: Said = lambda event, found: None,
) -> Confirmation:
    """Train the `top` best configurations and the baseline on up to `n_seeds` fresh seeds, for `share` of the search's seconds at most.

    The same call goes on where a stopped one was; a finished confirmation is begun anew when the search has new best trials, or more
    seeds, finalists or time are asked for, and keeps every repeat that it has.

    Raises:
        StudyError: fewer than three completed trials, a trial in the middle, other data than the search's, or another owner.
        SpaceError: the search space has changed.
    """
    for name, value in (("--top", top), ("--seeds", n_seeds)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more; received {value}.")
    if not share > 0:
        raise ValueError(f"--share must be more than 0; received {share:g}.")
    config, space = recorded_config(folder), recorded_space(folder)
    study = load_study(results, folder, storage_url=storage_url)
    try:
        summary = summarize(study, metric=config.metric)
        _require_finished(summary)
        with owned(folder):
            start_server(folder.log_path)
            corpus = prepare_corpus(config, results=results, progress=progress)[0]
            require_same_data(corpus, config, fingerprint=read_json(folder.config_path)["data_fingerprint"], doing="A confirmation")
            release_memory()
            found = _begin(summary, space, corpus, folder, seed=config.seed, top=top, n_seeds=n_seeds, share=share)
            if progress:
                progress("starting the workers", 0.0)
            with Pool(n_workers or default_workers(), log_path=folder.log_path) as pool, signals() as interrupt:
                _Repeats(pool, found, folder, _job(pool, config, space, corpus), space, interrupt, on_change).run()
            dashboard.annotate(study, summary, folder=folder, card=corpus.card, space=space)
    finally:
        close_study(study)
    return found


def _job(pool: Pool, config: StudyConfig, space: SearchSpace, corpus: Corpus) -> dict[str, Any]:
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
    summary: Summary, space: SearchSpace, corpus: Corpus, folder: StudyDir, *, seed: int, top: int, n_seeds: int, share: float
) -> Confirmation:
    """The confirmation that stands in the study's folder, if it is of these finalists and seeds, or one that takes over its repeats."""
    finalists = finalists_of(summary, space, corpus, top=top)
    seeds = [(seed + number) % 2**31 for number in range(1, n_seeds + 1)]
    search_seconds = sum(busy_seconds(trial.user_attrs.get("seconds", {})) for trial in summary.trials)
    new = confirmation(finalists, metric=summary.metric, seeds=seeds, search_seconds=search_seconds, share=share)
    old = Confirmation.load(folder)
    if old is None:
        return new
    if (old.seeds, old.budget_seconds, [one.trial for one in old.finalists]) == (
        seeds,
        new.budget_seconds,
        [f.trial for f in new.finalists],
    ):
        return old
    kept = {one.trial: one for one in old.finalists}
    for one in new.finalists:
        if one.trial in kept:
            one.repeats, one.failures = kept[one.trial].repeats, kept[one.trial].failures
    new.spent_seconds = old.spent_seconds
    return new


def finalists_of(summary: Summary, space: SearchSpace, corpus: Corpus, *, top: int) -> list[Finalist]:
    """The `top` best completed trials, each configuration once, and the baseline."""
    longest = int(corpus.split("train").texts.lengths.max(initial=1))
    n_rows = int(corpus.card["n_words"]) + FIRST_WORD_ID
    groups: dict[tuple[tuple[str, Any], ...], list[FrozenTrial]] = {}
    for trial in summary.ranked:
        groups.setdefault(_cut(trial, space, n_rows=n_rows, longest=longest), []).append(trial)
    chosen: list[Finalist] = []
    for members in groups.values():
        baseline = next((t for t in members if t is summary.baseline), None)
        if baseline is None and len([one for one in chosen if not one.is_baseline]) >= top:
            continue
        first = baseline or members[0]
        chosen.append(
            Finalist(
                trial=first.number,
                values=values_of(first, space),
                search_value=value_of(first),
                seconds=busy_seconds(first.user_attrs["seconds"]) * int(first.user_attrs["best_epoch"]) / int(first.user_attrs["n_epochs"]),
                epochs=int(first.user_attrs["best_epoch"]),
                is_baseline=baseline is not None,
                same=[t.number for t in members if t is not first],
            )
        )
    return chosen


def _cut(trial: FrozenTrial, space: SearchSpace, *, n_rows: int, longest: int) -> tuple[tuple[str, Any], ...]:
    """A configuration as the data let it be: no vocabulary beyond the corpus, and no padding beyond the longest text if it is ignored."""
    values = dict(values_of(trial, space))
    values["vocab_size"] = min(int(values["vocab_size"]), n_rows)
    if trial.user_attrs.get("ignores_padding"):
        values["sequence_length"] = min(int(values["sequence_length"]), longest)
    return tuple(sorted(values.items()))


class _Repeats:
    """One call of `confirm`, from its first training to its last; every result is written before the next is asked for."""

    def __init__(
        self,
        pool: Pool,
        found: Confirmation,
        folder: StudyDir,
        job: dict[str, Any],
        space: SearchSpace,
        interrupt: Interrupt,
        on_change: Said,
    ) -> None:
        self._pool, self._found, self._folder, self._job, self._space = pool, found, folder, job, space
        self._interrupt, self._on_change = interrupt, on_change
        self._running: dict[Worker, tuple[Finalist, int]] = {}
        self._lost: dict[tuple[int, int], int] = {}

    def run(self) -> None:
        while not self._interrupt.requested and (waiting := self._found.due()):
            self._found.save(self._folder)
            self._round(waiting)
        self._found.save(self._folder)

    def _round(self, waiting: list[tuple[Finalist, int]]) -> None:
        while (waiting or self._running) and not self._interrupt.requested:
            for worker in self._pool.workers:
                if waiting and worker not in self._running:
                    finalist, seed = self._running[worker] = waiting.pop(0)
                    train = {**self._job["train"], "epochs": finalist.epochs, "patience": finalist.epochs}
                    worker.send({**self._job, "train": train, "values": finalist.values, "seed": seed})
            for worker, message in self._pool.wait(TICK_SECONDS):
                if message is None:
                    waiting += self._replace(worker)
                elif message["kind"] == "epoch":
                    worker.send({"go": True})
                elif worker in self._running:
                    self._keep(*self._running.pop(worker), message)

    def _keep(self, finalist: Finalist, seed: int, message: dict[str, Any]) -> None:
        if message["kind"] == "result":
            value = finalist.repeats[seed] = message["history"][-1]["metrics"][self._found.metric]
            self._found.spent_seconds += busy_seconds(message["seconds"])
            event = f"trial {finalist.trial}, seed {seed}: {self._found.metric} {value:.4f}"
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

    def _fail(self, finalist: Finalist, seed: int, reason: str) -> str:
        finalist.repeats[seed], finalist.failures[seed] = None, reason
        return f"trial {finalist.trial}, seed {seed} failed: {reason}"

    def _replace(self, worker: Worker) -> list[tuple[Finalist, int]]:
        """A worker died: its training is tried once more."""
        self._pool.replace(worker)
        pair = self._running.pop(worker, None)
        if pair is None:
            return []
        key = (pair[0].trial, pair[1])
        self._lost[key] = self._lost.get(key, 0) + 1
        if self._lost[key] < MAX_LOST:
            return [pair]
        event = self._fail(*pair, "lost")
        self._found.save(self._folder)
        self._on_change(event, self._found)
        return []
