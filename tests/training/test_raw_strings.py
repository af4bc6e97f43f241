"""Models that take the texts themselves: what they get, how they are adapted, paused and saved, and
which are refused.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.commands import Ran, check_prediction
from tests.numbered import TWO
from tests.texts import make_reviews, splits_of
from tests.training.test_fit import Hyper
from tuning.config import TrainConfig
from tuning.documents import structure, unstructure
from tuning.errors import DataError, SpaceBug, SpaceError, StudyError
from tuning.export.ensemble import average, common_input
from tuning.export.writers import Source
from tuning.inputs.contract import LabeledTexts, ModelInput, Preparation
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.inputs.kinds import TEXTS as KIND
from tuning.inputs.texts import SplitTexts, TextView
from tuning.spaces.loading import SearchSpace, declare, load_hypermodel
from tuning.spaces.ranges import Values
from tuning.spaces.sizes import Sizes
from tuning.training.built_model import build_model
from tuning.training.fit import fit
from tuning.training.loops import try_fit
from tuning.training.prediction import Predictor
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob
from tuning.training.vocabularies import keep_in_config

HARD = ["\u2028 a\x00b 日本 👍", "ÉCOLE\x85x"]
TEXTS = [*make_reviews(76)["review_body"].tolist(), *HARD]
TRAIN, VALIDATION, TEST = TEXTS[:48], TEXTS[48:], ["one text", "another text"]
SIZES = Sizes(vocab_size=None, sequence_length=None, all_rows=25, usual_length=9)
JOB = TrainingJob(
    values={"batch_size": 48}, target=TWO, train=TrainConfig(epochs=2, patience=5), seed=3
)

Splits = tuple[LabeledTexts, LabeledTexts]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("cache") / ("f" * 16)
    corpus = build_corpus(folder, splits_of(TRAIN, VALIDATION, TEST))
    build_texts(corpus, splits=lambda: splits_of(TRAIN, VALIDATION, TEST))
    return corpus


@pytest.fixture(scope="module")
def splits(corpus: Corpus) -> Splits:
    return corpus.split("train"), corpus.split("validation")


def build_texts(corpus: Corpus, *, splits: Any) -> None:
    space = SearchSpace("of_texts", (), takes_texts=True)
    KIND.prepare(Preparation(corpus, space, splits))


def never() -> Any:
    raise AssertionError("the texts were read again")


def test_texts_of_a_corpus_are_stored_once_and_again_if_they_are_damaged(tmp_path: Path) -> None:
    corpus = build_corpus(tmp_path / ("f" * 16), splits_of(TRAIN, VALIDATION, TEST))
    assert not corpus.split("train").texts.others
    build_texts(corpus, splits=lambda: splits_of(TRAIN, VALIDATION, TEST))
    build_texts(corpus, splits=never)
    path = corpus.texts_dir / "train" / "texts.bin"
    written = path.read_bytes()
    path.write_bytes(written[:-1])
    assert not corpus.split("train").texts.others
    build_texts(corpus, splits=lambda: splits_of(TRAIN, VALIDATION, TEST))
    assert path.read_bytes() == written


def test_texts_of_other_data_are_not_stored(tmp_path: Path) -> None:
    corpus = build_corpus(tmp_path / ("f" * 16), splits_of(TRAIN, VALIDATION, TEST))
    changed = splits_of(TRAIN, VALIDATION, TEST, fingerprint="0" * 16)
    with pytest.raises(DataError, match=r"fingerprint was f+, and is 0+ now"):
        build_texts(corpus, splits=lambda: changed)
    assert not corpus.texts_dir.exists()


def compiled(model: keras.Model) -> keras.Model:
    """Compile a model that runs without a graph, which takes longer to trace than a training."""
    optimizer = keras.optimizers.Adam(0.02)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


def tail() -> list[keras.layers.Layer]:
    """Return the layers after a vectorization of at most 40 words."""
    return [
        layers.Embedding(40, 3),
        layers.GlobalMaxPooling1D(),
        layers.Dropout(0.2),
        layers.Dense(1, activation="sigmoid"),
    ]


def vectorization(**options: Any) -> keras.layers.TextVectorization:
    return layers.TextVectorization(**{"max_tokens": 40, "output_sequence_length": 6} | options)


def sequential(hp: Any) -> keras.Model:
    return compiled(keras.Sequential([vectorization(), *tail()]))


def chained(inputs: keras.KerasTensor, *first: keras.layers.Layer) -> keras.Model:
    """Return a functional model with some layers before its vectorization."""
    outputs = inputs
    for layer in (*first, vectorization(), *tail()):
        outputs = layer(outputs)
    return compiled(keras.Model(inputs, outputs))


def functional(hp: Any) -> keras.Model:
    return chained(keras.Input((1,), dtype="string"))


def without_dimension(hp: Any) -> keras.Model:
    return compiled(keras.Sequential([keras.Input((), dtype="string"), vectorization(), *tail()]))


class Classifier(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.vectorize = vectorization()
        self.rest = keras.Sequential(tail())

    def call(self, texts: Any, training: bool = False) -> Any:
        return self.rest(self.vectorize(texts), training=training)


def subclassed(hp: Any) -> keras.Model:
    return compiled(Classifier())


def tf_idf(hp: Any) -> keras.Model:
    counts = layers.TextVectorization(max_tokens=30, output_mode="tf_idf", pad_to_max_tokens=True)
    _, _, dropout, dense = tail()
    return compiled(keras.Sequential([keras.Input((1,), dtype="string"), counts, dropout, dense]))


def train(
    hypermodel: keras_tuner.HyperModel,
    splits: Splits,
    on_epoch: Callable[[Epoch], Answer] = lambda epoch: Answer.GO_ON,
    **changes: Any,
) -> tuple[keras.Model, FitResult]:
    """Train on the first split, with these changes of the job."""
    job = replace(JOB, **changes)
    return fit(hypermodel, job, train=splits[0], validation=splits[1], on_epoch=on_epoch)


def vectorization_of(model: keras.Model) -> keras.layers.TextVectorization:
    return next(
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.TextVectorization)
    )


def test_layer_outside_of_build_is_adapted_to_the_texts_of_each_training(splits: Splits) -> None:
    """A worker keeps the file of a space, whose layer has the vocabulary of the last fold."""
    shared = vectorization()
    hypermodel = Hyper(lambda hp: compiled(keras.Sequential([shared, *tail()])))
    vocabularies = [
        vectorization_of(train(hypermodel, ordered)[0]).get_vocabulary()
        for ordered in (splits, splits[::-1], splits)
    ]
    assert vocabularies[0] == vocabularies[2] != vocabularies[1]


@pytest.mark.parametrize("style", [sequential, functional, without_dimension, subclassed, tf_idf])
def test_model_gets_the_texts_and_its_layer_is_adapted_to_the_training_texts(
    splits: Splits, style: Callable[[Any], keras.Model]
) -> None:
    model, result = train(Hyper(style), splits)
    layer = vectorization_of(model)
    alone = layers.TextVectorization.from_config({**layer.get_config(), "vocabulary_size": None})
    alone.adapt(TRAIN)
    assert layer.get_vocabulary() == alone.get_vocabulary()
    assert len(result.history) == 2
    assert result.n_fused_layers == 0
    built = build_model(Hyper(style), JOB)
    encoded = built.encode(splits[1]).view
    (view,) = encoded.inputs.values()
    assert isinstance(view, TextView)
    assert view.batch(np.array([1, 0])).ravel().tolist() == [VALIDATION[1], VALIDATION[0]]
    x = tf.constant(VALIDATION)
    ours = Predictor(model)(encoded, target=TWO)[:, 1]
    np.testing.assert_allclose(ours, np.ravel(model(x[:, None])), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("style", [sequential, tf_idf])
def test_paused_training_continues_as_if_it_had_not_paused(
    splits: Splits, style: Callable[[Any], keras.Model], tmp_path: Path
) -> None:
    _, whole = train(Hyper(style), splits)
    options = {"checkpoint": str(tmp_path / "paused.npz")}
    train(Hyper(style), splits, lambda epoch: Answer.PAUSE, **options)
    # The vocabulary comes from the checkpoint, so it does not depend on the present texts.
    raw = SplitTexts.of(["x"] * len(splits[0].labels))
    other = replace(splits[0], texts=replace(splits[0].texts, others={"texts": raw}))
    built = build_model(Hyper(style), replace(JOB, resume=True, **options))
    assert len(vectorization_of(built.model).get_vocabulary()) > 20
    built.adapt(built.encode(other))
    assert "x" not in vectorization_of(built.model).get_vocabulary()
    _, resumed = train(Hyper(style), splits, resume=True, **options)
    assert [e.metrics for e in resumed.history] == [e.metrics for e in whole.history]


def test_vocabulary_of_a_saved_model_keeps_its_terms(tmp_path: Path) -> None:
    """Keras alone would split a term at U+2028, and give the later terms other ids."""
    texts = tf.constant(["a\u2028b a\u2028b c c c", "d c"])
    model = tf_idf(None)
    vectorization_of(model).adapt(texts)
    expected = model(texts[:, None])
    keep_in_config(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(loaded(texts[:, None]), expected, atol=1e-7)


class Hooked(Hyper):
    """A hypermodel with the hook of this package. `batches` are those of its calls."""

    batches: list[Any]

    def adapt(self, hp: Any, model: keras.Model, x: Any, y: Any) -> None:
        self.batches = list(x.as_numpy_iterator())
        vectorization_of(model).adapt(x)


@pytest.mark.parametrize(("style", "shape"), [(functional, (48, 1)), (without_dimension, (48,))])
def test_adapt_of_a_hypermodel_gets_the_training_texts(
    splits: Splits, style: Callable[[Any], keras.Model], shape: tuple[int, ...]
) -> None:
    hypermodel = Hooked(style)
    model, _ = train(hypermodel, splits)
    (batch,) = hypermodel.batches
    assert batch.shape == shape
    assert [text.decode() for text in batch.ravel()] == TRAIN
    assert len(vectorization_of(model).get_vocabulary()) == 40


def test_own_fit_gets_a_tensor_of_strings(splits: Splits) -> None:
    seen = []

    def own(hp: Any, model: keras.Model, x: Any, y: Any, **options: Any) -> Any:
        seen.append((x, options["validation_data"][0]))
        return model.fit(x, y, **options)

    _, result = train(Hyper(functional, own), splits)
    for tensor, texts in zip(seen[0], (TRAIN, VALIDATION), strict=True):
        assert [text.decode() for (text,) in tensor.numpy()] == texts
    assert len(result.history) == 2


def lowered(hp: Any) -> keras.Model:
    lower = layers.Lambda(tf.strings.lower, output_shape=())
    return chained(keras.Input((), dtype="string"), lower)


@pytest.mark.slow
def test_layer_that_does_not_take_the_texts_directly_must_be_adapted(splits: Splits) -> None:
    with pytest.raises(SpaceError, match=r"must have a vocabulary .* define adapt\(self, hp,"):
        train(Hyper(lowered), splits)
    _, result = train(Hooked(lowered), splits)
    assert len(result.history) == 2


def test_model_needs_the_stored_texts(splits: Splits) -> None:
    without = replace(splits[0], texts=replace(splits[0].texts, others={}))
    with pytest.raises(SpaceBug, match="this configuration's model takes texts"):
        train(Hyper(sequential), (without, splits[1]))


def two_columns() -> keras.Model:
    inputs = keras.Input((2,), dtype="string")
    return keras.Model(inputs, layers.StringLookup(vocabulary=["a"])(inputs))


def two_inputs() -> keras.Model:
    text, ids = keras.Input((1,), dtype="string"), keras.Input((None,), dtype="int32")
    words = vectorization(vocabulary=["a"])(text)
    return keras.Model([text, ids], layers.Concatenate()([words, ids]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_columns, r"must have one text in a row: .* this model's input has the shape \(2,\)"),
        (two_inputs, "that takes texts must have no other input; this model has the inputs"),
    ],
)
def test_input_of_another_form_is_refused(make: Callable[[], keras.Model], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        build_model(Hyper(lambda hp: compiled(make())), JOB)


SPACE = """
import keras
import keras_tuner
from keras import layers

shared = layers.TextVectorization(max_tokens=40, output_sequence_length=6)


def model(hp):
    made = keras.Sequential([
        shared, layers.Embedding(40, hp.Int("dim", 2, 4)), layers.GlobalMaxPooling1D(),
        layers.Dense(1, activation="sigmoid"),
    ])
    made.compile("adam", "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return made
"""

BUILD = """

def build(hp):
    return model(hp)
"""

DECLARED = """

class Space(keras_tuner.HyperModel):
    def declare_hyperparameters(self, hp):
        hp.Int("vocab_size", 10, 40, default=30)
        with hp.conditional_scope("vocab_size", [30]):
            hp.Int("sequence_length", 4, 16, default=8)
        hp.Int("dim", 2, 4)

    def build(self, hp):
        return model(hp)
"""

OWN_FIT = """

class Space(keras_tuner.HyperModel):
    def build(self, hp):
        return model(hp)

    def fit(self, hp, model, *args, **kwargs):
        hp.Choice("rounds", [1, 2])
        return model.fit(*args, **kwargs)
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(SPACE + text)
    return path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (DECLARED, "n_classes vocab_size sequence_length dim"),
        (OWN_FIT, "n_classes dim rounds"),
    ],
)
def test_space_of_texts_needs_no_sizes(tmp_path: Path, text: str, names: str) -> None:
    path = write(tmp_path, text)
    space = declare(path, n_classes=2, sizes=SIZES, try_fit=partial(try_fit, target=TWO))
    assert (space.takes_texts, space.notes) == (True, ())
    assert [item.name for item in space.hyperparameters] == names.split()
    assert structure(json.loads(json.dumps(unstructure(space))), SearchSpace) == space


@pytest.mark.slow
def test_trying_a_fit_leaves_a_shared_layer_without_a_vocabulary(
    tmp_path: Path, splits: Splits
) -> None:
    hypermodel = load_hypermodel(write(tmp_path, OWN_FIT))
    hp = keras_tuner.HyperParameters()
    hp.Fixed("n_classes", 2)
    try_fit(hypermodel, hp, hypermodel.build(hp), target=TWO, sequence_length=8)
    values: Values = {"dim": 2, "rounds": 1}
    model, _ = train(hypermodel, splits, values=values)
    assert "unknown" not in vectorization_of(model).get_vocabulary()
    assert len(vectorization_of(model).get_vocabulary()) == 40


def test_size_that_no_model_takes_is_refused(tmp_path: Path) -> None:
    sizes = replace(SIZES, sequence_length=7)
    with pytest.raises(SpaceError, match="sequence_length must be given for a space that"):
        declare(write(tmp_path, BUILD), n_classes=2, sizes=sizes)


@pytest.mark.slow
def test_mean_of_models_of_texts_is_a_model_of_texts(corpus: Corpus, splits: Splits) -> None:
    models = [train(Hyper(style), splits)[0] for style in (subclassed, tf_idf)]
    members = [Source(model, {}, corpus, TWO) for model in models]
    first, second, mean = (
        source.probabilities(splits[1].texts)
        for source in (*members, average(members, (0.25, 0.75)))
    )
    np.testing.assert_allclose(mean, 0.25 * first + 0.75 * second, atol=1e-6)


def test_models_of_texts_and_of_ids_are_no_ensemble(corpus: Corpus) -> None:
    of_ids = ModelInput(vocab_size=10, sequence_length=4, truncating="pre")
    of_texts = ModelInput(vocab_size=0, sequence_length=0, truncating="pre")
    for inputs in ([of_ids, of_texts], [of_texts, of_ids]):
        with pytest.raises(StudyError, match="must all take texts"):
            common_input(inputs, corpus)


@pytest.mark.journey
def test_study_of_texts_is_searched_confirmed_reported_and_exported(
    run_cli: Callable[..., Ran], reviews_csv: Path, tmp_path: Path
) -> None:
    space = write(tmp_path, BUILD)
    ran = run_cli(
        *("tune", "--space", space, "--data", reviews_csv, "--n-trials", 3, "--epochs", 1),
        *("--workers", 1, "--study", "texts", "--folds", 2),
    )
    assert ran.code == 0, ran
    assert "declares no vocab_size" not in ran.out
    assert run_cli("report", "--study", "texts").code == 0
    ran = run_cli("export-best", "--study", "texts", "--ensemble", 2)
    assert ran.code == 0, ran
    assert "model.onnx left out: model.onnx must contain the model's vectorization" in ran.out
    best = tmp_path / "results" / "texts" / "best"
    assert sorted(path.name for path in best.iterdir()) == [
        "README.md",
        "export.json",
        "model.keras",
        "saved_model",
    ]
    ran = run_cli("predict", "--study", "texts", "--text", "it works", "--json")
    assert ran.code == 0, ran
    check_prediction(json.loads(ran.out), best)
