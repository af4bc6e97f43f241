"""The linear model of a search: when its value is notified, and how long a search waits for it."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from tests.fake_fit import FakeFit
from tests.studies import CONFIG, SPACE, session_of
from tuning.evaluation.linear_reference import NgramSettings, Weighting
from tuning.models.ngrams import WEIGHTINGS
from tuning.results import ResultsDir
from tuning.search import linear_model
from tuning.search.events import Event, LinearModelTrained, Step
from tuning.search.linear_model import choice_of, follow, wait
from tuning.search.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return session_of(optuna.create_study(), CONFIG, SPACE, ResultsDir(tmp_path))


def recorded(session: Session, fit: FakeFit | None) -> tuple[Session, list[type[Event]]]:
    """Return the session with a fit, and the list of the kinds of its events."""
    kinds: list[type[Event]] = []
    return replace(session, fit=fit, subscribers=[lambda event: kinds.append(type(event))]), kinds


def test_value_is_notified_once_as_soon_as_it_is_known(session: Session) -> None:
    session, kinds = recorded(session, FakeFit(n_polls=2))
    for n_expected in (0, 0, 1, 1):
        follow(session, has_epoch=True)
        assert kinds == [LinearModelTrained] * n_expected


def test_stored_value_is_notified_before_the_first_epoch(session: Session) -> None:
    session, kinds = recorded(session, FakeFit())
    follow(session, has_epoch=False)
    assert kinds == []
    session.fit.task.path(session.corpus.folder).touch()
    follow(session, has_epoch=False)
    assert kinds == [LinearModelTrained]


def test_finished_search_waits_for_the_value(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_model, "TICK_SECONDS", 0.0)
    session, kinds = recorded(session, FakeFit(n_polls=3))
    wait(session)
    assert kinds == [Step, LinearModelTrained]


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_finished_search_does_not_wait_forever(
    is_interrupted: bool, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_model, "WAIT_SECONDS", 600 if is_interrupted else 0.1)
    session, kinds = recorded(session, FakeFit(n_polls=1_000_000))
    session.interrupt.requested = is_interrupted
    wait(session)
    assert kinds == [Step]


@pytest.mark.parametrize(("order", "n_ids"), [(1, 4), (2, 5), (3, 7)])
@pytest.mark.parametrize("weighting", Weighting)
def test_choice_reads_the_same_ngrams(
    order: int, n_ids: int, weighting: Weighting, session: Session
) -> None:
    session, _ = recorded(session, FakeFit(NgramSettings(order, weighting, 3.0)))
    assert choice_of(session) == {}
    follow(session, has_epoch=True)
    choice = choice_of(session)
    assert choice.pop("ngram_weighting") in WEIGHTINGS
    assert choice == {"ngrams": order, "ngram_vocab_size": n_ids, "ngram_c": 3.0}
