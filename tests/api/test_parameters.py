"""Errors of the Python interface: their messages name parameters, and no flags of the commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras_tuner
import numpy as np
import pandas as pd
import pytest

import tuning
from tests.studies import Setting
from tuning.api.parameters import plain_values
from tuning.config import Data, Limits, Workers
from tuning.display.console import console
from tuning.errors import ArgumentError, StorageError, TuningError

FRAME = pd.DataFrame({"text": ["good", "bad"], "label": [1, 0]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_trials": 0}, "n_trials must be 1 or more"),
        ({"n_trials": 2.5}, "n_trials must be a whole number; received 2.5"),
        ({"folds": 21}, "folds must be a number from 1 to 20, or 'auto'; received 21"),
        ({"timeout_seconds": 0}, "timeout_seconds must be more than 0"),
        ({"min_texts": 0}, "min_texts must be 1 or more"),
        ({"vocab_size": 1}, "vocab_size must be"),
        ({"sequence_length": 0}, "sequence_length must be"),
        ({"space": "no_space"}, "space must be one of"),
        ({"space": 5}, "space must be a name, a path, a keras_tuner.HyperModel or a function"),
        ({"data": "no_file.csv"}, "data must name a file"),
        ({"log_to": ["other:place"]}, "log_to must be mlflow:URI"),
        ({"data": Data(FRAME, text_column="none")}, "text_column must be one of text, label"),
        ({"data": Data(FRAME, weight_column="none")}, "weight_column must be one of text, label"),
        ({"objectives": ["val_f1", "n_params"], "metric": "val_auc"}, "metric must be the first"),
        (
            {"data": Data(FRAME, weight_column=FRAME["label"])},
            "weight_column must be the name of a column; received values (Series)",
        ),
        ({"metric": keras_tuner.Objective("val_mae", "min")}, "metric must be one of"),
        ({"objectives": [keras_tuner.Objective("val_f1", "max")]}, "objectives must be a metric"),
        ({"study": 5}, "name must be made of letters, digits"),
        ({"study": ""}, "received ''"),
        ({"study": Path("x")}, "received PosixPath('x')"),
        ({"results": None}, "results must be the path of a folder; received None"),
        ({"limits": {"trial_seconds": 3}}, "limits must be Limits(...)"),
        ({"confirm": "no"}, "confirm must be True or False; received 'no'"),
        ({"resplit": "0"}, "resplit must be True or False; received '0'"),
        ({"data": [{"text": "good"}]}, "Convert it, for example with pandas.DataFrame(data)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_tune_names_its_parameters(
    arguments: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.workers.server.start_server", lambda: None)
    given: dict[str, Any] = {"data": FRAME, "results": tmp_path, **arguments}
    check(lambda: tuning.tune(**given), TuningError, message)


@pytest.mark.parametrize("place", ["file", "/proc/x"])
def test_frame_is_refused_where_results_can_t_be_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.workers.server.start_server", lambda: None)
    (tmp_path / "file").touch()
    results = tmp_path / place
    check(lambda: tuning.tune(FRAME, results=results), StorageError, "results folder must be")


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the search by one that ends at once. Return the keyword arguments of each call."""
    calls: list[dict[str, Any]] = []

    def tune(*_: Any, **options: Any) -> Any:
        calls.append(options)
        return SimpleNamespace(is_complete=True)

    monkeypatch.setattr("tuning.workers.server.start_server", lambda: None)
    monkeypatch.setattr("tuning.search.tune.tune", tune)
    return calls


def test_auto_folds_are_one_split_with_min_texts(
    searches: list[dict[str, Any]], tmp_path: Path
) -> None:
    for folds in ("auto", None, 1):
        tuning.tune(FRAME, folds=folds, min_texts=1_000, results=tmp_path)
    assert [call["budget"].folds for call in searches] == [None, None, 1]


@pytest.mark.parametrize("is_jupyter", [False, True])
def test_interrupted_search_ends_a_script_and_not_the_cells_of_a_notebook(
    is_jupyter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = SimpleNamespace(is_complete=False)
    monkeypatch.setattr("tuning.workers.server.start_server", lambda: None)
    monkeypatch.setattr("tuning.search.tune.tune", lambda *_, **__: interrupted)
    monkeypatch.setattr(console, "is_jupyter", is_jupyter)
    if is_jupyter:
        assert isinstance(tuning.tune(FRAME, results=tmp_path), tuning.Study)
        return
    with pytest.raises(KeyboardInterrupt) as raised:
        tuning.tune(FRAME, results=tmp_path)
    assert raised.type is KeyboardInterrupt  # Python ends a script by SIGINT for no subclass.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda study: study.confirm(top=0), "top must be 1 or more"),
        (lambda study: study.confirm(seeds=0), "seeds must be 1 or more"),
        (lambda study: study.confirm(limits={"trial_seconds": 3}), "limits must be Limits(...)"),
        (lambda study: study.report(slice_column="none"), "slice_column must be one of"),
        (lambda study: study.export(trial=99), "trial must be the number"),
        (lambda study: study.export(ensemble="some"), "ensemble must be auto"),
        (lambda study: study.export(trial=0, ensemble=2), "trial and ensemble must not"),
        (lambda study: study.export(3), "path must be the path of a folder; received 3"),
        (lambda study: study.export("/proc/x"), "must be writable and have space; /proc/x gave"),
        (lambda study: study.export(study.path / "study.json" / "x"), "must be writable"),
        (lambda study: study.export(log_to=["other:place"]), "log_to must be mlflow:URI"),
        (lambda study: study.export(data="gone.csv"), "gone.csv"),
        (
            lambda study: study.enqueue(source="sqlite:///gone.db", name="s"),
            "source must be the URL",
        ),
        (lambda study: study.enqueue(), "either configurations or source"),
        (lambda study: study.enqueue(source="s", best=0), "best must be"),
        (lambda study: study.enqueue("gone.csv"), "configurations must be a CSV file"),
        (lambda study: study.enqueue([{"units": 3}]), "the space has"),
        (lambda study: study.enqueue(study.best), "configurations must be a CSV file, a data"),
        (lambda study: study.enqueue([3]), "Give the values by name"),
        (
            lambda study: study.report(slice_column=FRAME["label"]),
            "slice_column must be the name of a column; received values (Series)",
        ),
        (lambda study: tuning.load_study(results=3), "results must be the path of a folder"),
        (lambda study: tuning.compare(["ngrams", "cnn"], limits=3), "limits must be Limits(...)"),
        (lambda study: tuning.load_export(3), "path must be the path of a folder; received 3"),
        (lambda study: tuning.load_study("", results=study.path.parent), "name must be"),
    ],
)
def test_methods_of_a_study_name_their_parameters(
    call: Callable[[tuning.Study], object], message: str, copied: Setting
) -> None:
    study = tuning.load_study(copied.folder.name, results=copied.results.path)
    check(lambda: call(study), TuningError, message)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (lambda: Workers(0), "workers must be a number from 1 to 1000; received 0"),
        (lambda: Workers(10**6), "workers must be a number from 1 to 1000; received 1000000"),
        (lambda: Workers(2.5), "workers must be a whole number"),
        (lambda: Workers(pool="none"), "pool must be one of process, ray"),
        (lambda: Workers(ray_address="auto"), "ray_address must go with pool 'ray'"),
        (lambda: Workers(pool="ray", cpus_per_worker=0), "cpus_per_worker must be more than 0"),
        (lambda: Workers(pool="ray", gpus_per_worker=-1), "gpus_per_worker must be 0 or more"),
        (lambda: Workers(pool="ray", ray_address="http://h"), "ray_address must be auto or"),
        (lambda: Limits(trial_seconds=0), "trial_seconds must be more than 0"),
        (lambda: Limits(trial_seconds="3"), "trial_seconds must be a number; received '3'"),
        (lambda: Limits(trial_memory_mb=-1), "trial_memory_mb must be more than 0"),
        (lambda: Limits(silent_seconds=0), "silent_seconds must be more than 0"),
        (lambda: Data(drop_stars=3), "drop_stars must be a list of numbers"),
        (lambda: Data(positive_from="3"), "positive_from must be a number"),
    ],
)
def test_groups_name_their_fields(group: Callable[[], object], message: str) -> None:
    check(group, ArgumentError, message)


def check(call: Callable[[], object], kind: type[TuningError], message: str) -> None:
    """Check the class and the message of an error, which must not contain a flag."""
    with pytest.raises(kind) as raised:
        call()
    assert message in str(raised.value)
    assert not re.search(r"(?<!`)--[a-z]", str(raised.value))


@plain_values
def taken(
    epochs: int | None = None, share: float = 1.0, name: str = "", *, most: int = 1
) -> tuple[object, ...]:
    return epochs, share, name, most


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (None, 1.0, "", 1)),
        ({"epochs": 1e6}, (1_000_000, 1.0, "", 1)),
        ({"epochs": np.int64(3), "share": np.float32(0.5)}, (3, 0.5, "", 1)),
        ({"most": np.array(4), "share": 2, "name": "x"}, (None, 2, "x", 4)),
    ],
)
def test_numbers_of_numpy_and_whole_floats_are_converted(
    arguments: dict[str, Any], expected: tuple[object, ...]
) -> None:
    values = taken(**arguments)
    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 2.5}, "epochs must be a whole number; received 2.5"),
        ({"epochs": "5"}, "epochs must be a whole number; received '5'"),
        ({"epochs": float("nan")}, "epochs must be a whole number; received nan"),
        ({"share": True}, "share must be a number; received True"),
        ({"most": np.array([1, 2])}, "most must be a whole number"),
    ],
)
def test_values_that_are_no_numbers_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        taken(**arguments)


@pytest.mark.parametrize("given", [np.True_, 1, False, None])
def test_booleans_of_numpy_are_converted(given: Any) -> None:
    @plain_values
    def same(flag: bool | None) -> bool | None:
        return flag

    assert repr(same(given)) == repr(None if given is None else bool(given))


def test_call_with_an_unknown_argument_raises_as_python_does() -> None:
    with pytest.raises(TypeError, match=r"taken\(\) got an unexpected keyword argument 'trials'"):
        taken(trials=3)  # type: ignore[call-arg]
