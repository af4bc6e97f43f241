"""The model of one configuration: built by the search space, measured, and at its checkpoint if the
training is resumed.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import random
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from tuning.config import BALANCED
from tuning.errors import SpaceBug
from tuning.inputs.contract import LabeledTexts
from tuning.inputs.kinds import TEXTS
from tuning.inputs.texts import TextView
from tuning.models.ngrams import at_most_rows
from tuning.spaces.files import run_user_code
from tuning.spaces.loading import build, check_declared, has_own_fit
from tuning.spaces.models import refuse_states, refuse_unknown_steps
from tuning.spaces.ranges import CLASS_WEIGHT
from tuning.targets.target import Array, Labels
from tuning.training import checkpoints, prediction
from tuning.training.architecture import ensure_built
from tuning.training.batching import View, in_order
from tuning.training.loss_form import LossForm, form_of_loss
from tuning.training.result import FitResult, TrainingJob
from tuning.training.vocabularies import adapt_to_texts

# The trainable variables of the models of this process, by their ids. The references are weak,
# because Python gives the id of a freed variable to another object.
_KNOWN: weakref.WeakValueDictionary[int, keras.Variable] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class EncodedSplit:
    """A split as a model takes it, with a target for each text in the encoding of the loss, and the
    weight of each text in the loss, float32 (n,), or None if all are equal.
    """

    view: View
    labels: Labels
    targets: Labels
    weights: Array | None = None


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """`is_reused`: whether the model was trained on an earlier fold, so that its functions are
    traced, and has its initial state again (`folds.Models`). `packed`: whether the training
    left out the padding, for each fold so far.
    """

    hypermodel: keras_tuner.HyperModel
    hp: keras_tuner.HyperParameters
    model: keras.Model
    form: LossForm
    predict: prediction.Predictor
    job: TrainingJob
    result: FitResult
    is_reused: bool = False
    packed: list[bool] = field(default_factory=list)

    @property
    def batch_size(self) -> int:
        return int(self.job.values.get("batch_size", self.job.train.batch_size))

    @property
    def class_weight(self) -> str:
        searched = self.job.values.get(CLASS_WEIGHT)
        # A hypermodel's own `fit` reads the searched value itself.
        if searched == BALANCED and not has_own_fit(self.hypermodel):
            return BALANCED
        return self.job.train.class_weight

    @property
    def n_epochs(self) -> float:
        n_epochs = self.job.train.epochs if self.job.n_epochs is None else self.job.n_epochs
        return min(n_epochs, int(self.job.values.get("max_epochs", math.ceil(n_epochs))))

    @property
    def patience(self) -> float:
        # A repeat or an export trains for the number of epochs that the search has found.
        return self.job.train.patience if self.job.n_epochs is None else math.inf

    @property
    def parts(self) -> int:
        """Number of parts of an epoch, each of which Keras counts as one epoch."""
        # A hypermodel's own `fit` trains whole epochs.
        return 1 if has_own_fit(self.hypermodel) else self.job.train.parts_per_epoch

    def adapt(self, split: EncodedSplit) -> bool:
        """Return whether the hypermodel has fitted the model: changed a weight that is trained."""
        if self.job.resume:  # The checkpoint contains the adapted state.
            return False
        # A repeat and an export train on other rows, and must not be refused after a search.
        if self.job.n_epochs is None:
            self.job.target.require_in_reach(self.model, split.labels)
        is_fitted = hasattr(self.hypermodel, "adapt") and self._adapt_by_hypermodel(split)
        self.job.target.adapt(self.model, split.labels)
        # The layers that take texts come last, because the hypermodel's `adapt` may have given one
        # of them its vocabulary.
        texts = split.view.inputs.get(TEXTS.name)
        if isinstance(texts, TextView):
            run_user_code(
                lambda: adapt_to_texts(self.model, texts.raw),
                doing="adapting its TextVectorization to the training texts",
            )
        return is_fitted

    def _adapt_by_hypermodel(self, split: EncodedSplit) -> bool:
        """Call the hypermodel's `adapt(hp, model, x, y)` with a `tf.data.Dataset` of batches of the
        model's input, in the order of the labels `y`, and return whether it has changed a weight
        that is trained.
        """
        view = split.view
        batches, adapt = in_order(view), self.hypermodel.adapt
        takes_weights = "sample_weight" in inspect.signature(adapt).parameters
        weights = {"sample_weight": split.weights} if takes_weights else {}
        before, trained = _configs(self.model), self.model.trainable_variables
        # TensorFlow does not copy these values: an assignment gives a variable another buffer.
        values = [variable.value.read_value() for variable in trained]
        x = prediction.dataset(lambda: iter(batches), view, None, n_batches=len(batches))
        returned = run_user_code(
            lambda: adapt(self.hp, self.model, x, np.asarray(split.labels), **weights),
            doing="adapting the model to the training texts",
        )
        if returned is not None and returned is not self.model:
            raise SpaceBug(
                "adapt(hp, model, x, y) must change the model that it gets, and return None; it"
                f" returned {returned!r}.",
            )
        changed = [name for name, config in _configs(self.model).items() if config != before[name]]
        if changed:
            raise SpaceBug(
                "adapt(hp, model, x, y) must change nothing but the values of variables and"
                " vocabularies, because a training that was paused and an export restore these"
                f" alone; it changed the configuration of {', '.join(changed)}. Configure the"
                " layers in build(hp).",
            )
        # Functions that `adapt` called were traced with the earlier state of the layers.
        if not self.is_reused:
            model = self.model
            model.train_function = model.test_function = model.predict_function = None
        check_declared(self.hp, self.job.known)
        pairs = zip(values, trained, strict=True)
        return not all(np.array_equal(value, variable) for value, variable in pairs)

    def measure_latency(self) -> None:
        if self.job.measure_latency and self.result.latency_ms is None:
            self.result.latency_ms = run_user_code(
                lambda: prediction.latency_ms(self.model, self.job.values),
                doing="measuring its latency",
            )

    def encode(self, split: LabeledTexts) -> EncodedSplit:
        view = prediction.make_view(self.model, self.job.values, split.texts)
        weights = self.job.target.text_weights(self.class_weight, split.labels, split.weights)
        return EncodedSplit(view, split.labels, self.form.encode_labels(split.labels), weights)


def _configs(model: keras.Model) -> dict[str, str]:
    configs = {}
    for layer in model._flatten_layers(include_self=False):
        # Keras raises this error for a layer of the user without `get_config` if it can't write the
        # arguments of the layer itself.
        with contextlib.suppress(NotImplementedError):
            # The size of a vocabulary is part of the configuration, and `adapt` may change it.
            configs[layer.name] = repr({**layer.get_config(), "vocabulary_size": None})
    return configs


def build_model(hypermodel: keras_tuner.HyperModel, job: TrainingJob) -> BuiltModel:
    with _no_seeds(), at_most_rows(job.n_ngram_ids):
        hp, model = build(hypermodel, job.values, known=job.known)
    prediction.checked_inputs(model, job.values)
    refuse_states(model)
    length = int(job.values.get("sequence_length", prediction.N_TOKENS))
    run_user_code(
        lambda: ensure_built(model, sequence_length=length), doing="building the model's layers"
    )
    refuse_unknown_steps(model)
    _require_new_variables(model)
    form = form_of_loss(model, job.target, sequence_length=length)
    result = FitResult()
    if job.checkpoint and job.resume:
        result = checkpoints.load(Path(job.checkpoint), model)
        finalize_layers(model)
    result.n_parameters = int(model.count_params())
    return BuiltModel(
        hypermodel=hypermodel,
        hp=hp,
        model=model,
        form=form,
        predict=prediction.Predictor(model, form.to_probabilities),
        job=job,
        result=result,
    )


@contextlib.contextmanager
def _no_seeds() -> Iterator[None]:
    # Keras draws the seeds of its initializers by Python's `random`, and
    # `keras.utils.set_random_seed` calls `random.seed`, so this one function shows both ways.
    seed, given = random.seed, list[Any]()

    def recording(*arguments: Any, **options: Any) -> None:
        given.extend([*arguments, *options.values()] or [None])
        seed(*arguments, **options)

    random.seed = recording
    try:
        yield
    finally:
        random.seed = seed
    if given:
        raise SpaceBug(
            f"build(hp) must not set the random seed; it sets {given[0]}, so every repeat on a"
            " fresh seed would begin with the same weights. Remove set_random_seed or random.seed:"
            " seed is the seed of a study.",
        )


def _require_new_variables(model: keras.Model) -> None:
    for variable in model.variables:
        if id(variable) in _KNOWN:
            raise SpaceBug(
                "build(hp) must make its layers anew; the layer with the variable"
                f" {variable.path} was made before, for example when the file was loaded, so a"
                " trial would begin with the weights of the trial before it. Make this layer inside"
                " build(hp), or give it trainable=False.",
            )
    remember_trained(model)


def remember_trained(model: keras.Model) -> None:
    """Remember the trainable variables of a model, which no later model may have."""
    _KNOWN.update({id(variable): variable for variable in model.trainable_variables})


def finalize_layers(model: keras.Model) -> None:
    for layer in model._flatten_layers(include_self=False):
        # This layer computes with constants, which it makes from its variables. After an assignment
        # of the variables, the constants have the old values.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
