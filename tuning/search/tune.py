"""One call of `make tune`: lock and open the study, search, and confirm its best."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from tuning.config import (
    DEFAULT_TRIALS,
    MAX_TRIALS,
    Limits,
    StudyConfig,
    Workers,
    require_positive,
)
from tuning.confirmation.record import Confirmation
from tuning.errors import ArgumentError, StudyError
from tuning.inputs.corpus import Corpus
from tuning.outcomes import SearchEnd
from tuning.results import ResultsDir, StudyDir
from tuning.search import linear_model
from tuning.search.confirm import CONFIRMING, confirm_within, require_finished
from tuning.search.events import (
    CallEnded,
    NotConfirmed,
    Outcome,
    SearchEnded,
    SearchStarted,
    Subscriber,
)
from tuning.search.loop import Search
from tuning.search.session import Session, open_session
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace
from tuning.study.budget import (
    requested_n_trials,
    set_n_trials,
)
from tuning.study.lock import study_lock
from tuning.study.prepare import require_fitting
from tuning.study.samplers import require_finite, require_objects
from tuning.study.storage import close_study, storage_errors
from tuning.study.study import (
    open_study,
    read_record,
    refuse_other_settings,
    require_same_encoders,
)
from tuning.study.summary import summarize


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The budget of a call. `min_texts`: minimum number of texts that a trial trains before it is
    compared with others (`fidelity`). `folds`: number of folds, or `config.AUTO` (`with_folds`).
    """

    n_trials: int | None = None
    timeout_seconds: float | None = None
    min_texts: int | None = None
    folds: int | str | None = None

    def __post_init__(self) -> None:
        for name in ("n_trials", "min_texts"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ArgumentError(f"{name} must be 1 or more; received {value}.")
        require_positive({"timeout_seconds": self.timeout_seconds})
        if self.min_texts is not None and self.folds not in (None, 1):
            raise ArgumentError(
                f"min_texts must be left out with folds; received {self.min_texts}."
            )


def tune(  # noqa: PLR0913 - the settings of a call are objects already
    config: StudyConfig,
    results: ResultsDir,
    *,
    storage_url: str,
    budget: Budget | None = None,
    workers: Workers | None = None,
    limits: Limits | None = None,
    keep_going: bool = False,
    confirms: bool = False,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    subscribers: Sequence[Subscriber] = (),
) -> Outcome:
    """Search until the budget is used.

    Args:
        sampler, pruner: the objects that a user has passed, whose class names are in `config`.
        keep_going: a bug in the search space fails its trial and does not stop the study.
        confirms: after the search, train the best trials on fresh seeds with the same workers.
    """
    budget = budget or Budget()
    started, folder = time.monotonic(), results.study(config.study)
    find_space(config.space, study=config.study)  # Before anything is written.

    def check(config: StudyConfig, corpus: Corpus, space: SearchSpace) -> None:
        if config.sampler == "grid":
            require_finite(space.hyperparameters)
        require_fitting(config, corpus, space)

    def open_or_create(config: StudyConfig, corpus: Corpus, space: SearchSpace) -> optuna.Study:
        return open_study(
            results,
            config,
            space,
            data_fingerprint=corpus.fingerprint,
            storage_url=storage_url,
            sampler=sampler,
            pruner=pruner,
        )

    with study_lock(folder), storage_errors(storage_url):
        if folder.config_path.exists():
            require_same_encoders(read_record(folder), doing=f"Study {folder.name!r}")
            refuse_other_settings(folder, config)
        require_objects(config, sampler=sampler, pruner=pruner)
        with (
            open_session(
                config,
                results,
                check=check,
                study_of=open_or_create,
                workers=workers,
                limits=limits,
                subscribers=subscribers,
                min_texts=budget.min_texts,
                folds=budget.folds,
                keep_going=keep_going,
            ) as session,
            contextlib.ExitStack() as stack,
        ):
            study = session.study
            stack.callback(close_study, study)
            last = CallEnded(session)
            try:
                session.notify(SearchStarted(session))
                search = Search(session)
                n_trials, seconds = _left(budget, session, started=started)
                ended = search.run(n_trials, timeout_seconds=seconds)
                summary = summarize(study, metric=session.config.metric)
                outcome = Outcome(summary, session.space, ended, search.n_trials)
                session.notify(SearchEnded(session, outcome))
                if confirms:
                    outcome = replace(outcome, confirmation=_confirm(session, outcome))
                if outcome.confirmation or ended not in (SearchEnd.TIMEOUT, SearchEnd.INTERRUPTED):
                    linear_model.wait(session)
                last = CallEnded(session, ended, outcome.confirmation)
                return replace(outcome, is_interrupted=session.interrupt.requested)
            finally:
                session.notify(last)


def _left(budget: Budget, session: Session, *, started: float) -> tuple[int, float | None]:
    """Return the study's number of trials, which is this call's, else that of the last call, else
    the default; and the seconds that are left for this call.
    """
    study, requested = session.study, requested_n_trials(session.study)
    seconds, named = budget.timeout_seconds, budget.n_trials
    n_trials = named or requested or DEFAULT_TRIALS
    # A search that only its duration limits gives the study no number of trials.
    if n_trials != MAX_TRIALS and (named is not None or requested is None):
        set_n_trials(study, n_trials)
    left = None if seconds is None else seconds - (time.monotonic() - started)
    return n_trials, left


def _confirm(session: Session, outcome: Outcome) -> Confirmation | None:
    if outcome.ended == SearchEnd.INTERRUPTED:
        return None
    try:
        require_finished(outcome.summary, session.folder)
    except StudyError as refusal:
        session.notify(NotConfirmed(str(refusal)))
        return None
    session.notify(CONFIRMING)
    return confirm_within(session)


def configure(study: str, flags: dict[str, Any], folder: StudyDir) -> StudyConfig:
    """Return the study's own configuration, or the defaults, with the values of `flags` in their
    places. `open_study` refuses flags that change an existing study.
    """
    base = read_record(folder).config if folder.config_path.exists() else StudyConfig(study=study)
    values = {
        name: replace(getattr(base, name), **value) if isinstance(value, dict) else value
        for name, value in flags.items()
    }
    if values.get("data", base.data).kind != base.data.kind:
        values.setdefault("metric", "")  # the default of the kind
    config = replace(base, **values)
    is_new = not folder.config_path.exists()
    return replace(config, data=config.data.with_own_splits()) if is_new else config
