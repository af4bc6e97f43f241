"""The figures of a study, and the number of trials from which they are drawn."""

import optuna
import plotly.graph_objects as go
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from tests.studies import MANY_SPACE, many_trials
from tuning.report.figures import report_figures
from tuning.report.tables import trial_rows
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.summary import summarize

ITEMS = tuple(
    Hyperparameter(name=f"h{number}", kind="float", default=0.0, low=0.0, high=1.0)
    for number in range(10)
)
TEN = SearchSpace("ten", ITEMS)


def figures_of(
    study: optuna.Study, space: SearchSpace = MANY_SPACE
) -> dict[str, tuple[str, go.Figure | None]]:
    """Return the sentence and the figure by title."""
    figures = report_figures(study, summarize(study, metric="val_accuracy"), space)
    return {title: (text, figure) for title, text, figure in figures}


def drawn(study: optuna.Study, *values: float, n_trials: int = 6) -> optuna.Study:
    """Return the study with trials of ten hyperparameters."""
    ranges = {item.name: FloatDistribution(0, 1) for item in ITEMS}
    for trial in range(n_trials):
        params = {name: (trial + number) / 99 for number, name in enumerate(ranges)}
        of_trial = [value * trial for value in values]
        study.add_trial(create_trial(values=of_trial, params=params, distributions=ranges))
    return study


@pytest.mark.parametrize(
    ("title", "n_needed"),
    [
        ("Optimization history", 2),
        ("Slices", 5),
        ("Parallel coordinates", 5),
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
    figures = figures_of(drawn(optuna.create_study(direction="maximize"), 0.1), TEN)
    for title in ("Slices", "Parallel coordinates"):
        assert "8 of 10 hyperparameters are shown" in figures[title][0]
    figure = figures["Slices"][1]
    assert figure is not None
    names = [axis.title.text for axis in figure.select_xaxes()]
    assert names == [f"h{number}" for number in range(8)]


@pytest.mark.parametrize("values", [(0.1, 3.0), (0.0, 0.0)])
def test_figures_of_several_objectives_show_the_front_and_the_first_objective(
    values: tuple[float, float],
) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.set_metric_names(["val_accuracy", "n_params"])
    figures = figures_of(drawn(study, *values, n_trials=25), TEN)
    assert all(figure is not None for _, figure in figures.values())
    assert [*figures][:2] == ["Pareto front", "Optimization history"]
    figure = figures["Slices"][1]
    assert figure is not None and next(figure.select_yaxes()).title.text == "val_accuracy"


def test_table_names_the_epoch_after_which_a_trial_was_pruned() -> None:
    study = optuna.create_study(direction="maximize")
    for attributes in ({}, {"same_as": 0}):
        stopped = {"n_epochs": 2, "seconds": {}, **attributes}
        study.add_trial(
            create_trial(
                state=optuna.trial.TrialState.PRUNED,
                intermediate_values={1: 0.3, 2: 0.4},
                user_attrs=stopped,
            )
        )
    study.add_trial(
        create_trial(state=optuna.trial.TrialState.PRUNED, constraints={"n_parameters": 1.0})
    )
    header, rows = trial_rows(summarize(study, metric="val_accuracy"), MANY_SPACE)
    states = [row[header.index("state")] for row in rows]
    assert states == ["pruned after epoch 2", "pruned (same as 0)", "pruned"]
