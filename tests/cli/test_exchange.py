"""The commands that queue configurations of other programs, and write the best for them."""

import json
from collections.abc import Callable
from pathlib import Path

import keras_tuner
import optuna
import pytest

from tests.commands import Ran
from tests.keras_tuner_projects import write_project
from tests.studies import Setting, copy_study
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.study.summary import summarize

Run = Callable[..., Ran]
VALUES = {"vocab_size": 17, "sequence_length": 9, "embedding_dim": 3, "lstm_units": 3}
OTHER = {**VALUES, "vocab_size": 99}


@pytest.fixture
def copied(finished: tuple[ResultsDir, Outcome], tmp_path: Path) -> Setting:
    """Return a copy of the study "s", which has eight trials, in the folder of `run_cli`."""
    return copy_study(finished[0], tmp_path)


@pytest.fixture
def run(run_cli: Run, copied: Setting) -> Run:
    """Return a function that runs a command on the study "s"."""
    return lambda command, *flags: run_cli(command, "--study", copied.folder.name, *flags)


def test_import_kerastuner_queues_the_trials_and_names_the_next_command(
    run: Run, copied: Setting, tmp_path: Path
) -> None:
    project = write_project(tmp_path, [(VALUES, 0.7), (OTHER, 0.9)])
    ran = run("import-kerastuner", "--dir", project)
    assert ran.code == 0, ran
    assert "Queued in s: 1 configuration." in ran.out
    assert "Next: make tune STUDY=s TRIALS=29, which trains 20 new" in ran.out
    assert "warning: trial 1 is left out: Trial 1 must give 'vocab_size' a value" in ran.err
    assert copied.study().trials[-1].user_attrs == {
        "imported": "trial 0 of the KerasTuner project project"
    }


def test_import_kerastuner_as_finished_adds_the_trials(
    run: Run, copied: Setting, tmp_path: Path
) -> None:
    project = write_project(tmp_path, [(VALUES, 0.99)])
    ran = run("import-kerastuner", "--dir", project, "--as-finished")
    assert ran.code == 0
    assert ran.out.startswith("Added to s: 1 finished trial.\nNext: make tune STUDY=s")
    assert copied.study().best_trial.number == 8
    assert run("status").code == run("report").code == 0


def test_import_optuna_queues_the_trials_of_another_objective(
    run: Run, copied: Setting, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    study = optuna.create_study(study_name="other", storage=url, direction="maximize")
    study.set_metric_names(["val_loss"])
    study.enqueue_trial(VALUES)
    study.optimize(lambda trial: sum(trial.suggest_int(key, 1, 100) for key in VALUES), n_trials=1)
    ran = run("import-optuna", "--from", url, "--name", "other")
    assert "Queued in s: 1 configuration." in ran.out
    assert len(copied.study().trials) == 9


def test_enqueue_queues_rows(run: Run, copied: Setting, tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    path.write_text("vocab_size,lstm_units,note\n19,,good\n,5,bad\n,,empty\n")
    ran = run("enqueue", "--file", path)
    assert ran.code == 0, ran
    assert [line.removeprefix("warning: ") for line in ran.err.splitlines()] == [
        "Columns that are not hyperparameters are left out: note.",
        "row 2 is left out: Row 2 must give 'lstm_units' a value in its range, 2 to 4; it gives 5.",
        "row 3 is left out: it has no value for a hyperparameter of the space.",
    ]
    queued = copied.study().trials[-1].system_attrs["fixed_params"]
    assert (queued["vocab_size"], queued["lstm_units"]) == (19, 2)


def test_export_hyperparameters_writes_what_keras_tuner_and_optuna_read(
    run: Run, copied: Setting, tmp_path: Path
) -> None:
    ran = run("export-hyperparameters", "--output", tmp_path)
    assert ran.code == 0, ran
    first, *paths = ran.out.splitlines()
    best = summarize(copied.study(), metric="val_accuracy").ranked[0]
    assert first == f"Trial {best.number}, the best of the search:"
    assert paths == [str(tmp_path / f"s.{name}.json") for name in ("keras_tuner", "optuna")]
    config, params = (json.loads(Path(path).read_text()) for path in paths)
    assert params == best.params
    fixed = {"learning_rate": 0.05, "n_classes": 2}
    assert keras_tuner.HyperParameters.from_config(config).values == params | fixed


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_imported_best_is_confirmed_and_exported(run: Run, tmp_path: Path) -> None:
    project = write_project(tmp_path, [(VALUES, 0.99)])
    assert run("import-kerastuner", "--dir", project, "--as-finished").code == 0
    ran = run("confirm", "--seeds", 2, "--top", 2, "--workers", 1)
    assert ran.code == 0, ran
    assert "trial 8, seed 1" in ran.out
    ran = run("export-best", "--trial", 8)
    assert ran.code == 0, ran
    assert run("report").code == 0
