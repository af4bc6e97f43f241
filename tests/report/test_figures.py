"""The figures of a study: the number of trials from which they are drawn, and the place of pruned
trials in them.
"""

from typing import Any

import optuna
import plotly.graph_objects as go
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from tests.studies import MANY_SPACE, many_trials
from tuning.report.figures import learning_curves, report_figures
from tuning.report.tables import trial_rows
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.importances import importances
from tuning.study.summary import summarize


def figures_of(
    study: optuna.Study, space: SearchSpace = MANY_SPACE
) -> dict[str, tuple[str, go.Figure | None]]:
    """Return the sentence and the figure by title."""
    figures = report_figures(study, summarize(study, metric="val_accuracy"), space)
    return {title: (text, figure) for title, text, figure in figures}


def test_importances_are_of_all_hyperparameters_in_descending_order() -> None:
    of_names = importances(summarize(many_trials(40), metric="val_accuracy"))
    assert len(of_names) == 4
    assert [*of_names.values()] == sorted(of_names.values(), reverse=True)


@pytest.mark.parametrize(
    ("title", "n_needed"),
    [
        ("Optimization history", 2),
        ("Slices", 5),
        ("Contours", 12),
        ("Importances", 20),
    ],
)
def test_figure_of_too_few_trials_is_a_sentence_with_the_number_that_it_needs(
    title: str, n_needed: int
) -> None:
    sentence, figure = figures_of(many_trials(2 * n_needed - 2))[title]
    assert figure is None
    assert f"needs {n_needed} completed trials" in sentence
    assert f"this study has {n_needed - 1}" in sentence
    sentence, figure = figures_of(many_trials(2 * n_needed))[title]
    assert figure is not None
    assert "needs" not in sentence


def test_slices_of_many_hyperparameters_are_those_of_eight() -> None:
    study = optuna.create_study(direction="maximize")
    ranges = {f"h{number}": FloatDistribution(0, 1) for number in range(10)}
    for trial in range(6):
        params = {name: (trial + number) / 20 for number, name in enumerate(ranges)}
        study.add_trial(create_trial(value=trial / 10, params=params, distributions=ranges))
    items = [
        Hyperparameter(name=name, kind="float", default=0.0, low=0.0, high=1.0) for name in ranges
    ]
    figures = figures_of(study, SearchSpace("x", tuple(items)))
    sentence, figure = figures["Slices"]
    assert "8 of 10 hyperparameters are shown" in sentence
    assert figure is not None
    assert [axis.title.text for axis in figure.select_xaxes()] == [
        f"h{number}" for number in range(8)
    ]


def stopped_study() -> optuna.Study:
    """Return a study with completed trials, a trial that was pruned after its second epoch, a trial
    over a limit, and a copy of the pruned trial.
    """
    study = optuna.create_study(direction="maximize")
    kinds = CategoricalDistribution(["a", "b"])

    def add(kind: str = "a", **options: Any) -> None:
        study.add_trial(
            create_trial(params={"kind": kind}, distributions={"kind": kinds}, **options)
        )

    for number in range(6):
        values = {1: 0.5, 2: 0.6, 3: 0.7 + number / 100}
        attributes = {"baseline": number == 0, "n_epochs": 3, "seconds": {}}
        add("ab"[number % 2], value=values[3], intermediate_values=values, user_attrs=attributes)
    stopped = {"state": TrialState.PRUNED, "intermediate_values": {1: 0.3, 2: 0.4}}
    add(user_attrs={"n_epochs": 2, "seconds": {}}, **stopped)
    add(state=TrialState.PRUNED, constraints={"n_parameters": 1.0})
    add(user_attrs={"n_epochs": 2, "same_as": 6, "seconds": {}}, **stopped)
    return study


def traces_named(figure: go.Figure, word: str) -> list[go.Scatter]:
    return [trace for trace in figure.data if word in (trace.name or "")]


def test_history_shows_a_pruned_trial_at_its_last_value_with_a_mark_of_its_own() -> None:
    _, figure = figures_of(stopped_study())["Optimization history"]
    assert figure is not None
    assert figure.layout.xaxis.dtick == 1  # There is no trial 0.5.
    (trace,) = traces_named(figure, "pruned")
    assert (list(trace.x), list(trace.y)) == ([6], [0.4])
    assert trace.mode == "markers"
    assert trace.marker.symbol == "x" and {
        other.marker.symbol for other in figure.data if other is not trace
    } == {None}
    assert "epoch 2" in trace.text[0]


def test_learning_curves_of_pruned_trials_end_where_they_were_stopped() -> None:
    figure = learning_curves(summarize(stopped_study(), metric="val_accuracy"))
    lines, ends = traces_named(figure, "pruned")
    assert (list(lines.x), list(lines.y)) == ([1, 2, None], [0.3, 0.4, None])
    assert (list(ends.x), list(ends.y), ends.marker.symbol) == ([2], [0.4], "x")
    assert [lines.showlegend, ends.showlegend] == [False, None]


def test_table_names_the_epoch_after_which_a_trial_was_pruned() -> None:
    summary = summarize(stopped_study(), metric="val_accuracy")
    header, rows = trial_rows(summary, MANY_SPACE)
    states = [row[header.index("state")] for row in rows]
    assert states[6:] == ["pruned after epoch 2", "pruned", "pruned (same as 6)"]
