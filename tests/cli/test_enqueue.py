"""The command that queues configurations of a file and of other studies."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from tests.commands import Ran
from tests.studies import Setting, copy_study
from tuning.results import ResultsDir
from tuning.search.tune import Outcome

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


def test_enqueue_queues_rows(run: Run, copied: Setting, tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    path.write_text("vocab_size,lstm_units,note\n19,,good\n,5,bad\n,,empty\n")
    ran = run("enqueue", "--configurations", path)
    assert ran.code == 0, ran
    assert [line.removeprefix("warning: ") for line in ran.err.splitlines()] == [
        "Columns that are not hyperparameters are left out: note.",
        "row 2 is left out: Row 2 must give 'lstm_units' a value in its range, 2 to 4; it gives 5.",
        "row 3 is left out: it has no value for a hyperparameter of the space.",
    ]
    queued = copied.study().trials[-1].system_attrs["fixed_params"]
    assert (queued["vocab_size"], queued["lstm_units"]) == (19, 2)


def test_enqueue_queues_the_best_of_another_study_and_names_the_next_command(
    run: Run, copied: Setting, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    study = optuna.create_study(study_name="other", storage=url, direction="maximize")
    for values in (VALUES, OTHER):
        study.enqueue_trial(values)
    study.optimize(lambda trial: sum(trial.suggest_int(key, 1, 100) for key in VALUES), n_trials=9)
    ran = run("enqueue", "--source", url, "--name", "other", "--best", 9)
    assert ran.code == 0, ran
    assert "Queued in s: 1 configuration." in ran.out
    assert "Next: make tune STUDY=s TRIALS=29, which trains 20 new" in ran.out
    assert "warning: trial 1 is left out: Trial 1 must give 'vocab_size' a value" in ran.err
    (queued,) = [trial for trial in copied.study().trials if trial.state.name == "WAITING"]
    assert queued.user_attrs == {"imported": "trial 0 of the study other"}
