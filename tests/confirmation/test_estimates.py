"""The estimates from the repeats of a confirmation, without a training."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.confirmations import SEEDS, begin, estimated, finalists, on_front, play, with_repeats
from tuning.confirmation.estimates import difference_to_baseline, estimate, leading
from tuning.confirmation.record import Confirmation, Finalist
from tuning.report.confirmation import sentences


def trials_of(made: list[Finalist]) -> list[int]:
    return [finalist.trial for finalist in made]


def test_best_is_one_of_the_leading_two_or_the_baseline_after_the_first_seeds() -> None:
    """Trial 3 has a better value on the further seeds, on which it is not compared."""
    values = {1: [0.80, 0.81, 0.82], 2: [0.81, 0.80, 0.81], 3: [0.70, 0.71, 0.70]}
    made = with_repeats({**values, 0: [0.60, 0.61, 0.60]})
    assert trials_of(leading(made)) == [1, 2, 0]
    part = replace(made, seeds=SEEDS[:4])
    assert trials_of(leading(part)) == [1, 2, 3, 0]
    more = made
    for trial, value in ((1, 0.7), (2, 0.9), (0, 0.6)):
        more = more.with_repeat(trial, 4, value, seconds=1.0)
    more = replace(more.with_repeat(3, 4, 0.99, seconds=1.0), further_seeds=SEEDS[3:])
    assert (estimated(made).best.trial, estimated(more).best.trial) == (1, 2)
    assert estimated(more).n_shared == 4
    failed = made.with_repeat(1, 4, None, seconds=1.0, failure="NaN loss")
    assert trials_of(leading(failed)) == [2, 3, 0]


def test_all_members_of_a_front_are_leading() -> None:
    confirmation, done = play(
        on_front((0.9, 50), (0.88, 20), (0.86, 30), (0.7, 5), (0.5, 40)),
        lambda trial, seed: {1: 0.9, 2: 0.88, 3: 0.8, 4: 0.7, 0: 0.5}[trial],
    )
    assert len(done) == 15 and len(leading(confirmation)) == 5
    assert trials_of(estimated(confirmation).front) == [1, 2, 4]


def test_interval_to_the_baseline_is_wider_if_there_may_be_further_seeds() -> None:
    made = with_repeats({1: [0.81, 0.83, 0.82], 2: [0.80, 0.80, 0.82], 0: [0.7, 0.72, 0.71]})
    further = replace(made, further_seeds=SEEDS[3:])
    widths = []
    for confirmation in (made, further):
        difference, n_pairs = difference_to_baseline(confirmation, confirmation.finalists[0])
        assert difference is not None and n_pairs == 3
        widths.append(difference.high - difference.low)
    assert widths[0] < widths[1]
    assert difference_to_baseline(made, made.finalists[2]) == (None, 0)


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
        made = [Finalist(int(t) + 1, {}, float(search[t]), 1.0) for t in np.argsort(-search)[:3]]
        confirmation = Confirmation("val_accuracy", SEEDS, [], made)
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


def test_finalists_without_a_seed_in_common_have_no_best() -> None:
    assert estimate(with_repeats({1: [0.9], 2: [], 0: [0.8]})) is None


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
    # Dunnett's interval for four finalists is wider than that for two.
    assert estimates.difference and expected.difference
    assert estimates.difference.low < expected.difference.low


@pytest.mark.parametrize("metric", ["val_r2", "val_quadratic_kappa"])
def test_interval_of_a_metric_below_0_contains_its_value(metric: str) -> None:
    repeats: dict[int, list[float | None]] = {1: [-0.06, -0.02, -0.05], 0: [-0.3, -0.29, -0.33]}
    for mean in estimated(with_repeats(repeats, metric=metric)).means.values():
        assert mean.low < mean.value < mean.high < 0.1


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


def test_every_fold_of_a_seed_counts_in_the_intervals() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.03, (3, 5))
    confirmation = replace(begin(0.8, 0.7), overlap=1 / 4, further_seeds=[])
    for seed, folds in enumerate(values, start=1):
        for trial, shift in ((1, 0.0), (0, 0.1)):
            mean = float(folds.mean()) - shift
            confirmation = confirmation.with_repeat(
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
