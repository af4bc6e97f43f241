"""The rounds of a confirmation and its verdict, without a training."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tuning.confirmation.estimates import RESOLUTION, judge
from tuning.confirmation.rounds import Confirmation, Finalist, confirmation
from tuning.report.finalists import finalist_rows
from tuning.report.sentences import missed_sentences, plan, sentences
from tuning.results import StudyDir

SEEDS = [1, 2, 3, 4, 5]


def finalists(*values: float, seconds: float = 1.0) -> list[Finalist]:
    """The baseline is the last, trial 0."""
    trials = [*range(1, len(values)), 0]
    return [
        Finalist(t, {}, value, seconds, is_baseline=t == 0)
        for t, value in zip(trials, values, strict=True)
    ]


def begin(
    *values: float, n_seeds: int = 5, budget: float = math.inf, metric: str = "val_accuracy"
) -> Confirmation:
    return Confirmation(metric, SEEDS[:n_seeds], 100.0, budget, finalists(*values))


def play(found: Confirmation, value: object, *, seconds: float = 1.0) -> list[tuple[int, int]]:
    """Train whatever is due; `value(trial, seed)` is what it gives. Returns (trial, seed) of each
    training.
    """
    done = []
    while due := found.due():
        for one, seed in due:
            one.repeats[seed] = value(one.trial, seed)  # type: ignore[operator]
            found.spent_seconds += seconds
            done.append((one.trial, seed))
    return done


def with_repeats(
    repeats: dict[int, list[float | None]], *, metric: str = "val_accuracy"
) -> Confirmation:
    """Finalists that have had these repeats; trial 0 is the baseline."""
    made = []
    for trial, values in repeats.items():
        kept = dict(zip(SEEDS, values, strict=False))
        failures = {seed: "NaN loss" for seed, value in kept.items() if value is None}
        made.append(
            Finalist(trial, {}, 0.9, 1.0, is_baseline=trial == 0, repeats=kept, failures=failures)
        )
    return Confirmation(metric, SEEDS, 100.0, math.inf, made, rounds=5, is_over=True)


def test_one_finalist_is_given_up_a_round_and_never_the_baseline() -> None:
    found = begin(0.9, 0.89, 0.88, 0.87, 0.5)
    done = play(found, lambda trial, seed: {1: 0.8, 2: 0.85, 3: 0.83, 4: 0.7, 0: 0.1}[trial])
    assert [sorted(trial for trial, seed in done if seed == s) for s in SEEDS] == [
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3],
        [0, 2, 3],
        [0, 2],
        [0, 2],
    ]
    assert found.is_over and found.rounds == 5
    assert {one.trial: one.dropped_in for one in found.finalists} == {1: 2, 2: 0, 3: 3, 4: 1, 0: 0}


def test_repeats_of_later_seeds_do_not_decide_an_earlier_round() -> None:
    """A finished confirmation that is begun anew keeps what it has; trial 1 was lucky on seed 5,
    which the others have not had.
    """
    found = begin(0.9, 0.89, 0.88, 0.5)
    found.finalists[0].repeats = {1: 0.1, 5: 0.99}
    play(found, lambda trial, seed: {1: 0.1, 2: 0.5, 3: 0.4, 0: 0.3}[trial])
    assert {one.trial: one.dropped_in for one in found.finalists} == {1: 1, 2: 0, 3: 3, 0: 0}


def on_front(*points: tuple[float, float]) -> Confirmation:
    """Finalists by value and cost; the last is the baseline, trial 0."""
    made = finalists(*(value for value, _ in points))
    for one, (_, cost) in zip(made, points, strict=True):
        one.costs = [cost]
    return Confirmation("val_accuracy", SEEDS, 100.0, math.inf, made)


def test_of_a_front_only_what_another_beats_in_all_objectives_is_given_up() -> None:
    found = on_front((0.9, 50), (0.88, 20), (0.86, 30), (0.7, 5), (0.5, 40))
    play(found, lambda trial, seed: {1: 0.9, 2: 0.88, 3: 0.8, 4: 0.7, 0: 0.5}[trial])
    assert {one.trial: one.dropped_in for one in found.finalists} == {1: 0, 2: 0, 3: 1, 4: 0, 0: 0}
    judgement = judge(found)
    assert judgement is not None
    assert [one.trial for one in judgement.front] == [1, 2, 4]
    assert "On the confirmed Pareto front: trial 1" in " ".join(sentences(found, judgement))
    assert "other objectives" in finalist_rows(found, judgement)[0]


def test_short_budget_leaves_the_ends_of_a_front() -> None:
    made = on_front((0.9, 50), (0.88, 40), (0.86, 30), (0.7, 5), (0.5, 40)).finalists
    found = confirmation(made, metric="val_accuracy", seeds=SEEDS, search_seconds=100.0, share=0.09)
    assert [one.trial for one in found.finalists] == [1, 4, 0]


def pruned(*seconds: float) -> list[Finalist]:
    return [Finalist(90 + number, {}, 0.4, one, epochs=5) for number, one in enumerate(seconds)]


def test_time_that_is_left_goes_to_pruned_trials() -> None:
    found = begin(0.9, 0.5, n_seeds=2, budget=8.0)
    found.pruned = pruned(3.0, 3.0, 3.0)
    done = play(found, lambda trial, seed: 0.95 if trial == 91 else 0.8)
    assert done[-2:] == [
        (90, 0),
        (91, 0),
    ]  # on the search's own seed; the third is beyond the budget
    assert not found.pruned[2].repeats
    judgement = judge(found)
    assert judgement is not None
    assert judgement.best.trial == 1 and set(judgement.means) == {1, 0}
    (missed,) = missed_sentences(found, judgement)
    rate = stats.binomtest(1, 2).proportion_ci()
    assert missed.startswith(
        "2 pruned trials were trained to the end, drawn at random: 1 better than the search's best,"
        " 0.9000"
    )
    assert f"between {rate.low:.0%} and {rate.high:.0%}" in missed


def test_budget_that_pays_no_repeat_pays_no_pruned_trial_either() -> None:
    found = begin(0.9, 0.5, budget=1.5)
    found.pruned = pruned(1.0)
    assert found.due() == [] and found.is_over


def test_pruned_trials_are_not_trained_before_the_repeats() -> None:
    found = begin(0.9, 0.5, n_seeds=1)
    found.pruned = pruned(1.0)
    assert [one.trial for one, _ in found.due()] == [1, 0]
    assert missed_sentences(found, judge(with_repeats({1: [0.9], 0: [0.8]}))) == []  # type: ignore[arg-type]


def test_of_a_loss_the_largest_is_given_up() -> None:
    found = begin(0.3, 0.3, 0.6, metric="val_loss")
    play(found, lambda trial, seed: {1: 0.5, 2: 0.4, 0: 0.9}[trial])
    assert [one.trial for one in found.finalists if one.is_alive] == [2, 0]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    n=st.integers(1, 6),
    n_seeds=st.integers(1, 5),
    budget=st.floats(0, 40),
    seed=st.integers(0, 1000),
    equal_seconds=st.booleans(),
)
def test_budget_is_kept_and_no_repeat_is_made_twice(
    n: int, n_seeds: int, budget: float, seed: int, equal_seconds: bool
) -> None:
    rng = np.random.default_rng(seed)
    made = finalists(*rng.random(n + 1))
    for one in made:
        one.seconds = 1.0 if equal_seconds else float(rng.uniform(0.5, 4))
    found = confirmation(
        made, metric="val_accuracy", seeds=SEEDS[:n_seeds], search_seconds=100.0, share=budget / 100
    )
    done = []
    while due := found.due():
        for one, number in due:
            one.repeats[number] = float(rng.random())
            found.spent_seconds += one.seconds
            done.append((one.trial, number))
    assert found.spent_seconds <= budget + 1e-9
    assert len(done) == len(set(done))
    assert found.is_over
    by_seed = {number: {trial for trial, s in done if s == number} for _, number in done}
    assert all(0 in trials and len(trials) > 1 for trials in by_seed.values())  # always a pair


@settings(derandomize=True, deadline=None, max_examples=50)
@given(stop=st.integers(0, 20), seed=st.integers(0, 1000))
def test_confirmation_that_is_stopped_goes_on_as_if_it_had_not_been(
    stop: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = StudyDir(tmp_path_factory.mktemp("s"))
    values = np.random.default_rng(seed).random((6, 6))
    whole, halved = begin(0.9, 0.8, 0.7, 0.6), begin(0.9, 0.8, 0.7, 0.6)
    done = play(whole, lambda trial, number: values[trial, number])
    again: list[tuple[int, int]] = []
    while due := halved.due():
        for one, number in due:
            one.repeats[number] = values[one.trial, number]
            halved.spent_seconds += 1.0
            again.append((one.trial, number))
            if len(again) == stop:
                break
        if len(again) == stop:
            stop = -1
        halved.save(folder)
        loaded = Confirmation.load(folder)
        assert loaded is not None
        halved = loaded
    assert again == done
    assert halved == whole


def test_few_seconds_leave_fewer_finalists_and_a_pair_at_least() -> None:
    made = finalists(0.9, 0.8, 0.7, 0.6, 0.5)
    few = confirmation(
        copy.deepcopy(made), metric="val_accuracy", seeds=SEEDS, search_seconds=24.0, share=0.25
    )
    assert [one.trial for one in few.finalists] == [1, 0]
    assert len(play(few, lambda trial, seed: 0.5)) == 6
    none = confirmation(made, metric="val_accuracy", seeds=SEEDS, search_seconds=4.0, share=0.25)
    assert play(none, lambda trial, seed: 0.5) == []
    assert judge(none) is None


def test_difference_of_one_finalist_is_the_paired_t_test_s() -> None:
    best, baseline = [0.81, 0.83, 0.82, 0.84], [0.80, 0.80, 0.81, 0.80]
    judgement = judge(with_repeats({1: best, 0: baseline}))
    assert judgement is not None and judgement.difference is not None
    expected = stats.ttest_rel(best, baseline).confidence_interval()
    assert judgement.difference.value == pytest.approx(np.mean(best) - np.mean(baseline))
    assert (judgement.difference.low, judgement.difference.high) == (
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )


def test_means_are_drawn_together_by_noise_and_keep_their_order() -> None:
    noisy = with_repeats({1: [0.80, 0.90], 2: [0.89, 0.79], 3: [0.76, 0.86], 0: [0.71, 0.70]})
    judgement = judge(noisy)
    assert judgement is not None
    values = [judgement.means[trial].value for trial in (1, 2, 3)]
    assert values == pytest.approx(
        [np.mean([0.85, 0.84, 0.81])] * 3
    )  # all of their spread is noise
    shared = judge(
        with_repeats({1: [0.80, 0.90], 2: [0.79, 0.89], 3: [0.76, 0.86], 0: [0.70, 0.80]})
    )
    assert shared is not None
    values = [shared.means[trial].value for trial in (1, 2, 3)]
    assert values == pytest.approx(
        [0.85, 0.84, 0.81]
    )  # a seed that is good for all of them says nothing against their spread
    clear = judge(
        with_repeats({1: [0.90, 0.901], 2: [0.80, 0.801], 3: [0.70, 0.701], 0: [0.70, 0.71]})
    )
    assert clear is not None and clear.best.trial == 1
    assert clear.means[1].value == pytest.approx(0.9005, abs=1e-3)
    assert clear.means[0].value == pytest.approx(
        0.705
    )  # the baseline was not chosen for being good


def test_confirmed_best_is_not_the_luckiest_trial() -> None:
    found = begin(0.95, 0.85, 0.80)
    play(found, lambda trial, seed: {1: 0.80, 2: 0.84, 0: 0.79}[trial] + 0.001 * seed)
    judgement = judge(found)
    assert judgement is not None
    assert (judgement.best.trial, judgement.naive.trial) == (2, 1)
    assert judgement.optimism == pytest.approx(0.95 - judgement.means[1].value)


def test_baseline_over_a_limit_is_not_the_best_for_want_of_another() -> None:
    found = with_repeats({1: [None], 0: [0.8]})
    found.finalists[1].is_over_limit = True
    assert judge(found) is None


def test_failed_repeat_never_wins_and_enters_no_mean() -> None:
    found = begin(0.9, 0.8, 0.7)
    while due := found.due():
        for one, seed in due:
            one.repeats[seed] = None if one.trial == 1 else 0.5 + 0.01 * seed + 0.1 * one.trial
            if one.trial == 1:
                one.failures[seed] = "NaN loss"
    judgement = judge(found)
    assert judgement is not None and judgement.best.trial == 2
    assert 1 not in judgement.means
    header, table = finalist_rows(found, judgement)
    assert table[0][header.index("seed 1")] == "NaN loss"


def test_finalist_that_missed_a_good_seed_is_not_held_down_by_that() -> None:
    """Trial 2 was given up before seed 3, on which all gain 0.1."""
    judgement = judge(
        with_repeats(
            {1: [0.80, 0.81, 0.90], 2: [0.79, 0.80], 3: [0.70, 0.71, 0.80], 0: [0.70, 0.71, 0.80]}
        )
    )
    assert judgement is not None
    assert judgement.means[1].value - judgement.means[2].value == pytest.approx(0.01, abs=1e-6)


def test_what_seeds_do_to_all_finalists_alike_is_seen_once() -> None:
    """Four finalists that move together know as little of the next seed as one does: Student's t of
    n - 1 degrees.
    """
    shift = np.array([0.0, 0.03, -0.02])
    together = judge(
        with_repeats({trial: list(0.8 + trial / 100 + shift) for trial in (1, 2, 3, 0)})
    )
    alone = judge(with_repeats({1: list(0.81 + shift)}))
    assert together is not None and alone is not None
    width = [one.means[1].high - one.means[1].low for one in (together, alone)]
    assert width[0] == pytest.approx(width[1])
    half = stats.t.ppf(0.975, 2) * np.std(shift, ddof=1) / math.sqrt(3)
    assert width[1] == pytest.approx(2 * half)


def test_differences_that_are_equal_but_for_rounding_have_an_interval() -> None:
    judgement = judge(with_repeats({1: [0.5, 0.51], 2: [0.5, 0.51], 0: [0.1, 0.11]}))
    assert judgement is not None and judgement.difference is not None
    assert judgement.difference.low == pytest.approx(0.4) == judgement.difference.high


def test_budget_keeps_three_seeds_for_the_two_best_and_the_baseline() -> None:
    found = confirmation(
        finalists(0.9, 0.8, 0.7, 0.6, 0.5, 0.4),
        metric="val_accuracy",
        seeds=SEEDS,
        search_seconds=50.0,
        share=0.25,
    )
    done = play(found, lambda trial, seed: 0.9 - trial / 100)
    assert [len([trial for trial, seed in done if seed == s]) for s in (1, 2, 3)] == [6, 3, 3]


@pytest.mark.parametrize("seed_effect", [0.0, 0.01, 0.03])
def test_reported_value_is_within_its_interval_of_the_truth(seed_effect: float) -> None:
    """Many searches over configurations of known worth: the confirmed best's interval holds its
    true value 9 times of 10 or more.
    """
    rng = np.random.default_rng(0)
    held = better = 0
    n = 400
    for _ in range(n):
        shifts = rng.normal(0, seed_effect, 6) if seed_effect else np.zeros(6)
        truth = rng.normal(0.8, 0.01, 50)
        search = truth + rng.normal(0, 0.01, 50)
        top = np.argsort(-search)[:5]
        baseline = int(rng.integers(50))
        chosen = [Finalist(int(t) + 1, {}, float(search[t]), 1.0) for t in top if t != baseline]
        made = [*chosen, Finalist(baseline + 1, {}, float(search[baseline]), 1.0, is_baseline=True)]
        found = Confirmation("val_accuracy", SEEDS, 50.0, math.inf, made)
        play(
            found,
            lambda trial, seed, truth=truth, shifts=shifts: float(
                truth[trial - 1] + shifts[seed] + rng.normal(0, 0.01)
            ),
        )
        judgement = judge(found)
        assert judgement is not None
        interval, true = judgement.means[judgement.best.trial], truth[judgement.best.trial - 1]
        held += interval.low <= true <= interval.high
        better += true >= truth[int(np.argmax(search))]
    assert held / n >= 0.9
    assert better / n > 0.75  # the confirmed best is at least as good as the search's


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
def test_verdict_in_words(repeats: dict[int, list[float | None]], words: str) -> None:
    found = with_repeats(repeats)
    judgement = judge(found)
    assert judgement is not None
    assert words in " ".join(sentences(found, judgement))


def test_less_loss_is_better() -> None:
    found = with_repeats({1: [0.40, 0.41, 0.40], 0: [0.50, 0.51, 0.50]}, metric="val_loss")
    judgement = judge(found)
    assert judgement is not None and judgement.best.trial == 1
    assert "better than the baseline by 0.1000" in sentences(found, judgement)[0]


def test_seeds_that_would_resolve_do() -> None:
    found = with_repeats({1: [0.80, 0.84, 0.81], 0: [0.81, 0.80, 0.83]})
    judgement = judge(found)
    assert judgement is not None and judgement.seeds_to_resolve is not None
    n = 3 + judgement.seeds_to_resolve
    own = [a - b for a, b in zip([0.80, 0.84, 0.81], [0.81, 0.80, 0.83], strict=True)]
    half = stats.t.ppf(0.975, n - 1) * np.std(own, ddof=1) / math.sqrt(n)
    assert half <= RESOLUTION < stats.t.ppf(0.975, n - 2) * np.std(own, ddof=1) / math.sqrt(n - 1)


def test_best_is_chosen_by_the_seeds_that_all_who_are_left_have_had() -> None:
    """Trial 2 is ahead on both seeds that it has had; trial 1 has also had three on which
    everything is better.
    """
    found = with_repeats(
        {1: [0.80, 0.81, 0.95, 0.96, 0.97], 2: [0.82, 0.83], 0: [0.70, 0.71, 0.85]}
    )
    judgement = judge(found)
    assert judgement is not None
    assert (judgement.best.trial, judgement.n_shared) == (2, 2)


def test_best_of_a_round_that_was_interrupted_has_no_advantage_by_it() -> None:
    found = begin(0.9, 0.89, 0.5)
    values = {
        (1, 1): 0.80,
        (2, 1): 0.82,
        (0, 1): 0.5,
        (1, 2): 0.81,
        (2, 2): 0.83,
        (0, 2): 0.51,
        (1, 3): 0.99,
    }
    for one in found.finalists:
        one.repeats = {seed: value for (trial, seed), value in values.items() if trial == one.trial}
    judgement = judge(found)
    assert judgement is not None and judgement.best.trial == 2


def test_finalists_without_a_seed_in_common_have_no_best() -> None:
    assert judge(with_repeats({1: [0.9], 2: [], 0: [0.8]})) is None


@pytest.mark.parametrize(
    ("n", "head"),
    [
        (1, "Trial 1 is ahead after 1 fresh seed: "),
        (2, "Trial 1 is ahead after 2 fresh seeds: "),
        (3, "Trial 1 is the confirmed best: "),
    ],
)
def test_nothing_is_confirmed_below_three_shared_seeds(n: int, head: str) -> None:
    found = with_repeats(
        {1: [0.90, 0.91, 0.90][:n], 2: [0.7, 0.71, 0.70][:n], 0: [0.80, 0.81, 0.80][:n]}
    )
    judgement = judge(found)
    assert judgement is not None and judgement.is_confirmed is (n == 3)
    text = " ".join(sentences(found, judgement))
    assert text.startswith(head)
    assert ("is better than the baseline" in text) is (n == 3)
    assert ("Nothing is confirmed with fewer than 3 seeds." in text) is (n < 3)


def test_default_budget_pays_three_seeds_of_the_two_best_and_the_baseline() -> None:
    """Of so short a search that a quarter of it pays no round, and though each training takes twice
    what was expected.
    """
    found = confirmation(
        finalists(0.9, 0.8, 0.7, 0.5), metric="val_accuracy", seeds=SEEDS, search_seconds=8.0
    )
    assert found.budget_seconds == 9.0
    done = play(found, lambda trial, seed: 0.9 - trial / 100, seconds=2.0)
    assert [sorted(trial for trial, seed in done if seed == s) for s in SEEDS] == [
        [0, 1, 2]
    ] * 3 + [[], []]
    judgement = judge(found)
    assert judgement is not None and judgement.is_confirmed


def test_plan_says_what_is_trained_and_for_how_long() -> None:
    made = finalists(0.9, 0.8, 0.7, seconds=100.0)
    found = confirmation(made, metric="val_accuracy", seeds=SEEDS, search_seconds=400.0)
    assert (
        plan(found, n_workers=2)
        == "Confirming trial 1, trial 2 and the baseline on up to 5 fresh seeds: about 9 trainings,"
        " 8 min with 2 workers (budget: 225% of the search's worker seconds)."
    )
    play(found, lambda trial, seed: 0.9 - trial / 100, seconds=100.0)
    assert plan(found, n_workers=2) == ""


def test_plan_of_a_budget_that_pays_nothing_is_empty() -> None:
    found = confirmation(
        finalists(0.9, 0.8, 0.7), metric="val_accuracy", seeds=SEEDS, search_seconds=1.0, share=0.5
    )
    assert plan(found, n_workers=2) == ""


@pytest.mark.parametrize("search_seconds", [20.0, 50.0, 1000.0])
def test_confirmed_best_stays_against_luckier_newcomers(search_seconds: float) -> None:
    """Trial 9 was confirmed; the search has gone on and found four trials with better values, which
    are worse on every seed.
    """
    known = {9: {1: 0.88, 2: 0.881, 3: 0.882}, 0: {1: 0.70, 2: 0.71, 3: 0.72}}
    made = [*finalists(0.97, 0.96, 0.95, 0.94, 0.7), Finalist(9, {}, 0.89, 1.0)]
    for one in made:
        one.repeats = dict(known.get(one.trial, {}))
    found = confirmation(
        made, metric="val_accuracy", seeds=SEEDS, search_seconds=search_seconds, spent_seconds=6.0
    )
    assert 9 in [one.trial for one in found.finalists]
    play(found, lambda trial, seed: {9: 0.88, 0: 0.7}.get(trial, 0.81) + 0.001 * seed)
    judgement = judge(found)
    assert judgement is not None and (judgement.best.trial, judgement.is_confirmed) == (9, True)


def test_repeats_that_are_there_cost_nothing() -> None:
    made = finalists(0.9, 0.8, 0.7)
    for one in made:
        one.repeats = {1: 0.8, 2: 0.8, 3: 0.8}
    found = confirmation(
        made,
        metric="val_accuracy",
        seeds=SEEDS[:3],
        search_seconds=10.0,
        spent_seconds=9.0,
        share=0.9,
    )
    assert play(found, lambda trial, seed: pytest.fail("trained again")) == []
    assert found.rounds == 3 and all(one.is_alive for one in found.finalists[:1])


def test_confirmed_best_is_on_its_front() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        found = on_front(
            *((float(rng.normal(0.8, 0.01)), float(rng.integers(1, 9))) for _ in range(5))
        )
        values = rng.normal(0.8, 0.01, (6, 6))
        play(found, lambda trial, seed, values=values: float(values[trial, seed]))
        judgement = judge(found)
        assert judgement is not None and judgement.front[0] is judgement.best


def test_default_budget_of_a_long_search_is_its_share() -> None:
    found = confirmation(
        finalists(0.9, 0.8, 0.7, 0.6, 0.5, 0.4),
        metric="val_accuracy",
        seeds=SEEDS,
        search_seconds=200.0,
    )
    assert found.budget_seconds == 50.0 and len(found.finalists) == 6


def null_confirmation(rng: np.random.Generator, *, n: int, gain: float = 0.0) -> Confirmation:
    """A confirmation of `n` finalists that are exactly as good as the baseline, but for the first,
    which is better by `gain`.
    """
    found = begin(*rng.normal(0.8, 0.01, n + 1))
    shifts = rng.normal(0, 0.01, 6)
    play(
        found,
        lambda trial, seed: float(0.8 + gain * (trial == 1) + shifts[seed] + rng.normal(0, 0.01)),
    )
    return found


@pytest.mark.parametrize("n", [1, 5])
def test_finalists_as_good_as_the_baseline_are_seldom_called_better(n: int) -> None:
    """In 2.5 % of confirmations, though the best of them was picked; `make bench-confirmation`
    measures it to a tenth of that.
    """
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(1000):
        found = null_confirmation(rng, n=n)
        judgement = judge(found)
        assert judgement is not None
        texts.append(sentences(found, judgement)[0])
    assert sum("is better than the baseline" in text for text in texts) / len(texts) <= 0.035


def test_best_with_a_lower_corrected_mean_than_the_baseline_says_so() -> None:
    """Trial 1 is ahead by a hair, and drawn to the mean of all finalists, which is below the
    baseline.
    """
    found = with_repeats(
        {
            1: [0.801, 0.811, 0.790],
            2: [0.70, 0.73, 0.71],
            3: [0.72, 0.69, 0.70],
            0: [0.80, 0.81, 0.79],
        }
    )
    judgement = judge(found)
    assert judgement is not None and judgement.best.trial == 1
    assert judgement.means[1].value < judgement.means[0].value
    assert (
        "Its corrected mean is worse than the baseline's, 0.8000" in sentences(found, judgement)[0]
    )


def test_folder_without_a_confirmation_has_none(tmp_path: Path) -> None:
    assert Confirmation.load(StudyDir(tmp_path)) is None
