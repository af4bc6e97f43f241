"""Models that misread their input: the sentences before a search, and the refusal."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tuning.errors import SpaceError
from tuning.spaces.loading import SearchSpace, declare
from tuning.spaces.models import notes_of
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


def space_of(tmp_path: Path, make: str, *, declared: dict[str, int] = OF_IDS) -> SearchSpace:
    path = tmp_path / "mine.py"
    path.write_text(SPACE.format(make=make, declared=declared))
    return declare(path, n_classes=2, sizes=SIZES)


SUBCLASSED = """
class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.vectors = layers.Embedding(30, 4, embeddings_initializer=initializers.Constant(ROWS))
        self.last = layers.Dense(1, "sigmoid")

    def call(self, ids):
        return self.last(ops.mean(self.vectors(ids), axis=1))


make = Model
"""
SET_LATER = """
def make():
    vectors = layers.Embedding(30, 4, embeddings_initializer="zeros", trainable=False)
    model = chain(keras.Input((6,)), vectors, mean())
    vectors.set_weights([ROWS])
    return model
"""
TWO_CHANNELS = """
def make():
    ids = keras.Input((6,))
    both = [layers.Embedding(30, 4)(ids), layers.Embedding(30, 4, weights=[ROWS])(ids)]
    return graph(ids, mean()(layers.concatenate(both)))
"""


@pytest.mark.parametrize(
    "make",
    [
        SEQUENTIAL.format(first="layers.Embedding(30, 4, weights=[ROWS]), mean()"),
        SEQUENTIAL.format(
            first="layers.Embedding(30, 4, initializers.Constant(ROWS), trainable=False), mean()"
        ),
        SEQUENTIAL.format(
            first="layers.Embedding(30, 4, lambda shape, dtype: ops.array(ROWS)), mean()"
        ),
        SET_LATER,
        SUBCLASSED,
        TWO_CHANNELS,
    ],
    ids=["weights", "constant", "function", "set_later", "subclassed", "two_channels"],
)
def test_given_word_vectors_are_noted(tmp_path: Path, make: str) -> None:
    (note,) = space_of(tmp_path, make).notes
    assert "belong to other words than the token ids" in note
    assert "TextVectorization(vocabulary=words)" in note


PADDING_OF_ZEROS = """
def make():
    vectors = layers.Embedding(30, 4)
    model = chain(keras.Input((6,)), vectors, mean())
    rows = vectors.get_weights()[0]
    rows[0] = 0
    vectors.set_weights([rows])
    return model
"""
POSITIONS = """
def make():
    ids = keras.Input((6,), dtype="int32")
    positions = layers.Embedding(6, 4, weights=[ROWS[:6]], trainable=False)
    return graph(ids, mean()(layers.Embedding(30, 4)(ids) + positions(ops.arange(6))))
"""
NUMBER_OF_WORDS = """
def make():
    ids = keras.Input((6,))
    number = ops.sum(ops.cast(ops.not_equal(ids, 0), "float32"), axis=1, keepdims=True)
    both = [mean()(layers.Embedding(30, 4)(ids)), layers.Dense(2)(number)]
    return graph(ids, layers.concatenate(both))
"""
TEXTS = """
def make():
    tokenize = layers.TextVectorization(vocabulary=["good", "bad"])
    vectors = layers.Embedding(30, 4, weights=[ROWS])
    return chain(keras.Input((1,), dtype="string"), tokenize, vectors, mean())
"""


@pytest.mark.parametrize(
    "make",
    [
        *(
            SEQUENTIAL.format(
                first=f"keras.Input((6,)), layers.Embedding(30, 30, {initializer}), mean()"
            )
            for initializer in (
                '"uniform", trainable=False',
                "None",
                "initializers.Constant(0.1)",
                '"identity"',
                "initializers.RandomNormal(seed=1)",
                "initializers.RandomNormal(seed=keras.random.SeedGenerator(1))",
                "lambda shape, dtype: keras.random.normal(shape)",
            )
        ),
        PADDING_OF_ZEROS,
        POSITIONS,
        TEXTS,
        # Dense layers that read no quantities of ids
        SEQUENTIAL.format(
            first="keras.Input((6,)), layers.Embedding(30, 4), layers.Flatten(), layers.Dense(4)"
        ),
        SEQUENTIAL.format(
            first='keras.Input((6,)), layers.CategoryEncoding(30, "multi_hot"), layers.Dense(4)'
        ),
        NUMBER_OF_WORDS,
    ],
)
def test_model_whose_vectors_and_quantities_are_its_own_is_not_noted(
    tmp_path: Path, make: str
) -> None:
    assert space_of(tmp_path, make).notes == ()


GRAPH_OF_VECTORS = """
def make():
    vectors = keras.Input((50,))
    return graph(vectors, layers.Dense(4)(layers.Dropout(0.2)(vectors / 10)))
"""
VECTORS = SEQUENTIAL.format(first="keras.Input((300, 100)), layers.Dense(4), mean()")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        *(
            (SEQUENTIAL.format(first=first), "would read token ids as quantities")
            for first in (
                "layers.Dense(4, input_shape=(50,))",
                "layers.Dense(4)",
                "keras.Input((50,)), layers.Dropout(0.2), layers.Dense(4)",
                "layers.Flatten(), layers.Dense(4)",
            )
        ),
        (GRAPH_OF_VECTORS, "would read token ids as quantities"),
        (VECTORS, r"this model's input has the shape \(300, 100\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
def test_model_for_vectors_is_refused(tmp_path: Path, make: str, says: str) -> None:
    with pytest.raises(SpaceError, match=says):
        space_of(tmp_path, make)


OF_NGRAMS = {"ngrams": 2, "ngram_vocab_size": 30}
NGRAMS = """
def make():
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    return graph(ngrams, {last})
"""
NGRAMS_AND_WORDS = """
def make():
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    words = keras.Input((6,), dtype="int32", name="words")
    of_words = layers.LSTM(2)(layers.Embedding(30, 4)(words))
    of_ngrams = mean()(layers.Embedding(30, 4{mask})(ngrams))
    return graph([ngrams, words], layers.concatenate([of_words, of_ngrams]))
"""


@pytest.mark.parametrize(
    "make",
    [
        NGRAMS.format(last="mean()(layers.Embedding(30, 4)(ngrams))"),
        # The first weights hide that the trained model reads the padding.
        NGRAMS.format(last='mean()(layers.Embedding(30, 4, "zeros")(ngrams))'),
        NGRAMS.format(last="ops.sum(layers.Embedding(30, 4)(ngrams), axis=1)"),
        NGRAMS_AND_WORDS.format(mask=""),
    ],
    ids=["mean", "zeros", "sum", "and_words"],
)
def test_padding_of_ngrams_that_is_read_is_noted(tmp_path: Path, make: str) -> None:
    (note,) = space_of(tmp_path, make, declared=OF_IDS | OF_NGRAMS).notes
    assert note.startswith("The output of the model depends on the padding of its n-grams")


@pytest.mark.parametrize(
    "make",
    [
        NGRAMS.format(last="mean()(layers.Embedding(30, 4, mask_zero=True)(ngrams))"),
        NGRAMS.format(last="layers.GlobalMaxPooling1D()(layers.Embedding(30, 4)(ngrams))"),
        NGRAMS_AND_WORDS.format(mask=", mask_zero=True"),
    ],
    ids=["mask", "maximum", "and_words"],
)
def test_padding_of_ngrams_that_is_not_read_is_not_noted(tmp_path: Path, make: str) -> None:
    assert space_of(tmp_path, make, declared=OF_IDS | OF_NGRAMS).notes == ()


def test_weights_of_a_model_of_ngrams_are_left_as_they_were() -> None:
    """A frozen layer may be a global of the file, which the trainings use too."""
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    vectors = keras.layers.Embedding(30, 4, trainable=False)
    model = keras.Model(ngrams, keras.layers.GlobalAveragePooling1D()(vectors(ngrams)))
    before = vectors.get_weights()[0]
    assert notes_of(model)
    np.testing.assert_array_equal(vectors.get_weights()[0], before)
