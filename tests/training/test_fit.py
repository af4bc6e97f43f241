"""A single training: what it evaluates and counts, how it ends or fails, and the own `fit` of a
hypermodel.
"""

import contextlib
import math
import tempfile
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

from tests.numbered import TWO, numbered, score
from tests.padding.graphs import counted_rows
from tuning.config import TrainConfig
from tuning.errors import SpaceBug, SpaceError
from tuning.inputs.contract import LabeledTexts, TokenizedTexts
from tuning.metrics import objectives_of
from tuning.padding import packing
from tuning.spaces.loading import load_hypermodel
from tuning.spaces.ranges import Values
from tuning.training import loops
from tuning.training.fit import fit, load_trained
from tuning.training.loss_form import PROBABILITIES
from tuning.training.prediction import Predictor, dataset, make_view
from tuning.training.result import Answer, Epoch, FitResult, Infeasible, TrainingJob

VOCAB_SIZE, LENGTH = 20, 8
VALUES: Values = {"vocab_size": VOCAB_SIZE, "sequence_length": LENGTH}
layers = keras.layers

Make = Callable[[Any], keras.Model]


def make_texts(n: int = 48, *, n_classes: int = 2, seed: int = 0) -> LabeledTexts:
    """Return texts of 1 to 12 tokens. A text of class c contains the id 2 + c; all other ids are
    random.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % n_classes
    texts = [rng.integers(5, VOCAB_SIZE + 5, size=rng.integers(1, 13)) for _ in range(n)]
    for text, label in zip(texts, labels, strict=True):
        text[rng.integers(len(text))] = 2 + label
    offsets = np.cumsum([0, *map(len, texts)])
    return LabeledTexts(
        TokenizedTexts(np.concatenate(texts).astype(np.int32), offsets.astype(np.int64)), labels
    )


TRAIN, VALIDATION = make_texts(seed=1), make_texts(30, seed=2)


class Hyper(keras_tuner.HyperModel):
    """A hypermodel that calls a function to build the model, by default `mean`, and another to
    train it, if there is one.
    """

    def __init__(
        self, make: Make = lambda hp: mean(), fit: Callable[..., Any] | None = None
    ) -> None:
        super().__init__()
        self._make = make
        if fit:
            self.fit = fit

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return self._make(hp)


def stacked(
    *middle: layers.Layer,
    masked: bool = False,
    length: int | None = None,
    last: layers.Layer | None = None,
    rate: float = 0.05,
    optimizer: Any = None,
    loss: Any = "binary_crossentropy",
    eager: bool = True,
    jit_compile: Any = "auto",
) -> keras.Model:
    """Return a compiled model: input, embedding, the given layers, and one sigmoid unit. The
    optimizer is gradient descent by default.

    The model is eager, because tracing a graph takes longer than such a short training.
    """
    model = keras.Sequential(
        [
            keras.Input((length,), dtype="int32"),
            layers.Embedding(VOCAB_SIZE, 3, mask_zero=masked),
            *middle,
            last or layers.Dense(1, "sigmoid"),
        ]
    )
    optimizer = optimizer or keras.optimizers.SGD(rate)
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=eager, jit_compile=jit_compile)
    return model


def mean(**options: Any) -> keras.Model:
    """Return the fastest model, which computes the mean of the embeddings."""
    return stacked(layers.GlobalAveragePooling1D(), **options)


def run(
    make: Make | keras_tuner.HyperModel,
    *,
    values: Values = VALUES,
    train: LabeledTexts = TRAIN,
    validation: LabeledTexts | None = VALIDATION,
    n_classes: int = 2,
    epochs: int = 2,
    batch_size: int = 24,
    patience: int = 99,
    evaluates_fitted: bool = True,
    seed: int = 0,
    on_epoch: Callable[[Epoch], Answer] = lambda epoch: Answer.GO_ON,
    **options: Any,
) -> tuple[keras.Model, FitResult]:
    job = TrainingJob(
        values=values,
        target=numbered(n_classes),
        train=TrainConfig(
            epochs=epochs,
            batch_size=batch_size,
            patience=patience,
            evaluates_fitted=evaluates_fitted,
        ),
        seed=seed,
        **options,
    )
    hypermodel = make if isinstance(make, keras_tuner.HyperModel) else Hyper(make)
    return fit(hypermodel, job, train=train, validation=validation, on_epoch=on_epoch)


def kept_in(seen: list[Epoch]) -> Callable[[Epoch], Answer]:
    """Return an `on_epoch` that appends each epoch to `seen` and continues the training."""

    def on_epoch(epoch: Epoch) -> Answer:
        seen.append(epoch)
        return Answer.GO_ON

    return on_epoch


def metrics_of(result: FitResult) -> list[dict[str, float]]:
    return [epoch.metrics for epoch in result.history]


def test_fit_result_has_all_metrics_and_counts_parameters_tokens_and_seconds() -> None:
    model, result = run(Hyper(), epochs=2)
    for epoch in result.history:
        assert set(epoch.metrics) == {"loss", "accuracy", *objectives_of("classes")}
        assert all(math.isfinite(value) for value in epoch.metrics.values())
    assert result.n_parameters == VOCAB_SIZE * 3 + 4 == model.count_params()
    assert result.n_tokens == 2 * np.minimum(np.diff(TRAIN.texts.offsets), LENGTH).sum()
    assert set(result.seconds) == {"build", "view", "first_step", "train", "evaluate", "idle"}
    assert all(seconds > 0 for seconds in result.seconds.values())


def test_fit_evaluates_each_epoch_with_the_weights_of_a_training_that_ends_there() -> None:
    def build(hp: Any) -> keras.Model:
        model = mean()
        optimizer = keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9)
        model.compile(optimizer, "binary_crossentropy", run_eagerly=True)
        return model

    longest, result = run(build, epochs=2)
    losses = []
    for model in (run(build, epochs=1)[0], longest):
        probabilities = Predictor(model)(make_view(model, VALUES, VALIDATION.texts), target=TWO)
        losses.append(score(VALIDATION.labels, probabilities)["loss"])
    np.testing.assert_allclose([epoch["val_loss"] for epoch in metrics_of(result)], losses)


class Fitted(Hyper):
    """A model whose `adapt` sets the embeddings of the ids 2 and 3, which tell the classes apart,
    to ± `size`.
    """

    def __init__(self, size: float, *, rate: float = 0.05) -> None:
        super().__init__(lambda hp: mean(rate=rate))
        self._size = size

    def adapt(self, hp: Any, model: keras.Model, x: Any, y: Any) -> None:
        embedding, *_, dense = model.layers
        (rows,) = embedding.get_weights()
        rows[2], rows[3] = -self._size, self._size
        embedding.set_weights([rows])
        dense.set_weights([np.ones((3, 1)), np.zeros(1)])


class FittedWithOwnFit(Fitted):
    def fit(self, hp: Any, model: keras.Model, *args: Any, **options: Any) -> Any:
        return model.fit(*args, **options)


@pytest.mark.parametrize("kind", [Fitted, FittedWithOwnFit])
def test_fitted_model_may_be_the_best_epoch(kind: type[Fitted]) -> None:
    """The steps of the training are too long. Its patience counts from epoch 0."""
    seen: list[Epoch] = []
    hypermodel = kind(3.0, rate=500.0)
    _, result = run(hypermodel, epochs=5, patience=2, metric="val_loss", on_epoch=kept_in(seen))
    assert [epoch.number for epoch in seen] == [0, 1, 2]
    assert (result.best_epoch, result.n_epochs) == (0, 2)
    assert result.metrics == result.history[0].metrics
    assert result.best_value == result.metrics["val_loss"] < result.history[1].metrics["val_loss"]
    # An export trains the model on all rows for its best number of epochs.
    expected = mean()
    hypermodel.adapt(None, expected, None, None)
    retrained, result = run(hypermodel, n_epochs=0, validation=None, seed=1)
    assert [(epoch.number, epoch.metrics) for epoch in result.history] == [(0, {})]
    np.testing.assert_equal(retrained.get_weights()[1:], expected.get_weights()[1:])
    np.testing.assert_array_equal(retrained.get_weights()[0][2:4], expected.get_weights()[0][2:4])
    repeated, result = run(hypermodel, n_epochs=0, seed=1)
    np.testing.assert_array_equal(repeated.get_weights()[0], retrained.get_weights()[0])
    assert "val_loss" in result.history[-1].metrics


def test_evaluation_of_a_fitted_model_does_not_change_its_training() -> None:
    """The start is bad, and a study of an earlier version does not evaluate it."""
    _, result = run(Fitted(-3.0, rate=1.0), metric="val_loss")
    _, before = run(Fitted(-3.0, rate=1.0), metric="val_loss", evaluates_fitted=False)
    assert [epoch.number for epoch in before.history] == [1, 2]
    assert metrics_of(result)[1:] == metrics_of(before)
    assert (result.best_epoch, result.best_value) == (before.best_epoch, before.best_value)


def test_model_that_adapt_has_not_fitted_is_not_evaluated_before_its_training() -> None:
    """It may set a schedule, or weights that are not trained."""
    frozen = Hyper(lambda hp: stacked(layers.Normalization(), layers.GlobalAveragePooling1D()))

    def adapt(hp: Any, model: keras.Model, x: Any, y: Any) -> None:
        for variable in model.non_trainable_variables:
            variable.assign(variable + 1)
        model.optimizer.learning_rate.assign(0.1)

    frozen.adapt = adapt  # type: ignore[attr-defined]
    _, result = run(frozen)
    assert [epoch.number for epoch in result.history] == [1, 2]


losses, measures = keras.losses, keras.metrics
# For each kind of output the number of classes, the loss, a metric, and the last layer.
OUTPUTS: dict[str, tuple[int, Any, keras.metrics.Metric, Callable[[], layers.Layer]]] = {
    "sigmoid": (
        2,
        "binary_crossentropy",
        measures.BinaryAccuracy(),
        lambda: layers.Dense(1, "sigmoid"),
    ),
    "softmax": (
        3,
        "categorical_crossentropy",
        measures.CategoricalAccuracy(),
        lambda: layers.Dense(3, "softmax"),
    ),
    "one logit": (
        2,
        losses.BinaryCrossentropy(from_logits=True),
        measures.BinaryAccuracy(threshold=0.0),
        lambda: layers.Dense(1),
    ),
    "two logits": (
        2,
        losses.SparseCategoricalCrossentropy(from_logits=True),
        measures.SparseCategoricalAccuracy(),
        lambda: layers.Dense(2),
    ),
    "three logits of a nested model": (
        3,
        losses.CategoricalCrossentropy(from_logits=True),
        measures.CategoricalAccuracy(),
        lambda: keras.Sequential([layers.Dense(3)]),
    ),
}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("has_own_fit", [False, True], ids=["keras' fit", "own fit"])
def test_fit_evaluates_as_keras(kind: str, has_own_fit: bool) -> None:
    n_classes, loss, measure, last = OUTPUTS[kind]
    train, validation = (make_texts(n, n_classes=n_classes, seed=n) for n in (48, 30))
    called = []

    def make(hp: Any) -> keras.Model:
        model = mean(last=last(), loss=loss)
        model.compile(keras.optimizers.SGD(1.0), loss, metrics=[measure], run_eagerly=True)
        return model

    def own(hp: Any, model: keras.Model, *args: Any, **options: Any) -> Any:
        called.append(True)
        return model.fit(*args, **options)

    hypermodel = Hyper(make, own if has_own_fit else None)
    model, result = run(hypermodel, train=train, validation=validation, n_classes=n_classes)
    assert called == [True] * has_own_fit
    targets = np.eye(3)[validation.labels] if n_classes == 3 else validation.labels
    view = make_view(model, VALUES, validation.texts)
    expected = model.evaluate(view.array(), targets, verbose=0, return_dict=True)
    metrics = result.history[-1].metrics
    assert metrics["val_loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert metrics["val_accuracy"] == pytest.approx(expected[measure.name], abs=1e-6)
    assert measure.name in metrics
    assert PROBABILITIES not in [layer.name for layer in model.layers]


@pytest.mark.parametrize(
    ("values", "n_steps"),
    [(VALUES, 3), ({**VALUES, "batch_size": 10}, 5)],
    ids=["config", "hyperparameter"],
)
def test_fit_batch_size_is_the_hyperparameter_where_there_is_one(
    values: Values, n_steps: int
) -> None:
    model, _ = run(Hyper(), values=values, batch_size=16)
    assert int(model.optimizer.iterations) == 2 * n_steps


@pytest.mark.parametrize("answer", Answer)
def test_training_whose_patience_is_over_ends_instead_of_pausing(
    answer: Answer, tmp_path: Path
) -> None:
    """A trial that has trained to its end is complete, whatever the pruner says."""

    def on_epoch(epoch: Epoch) -> Answer:
        return answer if epoch.number == 3 else Answer.GO_ON

    _, result = run(
        lambda hp: mean(rate=0.0),
        epochs=9,
        patience=2,
        on_epoch=on_epoch,
        checkpoint=str(tmp_path / "checkpoint.npz"),
    )
    assert (len(result.history), result.paused, result.stopped) == (3, False, False)
    assert result.best_epoch == 1
    assert not (tmp_path / "checkpoint.npz").exists()


def raising(error: Exception) -> Callable[..., Any]:
    """Return a function that raises an error, in the place of `build` or of an own `fit`."""

    def raises(*args: Any, **kwargs: Any) -> Any:
        raise error

    return raises


def with_last(layer: Callable[[], layers.Layer], **options: Any) -> Make:
    return lambda hp: mean(last=layer(), **options)


MEMORY = (MemoryError("9 GB"), tf.errors.ResourceExhaustedError(None, None, "9 GB"))
FIVE = keras.initializers.Constant(5.0)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        *((raising(error), Infeasible, "out of memory: 9 GB") for error in MEMORY),
        # As KerasTuner's guide does for a model that is too large.
        (
            raising(keras_tuner.errors.FailedTrialError("too large")),
            Infeasible,
            "refused by the space: too large",
        ),
        (
            with_last(lambda: layers.Dense(1, lambda x: x * math.nan)),
            Infeasible,
            "NaN loss: the training loss is nan in epoch 1",
        ),
        # The loss of the only batch is finite, but the step after this batch is not finite.
        (lambda hp: mean(rate=math.nan), Infeasible, "NaN loss"),
        (lambda hp: mean(rate=hp.Float("units", 0, 1)), SpaceBug, "units appeared during a trial"),
        (
            with_last(lambda: layers.Dense(1, bias_initializer=FIVE), rate=0.001),
            SpaceBug,
            "it gives numbers from .* End it with a sigmoid",
        ),
    ],
)
def test_fit_of_a_model_that_can_not_be_trained(
    make: Make, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        run(make, batch_size=48, known=tuple(VALUES))


def with_an_empty_text(texts: LabeledTexts) -> LabeledTexts:
    """Return the texts with a text without tokens at their end."""
    nothing = TokenizedTexts(np.empty(0, np.int32), np.zeros(2, np.int64))
    return texts + LabeledTexts(nothing, np.zeros(1, np.int64))


def test_fit_masked_mean_names_the_texts_without_words() -> None:
    def make(hp: Any) -> keras.Model:
        return mean(masked=True)

    splits = {"train": TRAIN, "validation": VALIDATION}
    for split, texts in splits.items():
        changed = {**splits, split: with_an_empty_text(texts)}
        with pytest.raises(SpaceBug, match=r"without words.* splits have 1\. .*mean_over_words"):
            run(make, epochs=1, **changed)


def test_fit_nan_for_another_reason_does_not_name_texts_without_words() -> None:
    with pytest.raises(Infeasible, match="NaN loss"):
        run(lambda hp: mean(rate=float("nan")), train=with_an_empty_text(TRAIN), epochs=2)


def test_fit_metric_that_is_not_defined_is_infeasible() -> None:
    # AUC needs both classes.
    one_class = replace(VALIDATION, labels=np.zeros_like(VALIDATION.labels))
    with pytest.raises(Infeasible, match="no metric: val_auc is nan in epoch 1"):
        run(Hyper(), validation=one_class, metric="val_auc")


MIXED = """
import keras

from tests.training.test_fit import mean

keras.mixed_precision.set_global_policy("{policy}")


def build(hp):
    return mean()
"""


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_policy_of_a_file_holds_for_every_training_of_its_models(
    policy: str, tmp_path: Path
) -> None:
    path, weights = tmp_path / "mixed.py", str(tmp_path / "weights.npz")
    path.write_text(MIXED.format(policy=policy))
    hypermodel = load_hypermodel(path)
    for _ in range(2):
        model, _ = run(hypermodel, epochs=1, weights=weights)
        assert model.layers[0].compute_dtype == "bfloat16"
        assert run(Hyper(), epochs=1)[0].layers[0].compute_dtype == "float32"
    job = TrainingJob(values=VALUES, target=TWO, train=TrainConfig(), seed=0, weights=weights)
    loaded = load_trained(hypermodel, job).model
    assert loaded.layers[0].compute_dtype == "bfloat16"
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.array(ours, np.float32), np.array(theirs, np.float32))
    assert keras.config.dtype_policy().name == "float32"


class OwnFit(Hyper):
    """A hypermodel that trains with its own `fit` and records the arguments."""

    def __init__(self, make: Make = lambda hp: mean()) -> None:
        super().__init__(make)
        self.given: dict[str, Any] = {}

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any
    ) -> Any:
        self.given = {"hp": hp, "args": args, **kwargs}
        return model.fit(*args, batch_size=16, **kwargs)


@pytest.mark.parametrize("is_own", [False, True])
def test_only_keras_own_fit_leaves_out_the_padding(
    is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "WORTHWHILE", 2)  # the texts have similar lengths

    def make(hp: Any) -> keras.Model:
        return mean(masked=True)

    with counted_rows() as batches:
        run(OwnFit(make) if is_own else make, epochs=1)
    assert batches == ([] if is_own else [24, 24])


def test_own_fit_gets_arrays_epochs_and_values_and_reports_each_epoch() -> None:
    hypermodel, seen = OwnFit(), list[Epoch]()
    model, result = run(
        hypermodel, values={**VALUES, "batch_size": 24}, epochs=3, on_epoch=kept_in(seen)
    )
    given = hypermodel.given
    assert (given["epochs"], given["hp"].get("batch_size")) == (3, 24)
    x, y = given["args"]
    x_held_out, y_held_out = given["validation_data"]
    assert x_held_out.shape == (30, LENGTH)
    np.testing.assert_array_equal(x, make_view(model, VALUES, TRAIN.texts).array())
    np.testing.assert_array_equal(y, TRAIN.labels[:, None])
    np.testing.assert_array_equal(y_held_out, VALIDATION.labels[:, None])
    assert [epoch.number for epoch in seen] == [1, 2, 3]
    assert result.history == seen
    assert "val_f1" in seen[0].metrics


@pytest.mark.parametrize(
    ("values", "options", "n_steps"),
    [({"batch_size": 16}, {}, 3), ({"batch_size": 16}, {"batch_size": 12}, 4), ({}, {}, 2)],
    ids=["declared", "own", "not declared"],
)
def test_own_fit_has_the_declared_batch_size(
    values: Values, options: dict[str, int], n_steps: int
) -> None:
    """As `tuner.search(batch_size=16)` gives it to `fit(*args, **kwargs)` of KerasTuner's users."""
    steps: list[int] = []

    def own(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        returned = model.fit(*args, **kwargs, **options)
        steps.append(int(model.optimizer.iterations))
        return returned

    run(Hyper(fit=own), values={**VALUES, **values}, epochs=1)
    assert steps == [n_steps]


def fit_arguments(parameters: str, arguments: str) -> dict[str, Any]:
    """Return the arguments that an own `fit` with these parameters gives to `model.fit`."""
    given: dict[str, Any] = {}

    class Model:
        def fit(self, x: Any = None, y: Any = None, **options: Any) -> None:
            given.update(options, x=x, y=y)

    space: dict[str, Any] = {}
    exec(f"def fit(self, hp, model, {parameters}): model.fit({arguments})", space)
    loops.call_fit(
        *(type("Own", (), space)().fit, None, Model()),  # type: ignore[arg-type]
        train=("texts", "labels"),
        validation=("held", "out"),
        epochs=2,
        callback=keras.callbacks.Callback(),
    )
    return given


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [
        ("*args, **kwargs", "*args, **kwargs"),
        ("*args, **kwargs", "kwargs.pop('x'), kwargs.pop('y'), **kwargs"),
        ("**kwargs", "**kwargs"),
        ("x, y, /, **kwargs", "x, y, **kwargs"),
        ("y, x=None, **kwargs", "x, y, **kwargs"),
        ("*, x, y, **kwargs", "x, y, **kwargs"),
        ("x, *args, **kwargs", "x, *args, **kwargs"),
        ("x, **kwargs", "x, **kwargs"),
        ("inputs, labels, **kwargs", "inputs, labels, **kwargs"),
        ("inputs=None, labels=None, **kwargs", "inputs, labels, **kwargs"),
        ("flag=False, *args, **kwargs", "*args, shuffle=flag, **kwargs"),
        ("flag=None, *args, **kwargs", "*args, verbose=flag or 0, **kwargs"),
        ("batch_size=None, steps=None, **kwargs", "batch_size=batch_size, **kwargs"),
    ],
)
def test_own_fit_gets_x_and_y_as_its_signature_takes_them(parameters: str, arguments: str) -> None:
    """By position, as of `tuner.search(x, y)`, or by name, as of `tuner.search(x=x, y=y)`."""
    given = fit_arguments(parameters, arguments)
    assert (given["x"], given["y"]) == ("texts", "labels")
    assert (given["validation_data"], given["epochs"]) == (("held", "out"), 2)
    assert len(given["callbacks"]) == 1


def test_own_fit_that_fails_after_its_training_is_called_once() -> None:
    calls: list[int] = []

    def reads_history(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(calls))
        return model.fit(*args, **kwargs).history["x"]

    with pytest.raises(SpaceBug, match="KeyError: 'x'"):
        run(Hyper(fit=reads_history), epochs=1)
    assert calls == [0]


def test_own_fit_may_take_its_model_by_position() -> None:
    def by_position(hp: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0].fit(args[1], args[2], **kwargs)

    assert run(Hyper(fit=by_position))[1].n_epochs == 2


def test_own_fit_may_change_its_model_and_compile_it_again() -> None:
    class Turns(keras.layers.Layer):
        turned = False

        def call(self, x: Any) -> Any:
            return 1 - x if self.turned else x

    def two_phases(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        model.fit(*args, **{**kwargs, "epochs": 1})
        model.layers[-1].turned = True
        model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy", metrics=["accuracy"])
        return model.fit(*args, **{**kwargs, "epochs": 2, "initial_epoch": 1})

    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        plain = mean(rate=0.0, eager=False)
        model = keras.Sequential([*plain.layers, Turns()])
        model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy", metrics=["accuracy"])
        return model

    history = run(Hyper(build, two_phases), epochs=2)[1].history
    first, second = (epoch.metrics for epoch in history)
    assert second["val_accuracy"] == pytest.approx(1 - first["val_accuracy"])
    assert first["val_accuracy"] != second["val_accuracy"]


def test_own_fit_that_trains_on_after_its_end_keeps_its_result() -> None:
    def two_phases(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        model.fit(*args, **{**kwargs, "epochs": 1})
        return model.fit(*args, **{**kwargs, "initial_epoch": 1})

    answers = {1: Answer.STOP}
    hypermodel = Hyper(fit=two_phases)
    _, result = run(
        hypermodel, epochs=3, on_epoch=lambda epoch: answers.get(int(epoch.number), Answer.GO_ON)
    )
    assert (len(result.history), result.stopped) == (1, True)


def test_loop_of_an_own_fit_that_goes_on_after_a_stop_is_ended() -> None:
    """It reads no `stop_training`, and handles errors of its epochs."""
    epochs: list[int] = []

    def loop(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> None:
        (callback,) = kwargs["callbacks"]
        for epoch in range(kwargs["epochs"]):
            epochs.append(epoch)
            with contextlib.suppress(Exception):
                callback.on_epoch_end(epoch, {"loss": 0.5})

    _, result = run(Hyper(fit=loop), epochs=9, on_epoch=lambda epoch: Answer.STOP)
    assert epochs == [0, 1]
    assert (len(result.history), result.stopped) == (1, True)


class TwoPhases(keras.Sequential):
    """A model that trains in two phases."""

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        super().fit(*args, **{**kwargs, "epochs": 1})
        return super().fit(*args, **{**kwargs, "initial_epoch": 1})


def test_model_with_an_own_fit_that_trains_on_after_a_stop_keeps_its_result() -> None:
    def build(hp: Any) -> keras.Model:
        model = TwoPhases(mean(eager=False).layers)
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        return model

    _, result = run(build, epochs=3, on_epoch=lambda epoch: Answer.STOP)
    assert (len(result.history), result.stopped) == (1, True)


def test_own_fit_of_another_model_is_refused() -> None:
    def other(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        return mean().fit(*args, **kwargs)

    seen: list[Epoch] = []
    with pytest.raises(SpaceError, match=r"must train the model that it gets"):
        run(Hyper(fit=other), on_epoch=kept_in(seen))
    assert not seen


def test_loop_of_an_own_fit_can_read_that_it_must_end() -> None:
    """The built model may be a part of the model that is trained."""

    def loop(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> None:
        wrapped = keras.Sequential([model])
        wrapped.compile("sgd", "binary_crossentropy")
        (callback,) = kwargs["callbacks"]
        callback.set_model(wrapped)
        for epoch in range(kwargs["epochs"]):
            wrapped.fit(*args, epochs=1, verbose=0)
            callback.on_epoch_end(epoch, {"loss": 0.5})
            if wrapped.stop_training:
                break

    _, result = run(Hyper(fit=loop), epochs=9, on_epoch=lambda epoch: Answer.STOP)
    assert (len(result.history), result.stopped) == (1, True)


@pytest.mark.parametrize(
    ("own", "error", "says"),
    [
        (raising(MEMORY[1]), Infeasible, "out of memory: 9 GB"),
        (lambda *args, **kwargs: 0.9, Infeasible, "no epoch"),
        (raising(ValueError("no")), SpaceBug, "failed while fitting: ValueError"),
        (
            lambda hp, *args, **kwargs: hp.Int("patience", 1, 3),
            SpaceBug,
            "patience appeared during a trial",
        ),
    ],
)
def test_own_fit_that_trains_nothing(
    own: Callable[..., Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        run(Hyper(fit=own), known=tuple(VALUES))
    if "ValueError" in says:
        assert "in raises" in raised.value.traceback  # type: ignore[attr-defined]


def test_own_fit_nan_loss_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="NaN loss"):
        run(OwnFit(with_last(lambda: layers.Dense(1, lambda x: x * math.nan))))


def test_own_fit_is_refused_if_its_arrays_and_their_copies_need_too_much_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_bytes = 4 * LENGTH * (len(TRAIN.labels) + len(VALIDATION.labels))
    hypermodel = OwnFit()
    monkeypatch.setattr(loops, "memory_left", lambda: 2 * n_bytes - 1)
    with pytest.raises(Infeasible, match=r"out of memory: .*in which every text is as wide as"):
        run(hypermodel, epochs=1)
    assert not hypermodel.given
    monkeypatch.setattr(loops, "memory_left", lambda: 2 * n_bytes)
    run(hypermodel, epochs=1)
    assert hypermodel.given


@pytest.mark.parametrize("masked", [True, False], ids=["trimmed", "as_they_come"])
def test_predict_gives_rows_in_the_texts_order(masked: bool) -> None:
    keras.utils.set_random_seed(0)
    model = mean(masked=masked)
    # 1,100 texts make three batches.
    view = make_view(model, VALUES, make_texts(1_100).texts)
    assert view.pads_to_longest == masked
    expected = model.predict_on_batch(view.array())[:, 0]
    np.testing.assert_allclose(Predictor(model)(view, target=TWO)[:, 1], expected, atol=1e-6)


def test_no_thread_tunes_the_batches_while_they_are_read() -> None:
    view = make_view(mean(), VALUES, TRAIN.texts)
    data = dataset(lambda: iter([np.arange(2)]), view, TRAIN.labels, n_batches=1)
    # TensorFlow's thread can sleep for up to 1 s after the last batch, and `fit` waits for it.
    assert data.options().autotune.enabled is False
    inputs, labels = next(iter(data))
    np.testing.assert_array_equal(inputs, view.batch(np.arange(2)))
    np.testing.assert_array_equal(labels, TRAIN.labels[:2])


def test_predict_of_no_texts_is_empty() -> None:
    none = make_view(mean(), VALUES, TokenizedTexts(np.empty(0, np.int32), np.zeros(1, np.int64)))
    assert Predictor(mean())(none, target=TWO).shape == (0, 2)


def test_fit_traces_each_function_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of traces depends neither on the widths and sizes of the batches nor on the number
    of epochs.
    """
    traced: list[str] = []

    def count(owner: type, name: str) -> None:
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: (traced.append(name), original(*args))[1])

    count(keras.Model, "train_step")
    count(Predictor, "_predict_step")
    run(lambda hp: mean(masked=True, eager=False), epochs=3, batch_size=10)
    assert sorted(traced) == ["_predict_step", "train_step"]


def of_class(kind: type[keras.Model], plain: keras.Model) -> keras.Model:
    """Return the model as one of a subclass of `keras.Model`."""
    model = kind(plain.inputs[0], plain.outputs[0])
    model.compile(
        keras.optimizers.SGD(0.05),
        "binary_crossentropy",
        metrics=["accuracy"],
        run_eagerly=plain.run_eagerly,
    )
    return model


def test_fit_evaluates_the_outputs_of_the_model_and_not_its_predict_step() -> None:
    """Keras' `evaluate` and an export do not call `predict_step`."""

    class Turned(keras.Model):
        def predict_step(self, data: Any) -> Any:
            return 1 - super().predict_step(data)

    expected, turned_over = (
        run(make, epochs=1)[1].history[0]
        for make in (lambda hp: mean(), lambda hp: of_class(Turned, mean()))
    )
    assert turned_over.metrics == pytest.approx(expected.metrics)


def test_own_training_step_of_one_output_gets_labels_of_its_shape() -> None:
    """Class numbers of shape (n,) would be broadcast against outputs of shape (n, 1)."""
    shapes: list[tuple[Any, Any]] = []

    class Own(keras.Model):
        def train_step(self, data: Any) -> Any:
            x, y = data
            with tf.GradientTape() as tape:
                outputs = self(x, training=True)
                shapes.append((y.shape[1:], y.dtype))
                loss = tf.reduce_mean(tf.square(y - outputs))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    def make(hp: Any) -> keras.Model:
        plain = mean()
        model = Own(plain.inputs[0], plain.outputs[0])
        model.compile(keras.optimizers.Adam(0.05), run_eagerly=plain.run_eagerly)
        return model

    run(make, epochs=1)
    assert {*shapes} == {((1,), tf.float32)}


def test_fit_leaves_no_file_of_autograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoGraph writes the code of each function that it converts to a temporary file, and a worker
    that is stopped leaves the file.
    """

    class New(keras.Model):  # AutoGraph converts a function once.
        def call(self, *args: Any, **options: Any) -> Any:
            return super().call(*args, **options)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run(lambda hp: of_class(New, mean(eager=False)), epochs=1, measure_latency=True)
    assert not list(tmp_path.iterdir())


def test_fit_without_validation_trains_every_epoch() -> None:
    """A retraining has no validation split, so it can't stop early."""
    _, result = run(Hyper(), validation=None, epochs=6, patience=2)
    assert [epoch.number for epoch in result.history] == [1, 2, 3, 4, 5, 6]
    assert all(set(epoch.metrics) == {"loss", "accuracy"} for epoch in result.history)
    assert (result.best_epoch, math.isnan(result.best_value), result.stopped) == (6, True, False)
    assert result.metrics == result.history[-1].metrics


def test_batches_of_a_model_for_xla_have_one_width() -> None:
    """XLA compiles a step again for each width. An eager model is not compiled."""

    def make(hp: Any) -> keras.Model:
        model = mean(masked=True)
        model.jit_compile = True
        return model

    model, _ = run(make, epochs=1)
    assert model.jit_compile is True
    assert not make_view(model, VALUES, TRAIN.texts).pads_to_longest


def agreement(y_true: Any, y_pred: Any) -> float:
    """Return a score of numbers, which symbolic tensors do not have."""
    return float(np.mean((y_pred.numpy() > 0.5) == y_true.numpy().reshape(-1, 1)))


@keras.saving.register_keras_serializable("tests")
def f1_m(y_true: Any, y_pred: Any) -> Any:
    """Return the F1 score as public notebooks compute it, without a cast or a reshape."""
    hits = keras.ops.sum(keras.ops.round(keras.ops.clip(y_true * y_pred, 0, 1)))
    return 2 * hits / (keras.ops.sum(y_true) + keras.ops.sum(keras.ops.round(y_pred)) + 1e-7)


@pytest.mark.parametrize(("metric", "eager"), [(agreement, True), (f1_m, False)])
def test_metrics_of_public_notebooks_are_computed(metric: Callable[..., Any], eager: bool) -> None:
    def make(hp: Any) -> keras.Model:
        model = mean(eager=eager)
        model.compile("adam", "binary_crossentropy", metrics=[metric], run_eagerly=eager)
        return model

    values = [epoch.metrics[metric.__name__] for epoch in run(make)[1].history]
    assert all(0 <= value <= 1 for value in values)


def with_output(kind: type, hp: Any) -> keras.Model:
    """Return a model whose single output is in a dictionary or a list."""
    plain = mean(eager=False)
    output = plain.outputs[0]
    model = keras.Model(plain.inputs, {"label": output} if kind is dict else [output])
    loss: Any = {"label": "binary_crossentropy"} if kind is dict else "binary_crossentropy"
    model.compile(keras.optimizers.SGD(0.05), loss)
    return model


def in_a_strategy(hp: Any) -> keras.Model:
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        return mean(eager=False)


@pytest.mark.parametrize(
    "make", [partial(with_output, dict), partial(with_output, list), in_a_strategy]
)
def test_model_of_another_form_trains_as_the_plain_model(make: Make) -> None:
    expected, metrics = (
        run(build)[1].history[-1].metrics for build in (lambda hp: mean(eager=False), make)
    )
    for name in ("loss", "val_loss"):  # A probability near 0.5 may count as the other class.
        assert metrics[name] == pytest.approx(expected[name], rel=1e-4)
