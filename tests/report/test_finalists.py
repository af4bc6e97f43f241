"""The table of a confirmation's finalists."""

from dataclasses import replace

from tests.confirmations import begin, on_front, play
from tuning.confirmation.estimates import estimate
from tuning.confirmation.rounds import Confirmation
from tuning.report.finalists import finalist_rows


def table_of(confirmation: Confirmation) -> list[dict[str, str]]:
    """Return the rows of a confirmation by the title of their column."""
    estimates = estimate(confirmation)
    assert estimates is not None
    header, rows = finalist_rows(confirmation, estimates)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_failed_repeat_has_its_reason() -> None:
    confirmation, _ = play(begin(0.9, 0.8, 0.7), lambda trial, seed: None if trial == 1 else 0.5)
    first, second, baseline = table_of(confirmation)
    assert (first["trial"], first["seed 1"], first["corrected mean"]) == ("1", "NaN loss", "")
    assert (first["given up"], second["given up"]) == ("NaN loss", "")
    assert (baseline["trial"], baseline["seed 1"]) == ("0 (baseline)", "0.5000")


def test_finalist_that_was_given_up_says_after_which_seed() -> None:
    confirmation, _ = play(begin(0.9, 0.8, 0.7, 0.5), lambda trial, seed: 0.9 - trial / 100)
    assert [row["given up"] for row in table_of(confirmation)] == [
        "",
        "after seed 3",
        "after seed 1",
        "",
    ]


def test_column_in_which_nothing_stands_is_left_out() -> None:
    confirmation, _ = play(begin(0.9, 0.5), lambda trial, seed: 0.9)
    assert "given up" not in table_of(confirmation)[0]


def test_front_has_the_other_objectives() -> None:
    confirmation, _ = play(on_front((0.9, 50), (0.5, 40)), lambda trial, seed: 0.9)
    assert [row["other objectives"] for row in table_of(confirmation)] == ["50", "40"]


def test_baseline_and_starting_points_are_named() -> None:
    confirmation = begin(0.9, 0.8, 0.7)
    first, second, baseline = confirmation.finalists
    finalists = [first, replace(second, starting_point=3), baseline]
    confirmation, _ = play(
        replace(confirmation, finalists=finalists), lambda trial, seed: 0.9 - trial / 100
    )
    labels = [row["trial"] for row in table_of(confirmation)]
    assert labels == [
        str(first.trial),
        f"{second.trial} (starting point 3)",
        f"{baseline.trial} (baseline)",
    ]
