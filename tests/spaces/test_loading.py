"""Files of search spaces: how they are found, loaded, declared, checked and built."""

import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import keras_tuner
import pytest

from tests.numbered import TWO
from tests.texts import substitute, substituted
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


def test_spaces_of_the_working_folder_come_first_and_skip_names_with_an_underscore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search_spaces").mkdir()
    own = write(tmp_path / "search_spaces", DECLARED, name="baseline_lstm")
    write(tmp_path / "search_spaces", DECLARED, name="_shared")
    monkeypatch.chdir(tmp_path)
    assert find_space("baseline_lstm") == own
    assert "masked_lstm" in list_spaces()
    assert "_shared" not in list_spaces()


def test_name_after_the_file_is_a_hypermodel_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, BUILD + DECLARED)
    monkeypatch.chdir(tmp_path)
    for name, kind in (("Space", "Space"), ("build", "FunctionHyperModel")):
        place = find_space(f"mine.py:{name}")
        assert place == Path(f"{path}:{name}")
        assert type(load_hypermodel(place)).__name__ == kind
        assert declare(place, n_classes=2).name == f"mine-{name}"
        assert source_sha256(place) == source_sha256(path)
    with pytest.raises(SpaceError, match=r"a file that exists; 'gone\.py:Space' does not"):
        find_space("gone.py:Space")


@pytest.mark.parametrize("name", ["Gone", "keras", "IMPORTED", "NUMBER"])
def test_load_hypermodel_refuses_a_name_that_is_no_hypermodel(tmp_path: Path, name: str) -> None:
    text = "\nIMPORTED = keras.layers.Dense\nNUMBER = 3\n"
    path = write(tmp_path, BUILD + DECLARED + text)
    with pytest.raises(SpaceError, match=rf":{name} must name .* has build, Space, hypermodel\."):
        load_hypermodel(Path(f"{path}:{name}"))


FUNCTION = substituted(BUILD, "def build", "def any_name")
CLASS = substituted(DECLARED, "hypermodel = Space()", "")


@pytest.mark.parametrize(
    "text",
    [
        f"{FUNCTION}\n\ndef block(hp, x):\n    return x\n",
        f"{CLASS}\n\ndef other(hp):\n    return model()\n",
        substituted(DECLARED, "Space()", "Space"),
        BUILD + DECLARED,
        f"\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    n: int = 2\n{DECLARED}",
    ],
    ids=[
        "beside a part of a model",
        "class and function",
        "hypermodel is a class",
        "hypermodel before build",
        "dataclass",
    ],
)
def test_load_hypermodel_takes_the_hypermodel(tmp_path: Path, text: str) -> None:
    hypermodel = load_hypermodel(write(tmp_path, text))
    assert type(hypermodel).__name__ == (
        "FunctionHyperModel" if text.startswith(FUNCTION) else "Space"
    )


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
    by_name = {item.name: item for item in space.hyperparameters}
    assert (by_name["cell"].default, by_name["reset_after"].default) == ("lstm", False)


SCOPED = """    values = [hp.Choice("cell", ["lstm", "gru"])]
    with hp.conditional_scope("cell", ["gru"]):
        values.append(hp.Int("units", 1, 1_000_000, default=7))
"""
DECIDES_NOTHING = """    values = [hp.Int("units", 8, 64, default=9), hp.Choice("dim", [16, 64])]
    values += [hp.Choice("rate", [0.1, 0.2]), hp.Fixed("sequence_length", 8)]
"""


@pytest.mark.parametrize(
    ("body", "built"),
    [(SCOPED, ["lstm None", "gru 7"]), (DECIDES_NOTHING, ["9 16 0.1 8", "10 64 0.1 8"])],
)
def test_declare_builds_few_models(tmp_path: Path, body: str, built: list[str]) -> None:
    """One is at the defaults of each scope, and one has the next value of all larger integers."""
    log = tmp_path / "builds.txt"
    lines = f"    with open({str(log)!r}, 'a') as file:\n        print(*values, file=file)\n"
    declare(write(tmp_path, f"\n\ndef build(hp):\n{body}{lines}    return model()\n"), n_classes=2)
    assert log.read_text().splitlines() == built


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


def test_declare_variations_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.spaces.loading.MAX_VARIATIONS", 1)
    assert declared_names(write(tmp_path, LOOPS))[-2:] == ["layers", "width_0"]


OF_LAYERS = """

def build(hp):
    for i in range(hp.{}):
        hp.Int(f"units_{{i}}", 32, 512, step=32)
    hp.Int("width", 64, 64)
    return model()
"""


@pytest.mark.parametrize(
    ("layers", "n_layers"),
    [
        ('Int("num_layers", 2, 20)', 20),
        ('Choice("num_layers", [8, 32])', 32),
        ('Int("num_layers", 1, 16, step=2, sampling="log")', 16),
        ('Int("num_layers", 2, 16, step=3)', 14),
    ],
)
def test_declare_finds_the_names_of_many_layers(tmp_path: Path, layers: str, n_layers: int) -> None:
    """The first loop is that of KerasTuner's documentation. With a step, the largest number is the
    last one that is drawn.
    """
    names = declared_names(write(tmp_path, OF_LAYERS.format(layers)))
    assert [name for name in names if name.startswith("units_")] == [
        f"units_{number}" for number in range(n_layers)
    ]


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ('Int("n", 2, 50)', "units_2"),
        ('Int("n", 1, 64, default=7)', "units_7"),
        ('Choice("n", [8, 64])', "units_8"),
    ],
)
def test_declare_refuses_names_that_depend_on_a_larger_integer(
    tmp_path: Path, layers: str, name: str
) -> None:
    with pytest.raises(SpaceError, match=f"at most 32; {name} exists"):
        declared_names(write(tmp_path, OF_LAYERS.format(layers)))


SIZES = Sizes(vocab_size=None, sequence_length=None, all_rows=77, usual_length=11)
SIZELESS = "\n\ndef build(hp):\n    return model(hp.Int('units', 2, 8), vocab_size=15)\n"

FIXED_LENGTH = substituted(SIZELESS, "return model(", "made = model(") + (
    "    made = keras.Sequential([keras.Input((6,)), *made.layers])\n"
    "    made.compile('sgd', 'binary_crossentropy')\n    return made\n"
)
COUNTS = """

def build(hp):
    units = hp.Int("units", 1, 2)
    made = keras.Sequential([keras.layers.CategoryEncoding(77), keras.layers.Dense(units)])
    made.compile("sgd", "binary_crossentropy")
    return made
"""
OF_VOCABULARY = 'Int("vocab_size", 10, 40, default=30)'
OF_LENGTH = 'Int("sequence_length", 4, 16, default=8)'
OF_ROWS = substituted(DECLARED, OF_VOCABULARY, 'Fixed("rows", 30)')
OF_ROWS = substituted(OF_ROWS, 'get("vocab_size")', 'get("rows")')


TOO_FEW_ROWS = substituted(DECLARED, 'hp.get("vocab_size")', "29")


def rows_are(rows: str) -> str:
    return substituted(SIZELESS, "vocab_size=15", f"vocab_size={rows}")


def sizes_in(space: SearchSpace) -> Values:
    return {item.name: item.default for item in space.hyperparameters if item.name in REQUIRED}


@pytest.mark.parametrize(
    ("text", "vocab_size", "sequence_length"),
    [
        (SIZELESS, 15, 11),
        (COUNTS, 77, 11),
        (OF_ROWS, 30, 8),
        # A build may not take every combination of values.
        (rows_are("15 // (hp.Int('u', 1, 900) == 1)"), 15, 11),
    ],
    ids=["none is declared", "without an embedding", "one is declared", "combinations"],
)
def test_declare_takes_a_size_that_is_missing(
    tmp_path: Path, text: str, vocab_size: int, sequence_length: int
) -> None:
    space = declare(write(tmp_path, text), n_classes=2, sizes=SIZES)
    assert sizes_in(space) == {"vocab_size": vocab_size, "sequence_length": sequence_length}


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


def test_sequence_length_fixes_the_length_of_features() -> None:
    sizes = replace(SIZES, sequence_length=64)
    space = declare(find_space("frozen_encoder"), n_classes=2, sizes=sizes)
    assert [item.default for item in space.hyperparameters if item.name == "feature_length"] == [64]


def test_no_layer_of_a_keras_model_is_trained() -> None:
    path = find_space("frozen_encoder")
    whole, space = (declare(path, n_classes=2, preset=preset) for preset in ("p", "e.keras"))
    assert space.presets == ["e.keras"] and not space.searches("trained_layers", 2)
    kept = [point for point in whole.starting_points if not point.get("trained_layers")]
    assert list(space.starting_points) == [
        {**point, "preset": "e.keras"} if "preset" in point else point for point in kept
    ]
    assert len(kept) == len(whole.starting_points) - 1


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
    path = write(tmp_path, rows_are(rows))
    with pytest.raises(SpaceError, match="Call the hyperparameter vocab_size"):
        declare(path, n_classes=2, sizes=SIZES)
    with pytest.raises(SpaceError, match="vocab_size must be at most"):
        declare(path, n_classes=2, sizes=replace(SIZES, vocab_size=90_000))


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


OF_FIT = 'x, y, batch_size=hp.Choice("batch_size", [16, 32]), **options'
BY_POSITION = 'x, y, hp.Choice("batch_size", [16, 32]), options.pop("epochs"), 0, **options'
COUNTS_ON = """epochs = options.pop("epochs")
        model.fit(x, y, epochs=epochs // 2, **options)
        options |= {"initial_epoch": epochs // 2, "epochs": epochs}
        return model.fit("""

ONE_BY_ONE = """for _ in range(options.pop("epochs")):
            model.fit(x, y, epochs=1, **options)"""

OF_FOLDS = """self.build(hp).fit(x[::2], y[::2], **options)
        return self.build(hp).fit("""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model, x, y, **options):", "model, flag=False, x=None, y=None, **options):"),
        ("model.fit(x, y, ", "model.fit(x, y, verbose=2, "),
        (OF_FIT, BY_POSITION),
        ("return model.fit(", COUNTS_ON),
    ],
    ids=["defaults", "verbose", "by position", "two phases"],
)
def test_own_fit_is_tried(
    old: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, substituted(OWN_FIT, old, new))
    assert "batch_size" in declared_names(path)
    assert ("verbose=2" in new) == bool(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("model, x, y, **", "model, x, y, x_val, **", r"a required argument: 'x_val'\. Write def"),
        ("model.fit(x, y, ", "model.fit(x, y, epochs=3, ", "leave the number of epochs"),
        (", **options)\n\n\nhyper", ")\n\n\nhyper", "must pass its callbacks"),
        (
            "return model.fit(",
            "model.fit(x, y, **options)\n        return model.fit(",
            "trains epoch 1 twice",
        ),
        (f"return model.fit({OF_FIT})", ONE_BY_ONE, "trains epoch 1 twice"),
        # The models of folds are trained, and the model that is evaluated is not.
        ("return model.fit(", "return self.build(hp).fit(", "must train the model that it gets"),
        ("return model.fit(", OF_FOLDS, "must train the model that it gets; .* folds=5"),
    ],
    ids=["argument", "epochs", "callbacks", "twice", "one by one", "another model", "folds"],
)
def test_own_fit_is_refused(old: str, new: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, substituted(OWN_FIT, old, new))
    with pytest.raises(SpaceError, match=says):
        declare(path, n_classes=2, try_fit=try_fit)


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


def test_declare_preset_of_the_study_overrules_the_space(tmp_path: Path) -> None:
    assert declare(write(tmp_path, PRESET), n_classes=2).presets == ["one", "two"]
    space = declare(write(tmp_path, PRESET), n_classes=2, preset="three")
    assert space.presets == ["three"]
    assert space.fingerprint != declare(write(tmp_path, PRESET), n_classes=2).fingerprint
    hp, _ = build(load_hypermodel(tmp_path / "mine.py"), {"preset": "three"})
    assert hp.get("preset") == "three"


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
    space = declare(write(tmp_path, text), n_classes=2)
    assert space.starting_points == RESOLVED
    assert structure(json.loads(json.dumps(unstructure(space))), SearchSpace) == space
    assert space.fingerprint == declare(write(tmp_path, DECLARED), n_classes=2).fingerprint


@pytest.mark.parametrize("name", ["mine.py", "bounds.py"])
def test_file_or_module_beside_it_that_changes_within_a_second_is_read_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "bounds.py").write_text("HIGH = 16")
    text = substituted(DECLARED, "4, 16", "LOW, HIGH")
    path = write(tmp_path, f"from bounds import HIGH\nLOW = 4\n{text}")
    before = (tmp_path / name).stat().st_mtime
    first = declare(path, n_classes=2)
    old, new = ("LOW = 4", "LOW = 5") if name == path.name else ("HIGH = 16", "HIGH = 17")
    substitute(tmp_path / name, old, new)
    os.utime(tmp_path / name, (before, before))
    assert declare(path, n_classes=2).fingerprint != first.fingerprint
    assert not (tmp_path / "__pycache__").exists() and not sys.dont_write_bytecode


def test_file_draws_the_same_numbers_whenever_it_is_loaded(tmp_path: Path) -> None:
    """Workers load the file themselves, and a word vector or the seed of an initializer that it
    draws is part of their models.
    """
    draws = "random.random(), numpy.random.normal(), keras.initializers.GlorotUniform().seed"
    path = write(tmp_path, f"{DECLARED}\nimport numpy, random\nhypermodel.drawn = [{draws}]\n")
    first, second = (load_hypermodel(path) for _ in range(2))
    assert vars(first)["drawn"] == vars(second)["drawn"]


VALUES: Values = {"vocab_size": 12, "sequence_length": 8, "n_classes": 2}


@pytest.mark.parametrize(
    "returned", ["None", "keras.Sequential([keras.layers.Dense(1)])"], ids=["none", "uncompiled"]
)
def test_build_refuses_what_is_no_compiled_model(tmp_path: Path, returned: str) -> None:
    path = write(tmp_path, f"\n\ndef build(hp):\n    return {returned}\n")
    with pytest.raises(SpaceBug, match=r"build\(hp\) must return a compiled keras\.Model"):
        build(load_hypermodel(path), VALUES)


def test_build_refuses_late_hyperparameter(tmp_path: Path) -> None:
    text = substituted(DECLARED, "return model(", 'return model(hp.Int("units", 2, 4), ')
    hypermodel = load_hypermodel(write(tmp_path, text))
    with pytest.raises(SpaceBug, match="units appeared during a trial"):
        build(hypermodel, VALUES, known=tuple(VALUES))
    hp, model = build(hypermodel, {**VALUES, "units": 3}, known=(*VALUES, "units"))
    assert (hp.get("units"), model.layers[0].input_dim) == (3, 12)


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


@pytest.mark.parametrize("are_links", [False, True])
def test_modules_of_one_name_in_two_folders_are_not_mixed_up(
    are_links: bool, tmp_path: Path
) -> None:
    paths = [write_with_neighbours(tmp_path / str(units), units=units) for units in (3, 50)]
    for path in paths if are_links else ():
        for module in path.parent.glob("own_*.py"):
            stored = tmp_path / f"{path.parent.name}-{module.name}"
            module.rename(stored)
            module.symlink_to(stored)
    before = [*sys.path]
    for _ in range(2):
        assert [units_and_rows(path) for path in paths] == [(3, 30), (50, 500)]
    assert sys.path == before


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
    for before, n_notes in (("Dropout(0.1)", 1), ("Conv1D(2, 3)", 0)):  # Conv1D drops the mask.
        made = substituted(RECURRENT, "layers.Bidir", f"layers.{before}, layers.Bidir")
        assert len(declare(write(tmp_path, made), n_classes=2).notes) == n_notes


@pytest.mark.filterwarnings("ignore:Argument `input_length` is deprecated")
def test_length_of_an_embedding_is_the_length_of_the_texts(tmp_path: Path) -> None:
    """Keras 3 ignores `input_length`, which most code gives in the place of an input."""
    several = substituted(RECURRENT, "input_length=25", 'input_length=hp.Choice("n", [25, 30])')
    for text, sizes, length in (
        (RECURRENT, SIZES, 25),
        (RECURRENT, replace(SIZES, sequence_length=9), 9),
        (several, SIZES, SIZES.usual_length),
    ):
        space = declare(write(tmp_path, text), n_classes=2, sizes=sizes)
        assert sizes_in(space) == {"vocab_size": 30, "sequence_length": length}


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


@pytest.mark.parametrize("first", ["", "keras.Input((25,)),", "keras.Input((25,), batch_size=4),"])
def test_stateful_layer_is_refused(first: str, tmp_path: Path) -> None:
    text = substituted(EACH_STEP, 'keras.Input((25,), dtype="int32"),', first)
    text = substituted(text, "return_sequences=True", "return_sequences=True, stateful=True")
    with pytest.raises(SpaceError, match=r"Remove stateful=True: no text continues another"):
        declare(write(tmp_path, text), n_classes=2)


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


COMBINED = """

def build(hp):
    if hp.Choice("heads", ["one", "many"]) == "many" and hp.Int("units", 2, 8) % 4:
        raise ValueError("the units must be a multiple of 4")
    return model()
"""


def test_values_that_build_refuses_together_are_left_out(tmp_path: Path) -> None:
    assert declare(write(tmp_path, COMBINED), n_classes=2).notes == ()


METADATA = """

def build(hp):
    text, stars = keras.Input((30,), name="text_ids"), keras.Input((3,), name="stars")
    vectors = keras.layers.Embedding(hp.Int("rows", 50, 90), 4)(text)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(vectors), stars])
    made = keras.Model([text, stars], keras.layers.Dense(1, activation="sigmoid")(both))
    made.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return made
"""
UNDER_A_CONDITION = f"""hp.Boolean("masked")
        with hp.conditional_scope("masked", [True]):
            hp.{OF_VOCABULARY}"""
WITH_ARGUMENTS = substituted(CLASS, "    def decl", "    def __init__(self, n): pass\n    def decl")
TWO_LENGTHS = substituted(FIXED_LENGTH, "Input((6,))", "Input((hp.Choice('n', [6, 8]),))")


def changed(old: str, new: str) -> str:
    return substituted(DECLARED, old, new)


IDS_OR_TEXTS = """

def build(hp):
    rows = hp.Int("vocab_size", 2, 40, default=30)
    if hp.Choice("reads", ["ids", "texts"]) == "ids":
        return model(vocab_size=rows)
    layers = keras.layers.TextVectorization(vocabulary=["good"]), *model().layers
    made = keras.Sequential([keras.Input((), dtype="string"), *layers])
    made.compile("sgd", "binary_crossentropy")
    return made
"""


@pytest.mark.parametrize(
    ("text", "fixed", "says"),
    [
        # What the file has
        ("", {}, r"mine\.py must define hypermodel"),
        ("\nhypermodel = 3\n", {}, "must define hypermodel"),
        (FUNCTION + substituted(FUNCTION, "any_name", "other"), {}, r"any_name, other\. Choose"),
        (CLASS + substituted(CLASS, "Space", "Other"), {}, r"Space, Other\. .* mine\.py:NAME"),
        (WITH_ARGUMENTS, {}, r"Write `hypermodel = Space\(\.\.\.\)`"),
        ("\n\ndef f(hp, x):\n    pass\n", {}, r"build\(hp\) without further parameters; it has"),
        # What the space declares
        (changed(f"hp.{OF_VOCABULARY}", UNDER_A_CONDITION), {}, "'vocab_size' under a condition"),
        (changed(OF_VOCABULARY, 'Int("vocab_size", 2, 40)'), {}, "vocab_size .*allows 2"),
        (changed(OF_VOCABULARY, 'Choice("vocab_size", [40, 2])'), {}, "vocab_size .*allows 2"),
        (changed(OF_VOCABULARY, 'Fixed("vocab_size", "all")'), {}, "vocab_size .* the text 'all'"),
        (changed(OF_VOCABULARY, 'Choice("vocab_size", ["40"])'), {}, "must be a number .* '40'"),
        (changed(OF_LENGTH, 'Fixed("sequence_length", 0)'), {}, "sequence_length .*allows 0"),
        (changed(OF_LENGTH, 'Int("ngrams", 1, 4)'), {}, "ngrams .*allows 4"),
        (changed(OF_LENGTH, 'Choice("ngrams", [1.5, 2.0])'), {}, "ngrams .*allows 1.5"),
        (changed(OF_LENGTH, 'Fixed("ngram_vocab_size", 2)'), {}, "ngram_vocab_size .*allows 2"),
        (IDS_OR_TEXTS, {}, "vocab_size .*allows 2"),
        # The sizes of its models
        (rows_are("hp.Int('rows', 10, 16)"), {}, "vocab_size; .* have 10 and 11 and 16"),
        (TOO_FEW_ROWS, {}, "vocab_size must be at most 29, .*; the space declares 30"),
        (SIZELESS, {"vocab_size": 16}, "vocab_size must be at most 15, .*; received 16"),
        (FIXED_LENGTH, {"sequence_length": 5}, "sequence_length must be 6, .*; received 5"),
        (TWO_LENGTHS, {"sequence_length": 6}, "declare sequence_length; .* have 6 and 8"),
        (METADATA, {}, r"inputs 'text_ids', 'stars'\..*transformer_classifier"),
    ],
)
def test_space_is_refused(tmp_path: Path, text: str, fixed: dict[str, int], says: str) -> None:
    with pytest.raises(SpaceError, match=says):
        declare(write(tmp_path, text), n_classes=2, sizes=replace(SIZES, **fixed))


@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        ((OF_VOCABULARY, 'Int("vocab_size", 10, 40, default=29)'), SIZES),
        (("", ""), replace(SIZES, all_rows=29)),
        (("", ""), replace(SIZES, vocab_size=29)),
    ],
    ids=["another value", "fewer words in the data", "the value of the study"],
)
def test_declared_vocabulary_that_fits_the_embedding_is_taken(
    change: tuple[str, str], sizes: Sizes, tmp_path: Path
) -> None:
    text = TOO_FEW_ROWS.replace(*change)
    assert declare(write(tmp_path, text), n_classes=2, sizes=sizes).declares("vocab_size")


def test_preset_for_a_space_that_takes_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"'preset', such as finetuned_encoder; mine declares"):
        declare(write(tmp_path, DECLARED), n_classes=2, preset="three")


REGISTERED_ELSEWHERE = """

def build(hp):
    {}
"""
OBJECTIVE = """

def build(trial):
    return model(trial.suggest_int("units", 2, 8))
"""
RAISES = substituted(AS_METHOD, f"return {POINTS}", "return 1 / 0")


@pytest.mark.parametrize(
    ("text", "says", "place"),
    [
        ("\n1 / 0\n", r"loading mine\.py: ZeroDivisionError", "line "),
        ("\ndef hypermodel(:\n", r"loading mine\.py: SyntaxError", "line "),
        (WITH_ARGUMENTS.replace(", n): pass", "): 1 / 0"), "ZeroDivisionError", "__init__"),
        ("\nimport sys\nsys.exit(2)\n", r"ended the program while loading mine\.py", ""),
        ("\nimport no_such_package\n", "Install it beside this program, or set PYTHONPATH", ""),
        ("\nn = len(word_index)\n", "it does not exist here: write the number into", ""),
        (changed("10, 40", "40, 10"), "declaring hyperparameters: V", "declare_hyperparameters"),
        (RAISES, "its starting points: ZeroDivisionError", "in starting_points"),
        ("\n\ndef build(hp):\n    hp.get('n')\n", "building the model .*: KeyError", "in build"),
        (OBJECTIVE, r"gets KerasTuner's hp, .*: write hp\.Int", "in build"),
        *(
            (
                REGISTERED_ELSEWHERE.format(use),
                "give the object itself .* or register it in this file",
                "in build",
            )
            for use in (
                'keras.layers.Dense(2, kernel_initializer="my>init")',
                'keras.layers.deserialize({"class_name": "my>Layer", "config": {}})',
            )
        ),
        (substituted(OWN_FIT, "[16, 32]", "[]"), r"fit\(\) on a few rows: ValueError", "in fit"),
    ],
)
def test_file_that_raises_gives_its_traceback(
    tmp_path: Path, text: str, says: str, place: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SpaceBug, match=says) as raised:
        declare(path, n_classes=2, try_fit=try_fit)
    assert place in raised.value.traceback
    assert not place or f'File "{path}", line ' in raised.value.traceback
