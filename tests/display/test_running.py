"""A search on the console: what is printed at its end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.studies import CONFIG
from tuning.config import StudyConfig, TrainConfig
from tuning.display import running
from tuning.display.running import Display
from tuning.inputs.corpus import Corpus
from tuning.outcomes import SearchEnd
from tuning.results import StudyDir
from tuning.search.events import CallEnded, Outcome, SearchEnded, SearchStarted


def show_search(
    corpus: Corpus, tmp_path: Path, ended: SearchEnd, config: StudyConfig = CONFIG
) -> None:
    """Show a search of two trials that ends at once."""
    space = SimpleNamespace(notes=(), declares=lambda name: True, takes_texts=False)
    interrupt, folder = SimpleNamespace(requested=False), StudyDir(tmp_path / "s")
    opened: Any = SimpleNamespace(
        corpus=corpus,
        space=space,
        folder=folder,
        interrupt=interrupt,
        config=config,
        notes=["One split."],
    )
    outcome = Outcome(cast("Any", None), cast("Any", space), ended, n_trials=2)
    with Display("s", metric="val_accuracy") as display:
        display(SearchStarted(opened))
        display(SearchEnded(opened, outcome))
        display(CallEnded(opened, ended))


@pytest.fixture(autouse=True)
def no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print no outcome: the searches have no trials."""
    monkeypatch.setattr(running, "print_outcome", lambda *args: None)


def test_folds_are_said_before_the_search(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = StudyConfig(study="s", train=TrainConfig(n_folds=5))
    show_search(corpus, tmp_path, SearchEnd.INTERRUPTED, config)
    said = f"Each trial is trained on 5 folds of the {corpus.card.n_not_test} rows that are not"
    shown = capsys.readouterr().out
    assert said in shown and "\nOne split.\n" in shown
