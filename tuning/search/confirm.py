"""One call of `make confirm`: the best configurations and the baseline of a finished search, the
finalists, are trained again on fresh seeds.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from tuning.commands import typed
from tuning.config import Limits, StudyConfig, Workers, require_positive
from tuning.confirmation.plan import (
    due_on_random_splits,
    due_others,
    on_own_split,
    other_architectures,
    plan_confirmation,
    stored_or_new,
    with_repeats,
)
from tuning.confirmation.rounds import Confirmation, Finalist, Purpose
from tuning.data.rows import Redraw
from tuning.errors import ArgumentError, SpaceBug, StudyError
from tuning.inputs.corpus import Corpus
from tuning.metrics import metric_text, sign
from tuning.outcomes import FailureReason
from tuning.results import StudyDir
from tuning.search.events import CallEnded, ConfirmationStarted, RepeatEnded, Step, Subscriber
from tuning.search.session import Session, open_session
from tuning.search.writer import describe
from tuning.spaces.files import find_space
from tuning.spaces.hyperparameters import key
from tuning.spaces.loading import SearchSpace, require_same_space
from tuning.study.handle import StudyHandle
from tuning.study.lock import study_lock
from tuning.study.prepare import require_same_data, resplits
from tuning.study.storage import storage_errors
from tuning.study.study import require_same_encoders
from tuning.study.summary import MIN_COMPLETE, Summary, longer_search, summarize
from tuning.study.trials import (
    attributes_of,
    busy_seconds,
    costs_of,
    epoch_values,
    expected_seconds,
    is_over_limit,
    is_pruned_early,
    seconds_of,
    spread,
    value_of,
    values_of,
    was_trained,
)
from tuning.text import counted
from tuning.workers.dispatcher import Dispatcher, run_jobs
from tuning.workers.messages import (
    Ending,
    EpochEnded,
    ErrorRaised,
    Train,
    TrainingEnded,
    TrainingFailed,
)

logger = logging.getLogger(__name__)

DEFAULT_TOP, DEFAULT_SEEDS, DEFAULT_PRUNED = 5, 5, 5
CONFIRMING = Step("confirming the best on fresh seeds", 0.0)
Repeat = tuple[int, int]  # the trial and the seed of a training
# Returns a confirmation, and the trainings that it needs next: pairs of finalist and seed.
ADVANCE: dict[Purpose, Callable[[Confirmation], tuple[Confirmation, list[tuple[Finalist, int]]]]]
ADVANCE = {
    Purpose.CONFIRM: Confirmation.advance,
    Purpose.ENSEMBLE: due_others,
    Purpose.RANDOM_SPLIT: due_on_random_splits,
}


@dataclass(frozen=True, kw_only=True)
class ConfirmationSize:
    """The size of a confirmation. `share`: maximum worker seconds, as a share of the search's
    (None: see `plan_confirmation`). `resplit`: whether each seed draws training and validation rows
    of its own (None: as the confirmation has begun, else as the study's settings say).
    """

    top: int = DEFAULT_TOP
    n_seeds: int = DEFAULT_SEEDS
    share: float | None = None
    n_pruned: int = DEFAULT_PRUNED
    resplit: bool | None = None

    def __post_init__(self) -> None:
        least = {"top": (self.top, 1), "seeds": (self.n_seeds, 1), "pruned": (self.n_pruned, 0)}
        for name, (value, minimum) in least.items():
            if value < minimum:
                raise ArgumentError(f"{name} must be {minimum} or more; received {value}.")
        require_positive({"share": self.share})


@contextlib.contextmanager
def _open_session(
    finished: StudyHandle,
    *,
    workers: Workers | None,
    limits: Limits | None,
    subscribers: Sequence[Subscriber],
) -> Iterator[Session]:
    config, folder, doing = finished.config, finished.folder, "A confirmation"

    def check(config: StudyConfig, corpus: Corpus, space: SearchSpace) -> None:
        fingerprint = finished.record.data_fingerprint
        require_same_data(corpus, config, fingerprint=fingerprint, doing=doing)
        require_same_space(space, finished.space, path=find_space(config.space), doing=doing)

    with finished.opened() as study, storage_errors(finished.storage_url):
        summary = summarize(study, metric=config.metric)
        require_finished(summary, folder)
        require_same_encoders(finished.record, doing=doing)
        with (
            study_lock(folder),
            open_session(
                config,
                finished.results,
                check=check,
                study_of=lambda *_: study,
                workers=workers,
                limits=limits,
                subscribers=subscribers,
            ) as session,
        ):
            yield session


def confirm(
    finished: StudyHandle,
    *,
    size: ConfirmationSize | None = None,
    workers: Workers | None = None,
    limits: Limits | None = None,
    subscribers: Sequence[Subscriber] = (),
) -> tuple[Confirmation, bool]:
    """Return the confirmation, and whether the user interrupted its trainings."""
    for subscriber in subscribers:
        subscriber(CONFIRMING)
    with _open_session(
        finished, workers=workers, limits=limits, subscribers=subscribers
    ) as session:
        confirmation = confirm_within(session, size)
        session.notify(CallEnded(session, confirmation=confirmation))
        return confirmation, session.interrupt.requested


def confirm_within(
    session: Session,
    size: ConfirmationSize | None = None,
) -> Confirmation:
    """Begin or continue a confirmation of a finished search (`require_finished`) with the workers
    of its session. A confirmation that is over continues when the search has new best trials, or
    when more seeds, finalists, pruned trials or time are asked for.
    """
    summary = summarize(session.study, metric=session.config.metric)
    confirmation = begin(summary, session, size or ConfirmationSize())
    session.notify(ConfirmationStarted(confirmation, len(session.pool.workers)))
    confirmation = _Repeats(session, confirmation).run()
    # Given validation rows were not drawn by groups or times, so a random draw is no counterpart.
    is_comparable = session.config.data.split != "random" and session.corpus.card.draws_validation
    if confirmation.is_over and is_comparable:
        confirmation = _Repeats(session, confirmation, Purpose.RANDOM_SPLIT).run()
    return confirmation


def train_others(finished: StudyHandle, *, subscribers: Sequence[Subscriber]) -> Confirmation:
    """Train the configurations that an ensemble still needs, and keep their predictions."""
    with _open_session(finished, workers=None, limits=None, subscribers=subscribers) as session:
        confirmation = Confirmation.load(session.folder)
        assert confirmation is not None  # for mypy: the caller has read it
        summary = summarize(session.study, metric=session.config.metric)
        confirmation = with_others(confirmation, summary, session.space)
        return _Repeats(session, confirmation, Purpose.ENSEMBLE).run()


def require_finished(summary: Summary, folder: StudyDir) -> None:
    n_running = summary.counts["running"] - summary.n_paused
    if n_running:
        raise StudyError(
            f"A confirmation must follow a search; {n_running} trials of {summary.study!r} are"
            f" running. Type `{typed('tune', study=summary.study)}` to continue them."
        )
    has_begun = folder.confirmation_path.exists()  # Then it may continue.
    least = 1 if has_begun else MIN_COMPLETE
    n_complete = summary.n_confirmable
    if n_complete < least:
        more = longer_search({"study": summary.study})
        raise StudyError(
            f"A confirmation must have {counted(least, 'completed trial')} or more, trained here;"
            f" {summary.study!r} has {n_complete}. {more}."
        )


def begin(summary: Summary, session: Session, size: ConfirmationSize) -> Confirmation:
    """Return the confirmation in the study's folder if it covers the size; otherwise a new
    confirmation with the repeats of the stored one.
    """
    seed, epochs = session.config.seed, session.config.train.epochs
    stored, overlap = Confirmation.load(session.folder), _overlap(session, size.resplit)
    if stored and size.resplit not in (None, stored.is_resplit):
        raise StudyError(
            f"resplit must stay {stored.is_resplit}, as the confirmation of {summary.study!r} has"
            f" begun; received {size.resplit}. Leave it out, or remove"
            f" {session.folder.confirmation_path} to confirm from the beginning."
        )
    old = stored or Confirmation(summary.metric, [], 0.0, 0.0, [], overlap=overlap)
    seeds = [(seed + number) % 2**31 for number in range(1, size.n_seeds + 1)]
    finalists = with_repeats(finalists_of(summary, session.space, top=size.top), old.finalists)
    pruned = pruned_sample(summary, session.space, n=size.n_pruned, epochs=epochs, seed=seed)

    def planned(spent_seconds: float) -> Confirmation:
        plan = plan_confirmation(
            finalists,
            metric=summary.metric,
            seeds=max(seeds, old.seeds, key=len),  # Both begin with the same seeds.
            search_seconds=sum(busy_seconds(seconds_of(trial)) for trial in summary.trials),
            spent_seconds=spent_seconds,
            share=size.share,
        )
        others = old.others
        if not old.is_resplit:
            # A finalist that was trained for ensembles keeps this training.
            joined, n = with_repeats(plan.finalists, others), len(plan.finalists)
            plan, others = replace(plan, finalists=joined[:n]), joined[n:]
        return replace(
            plan,
            others=others,
            overlap=old.overlap,
            on_random_splits=old.on_random_splits,
            early={seed: repeat for seed, repeat in old.early.items() if not repeat.failure},
            pruned=with_repeats(pruned, old.pruned),
            search_seed=seed,
        )

    return stored_or_new(stored, planned)


def _overlap(session: Session, resplit: bool | None) -> float:
    config, corpus = session.config, session.corpus
    card, n_folds = corpus.card, config.train.n_folds
    n_rows, draws, is_resplit = card.n_rows, card.draws_validation, config.resplit
    if resplit is not None:
        is_resplit = resplits(resplit, config, n_rows=n_rows, draws_validation=draws)
    if not is_resplit:
        return 0.0
    return 1 / (n_folds - 1) if n_folds > 1 else n_rows["validation"] / n_rows["train"]


def finalists_of(summary: Summary, space: SearchSpace, *, top: int) -> list[Finalist]:
    """Return the `top` best completed trials, each configuration once, the best one that is not
    trained, and the baseline, in the order of their values. With several objectives, `top` trials
    of the Pareto front are taken.

    Trials that another program has finished, without the number of their best epoch, are left out.
    """
    groups: dict[Hashable, list[FrozenTrial]] = {}
    for trial in summary.ranked:
        if not was_trained(trial):
            logger.warning("trial %d is left out: another program finished it", trial.number)
            continue
        groups.setdefault(key(values_of(trial, space)), []).append(trial)
    baseline = summary.baseline
    if baseline is not None and not was_trained(baseline):
        baseline = None
    others = [
        members
        for members in groups.values()
        if baseline not in members and (not summary.has_costs or members[0] in summary.front)
    ]
    times = filter(None, (expected_seconds(trial, 1) for trial in summary.trials))
    usual = statistics.fmean([*times] or [0.0])
    chosen = spread(others, top) if summary.has_costs else others[:top]
    if not summary.has_costs:
        untrained = [members for members in others if not attributes_of(members[0])["best_epoch"]]
        chosen += [members for members in untrained[:1] if members not in chosen]
    if baseline is not None:
        same = groups.get(key(values_of(baseline, space)), [])
        chosen.append([baseline, *(trial for trial in same if trial is not baseline)])
    made = [_finalist(*members, space=space, usual=usual) for members in chosen]
    return sorted(made, key=lambda finalist: -sign(summary.metric) * finalist.search_value)


def _finalist(trial: FrozenTrial, *same: FrozenTrial, space: SearchSpace, usual: float) -> Finalist:
    """`usual`: seconds of an epoch of a trial without times, which was imported."""
    attributes = attributes_of(trial)
    epochs = attributes["best_epoch"]
    return Finalist(
        trial=trial.number,
        values=values_of(trial, space),
        search_value=value_of(trial),
        seconds=expected_seconds(trial, epochs) or usual * epochs,
        epochs=epochs,
        is_baseline=attributes.get("baseline", False),
        is_over_limit=is_over_limit(trial),
        costs=[*costs_of(trial)],
        starting_point=attributes.get("starting_point"),
        linear_ngrams=attributes.get("linear_ngrams", False),
        same=[t.number for t in same],
    )


def pruned_sample(
    summary: Summary, space: SearchSpace, *, n: int, epochs: int, seed: int
) -> list[Finalist]:
    """Return up to `n` pruned trials, drawn without replacement, to train for all their epochs."""
    # The duration of a repeat is estimated from the seconds of the trial.
    pruned = [
        trial
        for trial in summary.trials
        if is_pruned_early(trial) and attributes_of(trial).get("seconds")
    ]
    drawn = np.random.default_rng(seed).permutation(len(pruned))[:n]
    return [
        Finalist(
            trial=trial.number,
            values=values_of(trial, space),
            search_value=[*epoch_values(trial).values()][-1],
            seconds=expected_seconds(trial, epochs),
            epochs=epochs,
        )
        for trial in (pruned[number] for number in drawn)
    ]


def with_others(confirmation: Confirmation, summary: Summary, space: SearchSpace) -> Confirmation:
    candidates = (_at_best_epoch(trial, space, summary.metric) for trial in summary.trials)
    others = on_own_split(confirmation) + other_architectures(
        filter(None, candidates),
        confirmation.finalists,
        deciding=space.deciding,
        metric=summary.metric,
    )
    return replace(confirmation, others=with_repeats(others, confirmation.others))


def _at_best_epoch(trial: FrozenTrial, space: SearchSpace, metric: str) -> Finalist | None:
    """Return a trial as a configuration to train until its best epoch; None if it can't be."""
    attributes, is_complete = attributes_of(trial), trial.state == TrialState.COMPLETE
    values, epochs = epoch_values(trial), attributes.get("best_epoch", 0)
    is_usable = (is_complete or is_pruned_early(trial)) and not is_over_limit(trial)
    if max(values, default=0) < 1 or metric not in trial.user_attrs:
        return None
    if not is_usable or not attributes.get("seconds"):
        return None
    return Finalist(
        trial=trial.number,
        values=values_of(trial, space),
        search_value=value_of(trial) if is_complete else trial.user_attrs[metric],
        seconds=expected_seconds(trial, epochs),
        epochs=epochs,
    )


class _Repeats:
    """One call of `confirm`. Every result is written when it arrives.

    `_begun` has the finalist of each repeat that has begun, and `_open` the repeats of the current
    round that have not ended.
    """

    def __init__(
        self, session: Session, confirmation: Confirmation, purpose: Purpose = Purpose.CONFIRM
    ) -> None:
        self._session, self._confirmation, self._purpose = session, confirmation, purpose
        self._begun: dict[Repeat, Finalist] = {}
        self._open: set[Repeat] = set()

    def run(self) -> Confirmation:
        session, interrupt = self._session, self._session.interrupt
        dispatcher: Dispatcher[Repeat] = Dispatcher(session.pool, session.limits)
        for repeat, message in run_jobs(
            dispatcher, {}, is_stopped=lambda: interrupt.requested, more=self._further
        ):
            if not isinstance(message, EpochEnded):
                self._record(self._begun[repeat], repeat[1], message)
                self._open.discard(repeat)
        self._save()
        return self._confirmation

    def _further(self) -> dict[Repeat, Train]:
        """Return the requests of the next round; while a round is trained, a request of a later
        round, if there is one that can't change (`Confirmation.ahead`).
        """
        is_next = not self._open
        if is_next:
            self._confirmation, due = ADVANCE[self._purpose](self._confirmation)
            self._save()
            self._open = {(finalist.trial, seed) for finalist, seed in due}
        else:
            due = self._confirmation.ahead() if self._purpose is Purpose.CONFIRM else []
        new = [(f, seed) for f, seed in due if (f.trial, seed) not in self._begun]
        # The longest training would run alone at the end of the round if it began last.
        new = sorted(new, key=lambda repeat: -repeat[0].seconds) if is_next else new[:1]
        self._begun |= {(finalist.trial, seed): finalist for finalist, seed in new}
        return {(f.trial, seed): self._request(f, seed) for f, seed in new}

    def _save(self) -> None:
        self._confirmation.save(self._session.folder)

    def _request(self, finalist: Finalist, seed: int) -> Train:
        request = self._session.train_request(finalist.values)
        job = replace(request.job, seed=seed)
        if self._is_fresh(seed):
            # The members of an ensemble are chosen on one validation split, the study's own.
            is_random = self._purpose is Purpose.RANDOM_SPLIT
            is_resplit = self._purpose is Purpose.CONFIRM and self._confirmation.is_resplit
            path = self._session.folder.repeat_path(finalist.trial, seed, is_resplit=is_resplit)
            if is_resplit or is_random:
                redraw = job.redraw or Redraw(seed=seed)  # The study may have folds.
                redraw = replace(redraw, seed=seed, ignores_columns=is_random)
                job = replace(job, redraw=redraw)
            predictions = None if is_random else str(path.absolute())
            job = replace(job, n_epochs=finalist.epochs, predictions=predictions)
        return replace(request, job=job)

    def _is_fresh(self, seed: int) -> bool:
        """A training on the search's seed trains a pruned trial to its end."""
        return seed != self._confirmation.search_seed

    def _record(self, finalist: Finalist, seed: int, message: Ending) -> None:
        """Record the last epoch's value of a repeat, the best value of a pruned trial, or why there
        is none.
        """
        session, metric = self._session, self._confirmation.metric
        # Groups may leave a class with a single text, which no random split can divide.
        may_fail = session.keep_going or self._purpose is Purpose.RANDOM_SPLIT
        value: float | None = None
        failure: FailureReason | None = None
        folds: list[float] = []
        seconds = finalist.seconds  # The duration of a training that fails is not known.
        if isinstance(message, TrainingEnded):
            result = message.result
            last = result.history[-1].metrics[metric]
            value = last if self._is_fresh(seed) else result.best_value
            seconds = busy_seconds(result.seconds)
            folds = [epoch.metrics[metric] for epoch in result.folds]
            end = f": {metric} {metric_text(value)}"
        elif isinstance(message, ErrorRaised) and not may_fail:
            values = describe(finalist.values, session.space)
            raise SpaceBug(
                f"Trial {finalist.trial} ({values}) stopped the confirmation: {message.message}",
                traceback=message.traceback,
            )
        else:
            failure = message.reason if isinstance(message, TrainingFailed) else FailureReason.BUG
            end = f" failed: {failure}"
        self._confirmation = self._confirmation.with_repeat(
            finalist.trial,
            seed,
            value,
            seconds=seconds,
            failure=failure,
            purpose=self._purpose,
            folds=folds,
        )
        self._save()
        session.notify(RepeatEnded(f"{self._head(finalist.trial, seed)}{end}", self._confirmation))

    def _head(self, trial: int, seed: int) -> str:
        if self._purpose is Purpose.ENSEMBLE:
            return f"trial {trial}, seed {seed}, for ensembles"
        if self._purpose is Purpose.RANDOM_SPLIT:
            has_folds = self._session.config.train.n_folds > 1
            parts = "random folds" if has_folds else "a random split"
            return f"trial {trial}, seed {seed}, on {parts}"
        if not self._is_fresh(seed):
            return f"pruned trial {trial}, trained to the end"
        seeds = self._confirmation.seeds
        number = seeds.index(seed) + 1
        return f"round {number} of {len(seeds)} at most: trial {trial}, seed {seed}"
