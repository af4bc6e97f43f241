"""Searches with limits on a model's size and latency, and searches with several objectives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.commands import Ran
from tests.stored_documents import full_manifest
from tests.studies import Setting
from tuning.atomic_io import read_json
from tuning.config import TrainConfig
from tuning.report.page import write_report
from tuning.report.sentences import verdict
from tuning.report.tables import trial_rows
from tuning.study.handle import StudyHandle
from tuning.study.summary import summarize
from tuning.study.trials import is_over_limit


@pytest.fixture
def setting(tmp_path: Path, reviews_csv: Path, tiny_space: Path) -> Setting:
    """Return a setting whose baseline has 123 parameters, the maximum for an embedding of width 2
    and two units.

    The embedding of the baseline has 40 rows.
    """
    made = Setting(tmp_path, reviews_csv, tiny_space)
    made.edit_space("10, 40, default=30", "10, 40, default=40")
    made.config = replace(made.config, sampler="random", train=TrainConfig(epochs=2))
    return made


@pytest.mark.slow
def test_model_over_the_limit_is_not_trained_and_can_not_be_the_best(setting: Setting) -> None:
    events: list[str] = []
    outcome = setting.tune(
        8, config={"max_parameters": 122}, on_change=lambda state: events.append(state.event)
    )
    trials, summary = setting.study().trials, outcome.summary
    assert summary.n_finished == 8
    for trial in trials:
        over = trial.user_attrs["n_parameters"] > 122
        assert (trial.state == TrialState.PRUNED) is over is is_over_limit(trial)
        assert trial.constraints == {
            "n_parameters": pytest.approx(trial.user_attrs["n_parameters"] / 122 - 1)
        }
        # The baseline is trained in any case, for comparison.
        assert bool(trial.intermediate_values) is (not over or trial.number == 0)
    assert {t.state for t in trials} == {TrialState.PRUNED, TrialState.COMPLETE}
    assert (
        summary.baseline is not None
        and summary.baseline.number == 0
        and summary.baseline not in summary.ranked
    )
    assert any("not trained: n_parameters" in event and "122 allowed" in event for event in events)
    assert "(trial 0, over a limit)" in verdict(summary)
    assert ("0", "pruned (over a limit)") in [
        (row[0], row[1]) for row in trial_rows(summary, outcome.space)[1]
    ]
    # Optuna must choose the same best trial.
    assert summary.best is not None and setting.study().best_trial.number == summary.best.number


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_several_objectives_have_a_front_that_is_confirmed_and_exported_by_number(
    setting: Setting, run_cli: Callable[..., Ran]
) -> None:
    flags = [
        "--space",
        setting.config.space,
        "--data",
        setting.config.data.data,
        "--epochs",
        2,
        "--sampler",
        "random",
        "--study",
        "s",
    ]
    ran = run_cli(
        "tune",
        *flags,
        "--n-trials",
        8,
        "--objectives",
        "val_accuracy,n_params,latency_ms",
        "--workers",
        1,
        "--no-confirm",
    )
    assert ran.code == 0, ran.err
    assert "On the Pareto front: trials" in ran.out
    assert "parameters" in ran.out and "latency ms" in ran.out
    study = setting.study()
    summary = summarize(study, metric="val_accuracy")
    assert study.metric_names == ["val_accuracy", "n_params", "latency_ms"]
    assert all(
        t.state == TrialState.COMPLETE and t.values[1] == t.user_attrs["n_parameters"]
        for t in study.trials
    )
    assert {t.number for t in summary.front} == {t.number for t in study.best_trials}

    assert run_cli("confirm", "--top", 3, "--seeds", 2, "--share", 10, "--workers", 1).code == 0
    confirmed = read_json(setting.folder.confirmation_path)
    numbers = {
        finalist["trial"] for finalist in confirmed["finalists"] if not finalist["is_baseline"]
    }
    assert numbers <= {t.number for t in summary.front}
    page, _ = write_report(
        StudyHandle(setting.results, setting.folder, setting.results.storage_url(None))
    )
    assert "Pareto front" in page.read_text(encoding="utf-8")

    chosen = summary.front[-1].number
    ran = run_cli("export-best", "--trial", chosen)
    assert ran.code == 0, ran.err
    assert full_manifest(setting.folder.best_dir).trial == chosen
    ran = run_cli("export-best", "--trial", 99)
    assert ran.code == 1 and "trial must be the number of a completed trial" in ran.err
    # The same command continues the study. Another metric is refused.
    assert run_cli("tune", "--study", "s", "--n-trials", 8, "--no-confirm").code == 0
    refused = run_cli("tune", "--study", "s", "--n-trials", 8, "--max-parameters", 5)
    assert refused.code == 1 and "max_parameters" in refused.err


def test_front_is_what_optuna_says() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for accuracy, size in [
        (0.8, 10),
        (0.9, 20),
        (0.7, 10),
        (0.9, 20),
        (0.85, 30),
        (0.6, 5),
        (0.95, 100),
    ]:
        study.add_trial(optuna.trial.create_trial(values=[accuracy, size]))
    front = summarize(study, metric="val_accuracy").front
    # Of equal trials the first is on the front.
    assert [t.number for t in front] == [6, 1, 0, 5]
    assert {tuple(t.values) for t in front} == {tuple(t.values) for t in study.best_trials}
