"""Models that misread their input: the sentences before a search, and the refusal."""

from pathlib import Path

import pytest

from tuning.errors import SpaceError
from tuning.spaces.loading import SearchSpace, declare
from tuning.spaces.sizes import Sizes

SIZES = Sizes(vocab_size=None, sequence_length=None, all_rows=30, usual_length=6)
# A space whose hyperparameters are declared, with the function that makes the model.
SPACE = """
import keras
import keras_tuner
import numpy as np
from keras import initializers, layers, ops

ROWS = np.random.default_rng(0).random((30, 4)).astype("float32")
mean = layers.GlobalAveragePooling1D


def chain(*first):
    return keras.Sequential([*first, layers.Dense(1, "sigmoid")])


def graph(inputs, last):
    return keras.Model(inputs, layers.Dense(1, "sigmoid")(last))


{make}

class Space(keras_tuner.HyperModel):
    def declare_hyperparameters(self, hp):
        for name, value in {declared}.items():
            hp.Fixed(name, value)
        hp.Choice("learning_rate", [0.1, 0.2])

    def build(self, hp):
        model = make()
        model.compile("adam", "binary_crossentropy")
        return model
"""
SEQUENTIAL = "def make():\n    return chain({first})\n"
OF_IDS = {"vocab_size": 30, "sequence_length": 6}


def space_of(tmp_path: Path, make: str) -> SearchSpace:
    path = tmp_path / "mine.py"
    path.write_text(SPACE.format(make=make, declared=OF_IDS))
    return declare(path, n_classes=2, sizes=SIZES)


@pytest.mark.parametrize(
    "first",
    [
        "layers.Dense(4, input_shape=(50,))",
        "layers.Dense(4)",
        "keras.Input((50,)), layers.Dropout(0.2), layers.BatchNormalization(), layers.Dense(4)",
        "layers.Flatten(), layers.Dense(4)",
    ],
)
@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
def test_chain_for_vectors_is_refused(tmp_path: Path, first: str) -> None:
    with pytest.raises(SpaceError, match="A Dense layer would read token ids as quantities"):
        space_of(tmp_path, SEQUENTIAL.format(first=first))


GRAPH_OF_VECTORS = """
def make():
    vectors = keras.Input((50,))
    return graph(vectors, layers.Dense(4)(layers.Dropout(0.2)(vectors / 10)))
"""


def test_graph_for_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="A Dense layer would read token ids as quantities"):
        space_of(tmp_path, GRAPH_OF_VECTORS)


NUMBER_OF_WORDS = """
def make():
    ids = keras.Input((6,))
    number = ops.sum(ops.cast(ops.not_equal(ids, 0), "float32"), axis=1, keepdims=True)
    both = [mean()(layers.Embedding(30, 4)(ids)), layers.Dense(2)(number)]
    return graph(ids, layers.concatenate(both))
"""


@pytest.mark.parametrize(
    "make",
    [
        SEQUENTIAL.format(
            first="keras.Input((6,)), layers.Embedding(30, 4), layers.Flatten(), layers.Dense(4)"
        ),
        SEQUENTIAL.format(
            first='keras.Input((6,)), layers.CategoryEncoding(30, "multi_hot"), layers.Dense(4)'
        ),
        NUMBER_OF_WORDS,
    ],
    ids=["embedding", "multi_hot", "number_of_words"],
)
def test_dense_layer_of_no_quantities_is_taken(tmp_path: Path, make: str) -> None:
    assert space_of(tmp_path, make).notes == ()
