"""One call of `make compare`: prepare the data, train the linear references, then search and
confirm one space after the other, each in a study of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from tuning.comparison.document import (
    ComparedReference,
    ComparedSpace,
    Comparison,
    Request,
    begin,
    on_data,
)
from tuning.comparison.search import SpaceSearch
from tuning.config import Limits, Workers
from tuning.data.corpus import Corpus
from tuning.data.files import Progress
from tuning.data.splits import SplitReviews
from tuning.errors import SpaceError, StudyError
from tuning.results import ResultsDir, StudyDir
from tuning.search.session import Drawing, NoDrawing
from tuning.search.tune import Budget, Outcome, TuneHooks, tune
from tuning.study.lock import study_lock
from tuning.study.prepare import prepare_corpus, release_memory

logger = logging.getLogger(__name__)

# A search ends after its minutes, never after a number of trials.
MAX_TRIALS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CompareHooks:
    """The functions that a comparison calls while it runs.

    Args:
        progress: called with a step, and the share of a space's minutes that have passed.
        on_line: called with a sentence about the comparison.
        on_change: called with the comparison after each space.
        follow: called with the name of a space's study and the search, before the search; returns
            the search to call.
        drawing: draws the studies for Optuna Dashboard.
    """

    progress: Progress = lambda label, share: None
    on_line: Callable[[str], None] = lambda line: None
    on_change: Callable[[Comparison], None] = lambda comparison: None
    follow: Callable[[str, Callable[..., Outcome]], Callable[..., Outcome]] = lambda _, run: run
    drawing: Drawing = field(default_factory=NoDrawing)


def compare(
    folder: StudyDir,
    request: Request,
    results: ResultsDir,
    *,
    storage_url: str,
    workers: Workers | None = None,
    limits: Limits | None = None,
    hooks: CompareHooks | None = None,
) -> Comparison:
    """Search and confirm every space of a comparison that is not finished yet.

    The same call continues a comparison that was stopped: finished spaces are not changed, and the
    others continue with their remaining minutes. The failure of a search or a confirmation is
    recorded, and the other spaces continue. The test split is never read.

    Returns:
        The comparison; a space that is neither over nor failed means that the user has interrupted
        the call.

    Raises:
        TuningError: what a user can correct, except failures of single spaces.
    """
    comparison = begin(folder, request)
    comparison.config_of(comparison.spaces[0])  # A wrong seed is refused before a folder is made.
    with study_lock(folder):
        call = _Call(
            folder=folder,
            comparison=comparison,
            results=results,
            storage_url=storage_url,
            workers=workers or Workers(),
            limits=limits,
            hooks=hooks or CompareHooks(),
        )
        call.prepare()
        call.search()
    return call.comparison


@dataclass(kw_only=True)
class _Call:
    """One call of `compare`. Every change of the comparison is written before the next step."""

    folder: StudyDir
    comparison: Comparison
    results: ResultsDir
    storage_url: str
    workers: Workers
    limits: Limits | None
    hooks: CompareHooks

    def prepare(self) -> None:
        """Read and tokenize the data, and train the references, before the first search, so the
        time of no search includes work that all spaces share.
        """
        config = self.comparison.config_of(self.comparison.spaces[0])
        progress = self.hooks.progress
        corpus, splits = prepare_corpus(config, results=self.results, progress=progress)
        self.comparison = on_data(self.comparison, corpus.fingerprint, name=self.folder.name)
        if not self.comparison.references:
            progress("training the linear references", 0.0)
            references = linear_references(corpus, splits)
            self.comparison = replace(self.comparison, references=references)
        self.comparison.save(self.folder)
        del splits
        release_memory()
        for reference in self.comparison.references:
            self.hooks.on_line(
                f"{reference.name} has {reference.accuracy:.4f} validation accuracy: a bar for"
                " every space."
            )

    def search(self) -> None:
        """Search and confirm each unfinished space, until the user interrupts a search."""
        for space in self.comparison.unfinished:
            if not self._search_one(replace(space, failure=None)):
                return
            self.hooks.on_change(self.comparison)

    def _search_one(self, space: ComparedSpace) -> bool:
        """Search and confirm one space; return False after an interrupt by the user."""
        comparison = self.comparison
        number = 1 + [entry.study for entry in comparison.spaces].index(space.study)
        self.hooks.on_line(
            f"{space.name}, space {number} of {len(comparison.spaces)}: searching until"
            f" {comparison.minutes:g} min are over, then confirming (study {space.study})."
        )
        search = SpaceSearch(space, comparison.minutes, self._keep, self.hooks.progress)
        hooks = TuneHooks(
            progress=search.prepare,
            on_change=search.change,
            then=search.confirm,
            drawing=self.hooks.drawing,
        )
        run = partial(
            tune,
            comparison.config_of(space),
            self.results,
            storage_url=self.storage_url,
            budget=Budget(
                n_trials=MAX_TRIALS, timeout_seconds=search.seconds_left, ends_paused=True
            ),
            workers=self.workers,
            limits=self.limits,
        )
        try:
            self.hooks.follow(space.study, run)(hooks=hooks)
        except (SpaceError, StudyError) as error:
            self._fail(search.space, str(error))
            return True
        return search.space.is_over

    def _keep(self, space: ComparedSpace) -> None:
        self.comparison = self.comparison.with_space(space)
        self.comparison.save(self.folder)

    def _fail(self, space: ComparedSpace, reason: str) -> None:
        logger.warning("%s failed: %s", space.study, reason)
        self._keep(replace(space, failure=reason))
        self.hooks.on_line(f"{space.name} failed, and the others go on: {reason}")


def linear_references(corpus: Corpus, splits: SplitReviews) -> list[ComparedReference]:
    """Train two linear models on the training split and score them on the validation split: a model
    on TF-IDF, and the tuned model with which `make tune` compares its trials.
    """
    # Imported here because scikit-learn's linear models take a second to import.
    from tuning.evaluation.linear_reference import fit_linear_reference
    from tuning.evaluation.references import LINEAR, NGRAMS, tune_linear_model

    train, validation = (
        (frame["text"].tolist(), frame["label"].to_numpy())
        for frame in (splits.frames["train"], splits.frames["validation"])
    )
    started = time.monotonic()
    plain = tune_linear_model(train, validation)
    fitted = [(LINEAR, plain.about, plain.accuracy, time.monotonic() - started)]
    tuned = fit_linear_reference(corpus)
    if (accuracy := tuned.value("val_accuracy")) is not None:
        fitted.append((NGRAMS, f"logistic regression on {tuned.about}", accuracy, tuned.seconds))
    return [
        ComparedReference(name=name, about=about, accuracy=accuracy, seconds=round(seconds, 2))
        for name, about, accuracy, seconds in fitted
    ]
