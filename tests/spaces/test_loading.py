"""Files of search spaces: how they are found, loaded, declared, checked and built."""

import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import keras
import keras_tuner
import pytest

from tests.numbered import TWO
from tests.texts import substituted
from tuning.documents import structure, unstructure
from tuning.errors import SpaceBug, SpaceError
from tuning.spaces.files import find_space, list_spaces, source_sha256
from tuning.spaces.loading import SearchSpace, build, declare, load_hypermodel
from tuning.spaces.ranges import REQUIRED, Values
from tuning.spaces.sizes import Sizes
from tuning.training import loops

try_fit = partial(loops.try_fit, target=TWO)

IMPORTS = "import keras\nimport keras_tuner\n"

MODEL = """

def model(units=2, vocab_size=10):
    layers = keras.layers
    made = keras.Sequential([
        keras.Input((None,), dtype="int32"),
        layers.Embedding(vocab_size, 2), layers.GlobalAveragePooling1D(),
        layers.Dense(units), layers.Dense(1, "sigmoid"),
    ])
    made.compile("sgd", "binary_crossentropy")
    return made
"""

DECLARED = """

class Space(keras_tuner.HyperModel):
    def declare_hyperparameters(self, hp):
        hp.Int("vocab_size", 10, 40, default=30)
        hp.Int("sequence_length", 4, 16, default=8)
        hp.Fixed("n_classes", 2)

    def build(self, hp):
        return model(vocab_size=hp.get("vocab_size"))


hypermodel = Space()
"""

BUILD = """

def build(hp):
    hp.Int("sequence_length", 4, 16, default=8)
    hp.Fixed("n_classes", 2)
    return model(hp.Int("units", 2, 8), hp.Int("vocab_size", 10, 40))
"""


def write(tmp_path: Path, text: str, *, name: str = "mine") -> Path:
    path = tmp_path / f"{name}.py"
    path.write_text(IMPORTS + MODEL + text)
    return path


def declared_names(path: Path) -> list[str]:
    return [item.name for item in declare(path, n_classes=2, try_fit=try_fit).hyperparameters]


def test_find_space_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(
        SpaceError,
        match=r"one of .*baseline_lstm, .*masked_lstm.*, or a path ending in \.py; received 'nope'",
    ):
        find_space("nope")


def test_find_space_refuses_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"a file that exists; '.*gone\.py' does not"):
        find_space(str(tmp_path / "gone.py"))


def test_find_space_takes_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, DECLARED)
    monkeypatch.chdir(tmp_path)
    assert find_space("mine.py") == path


def test_list_spaces_prefers_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search_spaces").mkdir()
    own = write(tmp_path / "search_spaces", DECLARED, name="baseline_lstm")
    monkeypatch.chdir(tmp_path)
    assert find_space("baseline_lstm") == own
    assert "masked_lstm" in list_spaces()


def test_list_spaces_skips_names_with_an_underscore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search_spaces").mkdir()
    write(tmp_path / "search_spaces", DECLARED, name="_shared")
    monkeypatch.chdir(tmp_path)
    assert "_shared" not in list_spaces()


def test_load_hypermodel_refuses_file_without_hypermodel_and_build(tmp_path: Path) -> None:
    with pytest.raises(
        SpaceError,
        match=(
            r"mine\.py must define hypermodel, a keras_tuner\.HyperModel, or a function build\(hp\)"
        ),
    ):
        load_hypermodel(write(tmp_path, ""))


def test_load_hypermodel_refuses_hypermodel_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="must define hypermodel"):
        load_hypermodel(write(tmp_path, "\nhypermodel = 3\n"))


def test_load_hypermodel_takes_a_class(tmp_path: Path) -> None:
    hypermodel = load_hypermodel(write(tmp_path, substituted(DECLARED, "Space()", "Space")))
    assert isinstance(hypermodel, keras_tuner.HyperModel)


def test_load_hypermodel_takes_the_name_after_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, BUILD + DECLARED)
    assert type(load_hypermodel(Path(f"{path}:Space"))).__name__ == "Space"
    assert type(load_hypermodel(Path(f"{path}:build"))).__name__ == "FunctionHyperModel"
    assert declare(Path(f"{path}:build"), n_classes=2).name == "mine-build"


def test_find_space_keeps_the_name_after_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, DECLARED)
    monkeypatch.chdir(tmp_path)
    assert find_space("mine.py:Space") == tmp_path / "mine.py:Space"
    assert source_sha256(find_space("mine.py:Space")) == source_sha256(tmp_path / "mine.py")
    with pytest.raises(SpaceError, match=r"a file that exists; 'gone\.py:Space' does not"):
        find_space("gone.py:Space")


@pytest.mark.parametrize("name", ["Gone", "keras", "IMPORTED", "NUMBER"])
def test_load_hypermodel_refuses_a_name_that_is_no_hypermodel(tmp_path: Path, name: str) -> None:
    text = "\nIMPORTED = keras.layers.Dense\nNUMBER = 3\n"
    path = write(tmp_path, BUILD + DECLARED + text)
    with pytest.raises(
        SpaceError, match=rf"mine\.py:{name} must name .*; mine\.py has build, Space, hypermodel\."
    ):
        load_hypermodel(Path(f"{path}:{name}"))


FUNCTION = substituted(BUILD, "def build", "def any_name")
CLASS = substituted(DECLARED, "hypermodel = Space()", "")


@pytest.mark.parametrize(
    "text",
    [
        FUNCTION,
        f"{FUNCTION}\n\ndef block(hp, x):\n    return x\n",
        CLASS,
        f"{CLASS}\n\ndef other(hp):\n    return model()\n",
        substituted(DECLARED, "hypermodel = ", "any_name = "),
    ],
    ids=["function", "beside a part of a model", "class", "class and function", "instance"],
)
def test_load_hypermodel_takes_the_only_hypermodel(tmp_path: Path, text: str) -> None:
    hypermodel = load_hypermodel(write(tmp_path, text))
    assert type(hypermodel).__name__ == (
        "FunctionHyperModel" if text.startswith(FUNCTION) else "Space"
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (FUNCTION + substituted(FUNCTION, "any_name", "other"), "any_name, other"),
        (CLASS + substituted(CLASS, "Space", "Other"), "Space, Other"),
    ],
    ids=["functions", "classes"],
)
def test_load_hypermodel_refuses_several(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(
        SpaceError, match=rf"or have only one; it has {names}\. Choose one with mine\.py:NAME"
    ):
        load_hypermodel(write(tmp_path, text))


def test_load_hypermodel_prefers_hypermodel_to_build(tmp_path: Path) -> None:
    assert type(load_hypermodel(write(tmp_path, BUILD + DECLARED))).__name__ == "Space"


@pytest.mark.parametrize(
    "text", ["\n1 / 0\n", substituted(DECLARED, "Space()", "Space(1 / 0)"), "\ndef hypermodel(:\n"]
)
def test_load_hypermodel_file_that_raises_gives_its_traceback(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(
        SpaceBug, match=r"failed while loading mine\.py: (ZeroDivisionError|SyntaxError)"
    ) as raised:
        load_hypermodel(path)
    assert f'File "{path}", line ' in raised.value.traceback


def test_load_hypermodel_constructor_that_raises_gives_its_traceback(tmp_path: Path) -> None:
    method = "    def __init__(self):\n        1 / 0\n\n"
    text = substituted(DECLARED, "    def decl", f"{method}    def decl")
    text = substituted(text, "Space()", "Space")
    with pytest.raises(SpaceBug, match="ZeroDivisionError") as raised:
        load_hypermodel(write(tmp_path, text))
    assert "in __init__" in raised.value.traceback


def test_load_hypermodel_file_may_hold_a_dataclass_with_later_annotations(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    sizes = (
        "\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass Sizes:\n    units: int = 2\n"
    )
    path.write_text("from __future__ import annotations\n\n" + IMPORTS + sizes + MODEL + DECLARED)
    assert isinstance(load_hypermodel(path), keras_tuner.HyperModel)


def test_declare_reads_a_hypermodel(tmp_path: Path) -> None:
    space = declare(write(tmp_path, DECLARED), n_classes=2)
    assert (space.name, [item.name for item in space.searched]) == (
        "mine",
        ["vocab_size", "sequence_length"],
    )


def test_declare_does_not_build_what_is_declared(tmp_path: Path) -> None:
    path = write(tmp_path, substituted(DECLARED, "return model(", "raise RuntimeError("))
    assert declared_names(path) == ["n_classes", "vocab_size", "sequence_length"]


def test_default_that_cannot_be_built_is_no_reason_to_refuse_a_declared_space(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, substituted(DECLARED, "return model(", "raise MemoryError("))
    assert declare(path, n_classes=2, sizes=SIZES).notes == ()


def test_declare_builds_a_function_to_read_it(tmp_path: Path) -> None:
    assert set(declared_names(write(tmp_path, BUILD))) == {
        "n_classes",
        "sequence_length",
        "units",
        "vocab_size",
    }


def test_declare_builds_once_at_the_defaults_where_nothing_is_declared(tmp_path: Path) -> None:
    log = tmp_path / "builds.txt"
    text = f"""

class Space(keras_tuner.HyperModel):
    def build(self, hp):
        units = hp.Int("units", 2, 80, default=5)
        sizes = hp.Int("vocab_size", 10, 40, default=12), hp.Fixed("sequence_length", 8)
        with open({str(log)!r}, "a") as file:
            print(units, *sizes, file=file)
        return model(units)


hypermodel = Space()
"""
    assert declared_names(write(tmp_path, text)) == [
        "n_classes",
        "units",
        "vocab_size",
        "sequence_length",
    ]
    assert log.read_text().splitlines() == ["5 12 8"]


BRANCHES = """

def build(hp):
    hp.Fixed("vocab_size", 10)
    hp.Fixed("sequence_length", 8)
    cell = hp.Choice("cell", ["lstm", "gru", "none"])
    units = 2
    with hp.conditional_scope("cell", ["lstm"]):
        if cell == "lstm":
            units = hp.Int("units", 8, 64)
    with hp.conditional_scope("cell", ["gru"]):
        if cell == "gru":
            units = hp.Int("units", 2, 4)
            hp.Boolean("reset_after")
            with hp.conditional_scope("reset_after", [True]):
                if hp.get("reset_after"):
                    hp.Float("rate", 0, 1)
    return model(units)
"""


def test_declare_explores_each_conditional_scope(tmp_path: Path) -> None:
    space = declare(write(tmp_path, BRANCHES), n_classes=2)
    names_and_conditions = [
        (item.name, item.conditions) for item in space.hyperparameters if item.conditions
    ]
    assert names_and_conditions == [
        ("units", (("cell", ("lstm",)),)),
        ("units", (("cell", ("gru",)),)),
        ("reset_after", (("cell", ("gru",)),)),
        ("rate", (("cell", ("gru",)), ("reset_after", (True,)))),
    ]


def test_declare_exploring_leaves_the_defaults_alone(tmp_path: Path) -> None:
    by_name = {
        item.name: item for item in declare(write(tmp_path, BRANCHES), n_classes=2).hyperparameters
    }
    assert (by_name["cell"].default, by_name["reset_after"].default) == ("lstm", False)


def test_declare_explores_a_scope_at_its_defaults(tmp_path: Path) -> None:
    log = tmp_path / "builds.txt"
    text = f"""

def build(hp):
    hp.Fixed("vocab_size", 10)
    hp.Fixed("sequence_length", 8)
    hp.Choice("cell", ["lstm", "gru"])
    with hp.conditional_scope("cell", ["gru"]):
        units = hp.Int("units", 1, 1_000_000, default=7)
    with open({str(log)!r}, "a") as file:
        print(hp.get("cell"), units, file=file)
    return model()
"""
    declare(write(tmp_path, text), n_classes=2)
    assert log.read_text().splitlines() == ["lstm None", "gru 7"]


def test_declare_explores_a_scope_below_one_that_shares_a_name(tmp_path: Path) -> None:
    text = """

def build(hp):
    hp.Fixed("vocab_size", 10)
    hp.Fixed("sequence_length", 8)
    hp.Choice("cell", ["lstm", "gru"])
    with hp.conditional_scope("cell", ["lstm"]):
        hp.Int("units", 8, 64)
        hp.Boolean("deep")
        with hp.conditional_scope("deep", [True]):
            hp.Int("layers", 1, 3)
    with hp.conditional_scope("cell", ["gru"]):
        hp.Int("units", 2, 4)
    return model()
"""
    assert declared_names(write(tmp_path, text))[4:] == ["units", "deep", "layers", "units"]


def test_declare_refuses_more_scopes_than_it_explores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.spaces.loading.MAX_BUILDS", 2)
    with pytest.raises(SpaceError, match="at most 2 conditional scopes"):
        declare(write(tmp_path, BRANCHES), n_classes=2)


LOOPS = """

def build(hp):
    hp.Fixed("vocab_size", 10)
    hp.Fixed("sequence_length", 8)
    hp.Int("units", 1, 1_000_000)
    hp.Float("rate", 0.0, 0.5)
    if hp.Boolean("deep"):
        for i in range(hp.Int("layers", 1, 3)):
            hp.Int(f"width_{i}", 32, 64)
    if hp.Choice("cell", ["lstm", "gru"]) == "gru":
        hp.Boolean("reset_after")
        with hp.conditional_scope("reset_after", [True]):
            hp.Float("reset_rate", 0.1, 0.2)
    return model()
"""


def test_declare_finds_names_that_exist_only_for_some_values(tmp_path: Path) -> None:
    """A loop's names exist for large numbers of layers, others under a boolean or a choice. The
    defaults stay as they are.
    """
    space = declare(write(tmp_path, LOOPS), n_classes=2)
    names = [item.name for item in space.searched]
    assert names == ["units", "rate", "deep", "cell", *LATE]
    defaults = {item.name: item.default for item in space.searched}
    assert (defaults["deep"], defaults["layers"], defaults["cell"]) == (False, 1, "lstm")


LATE = ["layers", "width_0", "reset_after", "reset_rate", "width_1", "width_2"]


def test_declare_builds_no_model_for_values_that_decide_nothing(tmp_path: Path) -> None:
    log = tmp_path / "builds.txt"
    text = f"""

def build(hp):
    values = [hp.Int("units", 8, 32), hp.Choice("dim", [16, 32]), hp.Choice("rate", [0.1, 0.2])]
    with open({str(log)!r}, "a") as file:
        print(values, file=file)
    return model()
"""
    declare(write(tmp_path, text), n_classes=2)
    assert log.read_text().splitlines() == ["[8, 16, 0.1]"]


def test_declare_variations_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.spaces.loading.MAX_VARIATIONS", 1)
    assert declared_names(write(tmp_path, LOOPS))[-2:] == ["layers", "width_0"]


SIZES = Sizes(vocab_size=None, sequence_length=None, all_rows=77, usual_length=11)
SIZELESS = "\n\ndef build(hp):\n    return model(hp.Int('units', 2, 8), vocab_size=15)\n"

FIXED_LENGTH = substituted(SIZELESS, "return model(", "made = model(") + (
    "    made = keras.Sequential([keras.Input((6,)), *made.layers])\n"
    "    made.compile('sgd', 'binary_crossentropy')\n    return made\n"
)


def sizes_in(space: SearchSpace) -> Values:
    return {item.name: item.default for item in space.hyperparameters if item.name in REQUIRED}


def test_declare_takes_sizes_from_the_model_and_the_data(tmp_path: Path) -> None:
    space = declare(write(tmp_path, SIZELESS), n_classes=2, sizes=SIZES)
    assert sizes_in(space) == {"vocab_size": 15, "sequence_length": 11}
    assert space.notes == (
        "mine declares no vocab_size: it is 15, the rows of the model's embedding.",
        "mine declares no sequence_length: it is 11, the 95th percentile of the training texts'"
        " lengths.",
    )


def test_declare_takes_the_length_of_the_model_s_input(tmp_path: Path) -> None:
    space = declare(write(tmp_path, FIXED_LENGTH), n_classes=2, sizes=SIZES)
    assert sizes_in(space) == {"vocab_size": 15, "sequence_length": 6}


def test_declare_takes_the_words_of_the_data_for_a_model_without_an_embedding(
    tmp_path: Path,
) -> None:
    text = """

def build(hp):
    units = hp.Int("units", 1, 2)
    made = keras.Sequential([keras.layers.CategoryEncoding(77), keras.layers.Dense(units)])
    made.compile("sgd", "binary_crossentropy")
    return made
"""
    space = declare(write(tmp_path, text), n_classes=2, sizes=SIZES)
    assert sizes_in(space) == {"vocab_size": 77, "sequence_length": 11}


def test_declare_flags_fix_the_sizes(tmp_path: Path) -> None:
    """They replace a range of the space, and what the model and the data would give."""
    sizes = replace(SIZES, vocab_size=9, sequence_length=5)
    expected = {"vocab_size": 9, "sequence_length": 5}
    space = declare(write(tmp_path, AS_ATTRIBUTE), n_classes=2, sizes=sizes)
    assert sizes_in(space) == expected
    assert (space.searched, space.notes, space.starting_points) == ([], (), ())
    space = declare(write(tmp_path, SIZELESS), n_classes=2, sizes=sizes)
    assert sizes_in(space) == expected
    assert space.notes[0].endswith("it is 9, the value of vocab_size.")


@pytest.mark.parametrize(
    ("text", "fixed", "says"),
    [
        (SIZELESS, {"vocab_size": 16}, "vocab_size must be at most 15, the rows .*; received 16"),
        (FIXED_LENGTH, {"sequence_length": 5}, "sequence_length must be 6, .*; received 5"),
    ],
)
def test_declare_refuses_a_size_that_the_model_cannot_take(
    tmp_path: Path, text: str, fixed: dict[str, int], says: str
) -> None:
    with pytest.raises(SpaceError, match=says):
        declare(write(tmp_path, text), n_classes=2, sizes=replace(SIZES, **fixed))


def test_declare_builds_a_model_if_only_a_size_is_missing(tmp_path: Path) -> None:
    text = substituted(DECLARED, 'Int("vocab_size", 10, 40, default=30)', 'Fixed("rows", 30)')
    path = write(tmp_path, substituted(text, '("vocab_size")', '("rows")'))
    space = declare(path, n_classes=2, sizes=SIZES)
    assert sizes_in(space) == {"sequence_length": 8, "vocab_size": 30}
    assert len(space.notes) == 1


def test_declare_without_sizes_adds_none(tmp_path: Path) -> None:
    assert sizes_in(declare(write(tmp_path, SIZELESS), n_classes=2)) == {}


def test_declare_refuses_models_of_different_sizes(tmp_path: Path) -> None:
    text = substituted(SIZELESS, "vocab_size=15", "vocab_size=hp.Int('rows', 10, 16)")
    with pytest.raises(
        SpaceError, match=r"must declare vocab_size; the models of mine have 10 and 11 and 16\."
    ):
        declare(write(tmp_path, text), n_classes=2, sizes=SIZES)


@pytest.mark.parametrize(
    "rows",
    [
        "hp.Int('rows', 5_000, 30_000)",
        "hp.Choice('rows', [20, 10])",
        "int(hp.Float('thousands', 1, 20, step=1) * 1000)",
        "int(hp.Choice('thousands', [1.5, 2.5]) * 1000)",
    ],
)
def test_rows_that_are_searched_under_another_name_are_refused(rows: str, tmp_path: Path) -> None:
    text = substituted(SIZELESS, "vocab_size=15", f"vocab_size={rows}")
    with pytest.raises(SpaceError, match="Call the hyperparameter vocab_size"):
        declare(write(tmp_path, text), n_classes=2, sizes=SIZES)


@pytest.mark.parametrize(
    "rows", ["hp.Choice('rows', [200, 100, 50])", "hp.Int('rows', 50, 200, step=50, default=100)"]
)
def test_vocabulary_larger_than_the_smallest_embedding_is_refused(
    rows: str, tmp_path: Path
) -> None:
    path = write(tmp_path, substituted(SIZELESS, "vocab_size=15", f"vocab_size={rows}"))
    with pytest.raises(SpaceError, match="vocab_size must be at most 50"):
        declare(path, n_classes=2, sizes=replace(SIZES, vocab_size=80))


def test_length_of_inputs_that_have_several_is_not_fixed(tmp_path: Path) -> None:
    text = substituted(FIXED_LENGTH, "Input((6,))", "Input((hp.Choice('length', [6, 8]),))")
    with pytest.raises(SpaceError, match=r"must declare sequence_length; .* have 6 and 8\."):
        declare(write(tmp_path, text), n_classes=2, sizes=replace(SIZES, sequence_length=6))


def test_values_that_a_build_does_not_take_together_do_not_matter(tmp_path: Path) -> None:
    text = substituted(SIZELESS, "vocab_size=15", "vocab_size=15 // (hp.Int('u', 1, 900) == 1)")
    assert declare(write(tmp_path, text), n_classes=2, sizes=SIZES).takes_texts is False


def test_texts_of_another_shape_are_refused(tmp_path: Path) -> None:
    text = """

def build(hp):
    made = keras.Sequential([keras.Input((2,), dtype="string"), keras.layers.StringLookup()])
    made.compile("sgd", "binary_crossentropy")
    return made
"""
    path = write(tmp_path, text)
    with pytest.raises(SpaceError, match="must have one text in a row"):
        declare(path, n_classes=2, sizes=SIZES)
    with pytest.raises(SpaceError, match="must have one text in a row"):
        build(load_hypermodel(path), {})


OWN_FIT = """

class Space(keras_tuner.HyperModel):
    def build(self, hp):
        hp.Fixed("vocab_size", 10)
        hp.Fixed("sequence_length", 8)
        return model()

    def fit(self, hp, model, x, y, **options):
        return model.fit(x, y, batch_size=hp.Choice("batch_size", [16, 32]), **options)


hypermodel = Space()
"""


def test_declare_reads_what_its_own_fit_declares(tmp_path: Path) -> None:
    assert declared_names(write(tmp_path, OWN_FIT)) == [
        "n_classes",
        "vocab_size",
        "sequence_length",
        "batch_size",
    ]


def test_declare_gives_an_own_fit_its_arguments_by_name(tmp_path: Path) -> None:
    signature = "model, flag=False, *args, **options):\n        assert not flag"
    text = substituted(OWN_FIT, "model, x, y, **options):", signature)
    path = write(tmp_path, substituted(text, "model.fit(x, y, ", "model.fit(*args, "))
    assert "batch_size" in declared_names(path)


def test_declare_names_the_parameter_that_an_own_fit_lacks(tmp_path: Path) -> None:
    path = write(tmp_path, substituted(OWN_FIT, "model, x, y, **", "model, x, y, x_val, **"))
    with pytest.raises(SpaceError, match=r"a required argument: 'x_val'\. Write def fit\("):
        declare(path, n_classes=2, try_fit=try_fit)


def test_own_fit_that_gives_its_epochs_is_refused(tmp_path: Path) -> None:
    text = substituted(OWN_FIT, "model.fit(x, y, ", "model.fit(x, y, epochs=3, ")
    with pytest.raises(SpaceError, match=r"fit\(\) must leave the number of epochs"):
        declare(write(tmp_path, text), n_classes=2, try_fit=try_fit)


def test_own_fit_that_does_not_use_its_callbacks_is_refused(tmp_path: Path) -> None:
    text = substituted(OWN_FIT, ", **options)\n\n\nhyper", ")\n\n\nhyper")
    with pytest.raises(SpaceError, match="must pass its callbacks"):
        declare(write(tmp_path, text), n_classes=2, try_fit=try_fit)


def test_own_fit_may_give_verbose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert declare(write(tmp_path, OWN_FIT), n_classes=2, try_fit=try_fit)
    assert not capsys.readouterr().out
    text = substituted(OWN_FIT, "model.fit(x, y, ", "model.fit(x, y, verbose=2, ")
    assert declare(write(tmp_path, text), n_classes=2, try_fit=try_fit)


@pytest.mark.parametrize("kind", ["Hyperband", "SklearnTuner"])
def test_file_that_makes_a_tuner_is_refused_before_the_tuner_deletes_trials(
    kind: str, tmp_path: Path
) -> None:
    kept = tmp_path / "project" / "oracle.json"
    kept.parent.mkdir()
    kept.write_text("{}")
    arguments = {
        "Hyperband": 'build, "val_accuracy"',
        "SklearnTuner": "oracle=keras_tuner.oracles.RandomSearchOracle(), hypermodel=build",
    }
    tuner = f"""
keras_tuner.{kind}(
    {arguments[kind]}, overwrite=True, directory={str(tmp_path)!r}, project_name="project"
)
"""
    with pytest.raises(SpaceError, match="must not make a tuner when it is loaded"):
        load_hypermodel(write(tmp_path, SIZELESS + tuner))
    assert kept.exists()
    assert keras_tuner.RandomSearch(  # Others may make one afterwards.
        load_hypermodel(write(tmp_path, SIZELESS)), "val_accuracy", directory=str(tmp_path)
    )


OWN_TUNER = """

class FoldTuner(keras_tuner.RandomSearch):
    def run_trial(self, trial, *args, **kwargs):
        kwargs["batch_size"] = trial.hyperparameters.Int("batch_size", 16, 64)
        return super().run_trial(trial, *args, **kwargs)
"""


@pytest.mark.parametrize("base", ["RandomSearch", "engine.tuner.Tuner"])
@pytest.mark.parametrize("method", ["run_trial", "_build_and_fit_model"])
@pytest.mark.parametrize("made", ["", "\nFoldTuner(build, 'val_accuracy')\n"])
def test_file_whose_tuner_trains_in_its_own_way_is_refused(
    base: str, method: str, made: str, tmp_path: Path
) -> None:
    text = OWN_TUNER.replace("RandomSearch", base).replace("run_trial", method)
    with pytest.raises(SpaceError, match=f"{method} in FoldTuner.*batch_size.*folds"):
        load_hypermodel(write(tmp_path, SIZELESS + text + made))


def test_file_that_imports_a_tuner_with_its_own_training_is_refused(tmp_path: Path) -> None:
    write(tmp_path, OWN_TUNER, name="folds")
    line = "\nfrom folds import FoldTuner\n\n\nclass Longer(FoldTuner):\n    pass\n"
    with pytest.raises(SpaceError, match="overrides run_trial in FoldTuner"):
        load_hypermodel(write(tmp_path, SIZELESS + line))


def test_file_may_have_a_tuner_that_trains_as_usual(tmp_path: Path) -> None:
    text = """
from keras_tuner import Hyperband, SklearnTuner


class Named(keras_tuner.RandomSearch):
    def __init__(self, hypermodel, **options):
        super().__init__(hypermodel, "val_accuracy", **options)


class NoTuner:
    def run_trial(self, trial):
        return 3
"""
    assert load_hypermodel(write(tmp_path, SIZELESS + text))


def test_own_fit_may_give_verbose_by_position(tmp_path: Path) -> None:
    text = substituted(
        OWN_FIT,
        'x, y, batch_size=hp.Choice("batch_size", [16, 32]), **options',
        'x, y, hp.Choice("batch_size", [16, 32]), options.pop("epochs"), 0, **options',
    )
    assert declare(write(tmp_path, text), n_classes=2, try_fit=try_fit)


def test_file_that_ends_the_program_is_a_bug_in_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, SIZELESS + "\nimport sys\nsys.exit(2)\n")
    with pytest.raises(SpaceBug, match=r"ended the program while loading mine\.py"):
        load_hypermodel(path)


def test_class_that_needs_arguments_is_refused_with_its_remedy(tmp_path: Path) -> None:
    text = OWN_FIT.replace(
        "    def build", "    def __init__(self, num_classes):\n        pass\n\n    def build", 1
    ).replace("hypermodel = Space()", "")
    with pytest.raises(SpaceError, match=r"Write `hypermodel = Space\(\.\.\.\)`"):
        load_hypermodel(write(tmp_path, text))


def test_declare_own_fit_that_raises_gives_its_traceback(tmp_path: Path) -> None:
    path = write(tmp_path, substituted(OWN_FIT, '"batch_size", [16, 32]', '"batch_size", []'))
    with pytest.raises(SpaceBug, match=r"trying its fit\(\) on a few rows: ValueError") as raised:
        declare(path, n_classes=2, try_fit=try_fit)
    assert "in fit" in raised.value.traceback


def test_declare_that_raises_gives_its_traceback(tmp_path: Path) -> None:
    path = write(tmp_path, substituted(DECLARED, "10, 40", "40, 10"))
    with pytest.raises(
        SpaceBug, match="failed while declaring hyperparameters: ValueError"
    ) as raised:
        declare(path, n_classes=2)
    assert "in declare_hyperparameters" in raised.value.traceback


def test_declare_refuses_vocab_size_under_a_condition(tmp_path: Path) -> None:
    line = 'hp.Int("vocab_size", 10, 40, default=30)'
    under = (
        'hp.Boolean("masked")\n        with hp.conditional_scope("masked", [True]):\n           '
        f" {line}"
    )
    with pytest.raises(SpaceError, match="mine has 'vocab_size' under a condition"):
        declare(write(tmp_path, substituted(DECLARED, line, under)), n_classes=2)


def test_declare_refuses_default_outside_its_range(tmp_path: Path) -> None:
    with pytest.raises(
        SpaceError, match="default of 'vocab_size' must lie in its range, 10 to 40; it is 99"
    ):
        declare(write(tmp_path, substituted(DECLARED, "default=30", "default=99")), n_classes=2)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'Int("vocab_size", 10, 40, default=30)',
            'Int("vocab_size", 2, 40)',
            "vocab_size must be 3 or more; mine allows 2",
        ),
        (
            'Int("vocab_size", 10, 40, default=30)',
            'Choice("vocab_size", [40, 2])',
            "vocab_size must be 3 or more; mine allows 2",
        ),
        (
            'Int("vocab_size", 10, 40, default=30)',
            'Fixed("vocab_size", "all")',
            "vocab_size must be 3 or more; mine allows 'all'",
        ),
        (
            'Int("sequence_length", 4, 16, default=8)',
            'Fixed("sequence_length", 0)',
            "sequence_length must be 1 or more; mine allows 0",
        ),
        (
            'Int("sequence_length", 4, 16, default=8)',
            'Int("ngrams", 1, 4)',
            "ngrams must be 1, 2 or 3 words; mine allows 4",
        ),
        (
            'Int("sequence_length", 4, 16, default=8)',
            'Choice("ngrams", [1.5, 2.0])',
            "ngrams must be 1, 2 or 3 words; mine allows 1.5",
        ),
    ],
    ids=["int", "choice", "text", "fixed", "n-grams of four words", "half a word"],
)
def test_declare_refuses_sizes_that_cannot_cut_the_data(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(SpaceError, match=says):
        declare(write(tmp_path, substituted(DECLARED, old, new)), n_classes=2)


@pytest.mark.parametrize("text", [DECLARED, BUILD], ids=["declared", "built"])
def test_declare_n_classes_of_the_data_overrules_the_space(tmp_path: Path, text: str) -> None:
    by_name = {
        item.name: item for item in declare(write(tmp_path, text), n_classes=5).hyperparameters
    }
    assert (by_name["n_classes"].kind, by_name["n_classes"].default) == ("fixed", 5)


PRESET = """

def build(hp):
    hp.Int("sequence_length", 4, 16, default=8)
    hp.Choice("preset", ["one", "two"])
    return model()
"""


def test_declare_reads_the_presets_of_a_space(tmp_path: Path) -> None:
    assert declare(write(tmp_path, PRESET), n_classes=2).presets == ["one", "two"]
    assert declare(write(tmp_path, DECLARED), n_classes=2).presets == []


def test_declare_preset_of_the_study_overrules_the_space(tmp_path: Path) -> None:
    space = declare(write(tmp_path, PRESET), n_classes=2, preset="three")
    assert space.presets == ["three"]
    assert space.fingerprint != declare(write(tmp_path, PRESET), n_classes=2).fingerprint
    hp, _ = build(load_hypermodel(tmp_path / "mine.py"), {"preset": "three"})
    assert hp.get("preset") == "three"


def test_declare_refuses_a_preset_for_a_space_that_takes_none(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"declares 'preset', such as transformer; mine declares"):
        declare(write(tmp_path, DECLARED), n_classes=2, preset="three")


def test_declare_narrower_subclass_keeps_its_own_range(tmp_path: Path) -> None:
    narrower = """

class Narrower(Space):
    def declare_hyperparameters(self, hp):
        hp.Int("vocab_size", 20, 25)
        super().declare_hyperparameters(hp)


hypermodel = Narrower()
"""
    by_name = {
        item.name: item
        for item in declare(write(tmp_path, DECLARED + narrower), n_classes=2).hyperparameters
    }
    assert (
        by_name["vocab_size"].low,
        by_name["vocab_size"].high,
        by_name["sequence_length"].high,
    ) == (20, 25, 16)


POINTS = '[{"vocab_size": 20}, {}, {"sequence_length": 4}]'
RESOLVED = (
    {"n_classes": 2, "vocab_size": 20, "sequence_length": 8},
    {"n_classes": 2, "vocab_size": 30, "sequence_length": 4},
)
AS_ATTRIBUTE = substituted(
    DECLARED, "    def decl", f"    starting_points = {POINTS}\n\n    def decl"
)
AS_METHOD = substituted(
    DECLARED,
    "    def decl",
    f"    def starting_points(self):\n        return {POINTS}\n\n    def decl",
)


@pytest.mark.parametrize(
    "text",
    [AS_ATTRIBUTE, AS_METHOD, f"{DECLARED}\nstarting_points = {POINTS}\n"],
    ids=["attribute", "method", "module"],
)
def test_declare_reads_starting_points(tmp_path: Path, text: str) -> None:
    assert declare(write(tmp_path, text), n_classes=2).starting_points == RESOLVED


def test_declare_reads_starting_points_beside_a_build_function(tmp_path: Path) -> None:
    text = f"{BUILD}\n\nstarting_points = [{{'units': 5}}]\n"
    (point,) = declare(write(tmp_path, text), n_classes=2).starting_points
    assert point == {"n_classes": 2, "vocab_size": 10, "sequence_length": 8, "units": 5}


def test_starting_points_of_the_hypermodel_come_before_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, f"{AS_ATTRIBUTE}\nstarting_points = []\n")
    assert declare(path, n_classes=2).starting_points == RESOLVED


def test_declare_refuses_wrong_starting_point(tmp_path: Path) -> None:
    path = write(tmp_path, substituted(AS_ATTRIBUTE, '"vocab_size": 20', '"vocab_size": 99'))
    with pytest.raises(
        SpaceError,
        match=r"Starting point 1 of mine must give 'vocab_size' .* 10 to 40; it gives 99",
    ):
        declare(path, n_classes=2)


def test_starting_points_that_raise_give_their_traceback(tmp_path: Path) -> None:
    path = write(tmp_path, substituted(AS_METHOD, f"return {POINTS}", "return 1 / 0"))
    with pytest.raises(
        SpaceBug, match="failed while reading its starting points: ZeroDivisionError"
    ) as raised:
        declare(path, n_classes=2)
    assert "in starting_points" in raised.value.traceback


def test_fingerprint_stays_when_starting_points_change(tmp_path: Path) -> None:
    without = declare(write(tmp_path, DECLARED), n_classes=2)
    space = declare(write(tmp_path, AS_ATTRIBUTE), n_classes=2)
    assert space.fingerprint == without.fingerprint


def test_space_without_starting_points_is_stored_without_them(tmp_path: Path) -> None:
    assert "starting_points" not in unstructure(declare(write(tmp_path, DECLARED), n_classes=2))


def test_starting_points_round_trip_through_json(tmp_path: Path) -> None:
    space = declare(write(tmp_path, AS_ATTRIBUTE), n_classes=2)
    assert structure(json.loads(json.dumps(unstructure(space))), SearchSpace) == space


def test_file_that_changes_within_a_second_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = write(tmp_path, DECLARED)
    before = path.stat().st_mtime
    first = declare(path, n_classes=2)
    write(tmp_path, substituted(DECLARED, "4, 16", "4, 17"))
    os.utime(path, (before, before))
    assert declare(path, n_classes=2).fingerprint != first.fingerprint
    assert not (tmp_path / "__pycache__").exists()


def test_module_beside_a_file_that_changes_within_a_second_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    beside = tmp_path / "bounds.py"
    beside.write_text("HIGH = 16")
    before = beside.stat().st_mtime
    path = write(tmp_path, "from bounds import HIGH\n" + substituted(DECLARED, "4, 16", "4, HIGH"))
    first = declare(path, n_classes=2)
    beside.write_text("HIGH = 17")
    os.utime(beside, (before, before))
    assert declare(path, n_classes=2).fingerprint != first.fingerprint
    assert not sys.dont_write_bytecode


def test_fingerprint_changes_with_a_range(tmp_path: Path) -> None:
    first = declare(write(tmp_path, DECLARED), n_classes=2)
    second = declare(write(tmp_path, substituted(DECLARED, "4, 16", "4, 17")), n_classes=2)
    assert first.fingerprint != second.fingerprint


def test_fingerprint_stays_when_only_a_comment_changes(tmp_path: Path) -> None:
    first = declare(write(tmp_path, DECLARED), n_classes=2)
    second = declare(write(tmp_path, DECLARED + "# a comment\n"), n_classes=2)
    assert first.fingerprint == second.fingerprint
    assert first.source_sha256 != second.source_sha256


def test_search_space_round_trips_through_json(tmp_path: Path) -> None:
    space = declare(write(tmp_path, BRANCHES), n_classes=2)
    assert structure(json.loads(json.dumps(unstructure(space))), SearchSpace) == space


VALUES: Values = {"vocab_size": 12, "sequence_length": 8, "n_classes": 2}


def test_build_gives_a_model_of_these_values(tmp_path: Path) -> None:
    hp, model = build(load_hypermodel(write(tmp_path, DECLARED)), VALUES)
    assert model.layers[0].input_dim == 12
    assert hp.values == VALUES


@pytest.mark.parametrize(
    "returned", ["None", "keras.Sequential([keras.layers.Dense(1)])"], ids=["none", "uncompiled"]
)
def test_build_refuses_what_is_no_compiled_model(tmp_path: Path, returned: str) -> None:
    path = write(tmp_path, f"\n\ndef build(hp):\n    return {returned}\n")
    with pytest.raises(SpaceBug, match=r"build\(hp\) must return a compiled keras\.Model"):
        build(load_hypermodel(path), VALUES)


def test_build_that_raises_gives_its_traceback(tmp_path: Path) -> None:
    path = write(tmp_path, '\n\ndef build(hp):\n    return hp.get("missing")\n')
    with pytest.raises(SpaceBug, match="failed while building the model: KeyError") as raised:
        build(load_hypermodel(path), VALUES)
    assert f'File "{path}", line ' in raised.value.traceback


UNDECLARED = substituted(DECLARED, "return model(", 'return model(hp.Int("units", 2, 4), ')


def test_build_refuses_late_hyperparameter(tmp_path: Path) -> None:
    path = write(tmp_path, UNDECLARED)
    with pytest.raises(SpaceBug, match="declared before the search; units appeared during a trial"):
        build(load_hypermodel(path), VALUES, known=tuple(VALUES))


def test_build_allows_what_is_known(tmp_path: Path) -> None:
    path = write(tmp_path, substituted(UNDECLARED, "vocab_size=hp", "hp"))
    _, model = build(load_hypermodel(path), {**VALUES, "units": 3}, known=(*VALUES, "units"))
    assert isinstance(model, keras.Model)
    assert model.layers[2].units == 3


LOGITS = """

def build(hp):
    made = keras.Sequential([
        keras.Input((None,), dtype="int32"),
        keras.layers.Embedding(10, 2), keras.layers.GlobalAveragePooling1D(),
        LAST,
    ])
    made.compile("sgd", keras.losses.LOSS(from_logits=True))
    return made
"""


def write_logits(tmp_path: Path, *, last: str, loss: str, space: str = LOGITS) -> Path:
    text = substituted(space, "LAST", f"keras.layers.{last}")
    return write(tmp_path, substituted(text, "LOSS", loss))


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        ("Dense(1)", "BinaryCrossentropy"),
        ("Dense(2)", "SparseCategoricalCrossentropy"),
        ("Activation('relu')", "CategoricalCrossentropy"),
    ],
)
def test_logits_are_taken(tmp_path: Path, last: str, loss: str) -> None:
    path = write_logits(tmp_path, last=last, loss=loss)
    assert declare(path, n_classes=2).notes == ()
    assert build(load_hypermodel(path), VALUES)


AS_FUNCTION = substituted(
    LOGITS,
    "keras.losses.LOSS(from_logits=True)",
    "__import__('functools').partial(keras.losses.LOSS, from_logits=True)",
)
WITH_SIZES = """

class Space(keras_tuner.HyperModel):
    def declare_hyperparameters(self, hp):
        hp.Int("vocab_size", 10, 40, default=30)
        hp.Int("sequence_length", 4, 16, default=8)

    def build(self, hp):
        return build(hp)


hypermodel = Space()
"""


@pytest.mark.parametrize(
    ("last", "loss", "space"),
    [
        ("Dense(1, 'sigmoid')", "BinaryCrossentropy", LOGITS),
        (
            "Dense(2, tf.nn.softmax)",
            "SparseCategoricalCrossentropy",
            f"import tensorflow as tf{LOGITS}",
        ),
        ("Activation('softmax')", "SparseCategoricalCrossentropy", LOGITS),
        ("Softmax()", "CategoricalCrossentropy", LOGITS),
        ("Dense(1, 'sigmoid')", "binary_crossentropy", AS_FUNCTION),
        ("Dense(1, 'sigmoid')", "BinaryCrossentropy", LOGITS + WITH_SIZES),
    ],
)
def test_probabilities_for_a_loss_of_logits_are_named_before_the_search(
    tmp_path: Path, last: str, loss: str, space: str
) -> None:
    path = write_logits(tmp_path, last=last, loss=loss, space=space)
    *_, note = declare(path, n_classes=2, sizes=SIZES).notes
    assert note == (
        "The model gives probabilities to a loss with from_logits=True, which may train it on"
        " wrong values. Write from_logits=False in the loss."
    )
    assert build(load_hypermodel(path), VALUES)


def test_probabilities_for_their_own_loss_are_not_named(tmp_path: Path) -> None:
    text = substituted(LOGITS, "from_logits=True", "from_logits=False")
    path = write_logits(tmp_path, last="Dense(1, 'sigmoid')", loss="BinaryCrossentropy", space=text)
    assert declare(path, n_classes=2).notes == ()


# Modules beside the file

NEIGHBOURS = """

from own_sizes import UNITS


def build(hp):
    from own_late import VOCAB_SIZE

    return model(UNITS, VOCAB_SIZE)
"""


def write_with_neighbours(folder: Path, *, units: int) -> Path:
    """Write a file that imports a package beside it, and a module while it builds a model."""
    (folder / "own_sizes").mkdir(parents=True, exist_ok=True)
    (folder / "own_sizes" / "__init__.py").write_text("from own_sizes.dense import UNITS\n")
    (folder / "own_sizes" / "dense.py").write_text(f"UNITS = {units}\n")
    (folder / "own_late.py").write_text(f"VOCAB_SIZE = {10 * units}\n")
    return write(folder, NEIGHBOURS)


def units_and_rows(path: Path) -> tuple[int, int]:
    _, model = build(load_hypermodel(path), {})
    return model.layers[2].units, model.layers[0].input_dim


def test_file_imports_the_modules_beside_it(tmp_path: Path) -> None:
    before = [*sys.path]
    assert units_and_rows(write_with_neighbours(tmp_path, units=3)) == (3, 30)
    assert sys.path == before


def test_modules_of_one_name_in_two_folders_are_not_mixed_up(tmp_path: Path) -> None:
    first, second = (write_with_neighbours(tmp_path / str(units), units=units) for units in (3, 50))
    for _ in range(2):
        assert units_and_rows(first) == (3, 30)
        assert units_and_rows(second) == (50, 500)


def test_modules_that_are_links_are_not_mixed_up(tmp_path: Path) -> None:
    paths = [write_with_neighbours(tmp_path / str(units), units=units) for units in (3, 50)]
    for path in paths:
        for module in path.parent.glob("own_*.py"):
            stored = tmp_path / f"{path.parent.name}-{module.name}"
            module.rename(stored)
            module.symlink_to(stored)
    assert [units_and_rows(path) for path in paths] == [(3, 30), (50, 500)]


def test_changed_module_beside_the_file_is_executed_again(tmp_path: Path) -> None:
    assert units_and_rows(write_with_neighbours(tmp_path, units=3)) == (3, 30)
    assert units_and_rows(write_with_neighbours(tmp_path, units=50)) == (50, 500)


def test_module_is_not_left_for_a_file_that_has_none(tmp_path: Path) -> None:
    load_hypermodel(write_with_neighbours(tmp_path / "with", units=3))
    (tmp_path / "without").mkdir()
    with pytest.raises(SpaceBug, match="No module named 'own_sizes'"):
        load_hypermodel(write(tmp_path / "without", NEIGHBOURS))


def test_modules_that_the_process_imports_itself_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_with_neighbours(tmp_path, units=3)
    own = ModuleType("own_late")
    vars(own).update(VOCAB_SIZE=70, __file__=str(tmp_path / "own_late.py"))
    monkeypatch.setitem(sys.modules, "own_late", own)
    for _ in range(2):
        assert units_and_rows(path) == (3, 70)
    assert sys.modules["own_late"] is own


RECURRENT = """

def build(hp):
    layers = keras.layers
    made = keras.Sequential([
        layers.Embedding(30, 2, input_length=25), layers.Bidirectional(layers.LSTM(2)),
        layers.Dense(1, "sigmoid"),
    ])
    made.compile("sgd", "binary_crossentropy")
    return made
"""


@pytest.mark.filterwarnings("ignore:Argument `input_length` is deprecated")
def test_layer_that_reads_the_padding_is_noted(tmp_path: Path) -> None:
    """Padding stands before the text in most code, and follows it here."""
    (note,) = declare(write(tmp_path, RECURRENT), n_classes=2).notes
    assert note.startswith("The LSTM reads the padding, which follows each text here")
    masked = substituted(RECURRENT, "input_length=25", "mask_zero=True")
    assert declare(write(tmp_path, masked), n_classes=2).notes == ()


@pytest.mark.filterwarnings("ignore:Argument `input_length` is deprecated")
def test_length_of_an_embedding_is_the_length_of_the_texts(tmp_path: Path) -> None:
    """Keras 3 ignores `input_length`, which most code gives in the place of an input."""
    space = declare(write(tmp_path, RECURRENT), n_classes=2, sizes=SIZES)
    assert sizes_in(space) == {"vocab_size": 30, "sequence_length": 25}
    assert space.notes[1].endswith("it is 25, the input_length of the model's Embedding.")
    fixed = replace(SIZES, sequence_length=9)
    space = declare(write(tmp_path, RECURRENT), n_classes=2, sizes=fixed)
    assert sizes_in(space)["sequence_length"] == 9
    several = substituted(RECURRENT, "input_length=25", 'input_length=hp.Choice("n", [25, 30])')
    space = declare(write(tmp_path, several), n_classes=2, sizes=SIZES)
    assert sizes_in(space)["sequence_length"] == SIZES.usual_length


DENSE = """

def build(hp):
    made = keras.Sequential([
        keras.Input((100,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1, "sigmoid"),
    ])
    made.compile("sgd", "binary_crossentropy")
    return made
"""


def test_input_of_vectors_is_refused_before_the_search(tmp_path: Path) -> None:
    vectors = substituted(DENSE, "keras.Input((100,))", "keras.Input((300, 100))")
    with pytest.raises(SpaceError, match=r"this model's input has the shape \(300, 100\)"):
        declare(write(tmp_path, vectors), n_classes=2)


EACH_STEP = """

class Own(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.each = keras.layers.TimeDistributed(keras.layers.Dense(2))

    def call(self, x):
        return self.each(x)


def build(hp):
    layers = keras.layers
    made = keras.Sequential([
        keras.Input((25,), dtype="int32"), layers.Embedding(30, 2),
        layers.LSTM(3, return_sequences=True), layers.TimeDistributed(layers.Dense(2)),
        layers.GlobalMaxPooling1D(), layers.Dense(1, "sigmoid"),
    ])
    made.compile("sgd", "binary_crossentropy")
    return made
"""


def test_unknown_number_of_time_steps_is_refused(tmp_path: Path) -> None:
    """Keras' `TimeDistributed` takes the batch size for it."""
    declare(write(tmp_path, EACH_STEP), n_classes=2)
    unknown = substituted(EACH_STEP, "Input((25,)", "Input((None,)")
    nested = substituted(unknown, "layers.TimeDistributed(layers.Dense(2))", "Own()")
    of_texts = substituted(
        EACH_STEP,
        'keras.Input((25,), dtype="int32")',
        'keras.Input((), dtype="string"), layers.TextVectorization(vocabulary=["good"])',
    )
    for text in (unknown, nested, of_texts):
        with pytest.raises(SpaceError, match=r"TimeDistributed .* a fixed number of time steps"):
            declare(write(tmp_path, text), n_classes=2)
    declare(
        write(tmp_path, of_texts.replace('["good"]', '["good"], output_sequence_length=25')),
        n_classes=2,
    )


def test_combination_of_values_without_a_model_is_no_reason_to_refuse_a_space(
    tmp_path: Path,
) -> None:
    text = """

def build(hp):
    if hp.Choice("heads", ["one", "many"]) == "many" and hp.Int("units", 2, 8) % 4:
        raise ValueError("the units must be a multiple of 4")
    return model()
"""
    assert declared_names(write(tmp_path, text)) == ["n_classes", "heads", "units"]


def test_function_that_needs_more_than_hp_is_named(tmp_path: Path) -> None:
    text = "\n\ndef model_builder(hp, encoder):\n    return model()\n"
    remedy = r"it has neither\. Add def build\(hp\): return model_builder\(hp, encoder\)\."
    with pytest.raises(SpaceError, match=remedy):
        load_hypermodel(write(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("import no_such_package", "Install it beside this program, or set PYTHONPATH"),
        ("from ..metrics import f1", "Write an absolute import"),
        ("n = len(word_index)", "does not exist here: write the number into"),
    ],
)
def test_error_that_is_usual_in_files_has_a_remedy(line: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(SpaceBug, match=rf"Error: .*\. .*{remedy}"):
        load_hypermodel(write(tmp_path, f"\n\n{line}\n"))


FIT = 'return model.fit(x, y, batch_size=hp.Choice("batch_size", [16, 32]), **options)'
TWICE = """model.fit(x, y, **options)
        return model.fit(x, y, batch_size=hp.Choice("batch_size", [16, 32]), **options)"""
ON = """epochs = options.pop("epochs")
        model.fit(x, y, epochs=epochs // 2, **options)
        batch_size = hp.Choice("batch_size", [16, 32])
        options |= {"initial_epoch": epochs // 2, "epochs": epochs}
        return model.fit(x, y, batch_size=batch_size, **options)"""
OTHER = """hp.Choice("batch_size", [16, 32])
        return self.build(hp).fit(x, y, **options)"""


def test_two_phases_that_both_count_from_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"count its epochs on .* trains epoch 1 twice"):
        declare(write(tmp_path, substituted(OWN_FIT, FIT, TWICE)), n_classes=2, try_fit=try_fit)


def test_two_phases_that_count_on_are_taken(tmp_path: Path) -> None:
    declare(write(tmp_path, substituted(OWN_FIT, FIT, ON)), n_classes=2, try_fit=try_fit)


def test_fit_of_another_model_is_refused(tmp_path: Path) -> None:
    """The models of folds are trained, and the model that is evaluated is not."""
    with pytest.raises(SpaceError, match="must train the model that it gets"):
        declare(write(tmp_path, substituted(OWN_FIT, FIT, OTHER)), n_classes=2, try_fit=try_fit)


METADATA = """
import keras


def build(hp):
    text, stars = keras.Input((30,), name="text_ids"), keras.Input((3,), name="stars")
    vectors = keras.layers.Embedding(hp.Int("rows", 50, 90), 4)(text)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(vectors), stars])
    model = keras.Model([text, stars], keras.layers.Dense(1, activation="sigmoid")(both))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model
"""


def test_model_with_other_columns_is_refused_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"inputs 'text_ids', 'stars'\..*transformer_classifier"):
        declare(write(tmp_path, METADATA), n_classes=2)


@pytest.mark.slow
def test_encoder_of_word_ids_is_noted(tmp_path: Path) -> None:
    pytest.importorskip("keras_hub", reason="the extra `pretrained` is not installed")
    text = """
import keras
import keras_hub


def build(hp):
    ids = keras.Input((8,), dtype="int32")
    encoder = keras_hub.models.RobertaBackbone(50, 1, 2, 4, 8, max_sequence_length=16)
    x = encoder({"token_ids": ids, "padding_mask": keras.ops.ones_like(ids)})
    model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(x[:, 0]))
    model.compile(hp.Choice("optimizer", ["adam"]), "binary_crossentropy", metrics=["accuracy"])
    return model
"""
    (note, *_) = declare(write(tmp_path, text), n_classes=2).notes
    assert note.startswith("RobertaBackbone gets the word ids of this program.")


GATED = """

class Gated(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(1)
        self.embed = keras.layers.Embedding(30, 2)
        self.gate = keras.layers.Dense(2, "sigmoid")

    def call(self, ids):
        x = self.embed(ids)
        return self.out(keras.ops.mean(x * self.gate(x), axis=1))


def build(hp):
    made = Gated()
    made.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    return made
"""


def test_sigmoid_inside_a_model_of_logits_is_not_named(tmp_path: Path) -> None:
    notes = declare(write(tmp_path, GATED), n_classes=2, sizes=SIZES).notes
    assert not [note for note in notes if "from_logits" in note]
