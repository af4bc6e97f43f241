"""KerasTuner over the default search space of this program, whose class runs there unchanged.

KerasTuner reads the token ids and n-grams of this program's corpus, which were counted before its
time is measured, and the same batches. Users of KerasTuner would have to write code for both. The
layers are Keras' own, without the kernels of this program.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from benchmarks.configurations import BATCH_SIZE, Configuration
from benchmarks.default_space import space_path
from benchmarks.peers.kerastuner_peer import Recorder, search_by, train_list_by
from tuning.data.corpus import Corpus, LabeledTexts
from tuning.spaces.loading import load_hypermodel
from tuning.training.batching import Rows, View, evaluation_batches, in_order, training_batches
from tuning.training.prediction import dataset, make_view

Reviews: Any = type(load_hypermodel(space_path()))


class Peer(Reviews):
    """The default search space with a `fit` that takes a corpus."""

    def __init__(self, *, seed: int, recorder: Recorder) -> None:
        super().__init__(name="default_space_peer")
        self._seed, self.recorder = seed, recorder
        self.ends: list[float] = []

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        keras.utils.set_random_seed(self._seed)
        return super().build(hp)

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, corpus: Corpus, **options: Any
    ) -> Any:
        train, validation = corpus.split("train"), corpus.split("validation")
        view = make_view(model, hp.values, train.texts)
        self.adapt(hp, model, _in_order(view), train.labels)
        batch_size = int(hp.values.get("batch_size", BATCH_SIZE))
        options["callbacks"] = [*options["callbacks"], self.recorder]
        history = model.fit(
            _training(view, train, batch_size=batch_size, seed=self._seed),
            validation_data=_evaluation(make_view(model, hp.values, validation.texts), validation),
            **options,
        )
        self.ends.append(time.perf_counter())
        return history


def train_list(
    *, corpus_dir: Path, configurations: list[Configuration], epochs: int, seed: int
) -> dict[str, Any]:
    """Train the configurations by `Tuner.search`, each for all epochs; only `search` is timed."""
    peer, corpus = Peer(seed=seed, recorder=Recorder()), Corpus(corpus_dir)
    return train_list_by(peer, corpus, configurations=configurations, epochs=epochs, seed=seed)


def search(
    *, corpus_dir: Path, tuner: str, epochs: int, seed: int, budget_seconds: float
) -> list[dict[str, float]]:
    """Search with "random" or "hyperband" for `budget_seconds`; return every epoch."""
    peer = Peer(seed=seed, recorder=Recorder(budget_seconds=budget_seconds))
    return search_by(peer, Corpus(corpus_dir), tuner=tuner, epochs=epochs, seed=seed)


def _in_order(view: View) -> tf.data.Dataset:
    batches = in_order(view)
    return dataset(lambda: iter(batches), view, None, n_batches=len(batches))


def _training(view: View, texts: LabeledTexts, *, batch_size: int, seed: int) -> tf.data.Dataset:
    """Return batches in a new random order in each epoch."""
    epoch = 0

    def batches() -> Iterator[Rows]:
        nonlocal epoch
        epoch += 1
        return iter(training_batches(view, batch_size=batch_size, seed=seed, epoch=epoch))

    n_batches = math.ceil(len(texts.labels) / batch_size)
    return dataset(batches, view, _targets(texts), n_batches=n_batches)


def _evaluation(view: View, texts: LabeledTexts) -> tf.data.Dataset:
    batches = evaluation_batches(view)
    return dataset(lambda: iter(batches), view, _targets(texts), n_batches=len(batches))


def _targets(texts: LabeledTexts) -> Any:
    return texts.labels.astype(np.float32)[:, None]
