"""What more trials are expected to gain, and the spread between seeds."""

from dataclasses import replace

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.confirmations import with_repeats
from tuning.evaluation.statistics import Interval, expected_gain
from tuning.report.sentences import gain_sentence, verdict
from tuning.study.gain import MIN_DRAWN, N_MORE, Gain
from tuning.study.summary import Summary

DRAWN = [0.80 + 0.005 * n for n in range(MIN_DRAWN)]


def trial(
    *values: float, attributes: dict[str, object] | None = None, **changes: object
) -> FrozenTrial:
    """A completed trial with these values after its epochs."""
    best = max(values)
    made = create_trial(
        value=best,
        intermediate_values=dict(enumerate(values, start=1)),
        user_attrs={"best_epoch": values.index(best) + 1},
    )
    made.user_attrs |= attributes or {}
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def summary_of(*trials: FrozenTrial, metric: str = "val_accuracy") -> Summary:
    for number, each in enumerate(trials):
        each.number = number
    return Summary("s", metric, [*trials])


def expected_of(summary: Summary) -> Interval:
    assert summary.gain is not None
    return summary.gain.expected


def test_only_what_the_sampler_has_drawn_counts_as_a_draw() -> None:
    drawn = [trial(value) for value in DRAWN]
    others = [
        trial(0.5, attributes={"baseline": True}),
        trial(0.99, attributes={"starting_point": 1}),
        trial(0.98, attributes={"imported": "other"}),
        trial(0.97, attributes={"same_as": 1}),
        trial(0.96, state=TrialState.FAIL, values=None),
        trial(0.95, state=TrialState.RUNNING, values=None),
    ]
    summary = summary_of(*drawn, *others)
    assert expected_of(summary) == expected_gain(DRAWN, 0.99, n_more=10)
    assert summary_of(*drawn[1:], *others).gain is None


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.RUNNING])
def test_pruned_or_paused_trial_counts_with_its_best_value_so_far(state: TrialState) -> None:
    stopped = trial(0.90, 0.89, state=state, values=None, attributes={"paused": True})
    summary = summary_of(*[trial(value) for value in DRAWN[1:]], stopped)
    assert expected_of(summary) == expected_gain([*DRAWN[1:], 0.90], 0.845, n_more=10)


def test_folds_count_with_their_last_mean_and_change_by_the_last_fold() -> None:
    of_folds = {"n_folds": 2, "n_epochs": 2, "paused": True}
    stopped = trial(0.90, 0.89, state=TrialState.PRUNED, values=None, attributes=of_folds)
    # The second fold of the completed trials is easier than their last.
    whole = [trial(value, value + 0.02, value, value=value) for value in DRAWN[1:]]
    expected = expected_of(summary_of(*whole, stopped))
    assert expected.value == pytest.approx(
        expected_gain([*DRAWN[1:], 0.87], 0.845, n_more=10).value
    )
    whole = [trial(value, value - 0.01, attributes={"n_folds": 2}) for value in DRAWN]
    gain = summary_of(*whole).gain
    assert gain is not None and gain.spread == pytest.approx(0.01)


def test_gain_of_a_loss_is_its_decrease() -> None:
    losses = summary_of(*[trial(1 - value) for value in DRAWN], metric="val_loss")
    gains = summary_of(*[trial(value) for value in DRAWN])
    assert expected_of(losses).value == pytest.approx(expected_of(gains).value)


def test_study_with_several_objectives_has_no_expected_gain() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for value in DRAWN:
        study.add_trial(create_trial(values=[value, 1.0]))
    assert Summary("s", "val_accuracy", study.trials).gain is None


def test_spread_is_that_of_the_repeats_and_before_them_that_of_the_epochs() -> None:
    """The changes beside the best epoch are 0.003 and 0.001; one trial has a single epoch."""
    summary = summary_of(
        *[trial(value) for value in DRAWN], trial(0.90, 0.91, 0.907), trial(0.9, 0.899)
    )
    gain = summary.gain
    assert gain and not gain.is_measured
    assert gain.spread == pytest.approx((0.003**2 / 2 + 0.001**2 / 2) ** 0.5)
    confirmed = with_repeats({1: [0.90, 0.92], 2: [0.81, 0.83], 0: [0.1, 0.9]})
    assert gain.measured(confirmed).is_measured
    assert gain.measured(confirmed).spread == pytest.approx(0.02 / 2**0.5)
    assert "spread between seeds, 0.0141" in verdict(summary, confirmed)


def test_spread_is_unknown_without_a_second_epoch_and_without_repeats() -> None:
    summary, one = (
        summary_of(*[trial(value) for value in DRAWN]),
        with_repeats({1: [0.9], 0: [0.5]}),
    )
    for confirmation in (None, one, replace(one, finalists=[])):
        assert summary.gain and summary.gain.measured(confirmation).spread is None
    assert summary.gain and not summary.gain.is_small


@pytest.mark.parametrize(
    ("change", "repeats", "end"),
    [
        (0.001, [0.90, 0.92], ", not more than the spread between seeds, 0.0141."),
        (0.001, [0.9000, 0.9001], ", more than the spread between seeds, 0.0001."),
        (0.02, [], ", not more than the best trials change from epoch to epoch, 0.0200."),
        (None, [], "."),
    ],
)
def test_sentence_compares_the_gain_with_the_spread(
    change: float | None, repeats: list[float | None], end: str
) -> None:
    second = [] if change is None else [change]
    summary = summary_of(*[trial(value, *(value - c for c in second)) for value in DRAWN])
    confirmation = with_repeats({1: repeats, 0: [0.5]}) if repeats else None
    expected = expected_of(summary)
    error = expected.high - expected.value
    text = f"to gain {expected.value:.4f} ± {error:.4f} in val_accuracy{end}"
    assert gain_sentence(summary, confirmation) == f"Ten more trials are expected {text}"


def test_sentence_says_that_the_last_trials_are_duplicates() -> None:
    duplicates = [trial(0.8, attributes={"same_as": 3}) for _ in range(N_MORE)]
    for n, is_said in ((N_MORE, True), (N_MORE - 1, False)):
        summary = summary_of(*[trial(value) for value in DRAWN], *duplicates[:n])
        assert summary.draws_duplicates is is_said
        assert ("last ten trials are duplicates" in verdict(summary)) is is_said


@pytest.mark.parametrize(
    ("value", "spread", "n_drawn", "ends"),
    [(0.1, 0.2, 20, True), (0.2, 0.2, 20, True), (0.3, 0.2, 20, False), (0.1, 0.2, 19, False)],
)
def test_small_gain_ends_a_search_of_twenty_drawn_trials(
    value: float, spread: float, n_drawn: int, ends: bool
) -> None:
    gain = Gain(Interval(value, 0.0, 1.0), n_drawn, spread)
    assert gain.ends_search is ends
