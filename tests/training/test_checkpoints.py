"""Checkpoints: a training that pauses and continues in another process gives the same values as a
training without a pause.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from tests.numbered import TWO, score
from tests.styles import STYLES, functional
from tuning.config import TrainConfig
from tuning.errors import StorageError
from tuning.evaluation.predictions import read_probabilities, write_probabilities
from tuning.inputs.contract import LabeledTexts, TokenizedTexts
from tuning.models import (
    TrainingOptions,
    bilstm_features,
    mean_features,
    words_classifier,
)
from tuning.training import checkpoints, prediction
from tuning.training.fit import fit, load_trained
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob

VALUES = {"vocab_size": 30, "sequence_length": 9}
LOSS = "binary_crossentropy"
CONFIG = TrainConfig(epochs=5, batch_size=8, patience=9)


def compiled(*layers: keras.layers.Layer, **options: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    options = {
        "optimizer": "adam",
        "loss": "binary_crossentropy",
        "metrics": ["accuracy"],
    } | options
    model.compile(**options)
    return model


class Model(keras_tuner.HyperModel):
    """A model with every kind of state: two dropout layers, a noise layer, batch statistics, and an
    optimizer with a schedule.
    """

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        rate = keras.optimizers.schedules.ExponentialDecay(0.02, 4, 0.9)
        return compiled(
            keras.layers.Embedding(30, 4, mask_zero=True),
            keras.layers.LSTM(3, dropout=0.2, recurrent_dropout=0.3),
            keras.layers.BatchNormalization(),
            keras.layers.GaussianNoise(0.1),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(1, activation="sigmoid"),
            optimizer=keras.optimizers.Adam(rate),
        )


class Plain(keras_tuner.HyperModel):
    """A model without recurrence and without a graph, which is trained in a tenth of a second."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return compiled(
            keras.layers.Embedding(30, 4),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1, activation="sigmoid"),
            run_eagerly=True,
        )


class Style(keras_tuner.HyperModel):
    def __init__(self, make: Callable[..., keras.Model], *, masked: bool) -> None:
        super().__init__()
        self._make, self._masked = make, masked

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return self._make(masked=self._masked)


def texts(n: int) -> LabeledTexts:
    rng = np.random.default_rng(n)
    lengths = rng.integers(1, 12, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return LabeledTexts(
        TokenizedTexts(rng.integers(1, 30, offsets[-1]).astype(np.int32), offsets), np.arange(n) % 2
    )


def train(
    on_epoch: Callable[[Epoch], Answer] = lambda epoch: Answer.GO_ON,
    *,
    hypermodel: Any = None,
    config: TrainConfig = CONFIG,
    idle_seconds: float = 0.0,
    **options: Any,
) -> tuple[keras.Model, FitResult]:
    split = {"train": texts(50), "validation": texts(21)}
    job = TrainingJob(values=VALUES, target=TWO, train=config, seed=3, **options)
    return fit(hypermodel or Model(), job, **split, on_epoch=on_epoch, idle_seconds=idle_seconds)


def assert_goes_on(
    hypermodel: keras_tuner.HyperModel,
    path: Path,
    *,
    pauses: Sequence[float] = (2,),
    config: TrainConfig = CONFIG,
) -> None:
    """Assert that a training that pauses after these epochs ends as one that never paused."""
    options: dict[str, Any] = {"hypermodel": hypermodel, "config": config}
    model, whole = train(**options)
    for place, pause in enumerate(pauses):
        _, paused = train(pause_at(pause), checkpoint=path, resume=place > 0, **options)
        assert paused.paused
        keras.backend.clear_session()
        keras.utils.set_random_seed(99)
    resumed_model, resumed = train(checkpoint=path, resume=True, **options)
    assert [epoch.metrics for epoch in resumed.history] == [
        epoch.metrics for epoch in whole.history
    ]
    assert (resumed.best_epoch, resumed.best_value) == (whole.best_epoch, whole.best_value)
    assert resumed.n_tokens == whole.n_tokens
    np.testing.assert_equal(resumed_model.get_weights(), model.get_weights())


def pause_at(epoch: float) -> Callable[[Epoch], Answer]:
    return lambda done: Answer.PAUSE if done.number == epoch else Answer.GO_ON


class Options(keras_tuner.HyperModel):
    """A classifier of `tuning.models` with every option switched on."""

    def __init__(self, features: Callable[..., Any]) -> None:
        super().__init__()
        self._features = features

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        features = partial(
            self._features, vocab_size=30, embedding_dim=3, dropout=0.2, word_dropout=0.2
        )
        return words_classifier(
            features,
            training=TrainingOptions(
                learning_rate=0.02, label_smoothing=0.1, weight_decay=0.1, ema_momentum=0.9
            ),
        )


class Fitted(Plain):
    """A model that is evaluated before its training."""

    def adapt(self, hp: Any, model: keras.Model, x: Any, y: Any) -> None:
        model.layers[0].set_weights([np.full((30, 4), 0.1)])


class Noisy(keras.layers.Layer):
    """A layer that draws from Keras' global random state."""

    def call(self, x: Any, training: bool = False) -> Any:
        return x + keras.random.normal(keras.ops.shape(x)) if training else x


class DrawsWithoutASeed(keras_tuner.HyperModel):
    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return compiled(
            keras.layers.Embedding(30, 4),
            keras.layers.GlobalAveragePooling1D(),
            Noisy(),
            keras.layers.Dense(1, "sigmoid"),
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "hypermodel",
    [
        Model(),
        *(Options(features) for features in (mean_features, bilstm_features)),
        # Models without an input shape, and an optimizer that replaces the weights by averages at
        # the end of a training.
        *(Style(style, masked=True) for style in STYLES),
        DrawsWithoutASeed(),
    ],
)
def test_resumed_training_gives_exactly_the_metrics_of_one_that_never_paused(
    hypermodel: keras_tuner.HyperModel, tmp_path: Path
) -> None:
    pauses = (1, 2, 3, 4) if isinstance(hypermodel, Model) else (2,)
    assert_goes_on(hypermodel, tmp_path / "checkpoint.npz", pauses=pauses)


def test_training_that_pauses_before_its_first_step_goes_on_exactly(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=3, evaluates_fitted=True)
    assert_goes_on(Fitted(), tmp_path / "checkpoint.npz", pauses=(0, 1), config=config)


PARTS = replace(CONFIG, epochs=2, parts_per_epoch=4)


@pytest.mark.parametrize("n_epochs", [0.25, 0.5, 0.75, 1, 2])
def test_training_of_an_exact_number_of_epochs_ends_as_the_training_of_a_search(
    n_epochs: float,
) -> None:
    """The patience does not end it, and its last evaluation is on the whole validation split."""
    config = replace(PARTS, patience=1)
    states: dict[float, list[np.ndarray]] = {}

    class Recorded(Plain):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            self.model = super().build(hp)
            return self.model

    recorded = Recorded()

    def on_epoch(epoch: Epoch) -> Answer:
        states[epoch.number] = recorded.model.get_weights()
        return Answer.GO_ON

    _, searched = train(on_epoch, hypermodel=recorded, config=replace(PARTS, patience=9))
    model, result = train(hypermodel=Plain(), config=config, n_epochs=n_epochs)
    assert result.n_epochs == n_epochs
    values = {epoch.number: epoch.metrics for epoch in searched.history}
    assert [*values] == [0.25, 0.5, 1, 2]
    if n_epochs in values:  # 3/4 of an epoch is evaluated only where a training ends
        assert result.history[-1].metrics == values[n_epochs]
        np.testing.assert_equal(model.get_weights(), states[n_epochs])


def test_parts_give_the_weights_of_a_training_in_whole_epochs_of_the_same_batches() -> None:
    """With 50 texts in batches of 13 each of the two parts has two batches, none of them cut."""
    config = replace(CONFIG, batch_size=13, epochs=2)
    whole, _ = train(hypermodel=Plain(), config=config)
    in_parts, _ = train(hypermodel=Plain(), config=replace(config, parts_per_epoch=2))
    np.testing.assert_equal(in_parts.get_weights(), whole.get_weights())


def test_training_in_parts_goes_on_exactly(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    assert_goes_on(Plain(), path, pauses=(0.25, 0.5, 1), config=PARTS)


@pytest.mark.slow
def test_seconds_of_a_resumed_training_are_those_of_all_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    model = Plain()
    _, paused = train(pause_at(1), hypermodel=model, checkpoint=path, idle_seconds=100.0)
    _, resumed = train(hypermodel=model, checkpoint=path, resume=True, idle_seconds=1000.0)
    assert resumed.seconds["idle"] >= 1100
    assert resumed.seconds["first_step"] > paused.seconds["first_step"]


def test_own_fit_stops_where_it_should_pause(tmp_path: Path) -> None:
    class OwnFit(Plain):
        def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
            return model.fit(*args, **kwargs)

    _, result = train(pause_at(2), hypermodel=OwnFit(), checkpoint=tmp_path / "checkpoint.npz")
    assert (result.paused, result.stopped, len(result.history)) == (False, True, 2)
    assert not (tmp_path / "checkpoint.npz").exists()


def test_checkpoint_that_can_not_be_written_stops_the_training_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, arrays: object) -> None:
        raise StorageError("no space")

    monkeypatch.setattr(checkpoints, "write_arrays", full)
    path = tmp_path / "checkpoint.npz"
    _, result = train(pause_at(2), hypermodel=Plain(), checkpoint=path)
    assert (result.paused, result.stopped) == (False, True)


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    train(pause_at(1), hypermodel=Plain(), checkpoint=path)
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.compile("adam", "mse")
    with pytest.raises(ValueError, match="must fit its model"):
        checkpoints.load(path, other)


class RestoresTheFirstEpoch(Plain):
    """A hypermodel whose own `fit` ends with the weights of the first epoch."""

    def fit(self, hp: Any, model: keras.Model, *data: Any, callbacks: Any, **options: Any) -> Any:
        first = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: kept.append(model.get_weights())
        )
        kept: list[Any] = []
        history = model.fit(*data, callbacks=[*callbacks, first], **options)
        model.set_weights(kept[0])
        return history


class Logits(Plain):
    """A model of logits."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        model = super().build(hp)
        model.layers[-1].activation = keras.activations.linear
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(model.optimizer, loss, run_eagerly=True)
        return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "hypermodel",
    [Model(), Logits(), RestoresTheFirstEpoch(), Style(functional, masked=True)],
)
def test_saved_model_gives_the_probabilities_that_were_saved(
    hypermodel: keras_tuner.HyperModel, tmp_path: Path
) -> None:
    path, weights = tmp_path / "0007-3.npz", str(tmp_path / "weights.npz")
    _, result = train(hypermodel=hypermodel, weights=weights, predictions=str(path))
    job = TrainingJob(values=VALUES, target=TWO, train=CONFIG, seed=3, weights=weights)
    built, split = load_trained(hypermodel, job), texts(21)
    view = prediction.make_view(built.model, VALUES, split.texts)
    layer = built.form.to_probabilities
    assert (layer is not None) == isinstance(hypermodel, Logits)
    probabilities = prediction.Predictor(built.model, layer)(view, target=TWO)
    kept = read_probabilities(path)
    assert kept is not None
    np.testing.assert_allclose(probabilities, kept, atol=1e-6)
    measured = 0 if isinstance(hypermodel, RestoresTheFirstEpoch) else -1
    assert score(split.labels, kept)["loss"] == pytest.approx(
        result.history[measured].metrics["val_loss"], abs=1e-5
    )


def damaged_forms(data: bytes) -> Iterator[bytes]:
    """Yield a file's content cut off, or with one bit changed."""
    for n in range(0, len(data), 50):
        yield data[:n]
    for place in range(0, len(data), 5):
        for bit in (1, 128):
            changed = bytearray(data)
            changed[place] ^= bit
            yield bytes(changed)


def test_predictions_with_any_damage_are_read_as_none_or_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "0007-1.npz"
    probabilities = np.random.default_rng(0).random((20, 2)).astype(np.float32)
    write_probabilities(path, probabilities)
    stored = []
    for content in damaged_forms(path.read_bytes()):
        path.write_bytes(content)
        stored.append(read_probabilities(path))
    assert all(read is None or np.array_equal(read, probabilities) for read in stored)
    assert sum(read is None for read in stored) > 60


def test_damaged_file_of_a_trained_model_raises_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    checkpoints.save_trained(path, model)
    n_refused = 0
    for content in damaged_forms(path.read_bytes()):
        path.write_bytes(content)
        try:
            checkpoints.load_trained(path, model)
        except ValueError as error:
            n_refused += "missing, damaged or of another model" in str(error)
    assert n_refused > 60


def test_file_with_a_single_array_is_neither_predictions_nor_a_trained_model(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "0007-1.npy", np.ones(3))
    path = (tmp_path / "0007-1.npy").rename(tmp_path / "0007-1.npz")
    assert read_probabilities(path) is None
    with pytest.raises(ValueError, match="damaged or of another model"):
        checkpoints.load_trained(path, keras.Sequential([keras.layers.Dense(1)]))
