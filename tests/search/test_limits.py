"""Searches with limits on a model's size and latency, and searches with several objectives."""

from collections.abc import Callable

import optuna
import pytest
from optuna.trial import TrialState

from tests.commands import Ran
from tests.stored_documents import full_manifest
from tests.studies import Setting
from tuning.atomic_io import read_json
from tuning.report.page import write_report
from tuning.study.handle import StudyHandle
from tuning.study.summary import summarize


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_several_objectives_have_a_front_that_is_confirmed_and_exported_by_number(
    setting: Setting, run_cli: Callable[..., Ran]
) -> None:
    where = ("--space", setting.config.space, "--data", setting.config.data.data, "--study", "s")
    size = ("--epochs", 2, "--sampler", "random", "--n-trials", 8, "--workers", 1, "--no-confirm")
    ran = run_cli("tune", *where, *size, "--objectives", "val_accuracy,n_params,latency_ms")
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
    page, _ = write_report(StudyHandle.of(setting.results, "s"))
    assert "Pareto front" in page.read_text(encoding="utf-8")

    chosen = summary.front[-1].number
    ran = run_cli("export-best", "--trial", chosen)
    assert ran.code == 0, ran.err
    assert full_manifest(setting.folder.best_dir).trial == chosen
    # The same command continues the study.
    assert run_cli("tune", "--study", "s", "--n-trials", 8, "--no-confirm").code == 0


def test_front_is_what_optuna_says() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for accuracy, size in zip(
        (0.8, 0.9, 0.7, 0.9, 0.85, 0.6, 0.95), (10, 20, 10, 20, 30, 5, 100), strict=True
    ):
        study.add_trial(optuna.trial.create_trial(values=[accuracy, size]))
    front = summarize(study, metric="val_accuracy").front
    # Of equal trials the first is on the front.
    assert [t.number for t in front] == [6, 1, 0, 5]
    assert {tuple(t.values) for t in front} == {tuple(t.values) for t in study.best_trials}
