"""Which space is best, which are tied with it, and the words of what to choose."""

import copy
from dataclasses import replace

import pytest

from tests.comparisons import REFERENCES, comparison_of, standing, standings, unconfirmed
from tests.confirmations import with_repeats
from tuning.comparison import standings as standings_module
from tuning.comparison.document import ComparedSpace
from tuning.comparison.standings import (
    Ranking,
    Standing,
    difference,
    rank_spaces,
    standing_of,
    verdict,
)
from tuning.evaluation.statistics import mean_interval
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.spaces.hyperparameters import optuna_names
from tuning.study.summary import Summary

SMALL = [0.001, -0.001, 0.0, 0.0, 0.0]


def ranking_of(*space_standings: Standing) -> Ranking:
    ranking = rank_spaces(space_standings)
    assert ranking is not None
    return ranking


def names(space_standings: list[Standing]) -> list[str]:
    return [space_standing.name for space_standing in space_standings]


def test_spaces_are_ranked_by_their_means() -> None:
    ranking = ranking_of(*standings())
    assert names(ranking.ranked) == ["wide_deep", "reviews", "cnn", "masked_lstm", "baseline_lstm"]
    assert names(ranking.tied) == ["reviews"]
    assert names(ranking.clearly_behind) == ["cnn", "masked_lstm", "baseline_lstm"]


def test_difference_is_paired_on_shared_seeds() -> None:
    first = replace(standing("a", 0.9, SMALL), repeats={1: 0.90, 2: 0.80, 3: 0.85, 4: 0.99})
    second = replace(standing("b", 0.9, SMALL), repeats={1: 0.89, 2: 0.78, 3: 0.84, 9: 0.10})
    assert difference(first, second) == mean_interval([0.90 - 0.89, 0.80 - 0.78, 0.85 - 0.84])


def test_equal_luck_of_a_seed_does_not_hide_a_difference() -> None:
    """The seeds differ by 0.1, and one space is ahead by 0.01 on each of them."""
    luck = [-0.1, 0.0, 0.1]
    first = standing(
        "a", 0.81, [change + extra for change, extra in zip(luck, SMALL, strict=False)]
    )
    second = standing("b", 0.80, luck)
    assert names(ranking_of(first, second).clearly_behind) == ["b"]


def test_smallest_and_fastest_of_the_tied_is_chosen() -> None:
    space_standings = [
        standing("large", 0.90, [0.002, -0.002, 0.0], n_parameters=900, latency_ms=5.0),
        standing("small", 0.899, [-0.002, 0.001, 0.001], n_parameters=10, latency_ms=1.0),
        standing("tiny", 0.80, [0.0, 0.001, -0.001], n_parameters=1, latency_ms=0.1),
    ]
    text, *_ = verdict(comparison_of(space_standings), space_standings)
    assert text == (
        "Choose small: 10 parameters and 1 ms a text, the smallest and fastest of the 2 spaces that"
        " can't be distinguished from the best."
    )


def test_size_and_speed_may_choose_differently() -> None:
    space_standings = [
        standing("fast", 0.90, [0.002, -0.002, 0.0], n_parameters=900, latency_ms=1.0),
        standing("small", 0.899, [-0.002, 0.001, 0.001], n_parameters=10, latency_ms=5.0),
    ]
    text, *_ = verdict(comparison_of(space_standings), space_standings)
    assert text.startswith(
        "Choose small where size matters (10 parameters), and fast where speed matters (1 ms a"
    )


def test_unknown_latency_leaves_the_size_to_choose() -> None:
    space_standings = [
        standing("large", 0.90, [0.002, -0.002, 0.0], n_parameters=900, latency_ms=None),
        standing("small", 0.899, [-0.002, 0.001, 0.001], n_parameters=10),
    ]
    assert verdict(comparison_of(space_standings), space_standings)[0].startswith(
        "Choose small: 10 parameters, the"
    )


def test_space_that_differs_too_much_to_tell_is_not_chosen() -> None:
    space_standings = [
        standing("steady", 0.90, SMALL, n_parameters=900),
        standing("wild", 0.85, [0.07, -0.09, 0.02, 0.05, -0.05], n_parameters=10),
    ]
    assert names(ranking_of(*space_standings).tied) == ["wild"]
    text, *rest = verdict(comparison_of(space_standings), space_standings)
    assert text == "Choose steady: no other space was shown to be as good."
    assert any(
        "wild may still be worse" in sentence
        and "make confirm STUDY=compare-reviews-wild" in sentence
        for sentence in rest
    )


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (0.80, "has 0.8000, below the interval of a."),
        (0.90, "has 0.9000, inside the interval of a."),
        (0.99, "has 0.9900, above the interval of a."),
    ],
)
def test_best_linear_reference_is_the_bar(accuracy: float, words: str) -> None:
    space_standings = [standing("a", 0.90, SMALL), standing("b", 0.70, SMALL)]
    comparison = comparison_of(space_standings)
    bar = replace(REFERENCES[0], name="linear", accuracy=accuracy)
    weaker = replace(REFERENCES[1], accuracy=0.5)
    sentences = verdict(replace(comparison, references=[weaker, bar]), space_standings)
    assert f"The best linear reference (linear) {words}" in sentences


def test_spaces_without_a_confirmed_best_are_named() -> None:
    space_standings = [
        standing("a", 0.90, SMALL),
        unconfirmed("b", failure="no such layer"),
        unconfirmed("c", seconds=10.0),
        unconfirmed("d", seconds=600.0, is_over=True),
        unconfirmed("e"),
    ]
    sentences = verdict(comparison_of(space_standings), space_standings)
    assert sentences[0] == "a is the only space with a confirmed best."
    assert sentences[-1] == (
        "Without a confirmed best: b (failed), c (not finished), d (not confirmed) and e (not"
        " started)."
    )
    assert verdict(comparison_of(space_standings[1:]), space_standings[1:])[0].startswith(
        "No space has a confirmed"
    )


def test_spaces_without_a_shared_seed_are_not_called_behind() -> None:
    first = standing("a", 0.90, SMALL)
    second = replace(standing("b", 0.70, SMALL), repeats={77: 0.7})
    ranking = ranking_of(first, second)
    assert names(ranking.tied) == ["b"]
    assert names(ranking.choices) == ["a"]
    assert "b (no shared seed)" in " ".join(
        verdict(comparison_of([first, second]), [first, second])
    )


def test_standing_is_read_from_the_study(finished: tuple[ResultsDir, Outcome]) -> None:
    results, outcome = finished
    best = outcome.summary.best
    assert best is not None
    space = ComparedSpace(space="tiny.py", study="s", seconds=9.0, is_over=True, latency_ms=0.5)
    space_standing = standing_of(space, results, storage_url=results.storage_url(None))
    assert (space_standing.trial, space_standing.n_trials, space_standing.accuracy) == (
        best.number,
        8,
        None,
    )
    assert space_standing.n_parameters == best.user_attrs["n_parameters"]
    assert space_standing.state == "not confirmed"
    assert space_standing.values == best.params


def test_values_of_a_standing_have_the_names_of_the_space(
    finished: tuple[ResultsDir, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna's names contain the condition if a name has several ranges."""
    results, outcome = finished
    declared, (units, *_) = outcome.space, outcome.space.searched
    twice = [replace(units, conditions=(("n_classes", (n,)),)) for n in (2, 3)]
    others = [item for item in declared.hyperparameters if item is not units]
    n_classes = next(item for item in others if item.name == "n_classes")
    others.remove(n_classes)
    space = replace(declared, hyperparameters=(n_classes, *others, *twice))
    trial = copy.deepcopy(outcome.summary.ranked[0])
    own = optuna_names(space.hyperparameters)[-2]
    trial._params[own] = trial._params.pop(units.name)
    summary = Summary.of("s", "val_accuracy", [trial])
    monkeypatch.setattr(standings_module, "recorded_space", lambda folder: space)
    monkeypatch.setattr(standings_module, "read_summary", lambda *places, **url: summary)
    compared = ComparedSpace(space="tiny.py", study="s", seconds=9.0, is_over=True)
    values = standing_of(compared, results, storage_url="").values
    assert values[units.name] == trial.params[own] and own not in values


def test_confirmed_best_stands_for_the_study(
    finished: tuple[ResultsDir, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, _ = finished
    confirmation = with_repeats({3: [0.7, 0.8, 0.9], 0: [0.6, 0.5, 0.6]})
    monkeypatch.setattr(
        "tuning.comparison.standings.Confirmation.load", lambda folder: confirmation
    )
    space = ComparedSpace(space="tiny.py", study="s", seconds=9.0, is_over=True, latency_ms=0.5)
    space_standing = standing_of(space, results, storage_url=results.storage_url(None))
    assert (space_standing.trial, space_standing.seconds, space_standing.latency_ms) == (
        3,
        1.0,
        0.5,
    )
    assert space_standing.repeats == {1: 0.7, 2: 0.8, 3: 0.9}
    assert space_standing.accuracy is not None
    # A later `make confirm` has found another best, whose latency is not known.
    other = replace(space, measured_trial=7)
    assert standing_of(other, results, storage_url=results.storage_url(None)).latency_ms is None
    unfinished = replace(space, is_over=False)
    again = standing_of(unfinished, results, storage_url=results.storage_url(None))
    assert again.accuracy is None


def test_study_that_does_not_exist_yet_has_no_standing(tmp_path: object) -> None:
    results = ResultsDir(tmp_path)  # type: ignore[arg-type]
    space = ComparedSpace(space="cnn", study="none")
    space_standing = standing_of(space, results, storage_url=results.storage_url(None))
    assert space_standing == Standing(space=space)
