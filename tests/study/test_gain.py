"""What more trials are expected to gain, and the spread between seeds."""

from dataclasses import replace

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.confirmations import with_repeats
from tuning.evaluation.statistics import Interval, expected_gain
from tuning.report.sentences import gain_sentence, verdict
from tuning.study.gain import MIN_DRAWN, Gain, gain_of
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
    assert summary.expected_gain == expected_gain(DRAWN, 0.99, n_more=10)
    assert summary_of(*drawn[1:], *others).expected_gain is None


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.RUNNING])
def test_pruned_or_paused_trial_counts_with_its_best_value_so_far(state: TrialState) -> None:
    stopped = trial(0.90, 0.89, state=state, values=None, attributes={"paused": True})
    summary = summary_of(*[trial(value) for value in DRAWN[1:]], stopped)
    assert summary.expected_gain == expected_gain([*DRAWN[1:], 0.90], 0.845, n_more=10)


def test_gain_of_a_loss_is_its_decrease() -> None:
    losses = summary_of(*[trial(1 - value) for value in DRAWN], metric="val_loss")
    gains = summary_of(*[trial(value) for value in DRAWN])
    assert losses.expected_gain and gains.expected_gain
    assert losses.expected_gain.value == pytest.approx(gains.expected_gain.value)


def test_study_with_several_objectives_has_no_expected_gain() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for value in DRAWN:
        study.add_trial(create_trial(values=[value, 1.0]))
    assert Summary("s", "val_accuracy", study.trials).expected_gain is None


def test_spread_is_that_of_the_repeats_and_before_them_that_of_the_epochs() -> None:
    """The changes beside the best epoch are 0.003 and 0.001; one trial has a single epoch."""
    summary = summary_of(
        *[trial(value) for value in DRAWN], trial(0.90, 0.91, 0.907), trial(0.9, 0.899)
    )
    gain = gain_of(summary, None)
    assert gain and not gain.is_measured
    assert gain.spread == pytest.approx((0.003**2 / 2 + 0.001**2 / 2) ** 0.5)
    confirmed = with_repeats({1: [0.90, 0.92], 2: [0.81, 0.83], 0: [0.1, 0.9]})
    gain = gain_of(summary, confirmed)
    assert gain and gain.is_measured
    assert gain.spread == pytest.approx(0.02 / 2**0.5)
    assert "spread between seeds, 0.0141" in verdict(summary, confirmed)


def test_spread_is_unknown_without_a_second_epoch_and_without_repeats() -> None:
    summary, one = (
        summary_of(*[trial(value) for value in DRAWN]),
        with_repeats({1: [0.9], 0: [0.5]}),
    )
    for confirmation in (None, one, replace(one, finalists=[])):
        gain = gain_of(summary, confirmation)
        assert gain and gain.spread is None and not gain.is_small


@pytest.mark.parametrize(
    ("spread", "is_measured", "end"),
    [
        (0.0021, True, ", less than the spread between seeds, 0.0021."),
        (0.0002, True, ", more than the spread between seeds, 0.0002."),
        (0.0021, False, ", less than the best trials change from epoch to epoch, 0.0021."),
        (None, False, "."),
    ],
)
def test_sentence_compares_the_gain_with_the_spread(
    spread: float | None, is_measured: bool, end: str
) -> None:
    gain = Gain(Interval(0.0004, 0.0, 0.0010), spread, is_measured, n_drawn=10)
    assert gain_sentence(gain, "val_accuracy") == (
        f"10 more trials are expected to gain 0.0004 ± 0.0006 in val_accuracy{end}"
    )


@pytest.mark.parametrize(
    ("value", "spread", "n_drawn", "ends"),
    [(0.1, 0.2, 20, True), (0.2, 0.2, 20, True), (0.3, 0.2, 20, False), (0.1, 0.2, 19, False)],
)
def test_small_gain_ends_a_search_of_twenty_drawn_trials(
    value: float, spread: float, n_drawn: int, ends: bool
) -> None:
    gain = Gain(Interval(value, 0.0, 1.0), spread, is_measured=True, n_drawn=n_drawn)
    assert gain.ends_search is ends
