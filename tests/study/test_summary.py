"""Every place that names the best trial of a study names the confirmed best where it exists, and
names which of the two it shows.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tests.commands import Ran
from tuning.confirmation.record import Confirmation, Finalist
from tuning.errors import StudyError
from tuning.report.page import write_report
from tuning.report.sentences import verdict
from tuning.report.tables import best_rows
from tuning.results import ResultsDir, StudyDir
from tuning.search.tune import Outcome
from tuning.study.handle import StudyHandle, status_of
from tuning.study.summary import Summary, best_of, summarize
from tuning.study.trials import value_of


@dataclass
class Confirmed:
    """A finished study; trial `winner`, which is not the best of the search, is the best of its
    confirmation.
    """

    results: ResultsDir
    folder: StudyDir
    summary: Summary
    confirmation: Confirmation
    winner: int

    def repeat(self, n_seeds: int) -> None:
        """Give every finalist `n_seeds` repeats."""
        made = []
        for finalist in self.confirmation.finalists:
            value = 0.9 if finalist.trial == self.winner else 0.5
            repeats = {seed: value + 0.001 * seed for seed in range(1, n_seeds + 1)}
            made.append(replace(finalist, repeats=repeats))
        self.confirmation = replace(self.confirmation, finalists=made)
        self.confirmation.save(self.folder)


def test_study_whose_trials_are_over_a_limit_needs_another_limit_and_no_more_trials() -> None:
    study = optuna.create_study(direction="maximize")
    with pytest.raises(StudyError, match="continue the search"):
        summarize(study, metric="val_accuracy").require_complete("a report")
    study.add_trial(create_trial(state=TrialState.PRUNED, constraints={"n_parameters": 1.0}))
    summary = summarize(study, metric="val_accuracy")
    with pytest.raises(StudyError, match=r"1 is over a limit: start another study") as raised:
        summary.require_complete("a report")
    assert "continue" not in str(raised.value)
    assert verdict(summary, None).endswith(summary.over_limit_sentence)


@pytest.fixture
def confirmed(finished: tuple[ResultsDir, Outcome], copied_results: ResultsDir) -> Confirmed:
    summary, folder = finished[1].summary, copied_results.study("s")
    first, winner = [trial for trial in summary.ranked if trial is not summary.baseline][:2]
    made = [Finalist(trial.number, {}, value_of(trial), 1.0) for trial in (first, winner)]
    assert summary.baseline is not None
    baseline = Finalist(
        summary.baseline.number, {}, value_of(summary.baseline), 1.0, is_baseline=True
    )
    confirmation = Confirmation("val_accuracy", [1, 2, 3], [], [*made, baseline])
    return Confirmed(copied_results, folder, summary, confirmation, winner.number)


def test_best_of_is_the_confirmed_best_from_three_seeds_on(confirmed: Confirmed) -> None:
    def named(confirmation: Confirmation | None) -> tuple[int, bool]:
        best = best_of(confirmed.summary, confirmation)
        assert best is not None
        return best.trial.number, best.is_confirmed

    assert confirmed.summary.best is not None
    of_search = (confirmed.summary.best.number, False)
    assert named(None) == of_search
    for n_seeds in (1, 2):
        confirmed.repeat(n_seeds)
        assert named(confirmed.confirmation) == of_search
    confirmed.repeat(3)
    assert named(confirmed.confirmation) == (confirmed.winner, True)


def test_best_of_is_a_newer_best_of_the_search(confirmed: Confirmed) -> None:
    """A search that went on after its confirmation has a better trial, which has no repeats
    yet.
    """
    confirmed.repeat(3)
    newer, confirmation = confirmed.summary.ranked[0], confirmed.confirmation
    others = [f for f in confirmation.finalists if f.trial != newer.number]
    best = best_of(confirmed.summary, replace(confirmation, finalists=others))
    assert best is not None and (best.trial, best.is_confirmed) == (newer, False)


def test_best_of_is_no_trial_that_another_program_has_finished(confirmed: Confirmed) -> None:
    confirmed.repeat(3)
    foreign = create_trial(value=0.99)
    foreign.number = len(confirmed.summary.trials)
    summary = Summary("s", "val_accuracy", [*confirmed.summary.trials, foreign])
    best = best_of(summary, confirmed.confirmation)
    assert best is not None and (best.trial.number, best.is_confirmed) == (confirmed.winner, True)
    alone = best_of(Summary("s", "val_accuracy", [foreign]), None)
    assert alone is not None and alone.trial is foreign


def test_baseline_that_is_the_best_is_shown_once(
    confirmed: Confirmed, finished: tuple[ResultsDir, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is not among the best of the search that a table shows."""
    confirmed.winner = 0
    confirmed.repeat(3)
    summary, confirmation = confirmed.summary, confirmed.confirmation
    n = summary.ranked.index(summary.baseline)
    monkeypatch.setattr("tuning.report.tables.N_TABLE", n)
    label = "0 (baseline, confirmed best)"
    rows = best_rows(summary, finished[1].space, confirmation)[1]
    assert [row[0] for row in rows].count(label) == 1


def test_page_and_status_name_the_confirmed_best(
    confirmed: Confirmed, run_cli: Callable[..., Ran]
) -> None:
    confirmed.repeat(3)
    study = StudyHandle.of(confirmed.results, "s")
    page, _ = write_report(study)
    text = html.unescape(page.read_text())
    named = set(re.findall(r"[Tt]rial (\d+)(?: is the confirmed best| \(confirmed best\))", text))
    assert named == {str(confirmed.winner)}
    assert f'<td data-name="trial">{confirmed.winner} (confirmed best)</td>' in text
    status, summary = status_of(study), study.summary
    assert summary.best is not None
    assert (status.best_trial, status.best_is_confirmed) == (confirmed.winner, True)
    assert status.best_trial_of_the_search == summary.best.number
    assert status.best_mean == pytest.approx(0.9, abs=0.01)
    out = run_cli("status", "--study", "s").out
    assert f"{confirmed.winner} (confirmed" in out  # a narrow terminal wraps the rest
    assert f"Trial {confirmed.winner} is the confirmed best" in out


def test_front_is_what_optuna_says() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for accuracy, size in zip(
        (0.8, 0.9, 0.7, 0.9, 0.85, 0.6, 0.95), (10, 20, 10, 20, 30, 5, 100), strict=True
    ):
        study.add_trial(create_trial(values=[accuracy, size]))
    front = summarize(study, metric="val_accuracy").front
    # Of equal trials the first is on the front.
    assert [t.number for t in front] == [6, 1, 0, 5]
    assert {tuple(t.values) for t in front} == {tuple(t.values) for t in study.best_trials}
