"""Hypermodels that are written into a file from the source that a notebook or a script has."""

import functools
import linecache
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from tests.texts import substituted
from tuning.api.cells import source_of, write_space
from tuning.errors import SpaceError
from tuning.results import StudyDir
from tuning.spaces.keras_settings import keras_settings_of
from tuning.spaces.loading import load_hypermodel

IMPORTS = """
import keras
import keras_tuner
import numpy as np
from keras import layers
from keras.layers import Dense as Output
"""

HELPERS = """
UNITS = [3, 2]
RATE = 0.5


def pooled(size):
    return [layers.Embedding(size, UNITS[0]), layers.GlobalAveragePooling1D()]


def classifier(size):
    parts = [keras.Input((None,), dtype="int32"), *pooled(size), Output(1, "sigmoid")]
    model = keras.Sequential(parts)
    model.compile(keras.optimizers.SGD(RATE), "binary_crossentropy", metrics=["accuracy"])
    return model
"""

CLASS = """
class Mine(keras_tuner.HyperModel):
    sizes = {"small": 10}

    def declare_hyperparameters(self, hp):
        hp.Fixed("vocab_size", self.sizes["small"])
        hp.Fixed("sequence_length", 4)

    def build(self, hp):
        return classifier(hp.get("vocab_size"))
"""

FUNCTION = """
def my_model(hp):
    hp.Fixed("sequence_length", 4)
    return classifier(hp.Int("vocab_size", 10, 20))
"""


def notebook(*cells: str) -> dict[str, Any]:
    """Run cells as Jupyter does: each with a file name of its own, in one namespace."""
    module = ModuleType("__main__")
    for number, cell in enumerate(cells):
        name = f"/tmp/ipykernel_1/{number}-{hash(cell)}.py"
        linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
        exec(compile(cell, name, "exec"), vars(module))
    return vars(module)


def built(item: Any) -> Any:
    """Return the function `build` of the file that is written for a function."""
    namespace: dict[str, Any] = {}
    exec(source_of(item), namespace)
    return namespace["build"]


@pytest.mark.parametrize(("cell", "name"), [(CLASS, "Mine"), (FUNCTION, "my_model")])
def test_written_file_is_a_search_space(cell: str, name: str, tmp_path: Path) -> None:
    item = notebook(IMPORTS, HELPERS, cell)[name]
    hypermodel = load_hypermodel(write_space(item, StudyDir(tmp_path / "s")))
    hp = keras_tuner.HyperParameters()
    if hasattr(hypermodel, "declare_hyperparameters"):
        hypermodel.declare_hyperparameters(hp)
    model = hypermodel.build(hp)
    assert [type(layer).__name__ for layer in model.layers][-1] == "Dense"
    assert model.layers[0].output_dim == 3
    assert float(model.optimizer.learning_rate) == 0.5


WITH_ARGUMENTS = """
class Sized(keras_tuner.HyperModel):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def build(self, hp):
        return classifier(self.size)
"""


@pytest.mark.parametrize(
    ("item", "rule"),
    [
        ("Sized(7)", "must be a name, a path, a class or a function"),
        ("Sized", r"without arguments; Sized\(\) gives: missing a required argument: 'size'"),
    ],
)
def test_object_is_refused_with_a_function_that_works(item: str, rule: str, tmp_path: Path) -> None:
    cells = notebook(IMPORTS, HELPERS, WITH_ARGUMENTS)
    with pytest.raises(SpaceError, match=rule) as raised:
        source_of(eval(item, cells))
    line = "def build(hp): return Sized(...).build(hp)"
    assert line in str(raised.value)
    cell = substituted(line, "...", "7")
    build = notebook(IMPORTS, HELPERS, WITH_ARGUMENTS, cell)["build"]
    hypermodel = load_hypermodel(write_space(build, StudyDir(tmp_path / "s")))
    assert hypermodel.build(keras_tuner.HyperParameters()).layers[0].input_dim == 7


def test_object_with_its_own_fit_is_refused_with_a_subclass_that_works(tmp_path: Path) -> None:
    fit = "\n    def fit(self, hp, model, *args, **kwargs):\n        return 3\n"
    cells = notebook(IMPORTS, HELPERS, WITH_ARGUMENTS + fit)
    with pytest.raises(SpaceError, match=r"a subclass whose __init__\(self\) calls super\(\)"):
        source_of(cells["Sized"](7))
    subclass = """
class Seven(Sized):
    def __init__(self):
        super().__init__(7)
"""
    seven = notebook(IMPORTS, HELPERS, WITH_ARGUMENTS + fit, subclass)["Seven"]
    hypermodel = load_hypermodel(write_space(seven, StudyDir(tmp_path / "s")))
    assert (hypermodel.size, hypermodel.fit(None, None)) == (7, 3)


def test_file_has_what_the_hypermodel_uses_and_nothing_else() -> None:
    source = source_of(notebook(IMPORTS, HELPERS, CLASS)["Mine"])
    assert "import numpy" not in source
    (line,) = [line for line in source.splitlines() if line.startswith("from ")]
    assert line.startswith("from keras.") and line.endswith(" import Dense as Output")
    assert "UNITS = [3, 2]" in source
    assert source.index("def pooled") < source.index("def classifier") < source.index("class Mine")
    compile(source, "space.py", "exec")


def test_same_source_gives_the_same_file(tmp_path: Path) -> None:
    folder = StudyDir(tmp_path / "s")
    first = write_space(notebook(IMPORTS, HELPERS, CLASS)["Mine"], folder)
    again = write_space(notebook(IMPORTS, HELPERS, CLASS)["Mine"], folder)
    changed = substituted(HELPERS, "0.5", "0.1")
    other = write_space(notebook(IMPORTS, changed, CLASS)["Mine"], folder)
    assert first == again != other


def test_class_that_names_itself_and_a_base_of_the_notebook() -> None:
    derived = """
class Wider(Mine):
    def build(self, hp):
        assert isinstance(self, Wider)
        return super().build(hp)
"""
    source = source_of(notebook(IMPORTS, HELPERS, CLASS, derived)["Wider"])
    assert source.index("class Mine") < source.index("class Wider")
    assert source.count("class Wider") == 1


INHERITS = "\nclass In(Mine):\n    sizes = {'small': 12}\n"


def test_class_without_a_method_of_its_own_is_written_from_the_cell_of_its_base() -> None:
    source = source_of(notebook(IMPORTS, HELPERS, CLASS + INHERITS)["In"])
    assert source.index("class Mine") < source.index("class In(Mine):\n    sizes = {'small': 12}")
    assert source.endswith("hypermodel = In\n")
    with pytest.raises(SpaceError, match="must be in the cell of its base"):
        source_of(notebook(IMPORTS, HELPERS, CLASS, INHERITS)["In"])


TWICE = """
def units(hp):
    return 1


def my_model(hp):
    return hp.Int("units", 1, units(hp))


def units(hp):
    return 2


def my_model(hp):
    return hp.Int("units", 2, units(hp))
"""
DECORATED = """
import functools


@functools.lru_cache
def units(n):
    return n + 1


def my_model(hp):
    return units(2), units.cache_info().maxsize
"""
OF_PYTHON = """
from math import fsum as sum


def compile(size):
    return size + 1


def my_model(hp):
    return sum([len("ab"), compile(2)])
"""
# IPython puts a function of its own in the place of `open`.
OPEN = """
import builtins
import functools

open = functools.wraps(builtins.open)(lambda *paths: None)


def my_model(hp):
    return open
"""
ANNOTATED = """
from __future__ import annotations

if False:
    import keras_tuner


def my_model(hp: keras_tuner.HyperParameters) -> int:
    return 8
"""
# Such as the weights of scikit-learn's `compute_class_weight`.
WEIGHTS = """
import numpy as np

weights = {np.int64(0): np.float64(1.5), 1: [np.float32(0.5)]}
pair = np.int64(2), "a"


def my_model(hp):
    return weights, pair
"""
ACT = "def act(x):\n    return x\n"
CLASS_OF_ACT = """
class Layer:
    activation = act

    def call(self):
        return 5


def my_model(hp):
    return Layer.activation(7)
"""


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        ([TWICE], 2),
        ([DECORATED], (3, 128)),
        ([OF_PYTHON], 5.0),
        ([OPEN], open),
        ([ANNOTATED], 8),
        ([WEIGHTS], ({0: 1.5, 1: [0.5]}, (2, "a"))),
        ([ACT, CLASS_OF_ACT], 7),
    ],
    ids=[
        *("the last definition", "decorated", "names of Python", "open", "annotations"),
        *("numbers of NumPy", "a function of another cell in a class"),
    ],
)
def test_written_function_returns_what_that_of_the_notebook_returns(
    cells: list[str], value: object
) -> None:
    build = built(notebook(*cells)["my_model"])
    assert repr(build(keras_tuner.HyperParameters())) == repr(value)


OF_BUILD = """
def build(hp):
    return 7


def my_model(hp):
    return build(hp) + 1
"""


@pytest.mark.parametrize(
    ("name", "item", "last"),
    [
        ("build", "my_model", "__hypermodel__ = my_model"),
        ("hypermodel", "my_model", "__hypermodel__ = my_model"),
        ("hypermodel", "build", "__hypermodel__ = build"),
        ("other", "my_model", "build = my_model"),
        ("other", "build", "    return other(hp) + 1"),
    ],
)
def test_function_that_uses_the_name_of_a_hypermodel_is_built(
    name: str, item: str, last: str, tmp_path: Path
) -> None:
    cell = OF_BUILD.replace("build", name).replace("my_model", item)
    path = write_space(notebook(cell)[item], StudyDir(tmp_path / "s"))
    assert path.read_text().splitlines()[-1] == last
    assert load_hypermodel(path).build(keras_tuner.HyperParameters()) == 8


NESTED = """
short = lambda hp: hp


def build(hp):
    return "top"


def nested():
    def build(hp):
        return "nested"

    return build


class Models:
    def build(hp):
        return "method"
"""


@pytest.mark.parametrize("item", ["short", "nested()", "Models.build", "without_source"])
def test_function_that_is_not_at_the_top_of_a_source_is_refused(item: str) -> None:
    cells = notebook(NESTED)
    exec("def without_source(hp): return None", cells)
    with pytest.raises(SpaceError, match=r"must be defined by def or class at the top.* %%time"):
        source_of(eval(item, cells))
    assert '"top"' in source_of(cells["build"])


@pytest.mark.parametrize(
    "cells",
    [
        (
            "def block(x):\n    return x + 1\n\n\nold_block = block\n",
            "def block(x):\n    return x * 100\n",
            "def my_model(hp):\n    return old_block(2), block(2)\n",
        ),
        (
            "def my_model(hp):\n    return 1\n\n\nbefore = my_model\n",
            "def my_model(hp):\n    return before(hp) + 1\n",
        ),
    ],
    ids=["used beside the later one", "used by the later one"],
)
def test_two_definitions_of_a_name_that_are_both_used_are_refused(cells: tuple[str, ...]) -> None:
    """The file would have the last one alone."""
    with pytest.raises(SpaceError, match="Two definitions are named"):
        source_of(notebook(*cells)["my_model"])


def test_attribute_that_was_set_after_its_class_is_refused() -> None:
    slots = CLASS.replace("    sizes =", '    __slots__ = ("units",)\n    sizes =')
    assert "__slots__" in source_of(notebook(IMPORTS, HELPERS, slots)["Mine"])
    item = notebook(IMPORTS, HELPERS, CLASS, "Mine.rows = 30\n")["Mine"]
    with pytest.raises(SpaceError, match="Mine must be whole where it is defined; rows was set"):
        source_of(item)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (np.zeros((3, 2)), r"such as n = len\(data\), and use that"),
        (keras.layers.TextVectorization(), r"Make it in build\(hp\)"),
        (keras.ops.convert_to_tensor(0.25), "Assign the numbers"),
        (functools.partial(keras.layers.Dense, 2), "make data inside my_model"),
        ({"lstm": keras.layers.LSTM}, "lists and dicts of numbers and texts: make data inside"),
    ],
    ids=["array", "layer", "tensor", "partial", "dict of classes"],
)
def test_value_that_can_not_be_written_has_a_remedy(value: Any, remedy: str) -> None:
    cells = notebook("def my_model(hp):\n    return data\n")
    cells["data"] = value
    with pytest.raises(SpaceError, match=f"it uses data, a .*{remedy}"):
        source_of(cells["my_model"])


def test_policy_of_a_notebook_is_written(tmp_path: Path) -> None:
    cells = notebook(IMPORTS, HELPERS, FUNCTION)
    with keras_settings_of(None):
        keras.config.set_dtype_policy("mixed_bfloat16")
        path = write_space(cells["my_model"], StudyDir(tmp_path / "s"))
    hypermodel = load_hypermodel(path)
    with keras_settings_of(hypermodel):
        model = hypermodel.build(keras_tuner.HyperParameters())
    assert model.layers[0].compute_dtype == "bfloat16"
