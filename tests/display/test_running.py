"""A search on the console: what is printed at its end."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.display import running
from tuning.display.running import search_and_confirm
from tuning.inputs.corpus import Corpus
from tuning.outcomes import SearchEnd
from tuning.results import StudyDir


def search_that_ended(corpus: Corpus, folder: StudyDir, ended: SearchEnd) -> Callable[..., Any]:
    """Return a search of two trials that ends at once."""
    counts = {"running": 0, "complete": 2}
    outcome = SimpleNamespace(
        ended=ended,
        min_complete=3,
        summary=SimpleNamespace(counts=counts, n_paused=0, trials=[]),
    )
    session = SimpleNamespace(
        corpus=corpus, folder=folder, interrupt=SimpleNamespace(requested=False)
    )

    def search(*, hooks: Any) -> Any:
        hooks.on_start(
            corpus, SimpleNamespace(notes=(), declares=lambda name: True, takes_texts=False)
        )
        hooks.then(session, outcome)
        return outcome

    return search


@pytest.fixture(autouse=True)
def no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print no outcome: the searches have no trials."""
    monkeypatch.setattr(running, "print_outcome", lambda *args: None)


@pytest.mark.parametrize(
    ("ended", "confirms", "is_printed"),
    [
        (SearchEnd.FINISHED, False, True),
        (SearchEnd.FINISHED, True, True),  # Two trials are too few for a confirmation.
        (SearchEnd.EXHAUSTED, False, True),
        (SearchEnd.TIMEOUT, False, False),  # The time of the user is up.
        (SearchEnd.INTERRUPTED, True, False),
    ],
)
def test_linear_model_is_printed_without_a_confirmation_too(
    ended: SearchEnd,
    confirms: bool,
    is_printed: bool,
    corpus: Corpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The search ends before its linear model is trained."""
    search = search_that_ended(corpus, StudyDir(tmp_path / "s"), ended)
    is_whole = search_and_confirm(search, metric="val_accuracy", confirms=confirms)
    assert is_whole == (ended != SearchEnd.INTERRUPTED)
    out = capsys.readouterr().out
    assert ("the bar for this search" in out) == is_printed
    assert ("fitting the linear model" in out) == is_printed
    assert ("Not confirmed" in out) == (confirms and is_printed)


@pytest.mark.parametrize("repeats", [True, False])
def test_texts_without_a_repeated_word_are_noted(
    repeats: bool,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tuning.inputs.ngram_vocabulary.repeats_words", lambda texts: repeats)
    search = search_that_ended(corpus, StudyDir(tmp_path / "s"), SearchEnd.INTERRUPTED)
    search_and_confirm(search, metric="val_accuracy", confirms=False)
    warning = "No word of the training texts occurs twice, so all their n-grams are kept."
    assert (warning in capsys.readouterr().err) == (not repeats)
