"""The rounds of a confirmation and its estimates, without a training."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.confirmations import (
    SEEDS,
    begin,
    estimated,
    finalists,
    on_front,
    play,
    pruned,
    with_repeats,
)
from tuning.confirmation.estimates import estimate, seed_spread
from tuning.confirmation.plan import plan_confirmation, stored_or_new
from tuning.confirmation.plan import with_repeats as with_earlier
from tuning.confirmation.rounds import Confirmation, Finalist, Purpose
from tuning.outcomes import FailureReason
from tuning.report.confirmation import plan as plan_text
from tuning.report.confirmation import sentences
from tuning.results import StudyDir


def planned(
    made: list[Finalist],
    *,
    search_seconds: float,
    share: float | None = None,
    spent_seconds: float = 0.0,
    n_seeds: int = 5,
) -> Confirmation:
    return plan_confirmation(
        made,
        metric="val_accuracy",
        seeds=SEEDS[:n_seeds],
        search_seconds=search_seconds,
        spent_seconds=spent_seconds,
        share=share,
    )


def untrained(trial: int, value: float, *, seconds: float) -> Finalist:
    """Return a fitted model that is not trained."""
    return Finalist(trial, {}, value, seconds, epochs=0)


def dropped_in(confirmation: Confirmation) -> dict[int, int]:
    return {finalist.trial: finalist.dropped_in for finalist in confirmation.finalists}


def test_one_finalist_is_dropped_a_round_and_never_the_baseline() -> None:
    confirmation = begin(0.9, 0.89, 0.88, 0.87, 0.5)
    confirmation, done = play(
        confirmation, lambda trial, seed: {1: 0.8, 2: 0.85, 3: 0.83, 4: 0.7, 0: 0.1}[trial]
    )
    assert [sorted(trial for trial, seed in done if seed == s) for s in SEEDS] == [
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3],
        [0, 2, 3],
        [0, 2],
        [0, 2],
    ]
    assert confirmation.is_over and confirmation.rounds == 5
    assert dropped_in(confirmation) == {1: 2, 2: 0, 3: 3, 4: 1, 0: 0}


def test_repeats_of_later_seeds_do_not_decide_an_earlier_round() -> None:
    """A confirmation that is started again keeps its repeats; trial 1 has a lucky one on seed 5,
    on which no other finalist has a repeat.
    """
    first, *others = finalists(0.9, 0.89, 0.88, 0.5)
    lucky = replace(first, repeats={1: 0.1, 5: 0.99})
    confirmation = Confirmation("val_accuracy", SEEDS, 100.0, math.inf, [lucky, *others])
    confirmation, _ = play(
        confirmation, lambda trial, seed: {1: 0.1, 2: 0.5, 3: 0.4, 0: 0.3}[trial]
    )
    assert dropped_in(confirmation) == {1: 1, 2: 0, 3: 3, 0: 0}


@given(
    values=st.lists(st.floats(0.1, 0.9), min_size=1, max_size=4),
    early=st.integers(1, 3),
    failed=st.none() | st.integers(1, 3),
    budget=st.floats(2.0, 30.0),
)
def test_early_repeats_of_the_baseline_change_no_decision(
    values: list[float], early: int, failed: int | None, budget: float
) -> None:
    """A repeat that was trained early counts from its round on; after a failure of the baseline it
    never counts.
    """

    def value(trial: int, seed: int) -> float | None:
        return None if (trial, seed) == (0, failed) else [0.4, *values][trial] + 0.01 * seed

    begun = replace(begin(*values, 0.4, budget=budget), n_guaranteed=3, is_bounded=True)
    expected, _ = play(begun, value, seconds=2.0)
    first, due = begun.advance()
    for finalist, seed in [*due[:-1], *first.ahead()[:early], *due[-1:]]:
        first = first.with_repeat(
            finalist.trial,
            seed,
            value(finalist.trial, seed),
            seconds=2.0,
            failure=FailureReason.NAN_LOSS if (finalist.trial, seed) == (0, failed) else None,
        )
    assert {*(f.trial for f, _ in first.ahead())} <= {0}
    played, _ = play(first, value, seconds=2.0)
    assert replace(played, early={}) == expected


def test_of_equal_finalists_the_one_that_trains_faster_stays() -> None:
    # The sums of their repeats differ by an error of rounding.
    values = {1: [0.1, 0.2, 0.3], 2: [0.3, 0.2, 0.1], 0: [0.1] * 3}
    slow, fast, baseline = finalists(0.9, 0.89, 0.5)
    made = [replace(slow, seconds=9.0), fast, baseline]
    confirmation = Confirmation("val_accuracy", SEEDS, 100.0, math.inf, made)
    confirmation, _ = play(confirmation, lambda trial, seed: [*values[trial], 0.1, 0.1][seed - 1])
    assert dropped_in(confirmation) == {1: 3, 2: 0, 0: 0}
    assert estimated(confirmation).best.trial == 2


def test_front_gives_up_only_finalists_that_are_beaten_in_all_objectives() -> None:
    confirmation = on_front((0.9, 50), (0.88, 20), (0.86, 30), (0.7, 5), (0.5, 40))
    confirmation, _ = play(
        confirmation, lambda trial, seed: {1: 0.9, 2: 0.88, 3: 0.8, 4: 0.7, 0: 0.5}[trial]
    )
    assert dropped_in(confirmation) == {1: 0, 2: 0, 3: 1, 4: 0, 0: 0}
    estimates = estimated(confirmation)
    assert [finalist.trial for finalist in estimates.front] == [1, 2, 4]


def test_short_budget_leaves_the_ends_of_a_front() -> None:
    made = on_front((0.9, 50), (0.88, 40), (0.86, 30), (0.7, 5), (0.5, 40)).finalists
    confirmation = planned(made, search_seconds=100.0, share=0.09)
    assert [finalist.trial for finalist in confirmation.finalists] == [1, 4, 0]


def test_remaining_time_goes_to_pruned_trials() -> None:
    confirmation = replace(begin(0.9, 0.5, n_seeds=2, budget=8.0), pruned=pruned(3.0, 3.0, 3.0))
    confirmation, done = play(confirmation, lambda trial, seed: 0.95 if trial == 91 else 0.8)
    # On the search's own seed; the third is beyond the budget.
    assert done[-2:] == [(90, 0), (91, 0)]
    assert not confirmation.pruned[2].repeats
    estimates = estimated(confirmation)
    assert estimates.best.trial == 1 and set(estimates.means) == {1, 0}


def test_budget_that_pays_no_repeat_pays_no_pruned_trial_either() -> None:
    confirmation, due = replace(begin(0.9, 0.5, budget=1.5), pruned=pruned(1.0)).advance()
    assert due == [] and confirmation.is_over


@settings(max_examples=100)
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
    made = [
        replace(finalist, seconds=1.0 if equal_seconds else float(rng.uniform(0.5, 4)))
        for finalist in finalists(*rng.random(n + 1))
    ]
    confirmation = planned(made, search_seconds=100.0, share=budget / 100, n_seeds=n_seeds)
    confirmation, done = play(confirmation, lambda trial, number: float(rng.random()), seconds=None)
    assert confirmation.spent_seconds <= budget + 1e-9
    assert len(done) == len(set(done))
    assert confirmation.is_over
    by_seed = {number: {trial for trial, s in done if s == number} for _, number in done}
    assert all(0 in trials and len(trials) > 1 for trials in by_seed.values())  # always a pair


@settings(max_examples=50)
@given(stop=st.integers(0, 20), seed=st.integers(0, 1000))
def test_confirmation_that_is_stopped_goes_on_as_if_it_had_not_been(
    stop: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = StudyDir(tmp_path_factory.mktemp("s"))
    values = np.random.default_rng(seed).random((6, 6))
    whole, halved = begin(0.9, 0.8, 0.7, 0.6), begin(0.9, 0.8, 0.7, 0.6)
    whole, done = play(whole, lambda trial, number: values[trial, number])
    again: list[tuple[int, int]] = []
    halved, due = halved.advance()
    while due:
        for finalist, number in due:
            value = values[finalist.trial, number]
            halved = halved.with_repeat(finalist.trial, number, value, seconds=1.0)
            again.append((finalist.trial, number))
            if len(again) == stop:
                break
        if len(again) == stop:
            stop = -1
        halved.save(folder)
        loaded = Confirmation.load(folder)
        assert loaded is not None
        halved, due = loaded.advance()
    assert again == done
    assert halved == whole


def test_few_seconds_leave_fewer_finalists_and_a_pair_at_least() -> None:
    made = finalists(0.9, 0.8, 0.7, 0.6, 0.5)
    few = planned(made, search_seconds=24.0, share=0.25)
    assert [finalist.trial for finalist in few.finalists] == [1, 0]
    assert len(play(few, lambda trial, seed: 0.5)[1]) == 6
    none = planned(made, search_seconds=4.0, share=0.25)
    assert play(none, lambda trial, seed: 0.5)[1] == []
    assert estimate(none) is None


def test_difference_of_one_finalist_is_the_paired_t_test_s() -> None:
    best, baseline = [0.81, 0.83, 0.82, 0.84], [0.80, 0.80, 0.81, 0.80]
    estimates = estimated(with_repeats({1: best, 0: baseline}))
    assert estimates.difference is not None
    expected = stats.ttest_rel(best, baseline).confidence_interval()
    assert estimates.difference.value == pytest.approx(np.mean(best) - np.mean(baseline))
    assert (estimates.difference.low, estimates.difference.high) == (
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )


def means_of(confirmation: Confirmation) -> list[float]:
    means = estimated(confirmation).means
    return [means[finalist.trial].value for finalist in confirmation.finalists]


def test_means_are_drawn_together_by_noise_and_keep_their_order() -> None:
    noisy = with_repeats({1: [0.80, 0.90], 2: [0.89, 0.79], 3: [0.76, 0.86], 0: [0.71, 0.70]})
    # All of their spread is noise.
    assert means_of(noisy)[:3] == pytest.approx([np.mean([0.85, 0.84, 0.81])] * 3)
    shared = with_repeats({1: [0.80, 0.90], 2: [0.79, 0.89], 3: [0.76, 0.86], 0: [0.70, 0.80]})
    # A seed that is good for all finalists does not reduce their spread.
    assert means_of(shared)[:3] == pytest.approx([0.85, 0.84, 0.81])
    clear = with_repeats({1: [0.90, 0.901], 2: [0.80, 0.801], 3: [0.70, 0.701], 0: [0.70, 0.71]})
    assert estimated(clear).best.trial == 1
    assert means_of(clear)[0] == pytest.approx(0.9005, abs=1e-3)
    assert means_of(clear)[3] == pytest.approx(0.705)  # The baseline was not chosen for its value.


def test_baseline_over_a_limit_is_never_the_best() -> None:
    confirmation = with_repeats({1: [None], 0: [0.8]})
    first, baseline = confirmation.finalists
    over = replace(confirmation, finalists=[first, replace(baseline, is_over_limit=True)])
    assert estimate(over) is None


def test_mean_of_a_finalist_without_a_good_seed_is_not_lower_for_that() -> None:
    """Trial 2 was dropped before seed 3, on which all gain 0.1."""
    estimates = estimated(
        with_repeats(
            {1: [0.80, 0.81, 0.90], 2: [0.79, 0.80], 3: [0.70, 0.71, 0.80], 0: [0.70, 0.71, 0.80]}
        )
    )
    assert estimates.means[1].value - estimates.means[2].value == pytest.approx(0.01, abs=1e-6)


def test_effect_of_a_seed_on_all_finalists_counts_once() -> None:
    """Four finalists that differ by constants give no more information about the next seed than one
    finalist: Student's t with n - 1 degrees of freedom.
    """
    shift = np.array([0.0, 0.03, -0.02])
    together = estimated(
        with_repeats({trial: list(0.8 + trial / 100 + shift) for trial in (1, 2, 3, 0)})
    )
    alone = estimated(with_repeats({1: list(0.81 + shift)}))
    width = [e.means[1].high - e.means[1].low for e in (together, alone)]
    assert width[0] == pytest.approx(width[1])
    half = stats.t.ppf(0.975, 2) * np.std(shift, ddof=1) / math.sqrt(3)
    assert width[1] == pytest.approx(2 * half)


def test_differences_that_are_equal_but_for_rounding_have_an_interval() -> None:
    estimates = estimated(with_repeats({1: [0.5, 0.51], 2: [0.5, 0.51], 0: [0.1, 0.11]}))
    assert estimates.difference is not None
    assert estimates.difference.low == pytest.approx(0.4) == estimates.difference.high


@pytest.mark.parametrize("seed_effect", [0.0, 0.03])
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
        # Without a baseline no difference is estimated, whose interval takes 50 times as long.
        made = [Finalist(int(t) + 1, {}, float(search[t]), 1.0) for t in np.argsort(-search)[:5]]
        confirmation = Confirmation("val_accuracy", SEEDS, 50.0, math.inf, made)
        confirmation, _ = play(
            confirmation,
            lambda trial, seed, truth=truth, shifts=shifts: float(
                truth[trial - 1] + shifts[seed] + rng.normal(0, 0.01)
            ),
        )
        estimates = estimated(confirmation)
        interval, true = estimates.means[estimates.best.trial], truth[estimates.best.trial - 1]
        held += interval.low <= true <= interval.high
        better += true >= truth[int(np.argmax(search))]
    assert held / n >= 0.9
    assert better / n > 0.75  # the confirmed best is at least as good as the search's


@pytest.mark.parametrize(
    ("metric", "low", "high"), [("val_accuracy", 0, 1), ("val_loss", 0, math.inf)]
)
def test_interval_of_a_mean_contains_only_values_of_the_metric(
    metric: str, low: float, high: float
) -> None:
    """Two of the repeats did not train at all, so Student's interval is wide."""
    repeats = {1: [0.86, 0.51, 0.50], 2: [0.75, 0.88, 0.87], 0: [0.01, 0.50, 0.02]}
    estimates = estimated(with_repeats(repeats, metric=metric))
    bounds = [bound for mean in estimates.means.values() for bound in (mean.low, mean.high)]
    assert low == min(bounds) < max(bounds)
    assert max(bounds) == high if high == 1 else max(bounds) > 1


def test_best_is_chosen_by_the_seeds_that_all_remaining_finalists_share() -> None:
    """Trial 2 is ahead on both seeds that it has had; trial 1 has also had three on which
    everything is better.
    """
    confirmation = with_repeats(
        {1: [0.80, 0.81, 0.95, 0.96, 0.97], 2: [0.82, 0.83], 0: [0.70, 0.71, 0.85]}
    )
    estimates = estimated(confirmation)
    assert (estimates.best.trial, estimates.n_shared) == (2, 2)


def test_finalists_without_a_seed_in_common_have_no_best() -> None:
    assert estimate(with_repeats({1: [0.9], 2: [], 0: [0.8]})) is None


# Trial 1 is ahead of trial 2 on the first two seeds, clearly or by chance, and far ahead of the
# baseline.
CLEAR = {1: [0.90, 0.91, 0.92], 2: [0.80, 0.811, 0.82], 0: [0.50, 0.512, 0.52]}
UNCLEAR = {**CLEAR, 2: [0.895, 0.90, 0.91]}


@pytest.mark.parametrize(
    ("values", "search_seconds", "seconds", "trained"),
    [
        (UNCLEAR, 12.0, 1.0, [[0, 1, 2]] * 3),
        (CLEAR, 12.0, 1.0, [[0, 1, 2]] * 2 + [[0, 1]]),
        (UNCLEAR, 8.0, 1.0, [[0, 1]] * 3),  # Nine trainings would take longer than the search.
        (UNCLEAR, 12.0, 2.0, [[0, 1, 2]] + [[0, 1]] * 2),  # Each takes twice what was expected.
        (UNCLEAR, 2.0, 2.0, [[0, 1]] * 3),  # At any cost.
        (CLEAR, 36.0, 1.0, [[0, 1, 2]] * 3),  # A quarter of the search pays all.
    ],
)
def test_beyond_a_quarter_three_seeds_are_trained_of_those_whose_order_is_not_clear(
    values: dict[int, list[float]],
    search_seconds: float,
    seconds: float,
    trained: list[list[int]],
) -> None:
    plan = planned(finalists(0.9, 0.8, 0.7, 0.5), search_seconds=search_seconds)
    confirmation, done = play(plan, lambda trial, seed: values[trial][seed - 1], seconds=seconds)
    assert [sorted(trial for trial, seed in done if seed == s) for s in SEEDS[:3]] == trained
    estimates = estimated(confirmation)
    assert estimates.is_confirmed and confirmation.rounds == 3
    if seconds == 1.0:
        assert confirmation.spent_seconds <= search_seconds
    (text,) = (s for s in sentences(estimates, study="s") if "worker time" in s)
    assert f"{confirmation.share:.0%}" in text
    assert ("25%, which 3 seeds of the best" in text) == (search_seconds < 36)
    # A second process that reads the file after any repeat trains the others.
    for n in range(len(done)):
        part, _ = plan.advance()
        for trial, seed in done[:n]:
            part, _ = part.with_repeat(
                trial, seed, values[trial][seed - 1], seconds=seconds
            ).advance()
        assert play(part, lambda trial, seed: values[trial][seed - 1], seconds=seconds)[1] == [
            *done[n:]
        ]


def test_confirmation_that_an_earlier_version_began_trains_the_two_best_at_any_cost() -> None:
    made = finalists(0.9, 0.8, 0.5)
    begun = Confirmation("val_accuracy", SEEDS, 4.0, 9.0, made, n_guaranteed=3)
    _, done = play(begun, lambda trial, seed: CLEAR[trial][seed - 1], seconds=2.0)
    assert len(done) == 9


@pytest.mark.parametrize("search_seconds", [20.0, 50.0, 1000.0])
def test_confirmed_best_stays_against_luckier_newcomers(search_seconds: float) -> None:
    """Trial 9 was confirmed; later trials of the search have better values, and worse repeats on
    every seed.
    """
    known = {9: {1: 0.88, 2: 0.881, 3: 0.882}, 0: {1: 0.70, 2: 0.71, 3: 0.72}}
    made = [
        replace(finalist, repeats=dict(known.get(finalist.trial, {})))
        for finalist in [*finalists(0.97, 0.96, 0.95, 0.94, 0.7), Finalist(9, {}, 0.89, 1.0)]
    ]
    confirmation = planned(made, search_seconds=search_seconds, spent_seconds=6.0)
    assert 9 in [finalist.trial for finalist in confirmation.finalists]
    confirmation, _ = play(
        confirmation, lambda trial, seed: {9: 0.88, 0: 0.7}.get(trial, 0.81) + 0.001 * seed
    )
    estimates = estimated(confirmation)
    assert (estimates.best.trial, estimates.is_confirmed) == (9, True)


def test_repeats_of_an_earlier_confirmation_cost_nothing() -> None:
    repeats: dict[int, float | None] = {1: 0.8, 2: 0.8, 3: 0.8}
    made = [replace(finalist, repeats=repeats) for finalist in finalists(0.9, 0.8, 0.7)]
    confirmation = planned(made, search_seconds=10.0, spent_seconds=9.0, share=0.9, n_seeds=3)
    confirmation, _ = play(confirmation, lambda trial, seed: pytest.fail("trained again"))
    assert confirmation.rounds == 3 and confirmation.finalists[0].is_remaining


def test_unstable_baseline_does_not_change_the_means_of_the_others() -> None:
    """The notebook's LSTM differs by 0.17 between seeds, where other models differ by 0.003."""
    stable = {19: [0.8922, 0.8922, 0.8896, 0.8917], 17: [0.8845, 0.8840, 0.8811], 2: [0.8822]}
    wild = estimated(with_repeats({**stable, 0: [0.6235, 0.5593, 0.5990, 0.7254]}))
    calm = estimated(with_repeats({**stable, 0: [0.6235, 0.6235, 0.6236, 0.6235]}))
    for trial, values in stable.items():
        assert wild.means[trial] == calm.means[trial]
        assert min(values) - 0.01 < wild.means[trial].low < wild.means[trial].high < 0.9
    assert wild.means[0].high - wild.means[0].low > 0.1
    assert wild.means[0].value == pytest.approx(np.mean([0.6235, 0.5593, 0.5990, 0.7254]))


def fitted(confirmation: Confirmation, *trials: int) -> Confirmation:
    """Return the confirmation with epoch 0 as the best epoch of these trials."""
    made = [replace(f, epochs=0) if f.trial in trials else f for f in confirmation.finalists]
    return replace(confirmation, finalists=made)


@pytest.mark.parametrize("baseline", [[0.79, 0.80, 0.78], [0.79, 0.79, 0.79]])
def test_fitted_models_do_not_narrow_the_intervals_of_trained_ones(baseline: list[float]) -> None:
    """A fitted model that is not trained has the same value with each seed."""
    trained: dict[int, list[float | None]] = {1: [0.80, 0.83, 0.84], 2: [0.80, 0.80, 0.82]}
    equal: dict[int, list[float | None]] = {3: [0.81] * 3, 4: [0.8] * 3}
    confirmation = fitted(with_repeats({**trained, **equal, 0: [*baseline]}), 3, 4)
    alone = with_repeats({**trained, 0: [*baseline]})
    estimates, expected = estimated(confirmation), estimated(alone)
    assert estimates.best.trial == expected.best.trial == 1
    assert [estimates.means[trial] for trial in (1, 2)] == [expected.means[t] for t in (1, 2)]
    assert str(estimates.means[3]) == "0.8100 [0.8100, 0.8100]"
    assert seed_spread(confirmation) == seed_spread(alone) is not None
    assert seed_spread(fitted(confirmation, 1, 2, 3, 4)) is None
    # Dunnett's interval for four finalists is wider than that for two.
    assert estimates.difference and expected.difference
    assert estimates.difference.low < expected.difference.low


@settings(max_examples=100)
@given(n=st.integers(1, 5), budget=st.floats(0, 0.3), seed=st.integers(0, 1000))
def test_fitted_model_stays_and_costs_no_other_finalist_a_seed(
    n: int, budget: float, seed: int
) -> None:
    """The trained finalists get the seeds that they get without a worse fitted model."""
    rng = np.random.default_rng(seed)
    values = [*(0.8 + 0.1 * rng.random(n)), 0.1]
    of_repeat = rng.uniform(0.8, 0.9, (n + 1, 99))

    def played(value: float | None) -> Confirmation:
        made = finalists(*values)
        if value is not None:
            made.append(untrained(n + 1, value, seconds=0.0))
        return play(
            planned(made, search_seconds=100.0 * budget),
            lambda trial, number: value if trial == n + 1 else float(of_repeat[trial, number]),
            seconds=None,
        )[0]

    alone, worse, better = played(None), played(0.5), played(0.95)
    repeats = {f.trial: f.repeats for f in worse.finalists}
    assert repeats.pop(n + 1).keys() == {*SEEDS[: worse.rounds]}
    assert repeats == {f.trial: f.repeats for f in alone.finalists}
    best = max((f for f in better.finalists if f.is_remaining), key=better._signed_mean)
    assert better.is_over and best.trial == n + 1


def test_second_best_has_no_seed_at_any_cost_beside_a_better_fitted_model() -> None:
    """The fitted model is the best and costs a second; the best is all that is guaranteed."""
    made = [untrained(2, 0.9, seconds=1.0), *finalists(0.8, 0.5, seconds=100.0)]
    confirmation, done = play(
        planned(made, search_seconds=300.0),
        lambda trial, seed: {2: 0.9, 1: 0.8, 0: 0.5}[trial] + 0.001 * seed,
        seconds=None,
    )
    assert {seed for trial, seed in done if trial == 2} == {1, 2, 3}
    assert confirmation.spent_seconds < 450.0


def test_fitted_model_is_no_finalist_that_a_given_share_leaves_out() -> None:
    made = [*finalists(0.9, 0.8, 0.7, 0.6, 0.1, seconds=100.0), untrained(9, 0.5, seconds=1.0)]
    confirmation = planned(made, search_seconds=1200.0, share=0.8)
    assert {f.trial for f in confirmation.finalists} == {0, 1, 2, 9}


def value_of(trial: int, seed: int) -> float:
    return {9: 0.5, 0: 0.1}.get(trial, 0.9 - 0.1 * trial) + 0.001 * seed


@pytest.mark.parametrize("share", [0.25, None])
def test_confirmation_that_is_over_keeps_its_rounds_beside_a_new_fitted_model(
    share: float | None,
) -> None:
    """An earlier version had no such finalist."""
    made = finalists(0.9, 0.8, 0.7, 0.1, seconds=10.0)
    old, _ = play(planned(made, share=share, search_seconds=400.0), value_of, seconds=None)
    assert estimated(old).is_confirmed
    joined = with_earlier([*made, untrained(9, 0.5, seconds=1.0)], old.finalists)
    plan = planned(joined, share=share, search_seconds=400.0, spent_seconds=old.spent_seconds)
    new, _ = play(plan, value_of, seconds=None)
    assert new.rounds == old.rounds and estimated(new).n_shared >= estimated(old).n_shared
    assert estimated(new).best.trial == estimated(old).best.trial


def test_fitted_model_costs_no_confirmation_within_a_given_share() -> None:
    made = [*finalists(0.9, 0.1, seconds=10.0), untrained(9, 0.5, seconds=8.0)]
    confirmation, _ = play(planned(made, share=1.0, search_seconds=70.0), value_of, seconds=None)
    assert estimated(confirmation).is_confirmed
    assert confirmation.spent_seconds <= 70.0


def test_front_gives_up_what_a_fitted_model_beats() -> None:
    confirmation = on_front((0.9, 100), (0.86, 10), (0.84, 50), (0.5, 200))
    confirmation = fitted(confirmation, 2)
    values = {1: 0.9, 2: 0.85, 3: 0.8, 0: 0.5}
    confirmation, _ = play(confirmation, lambda trial, seed: values[trial])
    assert dropped_in(confirmation) == {1: 0, 2: 0, 3: 1, 0: 0}


@pytest.mark.parametrize("metric", ["val_r2", "val_quadratic_kappa"])
def test_interval_of_a_metric_below_0_contains_its_value(metric: str) -> None:
    repeats: dict[int, list[float | None]] = {1: [-0.06, -0.02, -0.05], 0: [-0.3, -0.29, -0.33]}
    for mean in estimated(with_repeats(repeats, metric=metric)).means.values():
        assert mean.low < mean.value < mean.high < 0.1


def planned_again(confirmation: Confirmation, made: list[Finalist]) -> Confirmation:
    """Plan as a second call does, with the repeats and the seconds of the first call."""
    repeats = {f.trial: f.repeats for f in confirmation.finalists}
    made = [replace(f, repeats=repeats.get(f.trial, {})) for f in made]
    return planned(made, search_seconds=20.0, spent_seconds=confirmation.spent_seconds)


def test_second_call_adds_a_finalist_only_if_it_is_one_of_the_two_best() -> None:
    made = finalists(0.9, 0.8, 0.7, 0.6, 0.5)
    first = planned(made, search_seconds=20.0)
    assert [f.trial for f in first.finalists] == [1, 2, 0]
    done, _ = play(first, lambda trial, seed: 0.7)
    assert [f.trial for f in planned_again(done, made).finalists] == [1, 2, 0]
    better, worse = Finalist(7, {}, 0.85, 1.0), Finalist(8, {}, 0.75, 1.0)
    assert [f.trial for f in planned_again(done, [*made, better]).finalists] == [1, 7, 2, 0]
    assert [f.trial for f in planned_again(done, [*made, worse]).finalists] == [1, 2, 0]


@settings(max_examples=200)
@given(
    made=st.lists(st.tuples(st.floats(0.5, 1), st.floats(0.5, 5)), min_size=2, max_size=5),
    search_seconds=st.floats(5, 60),
    pace=st.floats(0.2, 3),
    share=st.sampled_from([None, 0.25, 1.0]),
    luck=st.integers(0, 100),
)
def test_same_call_after_a_confirmation_that_is_over_trains_nothing(
    made: list[tuple[float, float]],
    search_seconds: float,
    pace: float,
    share: float | None,
    luck: int,
) -> None:
    """Repeats take other times than the search has taken for the same configurations."""
    rng = np.random.default_rng(luck)
    finalists = [
        Finalist(trial, {}, value, seconds, is_baseline=trial == 0)
        for trial, (value, seconds) in enumerate(made)
    ]
    confirmation = planned(finalists, search_seconds=search_seconds, share=share)
    confirmation, due = confirmation.advance()
    while due:
        for f, seed in due:
            value = float(rng.normal(f.search_value, 0.05))
            confirmation = confirmation.with_repeat(f.trial, seed, value, seconds=f.seconds * pace)
        confirmation, due = confirmation.advance()
    assert called_again(confirmation, finalists, share=share) is confirmation


def called_again(
    confirmation: Confirmation, made: list[Finalist], *, share: float | None
) -> Confirmation:
    """Return the confirmation with which a call goes on."""

    def plan(spent_seconds: float) -> Confirmation:
        return planned(
            with_earlier(made, confirmation.finalists),
            search_seconds=confirmation.search_seconds,
            share=share,
            spent_seconds=spent_seconds,
        )

    return stored_or_new(confirmation, plan)


def test_larger_budget_trains_a_finalist_that_fast_repeats_leave_time_for() -> None:
    made = [
        replace(f, seconds=seconds)
        for f, seconds in zip(finalists(0.9, 0.8, 0.5), (2.0, 7.0, 2.0), strict=True)
    ]
    begun, done = play(planned(made, search_seconds=30.0), lambda trial, seed: 0.7, seconds=1.0)
    assert {trial for trial, _ in done} == {1, 0}
    larger, done = play(called_again(begun, made, share=1.0), lambda trial, seed: 0.7, seconds=1.0)
    assert 2 in {trial for trial, _ in done}
    for share in (1.0, None):
        assert called_again(larger, made, share=share) is larger


def test_further_seeds_that_do_not_fit_the_budget_are_named_as_the_end() -> None:
    made = finalists(0.9, 0.5)
    over, _ = play(planned(made, search_seconds=20.0, share=0.5), lambda trial, seed: 0.7)
    assert (over.rounds, over.is_short) == (5, False)

    def plan(spent_seconds: float) -> Confirmation:
        return plan_confirmation(
            with_earlier(made, over.finalists),
            metric="val_accuracy",
            seeds=[*range(1, 11)],
            search_seconds=20.0,
            spent_seconds=spent_seconds,
            share=0.5,
        )

    again = stored_or_new(over, plan)
    assert not again.advance()[1] and again.is_short and len(again.seeds) == 10
    assert again.finalists == over.finalists
    assert plan_text(again, n_workers=1).startswith("No further seed fits the budget")


def test_larger_budget_that_a_further_seed_does_not_fit_is_named_as_the_end() -> None:
    made = finalists(0.9, 0.5)
    over, _ = play(planned(made, search_seconds=20.0), lambda trial, seed: 0.7, seconds=2.0)
    assert (over.rounds, over.is_short, over.budget_share) == (3, True, 0.25)
    again = called_again(over, made, share=0.65)
    assert not again.advance()[1] and again.is_short and again.budget_share == 0.65
    assert again.finalists == over.finalists
    assert "a share of 65%: give a larger share, such as 2." in plan_text(again, n_workers=1)
    assert called_again(again, made, share=None) is again
    assert called_again(again, made, share=2.0).advance()[1]


def test_trial_may_be_pruned_and_another_architecture_s_best() -> None:
    """It is trained to its last epoch on the seed of the search, and to its best on a fresh one."""
    pruned, other = (Finalist(7, {}, 0.4, 1.0, epochs=epochs) for epochs in (5, 1))
    confirmation = replace(begin(0.9, 0.5), pruned=[pruned], others=[other])
    first = confirmation.seeds[0]
    fresh = confirmation.with_repeat(7, first, 0.6, seconds=1.0, purpose=Purpose.ENSEMBLE)
    assert [fresh.pruned[0].repeats, fresh.others[0].repeats] == [{}, {1: 0.6}]
    both = fresh.with_repeat(7, confirmation.search_seed, 0.5, seconds=1.0)
    assert [both.pruned[0].repeats, both.others[0].repeats] == [{0: 0.5}, {1: 0.6}]


def test_finalist_that_was_dropped_is_back_if_all_others_fail() -> None:
    """Trial 1 leads and fails on seed 4; without trial 2, the baseline would be the best."""
    values = {1: 0.9, 2: 0.89, 3: 0.7, 0: 0.5}
    confirmation, done = play(
        begin(0.9, 0.89, 0.88, 0.5),
        lambda trial, seed: None if (trial, seed) == (1, 4) else values[trial],
    )
    assert [seed for trial, seed in done if trial == 2] == SEEDS
    assert confirmation.is_over and confirmation.rounds == len(SEEDS)
    estimates = estimated(confirmation)
    assert estimates.is_confirmed
    assert estimates.best.trial == 2


def test_baseline_is_not_called_the_best_of_what_was_tried_if_all_others_failed() -> None:
    confirmation, _ = play(begin(0.9, 0.89, 0.5), lambda trial, seed: 0.5 if trial == 0 else None)
    estimates = estimated(confirmation)
    assert estimates.best.is_baseline
    text = " ".join(sentences(estimates, study="s"))
    assert "a training of every other configuration has failed" in text
    assert "nothing that was tried" not in text


def test_confirmation_with_a_new_finalist_keeps_its_best_until_the_first_repeat() -> None:
    confirmation, _ = play(begin(0.9, 0.5), lambda trial, seed: {1: 0.9, 0: 0.5}[trial])
    new = replace(finalists(0.9, 0.89, 0.5)[1], trial=7)
    estimates = estimated(replace(confirmation, finalists=[*confirmation.finalists, new]))
    assert estimates.is_confirmed and estimates.best.trial == 1


OVERLAP = 15 / 70  # of the default shares


@settings(max_examples=50)
@given(
    seed=st.integers(0, 1000),
    n_seeds=st.integers(2, 5),
    overlap=st.floats(0.05, 0.5),
    n_others=st.integers(1, 3),
)
def test_fresh_splits_widen_every_interval_by_the_rows_that_they_share(
    seed: int, n_seeds: int, overlap: float, n_others: int
) -> None:
    rng = np.random.default_rng(seed)
    of_seeds = rng.normal(0, 0.02, n_seeds)
    one = with_repeats(
        {
            trial: list(0.7 + trial / 100 + of_seeds + rng.normal(0, 0.003, n_seeds))
            for trial in range(n_others + 1)
        }
    )
    own, fresh = estimated(one), estimated(replace(one, overlap=overlap))
    assert fresh.best == own.best  # The order is that of the plain means.
    wider = math.sqrt(1 + n_seeds * overlap)
    pairs = [(own.means[trial], fresh.means[trial]) for trial in own.means]
    assert fresh.means[0].value == own.means[0].value  # The baseline was not chosen.
    if own.difference and fresh.difference:
        assert fresh.difference.value == own.difference.value
        pairs.append((own.difference, fresh.difference))
    for narrow, wide in pairs:
        if wide.low > 0 and wide.high < 1:
            widths = narrow.high - narrow.low, wide.high - wide.low
            assert widths[1] == pytest.approx(wider * widths[0])


def test_order_that_is_clear_on_one_split_may_be_unclear_over_fresh_splits() -> None:
    repeats = {1: [0.81, 0.82, 0.83, 0.84], 2: [0.73, 0.7, 0.73, 0.7], 0: [0.13, 0.1, 0.13, 0.1]}
    clear = replace(with_repeats({**repeats}), rounds=4)
    assert clear.is_clear
    assert not replace(clear, overlap=2.0).is_clear


def test_luck_of_a_split_is_no_spread_between_seeds() -> None:
    """All trials of a search have the same split."""
    of_seeds = [0.0, 0.05, -0.05]
    equal = with_repeats({trial: [0.8 + luck for luck in of_seeds] for trial in (1, 2, 0)})
    assert seed_spread(equal) == pytest.approx(0.05)
    assert seed_spread(replace(equal, overlap=OVERLAP)) == pytest.approx(0, abs=1e-9)


def test_every_fold_of_a_seed_counts_in_the_intervals() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.03, (3, 5))
    confirmation = replace(begin(0.8, 0.7, n_seeds=3), overlap=1 / 4)
    for seed, folds in enumerate(values, start=1):
        for trial, shift in ((1, 0.0), (0, 0.1)):
            mean = float(folds.mean()) - shift
            confirmation = confirmation.advance()[0].with_repeat(
                trial, seed, mean, seconds=1.0, folds=(folds - shift).tolist()
            )
    estimates = estimate(confirmation)
    assert estimates is not None and estimates.difference is not None
    half = stats.t.ppf(0.975, 14) * math.sqrt(values.var(ddof=1) * (1 / 15 + 1 / 4))
    mean = estimates.means[1]
    assert (mean.low, mean.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=1e-4
    )
    assert estimates.difference.value == pytest.approx(0.1) and estimates.n_pairs == 3
    one_split = replace(confirmation, overlap=0.0, finalists=begin(0.8, 0.7).finalists)
    one_split = one_split.with_repeat(1, 1, 0.8, seconds=1.0, folds=[0.7, 0.9])
    assert one_split.finalists[0].folds == {}  # All seeds have the same folds.
