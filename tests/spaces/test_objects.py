"""Search spaces that are Python objects: they are pickled in memory, and given again later."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import pytest

import tuning
from tests.commands import Ran
from tests.studies import TINY_SPACE
from tuning.errors import ArgumentError, SpaceError
from tuning.results import ResultsDir
from tuning.spaces import objects
from tuning.spaces.files import find_space, short_name
from tuning.spaces.keras_settings import keras_settings_of
from tuning.spaces.loading import declare, load_hypermodel

BUILD = """
import keras

UNITS = 7


def layer(n):
    return keras.layers.Dense(n)


def build(hp):
    hp.Int("vocab_size", 10, 30, default=20)
    hp.Fixed("sequence_length", 8)
    hp.Int("units", 1, 9, default=UNITS)
    embedding = keras.layers.Embedding(hp.get("vocab_size"), hp.get("units"))
    pooled = keras.layers.GlobalAveragePooling1D()
    return keras.Sequential([keras.Input((8,)), embedding, pooled, layer(1)])
"""


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Give each test a process without objects."""
    pickled: dict[str, bytes] = {}
    monkeypatch.setattr(objects, "_pickled", pickled)
    return pickled


def of_notebook(code: str, name: str) -> Any:
    """Return what a notebook would define: its module is `__main__`, which no worker can import."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(code, namespace)
    return namespace[name]


def test_function_is_kept_with_all_that_it_uses() -> None:
    place = Path(objects.keep_space(of_notebook(BUILD, "build")))
    assert str(place) == "python:build"
    assert find_space(str(place)) == place
    space = declare(place, n_classes=2)
    assert (space.name, space.source_sha256) == ("build", "")
    assert {item.name: item.default for item in space.searched} == {"vocab_size": 20, "units": 7}


class Sized(keras_tuner.HyperModel):  # type: ignore[misc]
    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return keras.Sequential([keras.Input((8,)), keras.layers.Dense(self.units)])


def test_instance_is_a_hypermodel_and_class_with_arguments_is_refused() -> None:
    hypermodel = load_hypermodel(Path(objects.keep_space(Sized(5))))
    assert hypermodel.build(keras_tuner.HyperParameters()).output_shape == (None, 5)
    with pytest.raises(SpaceError, match=r"Give an instance: space=Sized\(\.\.\.\)\."):
        load_hypermodel(Path(objects.keep_space(Sized)))


def test_partial_function_has_the_name_of_its_type() -> None:
    build = functools.partial(of_notebook(BUILD, "build"))
    assert short_name(objects.keep_space(build)) == "partial"


@pytest.mark.parametrize("space", [5, {"units": 3}])
def test_object_that_builds_nothing_is_refused(space: object) -> None:
    with pytest.raises(SpaceError, match="space must be a name, a path"):
        objects.keep_space(space)


def test_object_that_can_not_be_pickled_has_a_remedy() -> None:
    lock = threading.Lock()

    def build(hp: Any) -> Any:
        return lock

    with pytest.raises(SpaceError, match=r"build gave: .*lock.*inside build\(hp\)"):
        objects.keep_space(build)


def test_types_of_a_notebook_are_those_of_its_models() -> None:
    before = keras.config.floatx()
    try:
        keras.config.set_floatx("float16")
        objects.keep_space(of_notebook(BUILD, "build"))
    finally:
        keras.config.set_floatx(before)
    hypermodel = load_hypermodel(Path("python:build"))
    assert keras.config.floatx() == before
    with keras_settings_of(hypermodel):
        assert keras.config.floatx() == "float16"


@pytest.fixture
def tiny() -> Any:
    """Return the tiny space of the tests as an object of a notebook."""
    return of_notebook(TINY_SPACE, "hypermodel")


@pytest.mark.slow
def test_later_process_is_given_the_space_again(
    tiny: Any, reviews_csv: Path, run_cli: Callable[..., Ran], kept: dict[str, bytes]
) -> None:
    options: Any = {"study": "mine", "epochs": 1, "folds": 1, "workers": 1}
    study = tuning.tune(str(reviews_csv), space=tiny, n_trials=3, **options)
    place = study.config.space
    assert place.startswith("python:")
    assert not [*study.path.glob("*.py")]
    kept.clear()  # As in another process.
    for command in ("tune", "confirm", "export-best"):
        ran = run_cli(command, "--study", "mine")
        assert ran.code == 1
        assert "tuning.load_study('mine', space=" in ran.err
    opened = tuning.load_study("mine", space=tiny)
    assert opened.confirm(top=1, seeds=2, workers=1).best is not None
    assert tuning.tune(study="mine", n_trials=4, workers=1, confirm=False).best is not None
    with pytest.raises(SpaceError, match="must use the space of its search"):
        tuning.load_study("mine", space=of_notebook(BUILD, "build")).confirm(workers=1)


def test_space_of_a_study_with_a_file_is_refused(copied_results: ResultsDir) -> None:
    with pytest.raises(ArgumentError, match="space must be left out"):
        tuning.load_study("s", results=copied_results.path, space=of_notebook(BUILD, "build"))
