"""What a search prints about its data, their linear model and its best trials."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console
from rich.text import Text

from tests.confirmations import with_repeats
from tests.stored_documents import CARD
from tests.studies import CONFIG
from tests.texts import make_reviews, splits_of
from tuning.config import MAX_TRIALS
from tuning.display import progress
from tuning.display.console import FILE_WIDTH, NOTEBOOK_WIDTH, PlainConsole, console, print_texts
from tuning.display.running import Display
from tuning.display.tables import best_table
from tuning.documents import write
from tuning.evaluation.linear_reference import LinearReference, LinearTask
from tuning.inputs.corpus import build_corpus
from tuning.search.events import (
    CallEnded,
    LinearModelTrained,
    Progressed,
    RepeatEnded,
    SearchStarted,
)
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.summary import summarize

REFERENCE = LinearReference(about="words", scores={"accuracy": 0.889}, seconds=1.0)


def test_folds_notes_and_the_linear_model_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, n_folds=5))
    corpus, space = SimpleNamespace(card=CARD), SimpleNamespace(notes=("A note.",))
    opened: Any = SimpleNamespace(corpus=corpus, space=space, config=config, notes=["No folds."])
    with Display("s", metric="val_accuracy") as display:
        display(SearchStarted(opened))
        display(LinearModelTrained(REFERENCE))
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("A note. ", "trained on 5 folds of ", " No folds. A linear model (", "0.8890"):
        assert words in shown


@pytest.mark.parametrize(("value", "warns"), [(0.4, True), (0.8, True), (0.9, False)])
def test_warning_is_printed_where_the_confirmed_best_is_behind(
    value: float, warns: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = make_reviews(100)["review_body"].tolist()
    corpus = build_corpus(tmp_path / "abc", splits_of(texts, texts, texts))
    write(LinearTask().path(corpus.folder), REFERENCE)
    opened: Any = SimpleNamespace(corpus=corpus, config=CONFIG, space=SimpleNamespace(name="x"))
    confirmation = with_repeats({3: [value] * 3, 0: [0.5] * 3})
    Display("s", metric="val_accuracy")(CallEnded(opened, confirmation=confirmation))
    warned = capsys.readouterr().err
    assert warned.startswith("warning: The confirmed best, trial ") is warns
    assert ("is behind the linear model" in warned) is warns
    # The baseline, with 0.5, is then the best, and half of the texts have each class.
    assert ("warning: Trial 0 is not better than always" in warned) is (value < 0.5)


NO_TERMINAL = SimpleNamespace(write=print, flush=print)


@pytest.mark.parametrize(
    ("stream", "columns", "width"),
    [
        (io.StringIO(), None, FILE_WIDTH),
        (io.StringIO(), "70", 70),
        (NO_TERMINAL, None, FILE_WIDTH),
        (None, None, FILE_WIDTH),
    ],
)
def test_tables_in_a_file_are_not_cut_to_80_columns(
    stream: object, columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout", stream)
    assert PlainConsole().width == width


def terminal_of(width: int) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=width), file


@pytest.mark.parametrize("is_terminal", [True, False])
def test_rows_go_to_the_console_of_a_bar_if_they_are_for_a_terminal(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`predict --json > rows.jsonl` shows its bar on standard error."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    terminal, shown = terminal_of(80)
    with progress.steps(terminal) as step:
        step("labeling <b>[red]", 0.5)
        print('{"row": 1}')
    assert "labeling <b>[red]" in shown.getvalue()
    out = capsys.readouterr().out
    assert (out, '{"row": 1}\n' in shown.getvalue()) == (
        ("", True) if is_terminal else ('{"row": 1}\n', False)
    )


def state_of(
    *states: TrialState, n_trials: int, left: float | None, best: float | None = None
) -> Progressed:
    study = optuna.create_study(direction="maximize")
    study.add_trials([create_trial(state=state) for state in states])
    if best is not None:
        study.add_trial(create_trial(value=best, user_attrs={"n_epochs": 1}))
    summary = summarize(study, metric="val_accuracy")
    return Progressed(summary, n_trials, 60.0, left)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (
            state_of(TrialState.PRUNED, n_trials=4, left=None),
            ("1/4 trials, incumbent: none yet", 0.25),
        ),
        # Only its duration limits the search.
        (
            state_of(TrialState.PRUNED, n_trials=MAX_TRIALS, left=90.0),
            ("1 trial, 1 min 30 s left, incumbent: none yet", 0.4),
        ),
        (
            state_of(TrialState.FAIL, TrialState.FAIL, n_trials=1, left=0.0, best=0.5),
            ("1/1 trial, 0 s left, incumbent: trial 2, val_accuracy 0.5000, 2 failed", 1.0),
        ),
    ],
)
def test_bar_of_a_search_has_the_incumbent_and_the_time_left(
    state: Progressed, expected: tuple[str, float]
) -> None:
    assert progress.incumbent_step(state) == expected


@pytest.mark.parametrize(
    ("width", "end"), [(80, "incumbent: trial 12, val_accuracy 0.8857"), (60, "min 20 s left")]
)
def test_bar_of_a_search_fits_a_narrow_terminal(width: int, end: str) -> None:
    pruned = [TrialState.PRUNED] * 12
    state = state_of(*pruned, n_trials=40, left=740.0, best=0.8857)
    terminal, shown = terminal_of(width)
    with progress.steps(terminal) as step:
        step(*progress.incumbent_step(state))
    assert end in shown.getvalue()
    assert max(len(Text.from_ansi(line)) for line in shown.getvalue().splitlines()) <= width


def test_texts_in_a_notebook_are_one_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text that Rich shows there is an output of its own."""
    monkeypatch.setattr(console, "is_jupyter", True)
    with progress.steps() as step:
        step("tokenizing [red]\x1b[1m", 0.5)
    print_texts("one\n\x1b[2Jtwo [b]")
    assert capsys.readouterr().out == "tokenizing [red] [1m\none\n [2Jtwo [b]\n"


def test_long_lines_are_broken_in_a_notebook_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PlainConsole().soft_wrap
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    notebook = PlainConsole()
    assert (notebook.soft_wrap, notebook.width) == (False, NOTEBOOK_WIDTH)


def test_repeats_of_a_confirmation_stay_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_force_terminal", "is_interactive"):
        monkeypatch.setattr(console, name, True)
    done = with_repeats({3: [0.9] * 3, 0: [0.5] * 3})
    with Display("s", metric="val_accuracy") as display:
        display(RepeatEnded("trial 3, seed 1", done))
        display(RepeatEnded("trial 3, seed 2", done))
    out = capsys.readouterr().out
    assert "trial 3, seed 1\n" in out and "trial 3, seed 2\n" in out
    assert "confirming the best" in out


def test_table_of_a_large_front_has_five_columns() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(16):
        study.add_trial(
            create_trial(values=[0.5 + number / 100, float(number)], user_attrs={"n_epochs": 1})
        )
    summary = summarize(study, metric="val_accuracy")
    table = best_table(summary, SearchSpace("x", ()))
    assert len(table.columns) == 6
    assert str(table.title).startswith("5 of the 16 trials on the Pareto front")


def test_table_has_no_hyperparameter_that_none_of_its_trials_has() -> None:
    cell = Hyperparameter(name="cell", kind="choice", default="a", choices=("a", "b"))
    units, filters = (
        Hyperparameter(
            name=name, kind="choice", default=4, choices=(4, 9), conditions=(("cell", (of_cell,)),)
        )
        for name, of_cell in (("units", "a"), ("filters", "b"))
    )
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"cell": "a"})
    space = SearchSpace("x", (cell, units, filters))
    trial = study.ask()
    assert suggest(trial, space.hyperparameters)
    study.tell(trial, 0.5)
    table = best_table(summarize(study, metric="val_accuracy"), space)
    assert table.title == "The best of the search, of 1 finished trial"
    names = {*table.columns[0].cells}
    assert "units" in names and "filters" not in names
