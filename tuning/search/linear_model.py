"""The linear model of a search: its training beside the trials, and the n-grams that it chooses for
starting points.
"""

from __future__ import annotations

import time

import numpy as np

from tuning.evaluation.linear_reference import Weighting
from tuning.inputs.tokenizer import FIRST_WORD_ID
from tuning.search.events import LinearModelTrained, Step
from tuning.search.session import Session
from tuning.spaces.ranges import NGRAM_ORDER, Values

# With this niceness, the training gets a quarter of a core that a worker uses too: 10 s of work
# take 40 s.
NICENESS = 5
WAIT_SECONDS = 60  # Maximum time that a finished search waits for the linear model.
TICK_SECONDS = 0.1  # Time between two polls of the training of a finished search.
# The values of the hyperparameter `ngram_weighting`.
WEIGHTINGS = {
    Weighting.RATIOS: "log_count_ratios",
    Weighting.RARITY: "inverse_document_frequencies",
}


def follow(session: Session, *, has_epoch: bool) -> None:
    """Start the training, and notify the model's value once, as soon as it is known.

    Where starting points get the model's n-grams, the training begins with the search and has the
    priority of a worker: the first trials wait for it. Elsewhere the value is only compared with
    the trials, so the training begins after the first epoch of a trial, with low priority.
    """
    fit, folder = session.fit, session.corpus.folder
    if fit is None:
        return
    if session.space.linear_points:
        fit.start(folder)
    elif has_epoch or fit.task.path(folder).exists():
        fit.start(folder, niceness=NICENESS)
    reference = fit.poll()
    if reference:
        session.notify(LinearModelTrained(reference))


def wait(session: Session) -> None:
    end = time.monotonic() + WAIT_SECONDS
    follow(session, has_epoch=True)
    if is_pending(session):
        session.notify(Step("fitting the linear model", 0.0))
    while is_pending(session) and time.monotonic() < end and not session.interrupt.requested:
        time.sleep(TICK_SECONDS)
        follow(session, has_epoch=True)


def is_pending(session: Session) -> bool:
    return session.fit is not None and session.fit.is_running


def choice_of(session: Session) -> Values:
    """Return the values of hyperparameters with which a model reads the n-grams of the linear model
    and begins at its weights; empty where there is no linear model.
    """
    reference = session.fit and session.fit.reference
    if not reference or reference.settings is None:
        return {}
    settings, orders = reference.settings, session.corpus.ngram_orders
    n_ngrams = np.count_nonzero((orders > 0) & (orders <= settings.order))
    return {
        NGRAM_ORDER: settings.order,
        "ngram_vocab_size": FIRST_WORD_ID + int(n_ngrams),
        "ngram_c": settings.strength,
        "ngram_weighting": WEIGHTINGS[settings.weighting],
    }
