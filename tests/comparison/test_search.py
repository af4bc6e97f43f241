"""The best value of a search so far, and the end of a search whose time is up."""

from dataclasses import replace
from pathlib import Path

import optuna
from optuna.trial import TrialState, create_trial

from tests.comparisons import progressed
from tests.studies import CONFIG, SPACE, session_of
from tuning.comparison.search import best_value, close_search
from tuning.results import ResultsDir
from tuning.study.coordinators import requested_n_trials
from tuning.study.summary import Summary, summarize


def test_best_value_counts_running_and_ended_trials() -> None:
    assert best_value(progressed({})) is None
    assert best_value(progressed({3: [0.5, 0.7], 4: [0.6]})) == 0.7
    ended = create_trial(value=0.9, intermediate_values={1: 0.9, 2: 0.8})
    summary = Summary.of("s", "val_accuracy", [ended])
    assert best_value(replace(progressed({3: [0.7]}), summary=summary)) == 0.9


def test_close_search_prunes_what_is_paused(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=0.8))
    paused = study.ask()
    paused.report(0.6, step=1)
    results = ResultsDir(tmp_path)
    session = session_of(study, CONFIG, SPACE, results)
    checkpoint = session.folder.checkpoint_path(paused.number)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    close_search(session)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert not checkpoint.exists()
    assert requested_n_trials(study) == 2
    assert summarize(study, metric="val_accuracy").counts["running"] == 0
