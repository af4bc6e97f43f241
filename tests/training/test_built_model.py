"""What a hypermodel's `adapt` gets, and what it must not do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from tests.numbered import TWO
from tests.texts import ngram_splits
from tuning.config import TrainConfig
from tuning.errors import SpaceBug, SpaceError, StorageError
from tuning.inputs.corpus import LabeledTexts
from tuning.models import fit_ratios, ngram_classifier
from tuning.models.ngrams import RATIOS, ngram_logits
from tuning.spaces.ranges import Values
from tuning.training.batching import NgramView
from tuning.training.built_model import build_model
from tuning.training.fit import fit
from tuning.training.prediction import make_view
from tuning.training.result import Answer, TrainingJob

ROWS = 40
VALUES: Values = {"ngrams": 2, "ngram_vocab_size": ROWS, "batch_size": 40}
BOTH: Values = {**VALUES, "vocab_size": ROWS, "sequence_length": 6}
JOB = TrainingJob(values=VALUES, target=TWO, train=TrainConfig(epochs=2), seed=0)


def eager(model: keras.Model) -> keras.Model:
    """Make a model run without a graph, which takes longer to trace than these trainings take."""
    model.run_eagerly = True
    return model


class Hyper(keras_tuner.HyperModel):
    """A model of n-grams, and of token ids if its configuration has them. `seen` are the arguments
    of each `adapt`.
    """

    def __init__(self, returned: Any = None) -> None:
        super().__init__()
        self.returned = returned
        self.seen: list[tuple[list[Any], Any]] = []

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        if "vocab_size" not in hp.values:
            return eager(ngram_classifier(vocab_size=ROWS))
        words = keras.Input((None,), dtype="int32", name="words")
        ngrams = keras.Input((None,), dtype="int32", name="ngrams")
        mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(ROWS, 3)(words))
        logit = keras.layers.Add()(
            [keras.layers.Dense(1)(mean), ngram_logits(ngrams, vocab_size=ROWS, n_outputs=1)]
        )
        model = keras.Model([words, ngrams], keras.layers.Activation("sigmoid")(logit))
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return eager(model)

    def adapt(self, hp: keras_tuner.HyperParameters, model: keras.Model, x: Any, y: Any) -> Any:
        batches = list(x.as_numpy_iterator())
        self.seen.append((batches, y))
        ngrams = [batch["ngrams"] if isinstance(batch, dict) else batch for batch in batches]
        fit_ratios(model, ngrams, y)
        return self.returned


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabeledTexts, LabeledTexts]:
    return ngram_splits(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize(
    "values", [pytest.param(VALUES, marks=pytest.mark.slow), BOTH], ids=["ngrams", "both"]
)
def test_adapt_gets_the_training_split_in_order_once(
    splits: tuple[LabeledTexts, LabeledTexts], values: Values
) -> None:
    train, validation = splits
    hypermodel = Hyper()
    _, result = fit(hypermodel, replace(JOB, values=values), train=train, validation=validation)
    ((batches, labels),) = hypermodel.seen
    np.testing.assert_array_equal(labels, train.labels)
    assert isinstance(batches[0], dict) is (values is BOTH)
    seen = [row for b in batches for row in (b["ngrams"] if isinstance(b, dict) else b)]
    expected = NgramView(train.texts.ngrams, order=2, vocab_size=ROWS).batch(np.arange(len(labels)))
    assert len({tuple(row) for row in expected}) > 100
    for row, expected_row in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(row[row != 0], expected_row[expected_row != 0])
    assert len(result.history) == 2


def test_nothing_but_the_training_split_reaches_the_model(
    splits: tuple[LabeledTexts, LabeledTexts],
) -> None:
    train, validation = splits
    flipped = replace(validation, labels=1 - validation.labels)
    weights = []
    for other in (validation, flipped):
        model, _ = fit(Hyper(), JOB, train=train, validation=other)
        weights.append(model.get_weights())
    for weight, other_weight in zip(*weights, strict=True):
        np.testing.assert_array_equal(weight, other_weight)
    assert np.ptp(model.get_layer(RATIOS).get_weights()[0]) > 1


@pytest.mark.slow
def test_resumed_training_is_not_adapted_again(
    splits: tuple[LabeledTexts, LabeledTexts], tmp_path: Path
) -> None:
    train, validation = splits
    whole, expected = fit(Hyper(), JOB, train=train, validation=validation)
    job = replace(JOB, checkpoint=str(tmp_path / "c.npz"))
    hypermodel = Hyper()
    fit(hypermodel, job, train=train, validation=validation, on_epoch=lambda epoch: Answer.PAUSE)
    model, result = fit(hypermodel, replace(job, resume=True), train=train, validation=validation)
    assert len(hypermodel.seen) == 1
    assert [e.metrics for e in result.history] == [e.metrics for e in expected.history]
    for whole_weight, resumed_weight in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(whole_weight, resumed_weight)


def test_adapt_that_returns_another_model_is_refused(
    splits: tuple[LabeledTexts, LabeledTexts],
) -> None:
    train, validation = splits
    other = ngram_classifier(vocab_size=ROWS)
    with pytest.raises(SpaceBug, match=r"adapt\(hp, model, x, y\) must change the model that it"):
        fit(Hyper(other), JOB, train=train, validation=validation)


def test_adapt_that_raises_names_its_error(splits: tuple[LabeledTexts, LabeledTexts]) -> None:
    train, validation = splits
    hypermodel = Hyper()
    hypermodel.adapt = lambda hp, model, x, y: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(SpaceBug, match="adapting the model to the training texts: ZeroDivision"):
        fit(hypermodel, JOB, train=train, validation=validation)


def test_ratios_of_texts_of_one_class_are_finite(
    splits: tuple[LabeledTexts, LabeledTexts],
) -> None:
    train, validation = splits
    train = replace(train, labels=np.zeros_like(train.labels))
    model, _ = fit(Hyper(), JOB, train=train, validation=validation)
    assert np.isfinite(model.get_layer(RATIOS).get_weights()[0]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ngram_vocab_size": ROWS}, "an input named 'ngrams'; this configuration has no ngrams"),
        ({**VALUES, "vocab_size": ROWS}, "takes token ids; this configuration has no sequence"),
    ],
)
def test_configuration_without_what_an_input_needs_is_refused(
    splits: tuple[LabeledTexts, LabeledTexts], values: Values, message: str
) -> None:
    train, validation = splits
    with pytest.raises(SpaceBug, match=message):
        fit(Hyper(), replace(JOB, values=values), train=train, validation=validation)


def test_space_with_ngrams_whose_model_takes_token_ids_is_refused(
    splits: tuple[LabeledTexts, LabeledTexts],
) -> None:
    class Words(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            model = keras.Sequential(
                [
                    keras.Input((None,), dtype="int32"),
                    keras.layers.Embedding(ROWS, 2),
                    keras.layers.GlobalAveragePooling1D(),
                    keras.layers.Dense(1, activation="sigmoid"),
                ]
            )
            model.compile("adam", "binary_crossentropy")
            return model

    train, validation = splits
    with pytest.raises(SpaceBug, match="declares 'ngrams', but its model has no input named"):
        fit(Words(), replace(JOB, values=BOTH), train=train, validation=validation)


class Features(keras_tuner.HyperModel):
    """A model with a Keras preprocessing layer, which `adapt` adapts to features of the texts."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        ngrams = keras.Input((None,), dtype="int32", name="ngrams")
        x = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(ROWS, 3)(ngrams))
        x = keras.layers.Normalization(name="scale")(x)
        model = keras.Model(ngrams, keras.layers.Dense(1, activation="sigmoid")(x))
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model

    def adapt(self, hp: keras_tuner.HyperParameters, model: keras.Model, x: Any, y: Any) -> None:
        model.predict(x, verbose=0)  # traces the model with the means of the new layer
        layer = model.get_layer("scale")
        layer.adapt(keras.Model(model.input, layer.input).predict(x, verbose=0))


@pytest.mark.slow
def test_preprocessing_layer_that_was_adapted_is_restored(
    splits: tuple[LabeledTexts, LabeledTexts], tmp_path: Path
) -> None:
    train, validation = splits
    _, expected = fit(Features(), JOB, train=train, validation=validation)
    job = replace(JOB, checkpoint=str(tmp_path / "c.npz"))
    fit(Features(), job, train=train, validation=validation, on_epoch=lambda epoch: Answer.PAUSE)
    _, result = fit(Features(), replace(job, resume=True), train=train, validation=validation)
    assert [e.metrics for e in result.history] == [e.metrics for e in expected.history]


def test_adapt_that_configures_a_layer_is_refused(
    splits: tuple[LabeledTexts, LabeledTexts],
) -> None:
    def freeze(hp: Any, model: keras.Model, x: Any, y: Any) -> None:
        model.get_layer("ngram_weights").trainable = False

    train, validation = splits
    hypermodel = Hyper()
    hypermodel.adapt = freeze  # type: ignore[method-assign]
    with pytest.raises(SpaceBug, match=r"it changed the configuration of ngram_weights\."):
        fit(hypermodel, JOB, train=train, validation=validation)


def inputs_of(kind: str) -> Any:
    """Return the inputs of a model in one of the structures that Keras accepts."""
    words = keras.Input((None,), dtype="int32", name="words")
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    return {
        "words first": [words, ngrams],
        "n-grams first": [ngrams, words],
        "dictionary": {"words": words, "ngrams": ngrams},
        "dictionary with other keys": {"text": words, "ngrams": ngrams},
        "three": [words, ngrams, keras.Input((None,), name="length")],
        "no n-grams": [words, keras.Input((None,), name="bag")],
        "fixed width": [words, keras.Input((9,), dtype="int32", name="ngrams")],
    }[kind]


class Subclass(keras.Model):
    """A functional model with a class of its own."""


class Both(keras_tuner.HyperModel):
    def __init__(self, kind: str, model_class: type[keras.Model] = keras.Model) -> None:
        super().__init__()
        self.kind, self.model_class = kind, model_class

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        inputs = inputs_of(self.kind)
        pooled = [
            keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(ROWS, 3)(tensor))
            for tensor in keras.tree.flatten(inputs)
        ]
        output = keras.layers.Dense(2, activation="softmax")(keras.layers.Concatenate()(pooled))
        model = self.model_class(inputs=inputs, outputs=output)
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy", "auc"])
        return eager(model)


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@pytest.mark.parametrize(
    ("kind", "model_class"),
    [
        pytest.param("words first", keras.Model, marks=pytest.mark.slow),
        pytest.param("n-grams first", keras.Model, marks=pytest.mark.slow),
        ("n-grams first", Subclass),
        pytest.param("dictionary", keras.Model, marks=pytest.mark.slow),
        ("dictionary with other keys", keras.Model),
    ],
)
def test_model_gets_each_input_in_every_structure(
    splits: tuple[LabeledTexts, LabeledTexts], kind: str, model_class: type[keras.Model]
) -> None:
    train, validation = splits
    job = replace(JOB, values=BOTH, measure_latency=True)
    model, result = fit(Both(kind, model_class), job, train=train, validation=validation)
    view = make_view(model, BOTH, validation.texts)
    by_type = {type(part): name for name, part in view.inputs.items()}
    assert by_type[NgramView] == "ngrams"
    assert len(by_type) == 2
    assert result.latency_ms is not None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("three", "this model has the inputs 'words', 'ngrams', 'length'"),
        ("no n-grams", "this model has the inputs 'words', 'bag'"),
        ("fixed width", r"must have the shape \(None,\), .* this input has the shape \(9,\)"),
    ],
)
def test_other_inputs_are_refused_before_the_training(
    splits: tuple[LabeledTexts, LabeledTexts], kind: str, message: str
) -> None:
    train, validation = splits
    job = replace(JOB, values=BOTH, measure_latency=True)
    with pytest.raises(SpaceBug, match=message):
        fit(Both(kind), job, train=train, validation=validation)


def test_ngrams_that_were_removed_are_a_sentence(
    splits: tuple[LabeledTexts, LabeledTexts],
) -> None:
    train, validation = splits
    train = replace(train, texts=replace(train.texts, ngrams=None))
    with pytest.raises(StorageError, match="must contain the n-grams, which were removed"):
        fit(Hyper(), JOB, train=train, validation=validation)


REUSED = replace(JOB, values={"vocab_size": 9, "sequence_length": 4}, seed=3)


class Shared(keras_tuner.HyperModel):
    """An embedding that was made once, as an encoder is at the top of many files."""

    def __init__(self, *, trainable: bool) -> None:
        super().__init__()
        self.embedding = keras.layers.Embedding(9, 2, trainable=trainable)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        ids = keras.Input((4,), dtype="int32")
        mean = keras.layers.GlobalAveragePooling1D()(self.embedding(ids))
        model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(mean))
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model


def test_trained_layer_of_an_earlier_trial_is_refused() -> None:
    hypermodel = Shared(trainable=True)
    build_model(hypermodel, REUSED)
    with pytest.raises(SpaceBug, match=r"must make its layers anew; .* embedding/embeddings was"):
        build_model(hypermodel, REUSED)


def test_frozen_layer_may_be_made_once() -> None:
    hypermodel = Shared(trainable=False)
    for _ in range(3):
        build_model(hypermodel, REUSED)


class Seeded(Shared):
    """A builder function with a seed, as in scripts of a single training."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        keras.utils.set_random_seed(42)
        return super().build(hp)


class Cleared(Shared):
    """KerasTuner's users clear the session in `build` to free memory."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        keras.backend.clear_session()
        return super().build(hp)


def test_seed_in_build_is_refused() -> None:
    keras.utils.set_random_seed(REUSED.seed)
    with pytest.raises(SpaceBug, match="must not set the random seed; it sets 42"):
        build_model(Seeded(trainable=False), REUSED)


def test_session_may_be_cleared_in_build() -> None:
    keras.utils.set_random_seed(REUSED.seed)
    assert np.isfinite(build_model(Cleared(trainable=False), REUSED).result.n_parameters)


def test_unknown_number_of_time_steps_is_refused_before_the_training() -> None:
    """The space declares its hyperparameters, so no model is built before the first trial."""

    class EachStep(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            ngrams = keras.Input((None,), dtype="int32", name="ngrams")
            steps = keras.layers.LSTM(2, return_sequences=True)(
                keras.layers.Embedding(ROWS, 2)(ngrams)
            )
            each = keras.layers.TimeDistributed(keras.layers.Dense(1, activation="sigmoid"))(steps)
            model = keras.Model(ngrams, keras.layers.GlobalMaxPooling1D()(each))
            model.compile("adam", "binary_crossentropy")
            return model

    with pytest.raises(SpaceError, match="a fixed number of time steps"):
        build_model(EachStep(), JOB)
