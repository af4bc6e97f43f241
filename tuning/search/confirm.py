"""One call of `make confirm`: the best configurations and the baseline of a finished search, the
finalists, are trained again on fresh seeds.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from optuna.trial import FrozenTrial

from tuning.commands import typed
from tuning.config import Limits, StudyConfig, Workers
from tuning.confirmation.plan import due, with_repeats
from tuning.confirmation.record import N_FURTHER_SEEDS, Confirmation, Finalist
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
    expected_seconds,
    is_over_limit,
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

DEFAULT_TOP, DEFAULT_SEEDS = 3, 3
CONFIRMING = Step("confirming the best on fresh seeds", 0.0)
Repeat = tuple[int, int]  # the trial and the seed of a training


@dataclass(frozen=True, kw_only=True)
class ConfirmationSize:
    """The size of a confirmation. `top`: number of the best configurations, beside the baseline.
    `n_seeds`: number of fresh seeds of each, without the further seeds of the leading ones.
    `resplit`: whether each seed draws training and validation rows of its own (None: as the
    confirmation has begun, else as the study's settings say).
    """

    top: int = DEFAULT_TOP
    n_seeds: int = DEFAULT_SEEDS
    resplit: bool | None = None

    def __post_init__(self) -> None:
        for name, value in (("top", self.top), ("seeds", self.n_seeds)):
            if value < 1:
                raise ArgumentError(f"{name} must be 1 or more; received {value}.")


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
    when more seeds or finalists are asked for.
    """
    summary = summarize(session.study, metric=session.config.metric)
    confirmation = begin(summary, session, size or ConfirmationSize())
    session.notify(ConfirmationStarted(confirmation, len(session.pool.workers)))
    return _Repeats(session, confirmation).run()


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
    """Return the confirmation of the study's folder with the finalists and seeds of the size, or a
    new one.
    """
    seed = session.config.seed
    stored, overlap = Confirmation.load(session.folder), _overlap(session, size.resplit)
    if stored and size.resplit not in (None, stored.is_resplit):
        raise StudyError(
            f"resplit must stay {stored.is_resplit}, as the confirmation of {summary.study!r} has"
            f" begun; received {size.resplit}. Leave it out, or remove"
            f" {session.folder.confirmation_path} to confirm from the beginning."
        )
    old = stored or Confirmation(summary.metric, [], [], [], overlap=overlap)
    # A call without a larger number continues a confirmation that has more seeds.
    n_seeds = max(size.n_seeds, len(old.seeds))
    n_further = 0 if summary.has_costs else N_FURTHER_SEEDS
    fresh = [(seed + number) % 2**31 for number in range(1, n_seeds + n_further + 1)]
    return replace(
        old,
        seeds=fresh[:n_seeds],
        further_seeds=fresh[n_seeds:],
        finalists=with_repeats(finalists_of(summary, session.space, top=size.top), old.finalists),
    )


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
    """Return the `top` best completed trials, each configuration once, and the baseline, in the
    order of their values. With several objectives, `top` trials of the Pareto front are taken.

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


class _Repeats:
    """One call of `confirm`. Every result is written when it arrives, so that a call that continues
    trains only the repeats that are missing.
    """

    def __init__(self, session: Session, confirmation: Confirmation) -> None:
        self._session, self._confirmation = session, confirmation
        self._begun: dict[Repeat, Finalist] = {}
        self._open: set[Repeat] = set()  # the repeats that have begun and not ended

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
        # Which further seeds are due is known when all open repeats have ended.
        if self._open:
            return {}
        self._save()
        new = {(finalist.trial, seed): finalist for finalist, seed in due(self._confirmation)}
        self._begun |= new
        self._open = {*new}
        return {repeat: self._request(f, repeat[1]) for repeat, f in new.items()}

    def _save(self) -> None:
        self._confirmation.save(self._session.folder)

    def _request(self, finalist: Finalist, seed: int) -> Train:
        request = self._session.train_request(finalist.values)
        job = replace(request.job, seed=seed, n_epochs=finalist.epochs)
        is_resplit = self._confirmation.is_resplit
        if is_resplit:
            redraw = job.redraw or Redraw(seed=seed)  # The study may have folds.
            job = replace(job, redraw=replace(redraw, seed=seed))
        path = self._session.folder.repeat_path(finalist.trial, seed, is_resplit=is_resplit)
        return replace(request, job=replace(job, predictions=str(path.absolute())))

    def _record(self, finalist: Finalist, seed: int, message: Ending) -> None:
        """Record the last epoch's value of a repeat, or why there is none."""
        session, metric = self._session, self._confirmation.metric
        value: float | None = None
        failure: FailureReason | None = None
        folds: list[float] = []
        seconds = finalist.seconds  # The duration of a training that fails is not known.
        if isinstance(message, TrainingEnded):
            result = message.result
            value = result.history[-1].metrics[metric]
            seconds = busy_seconds(result.seconds)
            folds = [epoch.metrics[metric] for epoch in result.folds]
            end = f": {metric} {metric_text(value)}"
        elif isinstance(message, ErrorRaised) and not session.keep_going:
            values = describe(finalist.values, session.space)
            raise SpaceBug(
                f"Trial {finalist.trial} ({values}) stopped the confirmation: {message.message}",
                traceback=message.traceback,
            )
        else:
            failure = message.reason if isinstance(message, TrainingFailed) else FailureReason.BUG
            end = f" failed: {failure}"
        self._confirmation = self._confirmation.with_repeat(
            finalist.trial, seed, value, seconds=seconds, failure=failure, folds=folds
        )
        self._save()
        head = f"trial {finalist.trial}, seed {seed}"
        session.notify(RepeatEnded(f"{head}{end}", self._confirmation))
