"""Hypermodels in the styles of public code whose trials would depend on earlier trials."""

from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest

from tests.spaces.test_loading import OWN_FIT, substituted, write
from tuning.config import TrainConfig
from tuning.errors import SpaceBug, SpaceError
from tuning.spaces.loading import declare
from tuning.training.built_model import build_model
from tuning.training.loops import try_fit
from tuning.training.result import TrainingJob

JOB = TrainingJob(
    values={"vocab_size": 9, "sequence_length": 4}, n_classes=2, train=TrainConfig(epochs=1), seed=3
)


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
    build_model(hypermodel, JOB)
    with pytest.raises(SpaceBug, match=r"must make its layers anew; .* embedding/embeddings was"):
        build_model(hypermodel, JOB)


def test_frozen_layer_may_be_made_once() -> None:
    hypermodel = Shared(trainable=False)
    for _ in range(3):
        build_model(hypermodel, JOB)


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
    keras.utils.set_random_seed(JOB.seed)
    with pytest.raises(SpaceBug, match="must not set the random seed; it sets 42"):
        build_model(Seeded(trainable=False), JOB)


def test_session_may_be_cleared_in_build() -> None:
    keras.utils.set_random_seed(JOB.seed)
    assert np.isfinite(build_model(Cleared(trainable=False), JOB).result.n_parameters)


FIT = 'return model.fit(x, y, batch_size=hp.Choice("batch_size", [16, 32]), **options)'
TWICE = """model.fit(x, y, **options)
        return model.fit(x, y, batch_size=hp.Choice("batch_size", [16, 32]), **options)"""
ON = """epochs = options.pop("epochs")
        model.fit(x, y, epochs=epochs // 2, **options)
        batch_size = hp.Choice("batch_size", [16, 32])
        options |= {"initial_epoch": epochs // 2, "epochs": epochs}
        return model.fit(x, y, batch_size=batch_size, **options)"""
OTHER = """hp.Choice("batch_size", [16, 32])
        return self.build(hp).fit(x, y, **options)"""


def test_two_phases_that_both_count_from_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"count its epochs on .* trains epoch 1 twice"):
        declare(write(tmp_path, substituted(OWN_FIT, FIT, TWICE)), n_classes=2, try_fit=try_fit)


def test_two_phases_that_count_on_are_taken(tmp_path: Path) -> None:
    declare(write(tmp_path, substituted(OWN_FIT, FIT, ON)), n_classes=2, try_fit=try_fit)


def test_fit_of_another_model_is_refused(tmp_path: Path) -> None:
    """The models of folds are trained, and the model that is evaluated is not."""
    with pytest.raises(SpaceError, match="must train the model that it gets"):
        declare(write(tmp_path, substituted(OWN_FIT, FIT, OTHER)), n_classes=2, try_fit=try_fit)
