"""Which search space is best, which are tied with it, and the words of what to choose."""

from dataclasses import replace

import optuna
import pytest

from tests.comparisons import confirmed, store_study, unconfirmed
from tuning.evaluation.statistics import mean_interval
from tuning.report.spaces import choice, comparisons, space_results, space_rows
from tuning.results import ResultsDir


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
    reason = choice([best, other])[1]
    assert reason.endswith(": against b +0.1200.")
    assert space_rows([best, other])[1][1][2] == "+0.1200"


def test_small_lead_is_shown_with_the_decimal_places_of_the_values() -> None:
    spaces = [confirmed("a", 0.8704), confirmed("b", 0.87)]
    assert spaces[0].lead_over(spaces[1]).scale == pytest.approx(0.8704)
    assert space_rows(spaces)[1][1][2] == "+0.0004"


def test_difference_that_is_the_same_on_each_seed_shows_no_space_to_be_better() -> None:
    best, other = confirmed("a", 0.90), confirmed("b", 0.80, n_parameters=10)
    answer, reason, more = choice([best, other])
    assert answer == "Choose a: no other search space was shown to be as good."
    assert reason.endswith(" over 5 fresh seeds: against b +0.1000.")
    assert "whether b is worse" in more
    equal = best.lead_over(replace(other, repeats=best.repeats))
    assert equal.signed == "+0.0000 [+0.0000, +0.0000]"


def test_more_seeds_are_advised_only_where_they_can_change_the_difference() -> None:
    """Each seed gives a fitted model that training did not change the same value."""
    fitted = [confirmed("a", 0.90, [0.0] * 3), confirmed("b", 0.80, [0.0] * 3)]
    answer, reason = choice(fitted)
    assert answer == "Choose a: no other search space was shown to be as good."
    assert reason.endswith(": against b +0.1000.")
    trained = confirmed("c", 0.85, [0.07, -0.09, 0.02])
    more = choice([fitted[0], trained, fitted[1]])[2]
    assert "whether c is worse" in more and "compare-reviews-b" not in more
    assert len(choice([confirmed("a", 0.90, [0.0]), confirmed("b", 0.80, [0.0])])) == 3


def test_lead_over_fresh_splits_allows_for_the_rows_that_they_share() -> None:
    keys = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]  # seed and fold
    values = [0.90, 0.80, 0.85, 0.83, 0.91, 0.88], [0.89, 0.78, 0.84, 0.83, 0.89, 0.88]
    first, second = (
        replace(confirmed("a", 0.9), repeats=dict(zip(keys, each, strict=True)), overlap=0.2)
        for each in values
    )
    differences = [one - other for one, other in zip(*values, strict=True)]
    assert first.lead_over(second) == mean_interval(differences, overlap=0.2)
    assert "over 3 fresh seeds and splits: " in choice([first, replace(second, study="b")])[1]


def test_smallest_of_the_spaces_that_are_as_good_as_the_best_is_chosen() -> None:
    texts = choice(
        [
            confirmed("large", 0.90, [0.002, -0.002, 0.0], n_parameters=900),
            confirmed("small", 0.899, [-0.002, 0.001, 0.001], n_parameters=10),
            confirmed("tiny", 0.80, [0.0, 0.001, -0.001], n_parameters=1),
        ]
    )
    assert texts == [
        "Choose small: 10 parameters, the smallest of the 2 search spaces that can't be"
        " distinguished from the best.",
        "large has the best mean val_accuracy, 0.9000 [0.8950, 0.9050] over 3 fresh seeds: not"
        " distinguishable from small (+0.0010 [-0.0080, +0.0100]), better than tiny"
        " (+0.1000 [+0.0934, +0.1066]).",
    ]


def test_space_that_differs_too_much_to_tell_is_not_chosen() -> None:
    wild = confirmed("wild", 0.85, [0.07, -0.09, 0.02, 0.05, -0.05], n_parameters=10)
    answer, _, more = choice([confirmed("steady", 0.90), wild])
    assert answer == "Choose steady: no other search space was shown to be as good."
    assert "whether wild is worse" in more
    assert "make confirm STUDY=compare-reviews-wild SEEDS=10" in more


def test_lower_values_are_better_for_a_loss() -> None:
    losses = [
        replace(confirmed(name, mean, [change, 0.0, -change]), metric="val_loss")
        for name, mean, change in [("a", 0.2, 0.0), ("b", 0.3, 0.001)]
    ]
    answer, reason = choice(losses)
    assert answer == "Choose a: it is better than each other search space."
    assert "better than b (-0.1000" in reason


def test_spaces_without_a_confirmed_best_are_named() -> None:
    alone, without = choice([confirmed("a", 0.90), unconfirmed("b"), unconfirmed("c")])
    assert alone.startswith("a has the best mean")
    assert without == "Without a confirmed best: b, c."
    assert choice([unconfirmed("b")])[0] == "No search space has a confirmed best yet."


def test_table_leaves_out_what_no_study_has() -> None:
    header, rows = space_rows([confirmed("a", 0.90), confirmed("b", 0.80), unconfirmed("c")])
    assert header[-1] == "seconds"
    assert rows[0][:3] == ["a", "0.9000 [0.8991, 0.9009]", ""]
    assert rows[1][2] == "+0.1000"
    assert rows[2][:3] == ["c", "not confirmed", ""]
    measured, rows = space_rows([confirmed("a", 0.90, latency_ms=1.25)])
    assert (measured[-1], rows[0][-1]) == ("latency ms", "1.25")


def test_studies_belong_together_by_their_names_data_metric_and_seed(results: ResultsDir) -> None:
    store_study(results, "c", "/other/folder/cnn.py")
    store_study(results, "c", "ngrams")
    store_study(results, "c-2", "cnn")
    store_study(results, "c", "text", seed=7)
    store_study(results, "c", "ngrams_and_network", metric="val_f1")
    results.study("broken").path.mkdir()
    results.study("broken").config_path.write_text("{")
    names = {
        name: [record.config.study for record in records]
        for name, records in comparisons(results).items()
    }
    assert names == {"c": ["c-cnn", "c-ngrams"], "c-2": ["c-2-cnn"]}


def test_results_are_read_from_the_studies(results: ResultsDir) -> None:
    store_study(results, "c", "ngrams")
    store_study(results, "c", "cnn", [0.7, 0.8, 0.9])
    store_study(results, "c", "text", [0.9, 0.9, 0.8])
    best, second, last = space_results(results, "c", storage_url=results.storage_url(None))
    assert (best.space, second.space, last.space) == ("text", "cnn", "ngrams")
    assert second.repeats == {(1, 0): 0.7, (2, 0): 0.8, (3, 0): 0.9}
    assert (second.search_value, second.n_trials, second.n_parameters) == (0.95, 1, 100)
    assert second.train_seconds == 3
    assert (last.accuracy, last.search_value) == (None, None)


def test_study_that_the_storage_lacks_or_with_a_damaged_confirmation_is_left_out(
    results: ResultsDir,
) -> None:
    url = results.storage_url(None)
    store_study(results, "c", "cnn", [0.7, 0.8, 0.9])
    folder = store_study(results, "c", "text", [0.9, 0.9, 0.8])
    optuna.delete_study(study_name=folder.name, storage=url)
    store_study(results, "c", "ngrams", [0.9, 0.9, 0.8]).confirmation_path.write_text("{")
    assert [left.space for left in space_results(results, "c", storage_url=url)] == ["cnn"]
