"""The results of a confirmation, its plan, and the linear model, in sentences."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.commands import Ran
from tests.confirmations import SEEDS, begin, finalists, on_front, play, pruned, with_repeats
from tuning.confirmation.estimates import estimate
from tuning.confirmation.plan import plan_confirmation
from tuning.confirmation.rounds import Confirmation
from tuning.data.data_card import REFERENCE_NAME
from tuning.documents import write
from tuning.evaluation.linear_reference import LinearReference
from tuning.report.page import write_report
from tuning.report.sentences import behind_linear, missed_sentences, plan, sentences
from tuning.results import ResultsDir, read_json
from tuning.search.tune import Outcome


@pytest.mark.parametrize(
    ("repeats", "words"),
    [
        ({1: [0.90, 0.91, 0.90], 0: [0.80, 0.81, 0.80]}, "better than the baseline by 0.1000 ["),
        ({1: [0.80, 0.85, 0.82], 0: [0.81, 0.82, 0.83]}, "more seeds would resolve 0.01"),
        ({1: [0.90], 0: [0.80]}, "too few to say"),
        ({1: [0.70, 0.71, 0.70], 0: [0.80, 0.81, 0.80]}, "nothing that was tried is better"),
        ({1: [0.90, 0.91], 0: [None]}, "no repeat to compare with"),
    ],
)
def test_best_is_compared_with_the_baseline(
    repeats: dict[int, list[float | None]], words: str
) -> None:
    confirmation = with_repeats(repeats)
    estimates = estimate(confirmation)
    assert estimates is not None
    assert words in " ".join(sentences(confirmation, estimates))


def test_less_loss_is_better() -> None:
    confirmation = with_repeats({1: [0.40, 0.41, 0.40], 0: [0.50, 0.51, 0.50]}, metric="val_loss")
    estimates = estimate(confirmation)
    assert estimates is not None
    assert "better than the baseline by 0.1000" in sentences(confirmation, estimates)[0]


@pytest.mark.parametrize(
    ("n", "head"),
    [
        (1, "Trial 1 is ahead after 1 fresh seed: "),
        (2, "Trial 1 is ahead after 2 fresh seeds: "),
        (3, "Trial 1 is the confirmed best: "),
    ],
)
def test_best_is_called_confirmed_from_three_shared_seeds_on(n: int, head: str) -> None:
    confirmation = with_repeats(
        {1: [0.90, 0.91, 0.90][:n], 2: [0.7, 0.71, 0.70][:n], 0: [0.80, 0.81, 0.80][:n]}
    )
    estimates = estimate(confirmation)
    assert estimates is not None
    text = " ".join(sentences(confirmation, estimates))
    assert text.startswith(head)
    assert ("is better than the baseline" in text) is (n == 3)
    assert ("Nothing is confirmed with fewer than 3 seeds." in text) is (n < 3)


def test_best_with_a_lower_corrected_mean_than_the_baseline_says_so() -> None:
    """Trial 1 is ahead by a hair, and drawn to the mean of all finalists, which is below the
    baseline.
    """
    confirmation = with_repeats(
        {
            1: [0.801, 0.811, 0.790],
            2: [0.70, 0.73, 0.71],
            3: [0.72, 0.69, 0.70],
            0: [0.80, 0.81, 0.79],
        }
    )
    estimates = estimate(confirmation)
    assert estimates is not None and estimates.best.trial == 1
    assert estimates.means[1].value < estimates.means[0].value
    assert (
        "Its corrected mean is worse than the baseline's, 0.8000"
        in sentences(confirmation, estimates)[0]
    )


def test_front_is_named() -> None:
    confirmation, _ = play(
        on_front((0.9, 50), (0.7, 5), (0.5, 40)),
        lambda trial, seed: {1: 0.9, 2: 0.7, 0: 0.5}[trial],
    )
    estimates = estimate(confirmation)
    assert estimates is not None
    assert (
        "On the confirmed Pareto front: trial 1 (0.9000), trial 2 (0.7000). make export-best"
        in " ".join(sentences(confirmation, estimates))
    )


def test_pruned_trials_that_are_better_than_the_best_are_counted() -> None:
    confirmation, _ = play(
        replace(begin(0.9, 0.5, n_seeds=2), pruned=pruned(1.0, 1.0)),
        lambda trial, seed: 0.95 if trial == 91 else 0.8,
    )
    estimates = estimate(confirmation)
    assert estimates is not None
    (missed,) = missed_sentences(confirmation, estimates)
    rate = stats.binomtest(1, 2).proportion_ci()
    assert missed.startswith(
        "2 pruned trials were trained to the end, drawn at random: 1 better than the search's best,"
        " 0.9000"
    )
    assert f"between {rate.low:.0%} and {rate.high:.0%}" in missed


def test_pruned_trials_without_a_training_are_not_mentioned() -> None:
    confirmation = replace(with_repeats({1: [0.9], 0: [0.8]}), pruned=pruned(1.0))
    estimates = estimate(confirmation)
    assert estimates is not None
    assert missed_sentences(confirmation, estimates) == []


def test_plan_says_what_is_trained_and_for_how_long() -> None:
    made = finalists(0.9, 0.8, 0.7, seconds=100.0)
    confirmation = plan_confirmation(made, metric="val_accuracy", seeds=SEEDS, search_seconds=400.0)
    assert (
        plan(confirmation, n_workers=2)
        == "Confirming trial 1, trial 2 and the baseline on up to 5 fresh seeds: about 9 trainings,"
        " 8 min with 2 workers (budget: 225% of the search's worker seconds)."
    )
    confirmation, _ = play(confirmation, lambda trial, seed: 0.9 - trial / 100, seconds=100.0)
    assert plan(confirmation, n_workers=2) == ""


def test_plan_of_a_budget_that_pays_nothing_is_empty() -> None:
    confirmation = plan_confirmation(
        finalists(0.9, 0.8, 0.7), metric="val_accuracy", seeds=SEEDS, search_seconds=1.0, share=0.5
    )
    assert plan(confirmation, n_workers=2) == ""


def null_confirmation(rng: np.random.Generator, *, n: int) -> Confirmation:
    """A confirmation of `n` finalists that are exactly as good as the baseline."""
    confirmation = begin(*rng.normal(0.8, 0.01, n + 1))
    shifts = rng.normal(0, 0.01, 6)
    return play(
        confirmation,
        lambda trial, seed: float(0.8 + shifts[seed] + rng.normal(0, 0.01)),
    )[0]


@pytest.mark.parametrize(("n", "n_confirmations", "limit"), [(1, 1000, 0.035), (5, 200, 0.05)])
def test_finalists_as_good_as_the_baseline_are_seldom_called_better(
    n: int, n_confirmations: int, limit: float
) -> None:
    """In 2.5 % of confirmations, though the best of them was picked; Student's interval would call
    about 9 % of five finalists better. `make bench-confirmation` measures it to a tenth of that.
    """
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(n_confirmations):
        confirmation = null_confirmation(rng, n=n)
        estimates = estimate(confirmation)
        assert estimates is not None
        texts.append(sentences(confirmation, estimates)[0])
    assert sum("is better than the baseline" in text for text in texts) / len(texts) <= limit


# The linear model


def reference(value: float, metric: str = "accuracy") -> LinearReference:
    return LinearReference(about="words & pairs", scores={metric: value}, seconds=1.0)


def confirmed(value: float, n_seeds: int = 3, metric: str = "val_accuracy") -> Confirmation:
    """Return a confirmation whose best, trial 3, has a mean of `value` over three seeds."""
    worse = value - 0.2 if metric == "val_accuracy" else value + 0.2
    changes = [-0.001, 0.0, 0.001][:n_seeds]
    return with_repeats(
        {3: [value + change for change in changes], 0: [worse + change for change in changes]},
        metric=metric,
    )


@pytest.fixture
def results(finished: tuple[ResultsDir, Outcome], tmp_path: Path) -> ResultsDir:
    """Return a copy of the study "s" whose data have a linear model with the accuracy 0.9876."""
    results = ResultsDir(tmp_path / "results")
    shutil.copytree(finished[0].path, results.path)
    fingerprint = read_json(results.study("s").config_path)["data_fingerprint"]
    write(results.cache_dir(fingerprint) / REFERENCE_NAME, reference(0.9876))
    return results


def test_confirmed_best_behind_the_linear_model_is_a_warning_with_both_values() -> None:
    sentence = behind_linear(reference(0.889), confirmed(0.8))
    assert re.search(r"trial 3, is behind .* val_accuracy 0\.8000 against 0\.8890\.", sentence)
    assert "make tune TRIALS=N" in sentence and "make spaces" in sentence


@pytest.mark.parametrize(
    ("value", "n_seeds"), [(0.9, 3), (0.889, 3), (0.8, 2)], ids=["ahead", "equal", "too few seeds"]
)
def test_no_warning(value: float, n_seeds: int) -> None:
    assert behind_linear(reference(0.889), confirmed(value, n_seeds)) == ""


def test_no_warning_without_a_confirmation_or_a_linear_model() -> None:
    assert behind_linear(reference(0.889), None) == ""
    assert behind_linear(None, confirmed(0.8)) == ""


@pytest.mark.parametrize(("value", "is_behind"), [(0.4, True), (0.2, False)])
def test_lower_loss_is_ahead(value: float, is_behind: bool) -> None:
    found = behind_linear(reference(0.3, "loss"), confirmed(value, metric="val_loss"))
    assert ("is behind" in found) is is_behind


def test_other_metric_is_not_compared() -> None:
    assert behind_linear(reference(0.9), confirmed(0.1, metric="val_auc")) == ""


def test_report_shows_the_linear_model_before_the_confirmation(results: ResultsDir) -> None:
    def first_section() -> str:
        url = results.storage_url(None)
        page, _ = write_report(results, results.study("s"), storage_url=url)
        return page.read_text(encoding="utf-8").partition("<h2>")[0]

    first = first_section()
    assert "on words &amp; pairs) has a validation accuracy of 0.9876" in first
    assert "is behind" not in first
    confirmed(0.5).save(results.study("s"))
    assert "is behind the linear model" in first_section()


def test_status_shows_the_linear_model(results: ResultsDir, run_cli: Callable[..., Ran]) -> None:
    before = run_cli("status", "--study", "s").out
    assert "on words & pairs) has a validation accuracy of 0.9876" in before
    assert "is behind" not in before
    confirmed(0.5).save(results.study("s"))
    assert "is behind the linear model" in run_cli("status", "--study", "s").out
    values = json.loads(run_cli("status", "--study", "s", "--json").out)
    assert values["linear_model_value"] == 0.9876


def test_study_without_a_linear_model_has_no_sentence_about_it(
    results: ResultsDir, run_cli: Callable[..., Ran]
) -> None:
    for path in results.path.rglob(REFERENCE_NAME):
        path.unlink()
    assert "linear model" not in run_cli("status", "--study", "s").out
    assert json.loads(run_cli("status", "--study", "s", "--json").out)["linear_model_value"] is None
