"""Configurations that are queued in a study."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.studies import CONFIG, SPACE
from tuning.errors import ArgumentError, StorageError, StudyError
from tuning.results import ResultsDir
from tuning.search.enqueue import Enqueued, enqueue
from tuning.spaces.hyperparameters import to_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.handle import StudyHandle
from tuning.study.study import open_study


def create(tmp_path: Path, space: SearchSpace = SPACE, *, name: str = "s") -> StudyHandle:
    results = ResultsDir(tmp_path / "results")
    url = results.storage_url(None)
    config = replace(CONFIG, study=name)
    open_study(results, config, space, data_fingerprint="d0", storage_url=url)
    return StudyHandle(results, results.study(name), url)


@pytest.fixture
def study(tmp_path: Path) -> StudyHandle:
    return create(tmp_path)


def trials_of(study: StudyHandle) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=study.name, storage=study.storage_url).get_trials()


def test_values_of_names_that_the_space_lacks_are_not_used(study: StudyHandle) -> None:
    added = enqueue(study, [{"vocab_size": 40, "note": "x"}])
    assert added.left_out == ["Columns that are not hyperparameters are left out: note."]
    assert added.n_added == 1


def test_stepped_value_may_have_the_error_of_a_sum(study: StudyHandle) -> None:
    assert enqueue(study, {"vocab_size": 20.000000000000004}).n_added == 1


def test_configuration_is_queued_once_unless_it_has_failed(study: StudyHandle) -> None:
    row = {"vocab_size": 20}
    added = enqueue(study, [row, row])
    assert added.left_out == ["row 2 is left out: the study has its configuration already."]
    opened = optuna.load_study(study_name="s", storage=study.storage_url)
    opened.tell(opened.ask(), state=TrialState.FAIL)
    assert enqueue(study, [row]).left_out == []
    assert len(trials_of(study)) == 2


def other_study(tmp_path: Path, *, direction: str = "maximize") -> str:
    """Create an Optuna study "other" with two completed trials and a failed one; return its URL."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    study = optuna.create_study(study_name="other", storage=url, direction=direction)
    for size, value, state in ((10, 0.6, None), (20, 0.9, None), (30, None, TrialState.FAIL)):
        study.enqueue_trial({"vocab_size": size, "cell": "lstm"})
        trial = study.ask()
        trial.suggest_int("vocab_size", 10, 40, step=10)
        trial.suggest_categorical("cell", ["lstm", "gru"])
        study.tell(trial, value, state=state)
    return url


def take(study: StudyHandle, url: str, name: str = "other", **options: int) -> Enqueued:
    return enqueue(study, source=url, name=name, **options)


@pytest.mark.parametrize(("n_best", "n_queued"), [(1, 1), (9, 2)])
def test_best_configurations_of_another_study_are_queued(
    study: StudyHandle, tmp_path: Path, n_best: int, n_queued: int
) -> None:
    added = take(study, other_study(tmp_path), n_best=n_best)
    assert added.n_added == added.n_trials == n_queued
    origins = [trial.user_attrs["imported"] for trial in trials_of(study)]
    assert origins == ["trial 1 of the study other", "trial 0 of the study other"][:n_queued]


def test_study_in_the_same_folder_needs_its_name_alone(tmp_path: Path) -> None:
    first, second = create(tmp_path), create(tmp_path, name="second")
    opened = optuna.load_study(study_name="s", storage=first.storage_url)
    trial = opened.ask()
    trial.suggest_int("vocab_size", 10, 40, step=10)
    opened.tell(trial, 0.5)
    assert enqueue(second, source="s").n_added == 1
    with pytest.raises(StudyError, match="gone"):
        enqueue(second, source="gone")


def test_conditional_parameters_get_the_names_of_the_space(tmp_path: Path) -> None:
    """A study of this program has two ranges of one name under two names."""
    items = [
        Hyperparameter(
            name="width", kind="int", default=2, low=1, high=4, conditions=(("cell", (cell,)),)
        )
        for cell in ("lstm", "gru")
    ]
    space = replace(SPACE, hyperparameters=(*SPACE.hyperparameters, *items))
    values = {"vocab_size": 20, "sequence_length": 8, "cell": "gru", "width": 3}
    params = to_params(values, space.hyperparameters)
    other = optuna.create_study(study_name="other", direction="maximize")
    other.enqueue_trial(params)
    trial = other.ask()
    trial.suggest_int("vocab_size", 10, 40, step=10)
    trial.suggest_categorical("cell", ["lstm", "gru"])
    trial.suggest_int("width[cell=gru]", 1, 4)
    other.tell(trial, 0.5)
    study = create(tmp_path, space)
    assert enqueue(study, other).n_added == 1
    (queued,) = trials_of(study)
    assert queued.system_attrs["fixed_params"] == params


def test_study_that_is_missing_or_has_another_direction_is_refused(
    study: StudyHandle, tmp_path: Path
) -> None:
    url = other_study(tmp_path)
    with pytest.raises(StudyError, match="it contains other, and not 'gone'"):
        take(study, url, "gone")
    with pytest.raises(StudyError, match=r"the file .*gone\.db does not exist"):
        take(study, f"sqlite:///{tmp_path / 'gone.db'}")
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    optuna.create_study(study_name="other", storage=empty, direction="maximize")
    with pytest.raises(StudyError, match="must have a completed trial"):
        take(study, empty)
    (tmp_path / "losses").mkdir()
    with pytest.raises(StudyError, match="of this one, maximize; 'other' has minimize"):
        take(study, other_study(tmp_path / "losses", direction="minimize"))
    with pytest.raises(StorageError, match=r"the URL of an Optuna storage; .* gave: Could"):
        take(study, "nonsense")
    for wrong in ({}, {"configurations": [{"vocab_size": 20}], "source": "s"}):
        with pytest.raises(ArgumentError, match="either configurations or source"):
            enqueue(study, **wrong)


@pytest.mark.parametrize("text", ["", "vocab_size\n1,000\n", "\0"])
def test_file_that_is_no_table_is_refused(study: StudyHandle, tmp_path: Path, text: str) -> None:
    path = tmp_path / "values.csv"
    path.write_text(text)
    with pytest.raises(StudyError, match="onfigurations must"):
        enqueue(study, path)
