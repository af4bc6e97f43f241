"""The results of a confirmation and its plan in sentences, and the table of its finalists."""

import re
from dataclasses import replace

import pytest

from tests.confirmations import (
    SEEDS,
    begin,
    estimated,
    finalists,
    on_front,
    play,
    with_repeats,
)
from tuning.confirmation.record import Confirmation
from tuning.evaluation.statistics import Interval
from tuning.report.confirmation import (
    finalist_rows,
    plan,
    sentences,
)


def text_of(confirmation: Confirmation) -> str:
    return " ".join(sentences(estimated(confirmation), study="s"))


LOSSES = {1: [0.40, 0.41, 0.40], 0: [0.50, 0.50, 0.51]}


@pytest.mark.parametrize(
    ("repeats", "metric", "words"),
    [
        ({1: [0.80, 0.85, 0.82], 0: [0.81, 0.82, 0.83]}, "val_accuracy", "not distinguishable"),
        ({1: [0.90], 0: [0.80]}, "val_accuracy", "too few to say"),
        ({1: [0.70, 0.71, 0.70], 0: [0.80, 0.81, 0.80]}, "val_accuracy", "nothing that was tried"),
        ({1: [0.90, 0.91], 0: [None]}, "val_accuracy", "no repeat to compare with"),
        (LOSSES, "val_loss", "better than the baseline (-0.1000 [-0.1"),
        ({1: [0.87] * 3, 0: [0.84] * 3}, "val_accuracy", "+0.0300 on 3 shared seeds, the same on"),
        ({1: [0.84001] * 3, 0: [0.84] * 3}, "val_accuracy", "not distinguishable"),
        # The other finalist's repeats show what the seeds change.
        (
            {1: [0.87] * 3, 2: [0.86, 0.87, 0.86], 0: [0.84] * 3},
            "val_accuracy",
            "better than the baseline (+0.0300 [+0.02",
        ),
    ],
)
def test_best_is_compared_with_the_baseline(
    repeats: dict[int, list[float | None]], metric: str, words: str
) -> None:
    assert words in text_of(with_repeats(repeats, metric=metric))


@pytest.mark.parametrize(
    ("n", "head"), [(1, "ahead after 1 fresh seed: "), (2, "ahead after 2 "), (3, "the confirmed")]
)
def test_best_is_called_confirmed_from_three_shared_seeds_on(n: int, head: str) -> None:
    values = {1: [0.90, 0.91, 0.90], 2: [0.7, 0.71, 0.70], 0: [0.80, 0.80, 0.81]}
    text = text_of(with_repeats({trial: of_trial[:n] for trial, of_trial in values.items()}))
    assert text.startswith(f"Trial 1 is {head}")
    assert ("is better than the baseline" in text) is (n == 3)
    assert ("Nothing is confirmed with fewer than 3 seeds." in text) is (n < 3)


@pytest.mark.parametrize(
    ("repeats", "words"),
    [
        ({1: [0.80002], 0: [0.8]}, r"baseline it has \+0.0000 on 1 shared seed, too"),
        (
            {1: [0.95] * 3, 0: [0.89996] * 3},
            "0.9000 of trial 0, is not too good: .* same configuration is 0.9000.",
        ),
        (
            {1: [0.95] * 3, 0: [0.89994] * 3},
            "of trial 0, is too good by 0.0001: .* same configuration is 0.8999.",
        ),
    ],
)
def test_digits_that_are_shown_are_compared(
    repeats: dict[int, list[float | None]], words: str
) -> None:
    text = text_of(with_repeats(repeats))
    assert re.search(words, text)
    assert "by 0.0000" not in text and "-0.0000" not in text


@pytest.mark.parametrize(("baseline", "is_lower"), [(0.80004, False), (0.80006, True)])
def test_lower_mean_is_lower_by_the_digits_that_are_shown(baseline: float, is_lower: bool) -> None:
    confirmation = with_repeats({1: [0.90, 0.91, 0.90], 0: [0.80, 0.81, 0.80]})
    estimates = estimated(confirmation)
    means = {trial: Interval(mean, 0.7, 0.9) for trial, mean in ((1, 0.80001), (0, baseline))}
    text = sentences(replace(estimates, means=means), study="s")[0]
    assert ("Its corrected mean is worse than the baseline's" in text) is is_lower


def test_lower_mean_below_1000_is_not_rounded_as_a_mean_from_1000() -> None:
    losses = {trial: [1e4 * value for value in values] for trial, values in LOSSES.items()}
    estimates = estimated(with_repeats(losses, metric="val_mae"))
    means = {1: Interval(1001.2, 900, 1100), 0: Interval(999.3, 900, 1100)}
    text = sentences(replace(estimates, means=means), study="s")[0]
    assert "Its corrected mean is worse than the baseline's, 999.3000:" in text


@pytest.mark.parametrize(
    ("unit", "mean", "change"), [(1e-3, "0.0004033", "-0.0001000"), (1e4, "4033", "-1000")]
)
def test_errors_in_any_unit_have_four_digits(unit: float, mean: str, change: str) -> None:
    repeats = {trial: [unit * value for value in values] for trial, values in LOSSES.items()}
    text = text_of(with_repeats(repeats, metric="val_mae"))
    assert f"val_mae {mean} [" in text
    assert f"It is better than the baseline ({change} [" in text


def test_front_is_named() -> None:
    confirmation, _ = play(
        on_front((0.9, 50), (0.7, 5), (0.5, 40)),
        lambda trial, seed: {1: 0.9, 2: 0.7, 0: 0.5}[trial],
    )
    words = "On the confirmed Pareto front: trial 1 (0.9000), trial 2 (0.7000). `make export-best"
    assert words in text_of(confirmation)


def test_plan_names_the_trainings_and_their_duration() -> None:
    made = finalists(0.9, 0.8, 0.7, seconds=100.0)
    begun = Confirmation("val_accuracy", SEEDS[:3], SEEDS[3:], made)
    assert plan(begun, n_workers=2) == (
        "Confirming trial 1, trial 2 and the baseline on 3 fresh seeds: 9 trainings, about 8 min"
        " with 2 workers, and 2 more of the leading ones if the order is not clear."
    )
    over, _ = play(begun, lambda trial, seed: 0.9 - trial / 100)
    assert plan(over, n_workers=2) == "The confirmation has trained all its seeds."
    on_splits = replace(begun, overlap=0.2, further_seeds=[])
    assert "on 3 fresh seeds and splits: 9 trainings" in plan(on_splits, n_workers=2)


def table_of(confirmation: Confirmation) -> list[dict[str, str]]:
    """Return the rows of a confirmation by the title of their column."""
    header, rows = finalist_rows(estimated(confirmation))
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_failed_repeat_has_its_reason() -> None:
    confirmation, _ = play(begin(0.9, 0.8, 0.7), lambda trial, seed: None if trial == 1 else 0.5)
    first, second, baseline = table_of(confirmation)
    assert (first["trial"], first["seed 1"], first["corrected mean"]) == ("1", "NaN loss", "")
    assert (first["failed"], second["failed"]) == ("NaN loss", "")
    assert (baseline["trial"], baseline["seed 1"]) == ("0 (baseline)", "0.5000")


def test_baseline_and_starting_points_are_named() -> None:
    made = with_repeats({1: [0.9] * 3, 0: [0.8] * 3})
    best, baseline = made.finalists
    best = replace(best, starting_point=1, linear_ngrams=True)
    labels = [row["trial"] for row in table_of(replace(made, finalists=[best, baseline]))]
    assert labels == ["1 (starting point 1, the linear model's n-grams)", "0 (baseline)"]
