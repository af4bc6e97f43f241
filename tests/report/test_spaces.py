"""Which search space is best, and by how much it leads."""

from dataclasses import replace

import optuna
import pytest

from tests.comparisons import confirmed, store_study, unconfirmed
from tuning.evaluation.statistics import mean_interval
from tuning.report.spaces import compared_with, space_results, space_rows, verdict
from tuning.results import ResultsDir
from tuning.study.handle import StudyHandle


def test_difference_is_paired_on_shared_seeds() -> None:
    first = replace(
        confirmed("a", 0.9), repeats={(1, 0): 0.90, (2, 0): 0.80, (3, 0): 0.85, (4, 0): 0.99}
    )
    second = replace(
        confirmed("b", 0.9), repeats={(1, 0): 0.89, (2, 0): 0.78, (3, 0): 0.84, (9, 0): 0.10}
    )
    assert first.lead_over(second) == mean_interval([0.90 - 0.89, 0.80 - 0.78, 0.85 - 0.84])


def test_lead_without_a_shared_seed_is_the_difference_of_the_means_without_an_interval() -> None:
    best, other = confirmed("a", 0.9), replace(confirmed("b", 0.8), repeats={(9, 0): 0.78})
    assert best.lead_over(other).signed == "+0.1200"
    assert verdict([best, other]).endswith(": against b +0.1200.")
    assert space_rows([best, other])[1][1][2] == "+0.1200"


def test_small_lead_is_shown_with_the_decimal_places_of_the_values() -> None:
    spaces = [confirmed("a", 0.8704), confirmed("b", 0.87)]
    assert spaces[0].lead_over(spaces[1]).scale == pytest.approx(0.8704)
    assert space_rows(spaces)[1][1][2] == "+0.0004"


def test_difference_that_is_the_same_on_each_seed_shows_no_space_to_be_better() -> None:
    best, other = confirmed("a", 0.90), confirmed("b", 0.80)
    assert verdict([best, other]).endswith(": against b +0.1000.")
    equal = best.lead_over(replace(other, repeats=best.repeats))
    assert equal.signed == "+0.0000 [+0.0000, +0.0000]"


def test_lead_over_fresh_splits_allows_for_the_rows_that_they_share() -> None:
    keys = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]  # seed and fold
    values = [0.90, 0.80, 0.85, 0.83, 0.91, 0.88], [0.89, 0.78, 0.84, 0.83, 0.89, 0.88]
    first, second = (
        replace(confirmed("a", 0.9), repeats=dict(zip(keys, each, strict=True)), overlap=0.2)
        for each in values
    )
    differences = [one - other for one, other in zip(*values, strict=True)]
    assert first.lead_over(second) == mean_interval(differences, overlap=0.2)


def test_verdict_names_the_best_and_its_lead_over_each_other_space() -> None:
    text = verdict(
        [
            confirmed("large", 0.90, [0.002, -0.002, 0.0]),
            confirmed("small", 0.899, [-0.002, 0.001, 0.001]),
            confirmed("tiny", 0.80, [0.0, 0.001, -0.001]),
        ]
    )
    assert text == (
        "large has the best mean val_accuracy on fresh seeds, 0.9000 [0.8950, 0.9050]: not"
        " distinguishable from small (+0.0010 [-0.0080, +0.0100]), better than tiny"
        " (+0.1000 [+0.0934, +0.1066])."
    )
    assert verdict([unconfirmed("b")]) == "No search space has a confirmed best yet."


def test_lower_values_are_better_for_a_loss() -> None:
    losses = [
        replace(confirmed(name, mean, [change, 0.0, -change]), metric="val_loss")
        for name, mean, change in [("a", 0.2, 0.0), ("b", 0.3, 0.001)]
    ]
    assert "better than b (-0.1000" in verdict(losses)


def test_table_leaves_out_what_no_study_has() -> None:
    header, rows = space_rows([confirmed("a", 0.90), confirmed("b", 0.80), unconfirmed("c")])
    assert header[-1] == "seconds"
    assert rows[0][:3] == ["a", "0.9000 [0.8991, 0.9009]", ""]
    assert rows[1][2] == "+0.1000"
    assert rows[2][:3] == ["c", "not confirmed", ""]
    measured, rows = space_rows([confirmed("a", 0.90, latency_ms=1.25)])
    assert (measured[-1], rows[0][-1]) == ("latency ms", "1.25")


def members(results: ResultsDir, name: str) -> list[str]:
    study = StudyHandle.of(results, name)
    return sorted(each.name for each in compared_with(study))


def test_studies_of_a_comparison_are_found_in_the_storage(results: ResultsDir) -> None:
    store_study(results, "c", "cnn")
    store_study(results, "c", "ngrams")
    store_study(results, "c-2", "cnn")
    assert members(results, "c-cnn") == ["c-cnn", "c-ngrams"]
    assert members(results, "c-2-cnn") == ["c-2-cnn"]


def test_results_are_read_from_the_studies(results: ResultsDir) -> None:
    store_study(results, "c", "ngrams")
    store_study(results, "c", "cnn", [0.7, 0.8, 0.9])
    store_study(results, "c", "text", [0.9, 0.9, 0.8])
    best, second, last = space_results(compared_with(StudyHandle.of(results, "c-cnn")))
    assert (best.space, second.space, last.space) == ("text", "cnn", "ngrams")
    assert second.repeats == {(1, 0): 0.7, (2, 0): 0.8, (3, 0): 0.9}
    assert (second.n_trials, second.n_parameters, second.train_seconds) == (1, 100, 3)
    assert last.mean is None


def test_study_that_the_storage_lacks_or_with_a_damaged_confirmation_is_left_out(
    results: ResultsDir,
) -> None:
    for space in ("cnn", "text", "ngrams"):
        store_study(results, "c", space, [0.7, 0.8, 0.9])
    handles = compared_with(StudyHandle.of(results, "c-cnn"))
    optuna.delete_study(study_name="c-text", storage=results.storage_url(None))
    results.study("c-ngrams").confirmation_path.write_text("{")
    assert [left.space for left in space_results(handles)] == ["cnn"]
