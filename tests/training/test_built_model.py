"""What a hypermodel's `adapt` gets, and what it must not do."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
from tuning.inputs.contract import LabeledTexts
from tuning.inputs.ngrams import NgramView, ngrams_of
from tuning.models import fit_ratios, ngram_classifier
from tuning.models.ngrams import RATIOS, ngram_logits
from tuning.spaces.ranges import Values
from tuning.training.built_model import build_model
from tuning.training.fit import fit
from tuning.training.prediction import make_view
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob

ROWS = 40
VALUES: Values = {"ngrams": 2, "ngram_vocab_size": ROWS, "batch_size": 40}
BOTH: Values = {**VALUES, "vocab_size": ROWS, "sequence_length": 6}
JOB = TrainingJob(values=VALUES, target=TWO, train=TrainConfig(epochs=2), seed=0)
Splits = tuple[LabeledTexts, LabeledTexts]


def eager(model: keras.Model) -> keras.Model:
    """Make a model run without a graph, which takes longer to trace than these trainings take."""
    model.run_eagerly = True
    return model


class Hyper(keras_tuner.HyperModel):
    """A model of n-grams, and of token ids if its configuration has them. `seen` are the arguments
    of each `adapt`.
    """

    def __init__(self) -> None:
        super().__init__()
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

    def adapt(self, hp: keras_tuner.HyperParameters, model: keras.Model, x: Any, y: Any) -> None:
        batches = list(x.as_numpy_iterator())
        self.seen.append((batches, y))
        ngrams = [batch["ngrams"] if isinstance(batch, dict) else batch for batch in batches]
        fit_ratios(model, ngrams, y)


def train(
    hypermodel: keras_tuner.HyperModel, splits: Splits, **changes: Any
) -> tuple[keras.Model, FitResult]:
    """Train on the first split, with these changes of the job."""
    job = replace(JOB, **changes)
    return fit(hypermodel, job, train=splits[0], validation=splits[1])


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return ngram_splits(tmp_path_factory.mktemp("corpus"))


def test_adapt_gets_the_training_split_in_order_once(splits: Splits) -> None:
    hypermodel = Hyper()
    _, result = train(hypermodel, splits, values=BOTH)
    ((batches, labels),) = hypermodel.seen
    np.testing.assert_array_equal(labels, splits[0].labels)
    seen = [row for batch in batches for row in batch["ngrams"]]
    expected = NgramView(ngrams_of(splits[0].texts), order=2, vocab_size=ROWS).batch(
        np.arange(len(labels))
    )
    assert len({tuple(row) for row in expected}) > 100
    for row, expected_row in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(row[row != 0], expected_row[expected_row != 0])
    assert len(result.history) == 2


def test_nothing_but_the_training_split_reaches_the_model(splits: Splits) -> None:
    flipped = replace(splits[1], labels=1 - splits[1].labels)
    weights = []
    for validation in (splits[1], flipped):
        model, _ = train(Hyper(), (splits[0], validation))
        weights.append(model.get_weights())
    np.testing.assert_equal(*weights)
    assert np.ptp(model.get_layer(RATIOS).get_weights()[0]) > 1


def test_tables_have_the_rows_that_the_data_need(splits: Splits, tmp_path: Path) -> None:
    """The metrics are those of larger tables, and a checkpoint with these of an earlier version can
    be continued.
    """

    class Large(Hyper):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            return eager(ngram_classifier(vocab_size=hp.get("ngram_vocab_size")))

    def of(on_epoch: Callable[[Epoch], Answer], **changes: Any) -> tuple[keras.Model, FitResult]:
        job = replace(JOB, values={**VALUES, "ngram_vocab_size": 9_000}, **changes)
        return fit(Large(), job, train=splits[0], validation=splits[1], on_epoch=on_epoch)

    def metrics(result: FitResult) -> list[dict[str, float]]:
        return [epoch.metrics for epoch in result.history]

    orders, path = ngrams_of(splits[0].texts).orders, str(tmp_path / "checkpoint.npz")
    n_ids = 2 + int(np.sum(orders[2:] <= VALUES["ngrams"]))
    whole = metrics(of(lambda epoch: Answer.GO_ON)[1])
    model, result = of(lambda epoch: Answer.GO_ON, n_ngram_ids=n_ids)
    assert metrics(result) == whole
    assert model.get_layer(RATIOS).input_dim == n_ids < 9_000
    of(lambda epoch: Answer.PAUSE, checkpoint=path)
    _, resumed = of(lambda e: Answer.GO_ON, checkpoint=path, resume=True, n_ngram_ids=n_ids)
    assert metrics(resumed) == whole


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ngram_vocab_size": ROWS}, "has no ngrams. If the input 'ngrams' takes token ids, give"),
        (BOTH | {"vocab_size": 2}, r"vocab_size must be 3 or more .* takes token ids; .* 2\."),
        (BOTH | {"vocab_size": "a"}, r"vocab_size must be 3 or more .* has 'a'\."),
    ],
)
def test_configuration_without_what_an_input_needs_is_refused(
    splits: Splits, values: Values, message: str
) -> None:
    with pytest.raises(SpaceBug, match=message):
        train(Hyper(), splits, values=values)


def replace_model(hp: Any, model: keras.Model, x: Any, y: Any) -> keras.Model:
    return ngram_classifier(vocab_size=ROWS)


def divide(hp: Any, model: keras.Model, x: Any, y: Any) -> None:
    1 / 0  # noqa: B018


def freeze(hp: Any, model: keras.Model, x: Any, y: Any) -> None:
    model.get_layer("ngram_weights").trainable = False


@pytest.mark.parametrize(
    ("adapt", "message"),
    [
        (replace_model, r"adapt\(hp, model, x, y\) must change the model that it"),
        (divide, "adapting the model to the training texts: ZeroDivision"),
        (freeze, r"it changed the configuration of ngram_weights\."),
    ],
)
def test_adapt_is_refused(splits: Splits, adapt: Callable[..., Any], message: str) -> None:
    hypermodel = Hyper()
    hypermodel.adapt = adapt  # type: ignore[method-assign]
    with pytest.raises(SpaceBug, match=message):
        train(hypermodel, splits)


def inputs_of(kind: str) -> Any:
    """Return the inputs of a model in one of the structures that Keras accepts."""
    words = keras.Input((None,), dtype="int32", name="words")
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    return {
        "words first": [words, ngrams],
        "n-grams first": [ngrams, words],
        "dictionary with other keys": {"text": words, "ngrams": ngrams},
        "three": [words, ngrams, keras.Input((None,), name="length")],
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
        ("words first", keras.Model),
        ("n-grams first", Subclass),
        ("dictionary with other keys", keras.Model),
    ],
)
def test_model_gets_each_input_in_every_structure(
    splits: Splits, kind: str, model_class: type[keras.Model]
) -> None:
    model, result = train(Both(kind, model_class), splits, values=BOTH, measure_latency=True)
    view = make_view(model, BOTH, splits[1].texts)
    by_type = {type(part): name for name, part in view.inputs.items()}
    assert by_type[NgramView] == "ngrams"
    assert len(by_type) == 2
    assert result.latency_ms is not None


def test_other_inputs_are_refused_before_the_training(splits: Splits) -> None:
    with pytest.raises(SpaceError, match="model has the inputs 'words', 'ngrams', 'length'"):
        train(Both("three"), splits, values=BOTH)


class ForXla(Hyper):
    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        model = super().build(hp)
        model.jit_compile = True
        return model


def test_model_of_ngrams_is_trained_without_xla(splits: Splits) -> None:
    """XLA would compile the step again for each width of a batch."""
    model, _ = train(ForXla(), splits)
    assert model.jit_compile is False


def test_ngrams_that_were_removed_are_a_sentence(splits: Splits) -> None:
    without = replace(splits[0], texts=replace(splits[0].texts, others={}))
    with pytest.raises(StorageError, match="must contain the n-grams, which were removed"):
        train(Hyper(), (without, splits[1]))


REUSED = replace(JOB, values={"vocab_size": 9, "sequence_length": 4}, seed=3)


class Shared(keras_tuner.HyperModel):
    """An embedding that was made once, as an encoder is at the top of many files. `build` begins
    with the call of another function.
    """

    def __init__(self, *, trainable: bool = False, begin: Callable[[], Any] = list) -> None:
        super().__init__()
        self.embedding = keras.layers.Embedding(9, 2, trainable=trainable)
        self.begin = begin

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        self.begin()
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
    hypermodel = Shared()
    for _ in range(3):
        build_model(hypermodel, REUSED)


def test_seed_in_build_is_refused() -> None:
    """As in scripts of a single training."""
    with pytest.raises(SpaceBug, match="must not set the random seed; it sets 42"):
        build_model(Shared(begin=partial(keras.utils.set_random_seed, 42)), REUSED)


def test_session_may_be_cleared_in_build() -> None:
    """KerasTuner's users do so to free memory."""
    keras.utils.set_random_seed(REUSED.seed)
    hypermodel = Shared(begin=keras.backend.clear_session)
    assert np.isfinite(build_model(hypermodel, REUSED).result.n_parameters)


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


def test_stateful_layer_is_refused_before_the_training() -> None:
    class Stateful(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            layers = keras.layers
            model = keras.Sequential(
                [layers.Embedding(9, 2), layers.LSTM(2, stateful=True), layers.Dense(1, "sigmoid")]
            )
            model.compile("adam", "binary_crossentropy")
            return model

    with pytest.raises(SpaceError, match=r"LSTM .* is stateful"):
        build_model(Stateful(), REUSED)
