"""Trials of other programs: rows of CSV files, projects that KerasTuner's oracle writes, and
hyperparameters that KerasTuner loads.
"""

import json
import re
from pathlib import Path

import keras_tuner
import pytest

from tests.keras_tuner_projects import write_project
from tests.texts import substitute
from tuning.errors import StudyError
from tuning.spaces.foreign_trials import read_project, read_rows, to_config
from tuning.spaces.hyperparameters import declared, defaults
from tuning.spaces.ranges import Hyperparameter

SPACE = (
    Hyperparameter(name="units", kind="int", default=8, low=4, high=16),
    Hyperparameter(name="rate", kind="float", default=0.1, low=0.0, high=1.0),
    Hyperparameter(name="deep", kind="choice", default=False, choices=(False, True)),
    Hyperparameter(name="size", kind="choice", default="1", choices=("1", "two")),
)


def test_read_rows_gives_each_cell_the_type_of_its_hyperparameter(tmp_path: Path) -> None:
    text = "\ufeffunits,rate,deep,size\n5,0.25,True,1\n,1e-3,false,two\n4.5, 1 ,maybe,\n"
    path = tmp_path / "values.csv"
    path.write_text(text)
    trials, left_out = read_rows(path, SPACE)
    assert [(trial.name, trial.values) for trial in trials] == [
        ("row 1", {"units": 5, "rate": 0.25, "deep": True, "size": "1"}),
        ("row 2", {"rate": 0.001, "deep": False, "size": "two"}),
        ("row 3", {"units": 4.5, "rate": 1, "deep": "maybe"}),
    ]
    assert left_out == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"must be a CSV file .* No such file"),
        (b"\xff\xfe\x00units", "must be a CSV file"),
        ("note,value\n1,2\n", "values.csv has note, value, and the space has units, rate, deep"),
        ("", "values.csv has no columns"),
        ('units\n"5', "must be a CSV file"),
        ("units,rate\n5,0.1\n1,000,0.2\n", "row 2 of .*values.csv has more"),
    ],
)
def test_read_rows_refuses_a_file(tmp_path: Path, content: str | bytes | None, says: str) -> None:
    path = tmp_path / "values.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(StudyError, match=says):
        read_rows(path, SPACE)


TRIALS = [({"units": 4}, 0.6), ({"units": 8}, 0.9), ({"units": 16}, 0.7)]


def read(folder: Path, metric: str = "val_accuracy", sign: int = 1) -> list[tuple[str, float]]:
    trials, _ = read_project(folder, metric=metric, sign=sign)
    return [(trial.name, trial.scores[0]) for trial in trials]


def test_read_project_gives_the_trials_best_first(tmp_path: Path) -> None:
    trials, left_out = read_project(write_project(tmp_path, TRIALS), metric="val_accuracy", sign=1)
    assert [(t.name, t.values, t.scores, t.best_epoch) for t in trials] == [
        ("trial 1", {"units": 8}, (0.9,), 2),
        ("trial 2", {"units": 16}, (0.7,), 2),
        ("trial 0", {"units": 4}, (0.6,), 2),
    ]
    assert left_out == []


def test_what_hyperband_stores_beside_the_hyperparameters_is_left_out(tmp_path: Path) -> None:
    values = {"units": 4, "tuner/epochs": 2, "tuner/bracket": 1, "tuner/trial_id": "0003"}
    (trial,), _ = read_project(
        write_project(tmp_path, [(values, 0.6)]), metric="val_accuracy", sign=1
    )
    assert trial.values == {"units": 4}


@pytest.mark.parametrize(
    ("objective", "metric", "sign", "scores"),
    [
        ("val_loss", "val_loss", -1, [0.6, 0.7, 0.9]),
        # `metrics=[BinaryAccuracy()]` is logged under a name of its own.
        ("val_binary_accuracy", "val_accuracy", 1, [0.9, 0.7, 0.6]),
        ("val_mean_absolute_error", "val_mae", -1, [0.6, 0.7, 0.9]),
    ],
)
def test_read_project_gives_the_best_of_the_objective_first(
    objective: str, metric: str, sign: int, scores: list[float], tmp_path: Path
) -> None:
    folder = write_project(tmp_path, TRIALS, objective=objective)
    assert [score for _, score in read(folder, metric, sign)] == scores


def test_binary_accuracy_of_several_classes_is_no_accuracy(tmp_path: Path) -> None:
    """It counts the columns of one-hot labels."""
    folder = write_project(tmp_path, TRIALS, objective="val_binary_accuracy")
    with pytest.raises(StudyError, match="it has no val_accuracy"):
        read_project(folder, metric="val_accuracy", sign=1, is_binary=False)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"status": "COMPLETED"', '"status": "FAILED"', "its status is FAILED"),
        ('"score": 0.9', '"score": null', "its score is None"),
        ('"score": 0.9', '"score": 0.5', r"its score is 0\.5, which is not its val_accuracy of"),
        (
            '"val_accuracy": {"direction": "max"',
            '"val_accuracy": {"direction": "min"',
            "has no val",
        ),
        ('"values": {"units": 8}', '"values": [8]', "is not whole"),
        ('"best_step": 1', '"best_stop": 1', "is not whole"),
        (', "message": null}', "", "is not whole"),
    ],
    ids=["failed", "no score", "other score", "direction", "values", "layout", "half-written"],
)
def test_read_project_leaves_a_trial_out(tmp_path: Path, old: str, new: str, says: str) -> None:
    folder = write_project(tmp_path, TRIALS)
    substitute(folder / "trial_1" / "trial.json", old, new)
    trials, (sentence,) = read_project(folder, metric="val_accuracy", sign=1)
    assert [trial.name for trial in trials] == ["trial 2", "trial 0"]
    assert sentence.startswith("trial 1 is left out: ")
    assert re.search(says, sentence)


def test_read_project_refuses_another_objective(tmp_path: Path) -> None:
    folder = write_project(tmp_path, TRIALS[:1], objective="val_auc")
    with pytest.raises(StudyError, match=r"no val_accuracy to maximize, .* val_auc"):
        read(folder)
    with pytest.raises(StudyError, match=r"has none\. It has no trial\."):
        read(write_project(tmp_path / "other", []))


def test_read_project_refuses_a_folder_without_an_oracle(tmp_path: Path) -> None:
    folder = write_project(tmp_path, TRIALS)
    with pytest.raises(StudyError, match=r"has no oracle\.json.* Its folder project has one"):
        read(tmp_path)
    (folder / "oracle.json").unlink()
    with pytest.raises(StudyError, match="another folder, or the search was stopped before"):
        read(folder)


def test_to_config_is_what_keras_tuner_loads() -> None:
    """The ranges, defaults, conditions and values are those that were declared."""
    hp = keras_tuner.HyperParameters()
    hp.Fixed("n_classes", 2)
    hp.Int("units", 8, 64, sampling="log", default=16)
    hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.2)
    hp.Boolean("deep", default=True)
    hp.Choice("cell", ["lstm", "gru"])
    with hp.conditional_scope("cell", ["gru"]):
        hp.Int("layers", 1, 3)
    space = declared(hp)
    config = json.loads(json.dumps(to_config(space, defaults(space))))
    loaded = keras_tuner.HyperParameters.from_config(config)
    assert declared(loaded) == space
    assert loaded.values == defaults(space)
    assert loaded.get("units") == 16
