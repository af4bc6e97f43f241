"""Hypermodels as users of KerasTuner write them. Each file in `tests/keras_tuner_styles` runs under
`keras_tuner.RandomSearch` and here without a change, with the same result.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from tests.commands import Ran
from tests.numbered import numbered
from tests.paths import ROOT
from tuning.config import TrainConfig
from tuning.inputs.contract import LabeledTexts, Rows, TokenizedTexts
from tuning.inputs.texts import SplitTexts
from tuning.spaces.loading import SearchSpace, declare, has_own_fit, load_hypermodel
from tuning.spaces.ranges import Values
from tuning.spaces.sizes import Sizes
from tuning.training.batching import training_batches
from tuning.training.built_model import build_model
from tuning.training.fit import fit
from tuning.training.loops import try_fit
from tuning.training.prediction import dataset, without_objects
from tuning.training.result import TrainingJob

FOLDER = ROOT / "tests" / "keras_tuner_styles"
# The hypermodels that are tested: the file with the name of a hypermodel where the file has two.
# `my_layers.py` is a module that another file imports.
PLACES = [
    *sorted(p for p in FOLDER.glob("*.py") if p.stem not in ("two_models", "my_layers")),
    FOLDER / "two_models.py:mean_model",
    FOLDER / "two_models.py:recurrent_model",
]
THREE_CLASSES = {"instance.py", "one_hot_three_classes.py", "searched_class_weights.py"}
# The files whose models take the texts themselves.
OF_TEXTS = {path.stem for path in FOLDER.glob("texts_*.py")}
SIZES = Sizes(vocab_size=None, sequence_length=None, all_rows=25, usual_length=9)
EPOCHS, BATCH_SIZE, SEED = 2, 16, 4

pytestmark = [
    # Keras warns of `input_length`, which public hypermodels still give.
    pytest.mark.filterwarnings("ignore:Argument `input_length` is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner.*"),
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
]


def make_texts(n: int, *, n_classes: int, seed: int) -> LabeledTexts:
    """Return texts of 3 to 10 tokens. A text of class c contains the id 2 + c twice. The word of an
    id is "w2", "w3", ….
    """
    draw = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % n_classes
    texts = [
        draw.permutation([2 + label, 2 + label, *draw.integers(6, 24, size=draw.integers(1, 9))])
        for label in labels
    ]
    offsets = np.cumsum([0, *map(len, texts)])
    raw = SplitTexts.of([" ".join(f"w{word}" for word in text) for text in texts])
    ids = np.concatenate(texts).astype(np.int32)
    return LabeledTexts(
        TokenizedTexts(ids, offsets.astype(np.int64), others={"texts": raw}),
        labels,
    )


class Eager(keras_tuner.HyperModel):
    """Another hypermodel whose models run eagerly: a graph takes longer to trace than these
    trainings take.
    """

    def __init__(self, inner: keras_tuner.HyperModel) -> None:
        super().__init__()
        self.inner = inner
        if has_own_fit(inner):
            self.fit = inner.fit

    def declare_hyperparameters(self, hp: Any) -> None:
        self.inner.declare_hyperparameters(hp)

    def build(self, hp: Any) -> keras.Model:
        model = self.inner.build(hp)
        model.run_eagerly = True
        return model


class InOurOrder(keras_tuner.HyperModel):
    """A hypermodel for KerasTuner that trains on the batches that `fit` of this package draws: the
    same texts in the same order, with the same padding and the same form of the labels. The seed is
    set before each model is built. An own `fit` gets whole arrays, as it does here.
    """

    def __init__(
        self, inner: Eager, splits: list[LabeledTexts], *, n_classes: int, sizes: Values
    ) -> None:
        super().__init__()
        self.inner, self.splits, self.n_classes, self.sizes = inner, splits, n_classes, sizes
        self.values: Values = {}
        self.model: keras.Model | None = None

    def build(self, hp: Any) -> keras.Model:
        self.inner.build(hp)  # hp contains all values of this configuration after it.
        self.values = {**hp.values, **self.sizes}
        if has_own_fit(self.inner):
            self.values["batch_size"] = hp.Choice("batch_size", [8, 16])
        job = job_of(self.values, n_classes=self.n_classes)
        built = build_model(self.inner, job)
        self.train, self.validation = (built.encode(split) for split in self.splits)
        keras.backend.clear_session()
        keras.utils.set_random_seed(SEED)
        self.model = self.inner.build(hp)
        return self.model

    def fit(self, hp: Any, model: keras.Model, *args: Any, **options: Any) -> Any:
        arrays = (without_objects(self.validation.view.array()), self.validation.targets)
        if has_own_fit(self.inner):
            x, y = without_objects(self.train.view.array()), self.train.targets
            return self.inner.fit(hp, model, x, y, validation_data=arrays, **options)
        epoch = 0

        def batches() -> Iterator[Rows]:
            nonlocal epoch
            epoch += 1
            draw = partial(training_batches, self.train.view, batch_size=BATCH_SIZE)
            return iter(draw(seed=SEED, epoch=epoch))

        n_batches = -(-len(self.train.targets) // BATCH_SIZE)
        data = dataset(batches, self.train.view, self.train.targets, n_batches=n_batches)
        return model.fit(data, validation_data=arrays, shuffle=False, **options)


def job_of(values: Values, *, n_classes: int) -> TrainingJob:
    return TrainingJob(
        values=values,
        target=numbered(n_classes),
        train=TrainConfig(epochs=EPOCHS, batch_size=BATCH_SIZE),
        seed=SEED,
    )


def names_of(place: Path) -> str:
    return place.name.replace(".py", "")


def n_classes_of(place: Path) -> int:
    return 3 if place.name in THREE_CLASSES else 2


def declared(place: Path) -> SearchSpace:
    n_classes = n_classes_of(place)
    trying = partial(try_fit, target=numbered(n_classes))
    return declare(place, n_classes=n_classes, sizes=SIZES, try_fit=trying)


# The names that each hypermodel declares and that are searched.
SEARCHED = {
    "conditional_cells": "cell n_lstm width_0 width width_1",
    "existing_code": "units activation dropout lr",
    "instance": "units lr",
    "layers_in_a_loop": "num_layers units_0 activation dropout lr units_1 units_2 rate",
    "logits": "embedding_dim dropout",
    "neighbour": "dim lr",
    "one_hot_three_classes": "l2 last",
    "one_hot_two_classes": "dim optimizer",
    "own_f1": "filters kernel",
    "own_fit": "dim batch_size",
    "own_fit_of_arrays": "dim batch_size",
    "rare_class": "dim gamma batch_size",
    "searched_class_weights": "dim weight_1 weight_2 batch_size",
    "sequential_lstm": "embedding dropout units",
    "several_convolutions": "filters_2 filters_3 dropout learning_rate",
    "subclassed": "dim heads",
    "texts_in_build": "vocab_size ngrams dropout",
    "texts_in_global_layer": "embedding_dim units lr",
    "texts_in_subclassed_model": "sequence_length dim",
    "texts_to_logits": "units",
    "two_models:mean_model": "dim",
    "two_models:recurrent_model": "units",
}


@pytest.mark.parametrize("place", PLACES, ids=names_of)
def test_hypermodel_is_declared_with_the_sizes_of_its_model(place: Path) -> None:
    space = declared(place)
    assert [item.name for item in space.searched] == SEARCHED[names_of(place)].split()
    fixed = {item.name: item.default for item in space.hyperparameters if item.kind == "fixed"}
    assert space.takes_texts == (place.stem in OF_TEXTS)
    if space.takes_texts:
        assert (fixed, space.notes) == ({"n_classes": n_classes_of(place)}, ())
        return
    of_length = ("conditional_cells", "several_convolutions", "own_fit_of_arrays")
    has_length = place.stem in (*of_length, "sequential_lstm")  # The last gives `input_length`.
    assert fixed == {
        "n_classes": n_classes_of(place),
        "vocab_size": 30,
        "sequence_length": 10 if has_length else SIZES.usual_length,
    }
    reads_padding = names_of(place) in (
        *("one_hot_three_classes", "one_hot_two_classes"),
        *("sequential_lstm", "two_models:recurrent_model"),
    )
    assert len(space.notes) == 2 + reads_padding


# The search of KerasTuner needs tensorboard, which the slow tests install.
@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=map(names_of, PLACES))
def test_hypermodel_trains_under_keras_tuner_and_here_with_the_same_result(
    place: Path, tmp_path: Path
) -> None:
    """A trial of RandomSearch, with the values that it has drawn, has the same validation accuracy
    as a training here with these values, and its model gives the same probabilities.
    """
    n_classes, space = n_classes_of(place), declared(place)
    train = make_texts(60, n_classes=n_classes, seed=1)
    validation = make_texts(30, n_classes=n_classes, seed=2)
    sizes = {
        item.name: item.default
        for item in space.hyperparameters
        if item.name in ("vocab_size", "sequence_length") and item.kind == "fixed"
    }
    hypermodel = Eager(load_hypermodel(place))
    under = InOurOrder(hypermodel, [train, validation], n_classes=n_classes, sizes=sizes)
    search = keras_tuner.RandomSearch(
        under, objective="val_accuracy", max_trials=1, seed=5, directory=tmp_path
    )
    search.search(epochs=EPOCHS, verbose=0)
    (trial,) = search.oracle.get_best_trials()
    assert trial.status == "COMPLETED"

    values = under.values
    known = {item.name for item in space.hyperparameters}
    assert set(values) <= known
    model, result = fit(
        hypermodel, job_of(values, n_classes=n_classes), train=train, validation=validation
    )
    assert result.best_value == pytest.approx(trial.score, abs=1e-6)
    x = without_objects(under.validation.view.array())
    assert under.model is not None
    theirs, ours = (np.asarray(m.predict_on_batch(x)) for m in (under.model, model))
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert len(result.history) == EPOCHS


@pytest.mark.parametrize("stem", ["own_fit", "own_fit_of_arrays", "rare_class"])
def test_own_fit_is_retrained_without_a_validation_split(stem: str) -> None:
    """An export trains on both splits; a `fit` that needs validation data gets rows of them."""
    values = {"vocab_size": 30, "sequence_length": 10, "dim": 4, "batch_size": 8, "gamma": 2.0}
    hypermodel = Eager(load_hypermodel(FOLDER / f"{stem}.py"))
    train = make_texts(24, n_classes=2, seed=1)
    _, result = fit(hypermodel, job_of(values, n_classes=2), train=train, validation=None)
    assert result.n_epochs == EPOCHS
    assert not [name for epoch in result.history for name in epoch.metrics if "val" in name]


@pytest.mark.slow
def test_study_of_a_file_with_a_module_beside_it_is_searched_and_exported(
    run_cli: Callable[..., Ran], reviews_csv: Path, tmp_path: Path
) -> None:
    """The worker and the retraining of the export import the module. `model.keras` can't be loaded
    without the module, and is not exported. The command prints the sizes that it takes, and the
    export, which declares the space again, has the same sizes.
    """
    place, study = FOLDER / "neighbour.py:build_model", "neighbour-build_model-reviews"
    ran = run_cli(
        *("tune", "--space", place, "--data", reviews_csv, "--sequence-length", 7),
        *("--n-trials", 2, "--epochs", 1, "--workers", 1, "--no-confirm"),
    )
    assert ran.code == 0, ran
    assert "no vocab_size: it is 30, the rows of the model's embedding." in ran.out
    assert "no sequence_length: it is 7, the value of sequence_length." in ran.out
    assert run_cli("export-best", "--study", study).code == 0
    best = tmp_path / "results" / study / "best"
    assert not (best / "model.keras").exists()
    ran = run_cli("predict", "--study", study, "--text", "it works", "--json")
    assert ran.code == 0, ran
    assert json.loads(ran.out)["label"] in ("negative", "positive")
