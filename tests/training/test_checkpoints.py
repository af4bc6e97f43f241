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
from tests.training.test_fit import TRAIN, VALIDATION, VALUES, Fitted, Hyper, OwnFit, mean, stacked
from tuning.config import TrainConfig
from tuning.errors import StorageError
from tuning.evaluation.predictions import read_probabilities
from tuning.models import TrainingOptions, bilstm_features, mean_features, words_classifier
from tuning.training import checkpoints, prediction
from tuning.training.fit import fit, load_trained
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob

CONFIG = TrainConfig(epochs=5, batch_size=8, patience=9)


def with_every_state(hp: Any) -> keras.Model:
    """Return a model with every kind of state: two dropout layers, a noise layer, batch statistics,
    and an optimizer with a schedule.
    """
    rate = keras.optimizers.schedules.ExponentialDecay(0.02, 4, 0.9)
    return stacked(
        keras.layers.LSTM(3, dropout=0.2, recurrent_dropout=0.3),
        keras.layers.BatchNormalization(),
        keras.layers.GaussianNoise(0.1),
        keras.layers.Dropout(0.4),
        masked=True,
        optimizer=keras.optimizers.Adam(rate),
        eager=False,
    )


def plain(hp: Any) -> keras.Model:
    return mean(optimizer="adam")


PLAIN, STATEFUL = Hyper(plain), Hyper(with_every_state)


def in_style(make: Callable[..., keras.Model]) -> Hyper:
    return Hyper(lambda hp: make(masked=True))


def train(
    hypermodel: keras_tuner.HyperModel,
    on_epoch: Callable[[Epoch], Answer] = lambda epoch: Answer.GO_ON,
    *,
    config: TrainConfig = CONFIG,
    idle_seconds: float = 0.0,
    **options: Any,
) -> tuple[keras.Model, FitResult]:
    job = TrainingJob(values=VALUES, target=TWO, train=config, seed=3, **options)
    splits = {"train": TRAIN, "validation": VALIDATION}
    return fit(hypermodel, job, **splits, on_epoch=on_epoch, idle_seconds=idle_seconds)


def assert_goes_on(
    hypermodel: keras_tuner.HyperModel,
    path: Path,
    *,
    pauses: Sequence[float] = (2,),
    config: TrainConfig = CONFIG,
) -> None:
    """Assert that a training that pauses after these epochs ends as one that never paused."""
    model, whole = train(hypermodel, config=config)
    options: dict[str, Any] = {"config": config, "checkpoint": path}
    for place, pause in enumerate(pauses):
        _, paused = train(hypermodel, pause_at(pause), resume=place > 0, **options)
        assert paused.paused
        keras.backend.clear_session()
        keras.utils.set_random_seed(99)
    resumed_model, resumed = train(hypermodel, resume=True, **options)
    assert [epoch.metrics for epoch in resumed.history] == [
        epoch.metrics for epoch in whole.history
    ]
    assert (resumed.best_epoch, resumed.best_value) == (whole.best_epoch, whole.best_value)
    assert resumed.n_tokens == whole.n_tokens
    np.testing.assert_equal(resumed_model.get_weights(), model.get_weights())


def pause_at(epoch: float) -> Callable[[Epoch], Answer]:
    return lambda done: Answer.PAUSE if done.number == epoch else Answer.GO_ON


def with_every_option(features: Callable[..., Any]) -> Hyper:
    """Return a classifier of `tuning.models` with every option switched on."""
    of_words = partial(features, vocab_size=30, embedding_dim=3, dropout=0.2, word_dropout=0.2)
    training = TrainingOptions(
        learning_rate=0.02, label_smoothing=0.1, weight_decay=0.1, ema_momentum=0.9
    )
    return Hyper(lambda hp: words_classifier(of_words, training=training))


class Noisy(keras.layers.Layer):
    """A layer that draws from Keras' global random state."""

    def call(self, x: Any, training: bool = False) -> Any:
        return x + keras.random.normal(keras.ops.shape(x)) if training else x


def drawing_without_a_seed(hp: Any) -> keras.Model:
    middle = [keras.layers.GlobalAveragePooling1D(), Noisy()]
    return stacked(*middle, optimizer="adam", eager=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "hypermodel",
    [
        STATEFUL,
        *map(with_every_option, (mean_features, bilstm_features)),
        # Models without an input shape, and an optimizer that replaces the weights by averages at
        # the end of a training.
        *map(in_style, STYLES),
        Hyper(drawing_without_a_seed),
    ],
)
def test_resumed_training_gives_exactly_the_metrics_of_one_that_never_paused(
    hypermodel: keras_tuner.HyperModel, tmp_path: Path
) -> None:
    pauses = (1, 2, 3, 4) if hypermodel is STATEFUL else (2,)
    assert_goes_on(hypermodel, tmp_path / "checkpoint.npz", pauses=pauses)


def test_training_that_pauses_before_its_first_step_goes_on_exactly(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=3, evaluates_fitted=True)
    hypermodel = Hyper(plain)
    hypermodel.adapt = Fitted(0.1).adapt  # type: ignore[attr-defined]
    assert_goes_on(hypermodel, tmp_path / "checkpoint.npz", pauses=(0, 1), config=config)


PARTS = replace(CONFIG, epochs=2, parts_per_epoch=4)


def test_training_of_an_exact_number_of_epochs_ends_as_the_training_of_a_search() -> None:
    """The patience does not end it, and its last evaluation is on the whole validation split."""
    states: dict[float, list[np.ndarray]] = {}
    models: list[keras.Model] = []

    def recorded(hp: Any) -> keras.Model:
        models.append(plain(hp))
        return models[-1]

    def on_epoch(epoch: Epoch) -> Answer:
        states[epoch.number] = models[-1].get_weights()
        return Answer.GO_ON

    _, searched = train(Hyper(recorded), on_epoch, config=PARTS)
    values = {epoch.number: epoch.metrics for epoch in searched.history}
    assert [*values] == [0.25, 0.5, 1, 2]
    for n_epochs in (0.25, 0.5, 0.75, 1, 2):
        model, result = train(PLAIN, config=replace(PARTS, patience=1), n_epochs=n_epochs)
        assert result.n_epochs == n_epochs
        if n_epochs in values:  # 3/4 of an epoch is evaluated only where a training ends
            assert result.history[-1].metrics == values[n_epochs]
            np.testing.assert_equal(model.get_weights(), states[n_epochs])


def test_parts_give_the_weights_of_a_training_in_whole_epochs_of_the_same_batches() -> None:
    """With 48 texts in batches of 12 each of the two parts has two batches, none of them cut."""
    config = replace(CONFIG, batch_size=12, epochs=2)
    whole, _ = train(PLAIN, config=config)
    in_parts, _ = train(PLAIN, config=replace(config, parts_per_epoch=2))
    np.testing.assert_equal(in_parts.get_weights(), whole.get_weights())


def test_training_in_parts_goes_on_exactly(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    assert_goes_on(PLAIN, path, pauses=(0.25, 0.5, 1), config=PARTS)


@pytest.mark.slow
def test_seconds_of_a_resumed_training_are_those_of_all_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    _, paused = train(PLAIN, pause_at(1), checkpoint=path, idle_seconds=100.0)
    _, resumed = train(PLAIN, checkpoint=path, resume=True, idle_seconds=1000.0)
    assert resumed.seconds["idle"] >= 1100
    assert resumed.seconds["first_step"] > paused.seconds["first_step"]


def test_own_fit_stops_where_it_should_pause(tmp_path: Path) -> None:
    _, result = train(OwnFit(), pause_at(2), checkpoint=tmp_path / "checkpoint.npz")
    assert (result.paused, result.stopped, len(result.history)) == (False, True, 2)
    assert not (tmp_path / "checkpoint.npz").exists()


def test_checkpoint_that_can_not_be_written_stops_the_training_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, arrays: object) -> None:
        raise StorageError("no space")

    monkeypatch.setattr(checkpoints, "write_arrays", full)
    path = tmp_path / "checkpoint.npz"
    _, result = train(PLAIN, pause_at(2), checkpoint=path)
    assert (result.paused, result.stopped) == (False, True)


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    train(PLAIN, pause_at(1), checkpoint=path)
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.compile("adam", "mse")
    with pytest.raises(ValueError, match="must fit its model"):
        checkpoints.load(path, other)


class Scale(keras.layers.Layer):
    """A layer with a scalar, as one of the user that scales the weights of n-grams."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:
        return x * self.scale


def test_own_scalar_with_the_name_of_a_table_is_restored() -> None:
    """A checkpoint of an earlier version may have more rows of the tables of n-grams."""
    middle = [keras.layers.GlobalAveragePooling1D(), Scale(name="scaled_ngram_weights")]
    model = stacked(*middle, optimizer="adam")
    state = checkpoints.state_of(model)
    model.get_layer("scaled_ngram_weights").scale.assign(5.0)
    checkpoints.assign_state(model, state, source="a test")
    assert float(model.get_layer("scaled_ngram_weights").scale) == 1.0


def restore_the_first_epoch(
    hp: Any, model: keras.Model, *data: Any, callbacks: Any, **options: Any
) -> Any:
    """Train as an own `fit` that ends with the weights of the first epoch."""
    kept: list[Any] = []
    first = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.append(model.get_weights())
    )
    history = model.fit(*data, callbacks=[*callbacks, first], **options)
    model.set_weights(kept[0])
    return history


RESTORING = Hyper(plain, restore_the_first_epoch)
LOGIT = keras.losses.BinaryCrossentropy(from_logits=True)
LOGITS = Hyper(lambda hp: mean(last=keras.layers.Dense(1), loss=LOGIT, optimizer="adam"))


@pytest.mark.slow
@pytest.mark.parametrize("hypermodel", [STATEFUL, LOGITS, RESTORING, in_style(functional)])
def test_saved_model_gives_the_probabilities_that_were_saved(
    hypermodel: keras_tuner.HyperModel, tmp_path: Path
) -> None:
    path, weights = tmp_path / "0007-3.npz", str(tmp_path / "weights.npz")
    _, result = train(hypermodel, weights=weights, predictions=str(path))
    job = TrainingJob(values=VALUES, target=TWO, train=CONFIG, seed=3, weights=weights)
    built = load_trained(hypermodel, job)
    view = prediction.make_view(built.model, VALUES, VALIDATION.texts)
    layer = built.form.to_probabilities
    assert (layer is not None) == (hypermodel is LOGITS)
    probabilities = prediction.Predictor(built.model, layer)(view, target=TWO)
    kept = read_probabilities(path)
    assert kept is not None
    np.testing.assert_allclose(probabilities, kept, atol=1e-6)
    measured = 0 if hypermodel is RESTORING else -1
    assert score(VALIDATION.labels, kept)["loss"] == pytest.approx(
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


def test_damaged_file_of_a_trained_model_raises_a_value_error(tmp_path: Path) -> None:
    """The reader of predictions returns None for the same errors."""
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
