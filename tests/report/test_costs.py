"""The metric over the costs of trials, and the search by architecture."""

import optuna
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from tuning.report.costs import MIN_COST_TRIALS, add_front, architecture_rows, cost_figures
from tuning.study.summary import Summary, summarize

KINDS = CategoricalDistribution(["cnn", "lstm", "<b>"])
# Architecture, value (None for a pruned trial), parameters, seconds.
TRIALS = [
    ("lstm", 0.80, 900, 30.0),
    ("cnn", 0.85, 500, 10.0),
    ("cnn", 0.83, 100, 20.0),
    ("cnn", None, 100, 5.0),
    ("<b>", 0.70, 50, 40.0),
]


def summary_of(n: int = len(TRIALS)) -> Summary:
    study = optuna.create_study(direction="maximize")
    for number, (kind, value, n_parameters, seconds) in enumerate(TRIALS[:n]):
        study.add_trial(
            create_trial(
                value=value,
                state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
                params={"architecture": kind},
                distributions={"architecture": KINDS},
                user_attrs={
                    "n_parameters": n_parameters,
                    "seconds": {"train": seconds, "idle": 100.0},
                    "baseline": number == 0,
                },
            )
        )
    return summarize(study, metric="val_accuracy")


def test_front_has_no_trial_that_another_one_beats() -> None:
    assert cost_figures(summary_of(MIN_COST_TRIALS - 1)) == []
    figures = dict(cost_figures(summary_of()))
    assert list(figures) == ["Training time", "Size"]  # No latency was measured.
    front, points = figures["Size"].data
    assert list(zip(front.x, front.y, strict=True)) == [(50, 0.70), (100, 0.83), (500, 0.85)]
    assert sorted(points.x) == [50, 100, 500, 900]
    assert points.customdata == ("0.8500", "0.8300", "0.8000", "0.7000")
    assert figures["Size"].layout.xaxis.minorloglabels == "complete"
    (points,) = figures["Training time"].data  # A front of one trial is not drawn.
    assert sorted(points.x) == [10.0, 20.0, 30.0, 40.0]  # The seconds of waiting do not count.


def test_front_of_a_loss_goes_down() -> None:
    figure = go.Figure()
    add_front(figure, [(1.0, 0.5), (2.0, 0.3), (3.0, 0.4)], direction=-1)
    assert list(figure.data[0].y) == [0.5, 0.3]


def test_architectures_are_ordered_by_their_best_trial() -> None:
    header, rows = architecture_rows(summary_of())
    assert header[:4] == ["architecture", "trials", "complete", "best val_accuracy"]
    assert rows == [
        ["cnn", "3", "2", "0.8500 (trial 1)", "0.8400", "35"],
        ["lstm", "1", "1", "0.8000 (trial 0)", "0.8000", "30"],
        ["<b>", "1", "1", "0.7000 (trial 4)", "0.7000", "40"],
    ]
