"""The epochs of a training, by `keras.Model.fit` or by the search space's own `fit`."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from tuning.errors import SpaceError
from tuning.fidelity import part_at, part_of
from tuning.hardware import memory_left
from tuning.inputs.contract import Rows
from tuning.inputs.kinds import IDS, TEXTS, kind_of
from tuning.kernels.fuse import fused
from tuning.outcomes import FailureReason
from tuning.spaces.files import run_user_code
from tuning.spaces.loading import check_declared, has_own_fit
from tuning.targets.target import Target
from tuning.training.architecture import ensure_built, without_padding
from tuning.training.batching import View, training_batches
from tuning.training.built_model import BuiltModel, EncodedSplit
from tuning.training.callback import EvaluationCallback, TrainsOn, require_given_model
from tuning.training.loss_form import form_of_loss
from tuning.training.prediction import dataset, example_input, without_objects
from tuning.training.result import Infeasible
from tuning.training.vocabularies import placeholder_vocabularies

logger = logging.getLogger(__name__)

# Keras' own work between two calls into TensorFlow took 1 to 2 ms of the 6 to 10 ms of a batch.
STEPS_PER_EXECUTION = 32
# A retraining has no validation split, and an own `fit` may need one: it gets the last
# 1 / `RETRAINING_PART` of the rows that it trains on.
RETRAINING_PART = 10
UNUSED_WEIGHTS = (
    "fit() must use the weights of a study with class_weight or weight_column: pass its **kwargs to"
    " model.fit, which has sample_weight then, or give it a parameter sample_weight."
)
# Numbers of rows of ones and of epochs with which `try_fit` trains. A loop over the epochs may call
# `model.fit` for each of them, which only a second epoch shows.
N_TRIAL_ROWS, N_TRIAL_EPOCHS = 32, 2


def train_epochs(
    built: BuiltModel,
    callback: EvaluationCallback,
    *,
    train: EncodedSplit,
    begins_at_0: bool,
) -> None:
    """Train a model until its last epoch, or until the callback stops the training. `begins_at_0`:
    whether the model is evaluated before its training too, as epoch 0, which may be its last.
    """
    takes_texts, has_fit = TEXTS.name in train.view.inputs, has_own_fit(built.hypermodel)
    if built.model.jit_compile is True and train.view.pads_to_longest and not has_fit:
        built.model.jit_compile = False  # XLA would compile the step again for each width.
    with contextlib.ExitStack() as stack:
        # The vectorization of a model of texts decides where the padding is.
        if not takes_texts:
            built.result.n_fused_layers = stack.enter_context(fused(built.model))
        for name, part in train.view.inputs.items():
            if kind_of(name) is IDS and not has_fit:
                is_packed = stack.enter_context(without_padding(built.model, part.lengths))
                # The steps of the fold before were traced in the other way.
                if built.packed and built.packed[-1] != is_packed:
                    built.model.train_function = None
                built.packed.append(is_packed)
        if begins_at_0:
            callback.end_epoch(0, {})
        if begins_at_0 and built.model.stop_training:
            return
        if has_fit:
            _hypermodel_fit(built, callback, train=train)
        else:
            with contextlib.suppress(TrainsOn):  # A model may have a `fit` of its own.
                _keras_fit(built, callback, train=train)


def _keras_fit(built: BuiltModel, callback: EvaluationCallback, *, train: EncodedSplit) -> None:
    model, parts = built.model, built.parts
    # The number of parts that were trained before a pause. Keras counts each part as one epoch.
    n_trained = part_at(callback.result.n_epochs, parts)

    @functools.lru_cache(maxsize=1)  # The parts of an epoch share its batches.
    def batches_of_epoch(epoch: int) -> list[Rows]:
        return training_batches(
            train.view, batch_size=built.batch_size, seed=built.job.seed, epoch=epoch
        )

    def batches_of(part: int) -> list[Rows]:
        return part_of(batches_of_epoch(1 + part // parts), part % parts, parts=parts)

    numbers = itertools.count(n_trained)
    n_batches = len(batches_of(n_trained))
    data = dataset(
        lambda: iter(batches_of(next(numbers))),
        train.view,
        train.targets,
        n_batches=n_batches,
        weights=train.weights,
    )
    rows = np.arange(2)
    batch = [without_objects(train.view.batch(rows)), train.targets[rows]]
    batch += [] if train.weights is None else [train.weights[rows]]
    if model.train_function is None:  # A model that is reused has it.
        trace_steps(model, data.element_spec, batch=tuple(batch))
    callback.timings.lap("first_step")
    model.fit(
        data,
        initial_epoch=n_trained,
        epochs=part_at(built.n_epochs, parts),
        shuffle=False,
        verbose=0,
        callbacks=[callback],
    )


def trace_steps(model: keras.Model, spec: Any, *, batch: tuple[Any, ...]) -> None:
    """Create the variables of a compiled model's optimizer and metrics, and trace Keras' function
    of the training steps. Nothing is trained. So the first epoch takes as long as the others.

    Args:
        spec: the specification of a batch, as `tf.data.Dataset.element_spec` gives it.
        batch: the inputs, the targets and any weights of a few rows.
    """
    # Metrics of a model that runs eagerly may need numbers, which symbolic tensors do not have.
    if model.run_eagerly:
        return
    # A space may have set another number. A model that is reused has this module's already.
    is_default = model.steps_per_execution in (1, STEPS_PER_EXECUTION)
    if is_default:
        model.steps_per_execution = STEPS_PER_EXECUTION
    try:
        # Without this call, Keras creates the variables while it traces a step, and must trace the
        # step once more. This takes 0.15 s for each trial. An optimizer that is built outside the
        # scope of a model's distribution strategy can't train the model.
        with model.distribute_strategy.scope():
            model._symbolic_build(data_batch=batch)
        if is_default:
            model.make_train_function()
            empty = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=spec)
            with contextlib.suppress(StopIteration):
                model.train_function(iter(empty))
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    # `fit` raises the error again, unless the error depends on the order of these calls. The logs
    # of a model may need its loss first.
    except Exception:
        logger.info("The training steps of %s are traced by fit().", model.name, exc_info=True)
        model.train_function = None


def _hypermodel_fit(
    built: BuiltModel, callback: EvaluationCallback, *, train: EncodedSplit
) -> None:
    validation = callback.validation
    _require_memory([split.view for split in (train, validation) if split])
    x, y = without_objects(train.view.array()), train.targets
    weights = () if train.weights is None else (train.weights,)
    if validation:
        validation_data = without_objects(validation.view.array()), validation.targets
    else:
        rows = slice(-math.ceil(len(y) / RETRAINING_PART), None)
        validation_data = tf.nest.map_structure(lambda array: array[rows], x), y[rows]
    needs_weights = bool(weights) and _must_pass_weights(built.hypermodel)
    batch_size = built.batch_size if "batch_size" in built.job.values else None
    with (
        contextlib.suppress(TrainsOn),
        _quiet(built.model, needs_weights=needs_weights, batch_size=batch_size),
    ):
        run_user_code(
            lambda: call_fit(
                built.hypermodel.fit,
                built.hp,
                built.model,
                train=(x, y, *weights),
                validation=validation_data,
                epochs=math.ceil(built.n_epochs),
                callback=callback,
            ),
            doing="fitting",
        )
    check_declared(built.hp, built.job.known)


def call_fit(
    fit: Callable[..., object],
    hp: Any,
    model: keras.Model,
    *,
    train: tuple[Any, ...],
    validation: tuple[Any, Any],
    epochs: int,
    callback: keras.callbacks.Callback,
) -> None:
    """Call a hypermodel's own `fit` as a call of `keras_tuner.Tuner.search` with `validation_data`
    and `epochs` does. `x` and `y` are given by position, or by name if `fit` needs that. `train`
    may have weights too, which are the argument `sample_weight`.
    """
    x, y, *weights = train
    options = {"validation_data": validation, "epochs": epochs, "callbacks": [callback]}
    if weights:
        options["sample_weight"] = weights[0]
    takes_position = _takes_by_position(fit)
    arguments = (hp, model, x, y) if takes_position else (hp, model)
    data = {} if takes_position else {"x": x, "y": y}
    try:
        inspect.signature(fit).bind(*arguments, **data, **options)
    except TypeError as error:
        raise SpaceError(
            f"fit() can't take x, y, {', '.join(options)}: {error}. Write"
            " def fit(self, hp, model, x, y, **kwargs)."
        ) from error
    try:
        fit(*arguments, **data, **options)
    except KeyError as error:  # The code reads kwargs["x"].
        # `model.fit` sets the callback's model. An error after that is another one.
        if error.args != ("x",) or data or callback.model is not None:
            raise
        fit(hp, model, x=x, y=y, **options)


def _takes_by_position(fit: Callable[..., object]) -> bool:
    """Return whether a hypermodel's own `fit` takes `x` and `y` as the arguments after `hp` and
    `model`. An array is not meant for a parameter such as `flag=False`, or for a parameter with the
    name of another argument of `keras.Model.fit`, such as `callbacks`.
    """
    parameters = [*inspect.signature(fit).parameters.values()]
    has_args = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    slots = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][2:4]
    if {"x", "y"}.issubset(named):
        return False
    if not slots:
        return has_args
    others = inspect.signature(keras.Model.fit).parameters.keys() - {"x", "y"}
    # `inputs=None` may be meant for an array, but before `*args` it is an option.
    defaults = [inspect.Parameter.empty] if has_args else [inspect.Parameter.empty, None]
    return len(slots) + has_args >= 2 and all(
        slot.name not in others and any(slot.default is default for default in defaults)
        for slot in slots
    )


def _must_pass_weights(hypermodel: keras_tuner.HyperModel) -> bool:
    # A `fit` that names `sample_weight` may use the weights in another way than by `model.fit`.
    return "sample_weight" not in inspect.signature(hypermodel.fit).parameters


@contextlib.contextmanager
def _quiet(
    model: keras.Model, *, needs_weights: bool, batch_size: int | None = None
) -> Iterator[None]:
    """Make `model.fit` print nothing unless it is called with `verbose`, and take the declared
    `batch_size` unless it is called with another.

    With `needs_weights`, `model.fit` must be called with a `sample_weight`.
    """
    # The hypermodel's own `fit` is not called with these arguments, because it may give them to
    # `model.fit` itself, and Python refuses an argument that is given twice. KerasTuner does not
    # give them either.
    fit, is_weighted = model.fit, False
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def quiet(*arguments: Any, **options: Any) -> Any:
        nonlocal is_weighted
        named = signature.bind_partial(*arguments, **options).arguments
        if "verbose" in signature.parameters:
            options |= {} if "verbose" in named else {"verbose": 0}
        # A dataset has its own batches.
        has_arrays = isinstance(named.get("x"), np.ndarray | tf.Tensor | dict)
        if batch_size and "batch_size" in signature.parameters and has_arrays:
            options |= {} if "batch_size" in named else {"batch_size": batch_size}
        is_weighted = named.get("sample_weight") is not None
        # Keras refuses a `class_weight` beside a `sample_weight`.
        if needs_weights and named.get("class_weight") is not None:
            raise SpaceError(
                "fit() gives model.fit a class_weight of its own; leave class_weight and"
                " weight_column out of the study."
            )
        if needs_weights and not is_weighted:
            raise SpaceError(UNUSED_WEIGHTS)
        return fit(*arguments, **options)

    model.fit = quiet
    try:
        yield
    finally:
        del model.fit
    if needs_weights and not is_weighted:
        raise SpaceError(UNUSED_WEIGHTS)


def _require_memory(views: list[View]) -> None:
    n_bytes, left = sum(view.array_bytes for view in views), memory_left()
    # Keras' `fit` copies the arrays: 390 MB of n-grams of 22,000 reviews took 1,000 MB. Under the
    # memory limit of a worker, TensorFlow ends the process with a segmentation fault where it can't
    # allocate the copy, and the trial would end without a reason.
    if left is not None and 2 * n_bytes > left:
        raise Infeasible(
            FailureReason.OUT_OF_MEMORY,
            "A fit() of a search space gets whole arrays, in which every text is as wide as the"
            f" longest; here they need {n_bytes / 2**20:,.0f} MB, and a copy of them in Keras as"
            f" much again, but this worker may allocate {left / 2**20:,.0f} MB more. Give"
            " sequence_length, ngrams or ngram_vocab_size smaller values, raise trial_memory_mb,"
            " or remove fit(): without it a batch is only as wide as its own longest text.",
        )


def try_fit(
    hypermodel: keras_tuner.HyperModel,
    hp: Any,
    model: keras.Model,
    *,
    target: Target,
    sequence_length: int,
    is_weighted: bool = False,
) -> None:
    """Run a hypermodel's own `fit` for two epochs on a few rows of ones. The hyperparameters that
    `fit` declares are added to `hp`.

    `sequence_length`: number of tokens of a text for a space that declares none. `is_weighted`:
    whether the study has weights.
    """
    values = {"sequence_length": sequence_length, **hp.values}
    length = int(values["sequence_length"])
    ensure_built(model, sequence_length=length)
    x = without_objects(example_input(model, values, n_rows=N_TRIAL_ROWS))
    form = form_of_loss(model, target, sequence_length=length)
    y = form.encode_labels(target.examples(N_TRIAL_ROWS))
    weights = (np.ones(N_TRIAL_ROWS, np.float32),) if is_weighted else ()
    probe, needs_weights = _Probe(model), is_weighted and _must_pass_weights(hypermodel)
    with placeholder_vocabularies(model), _quiet(model, needs_weights=needs_weights):
        try:
            call_fit(
                *(hypermodel.fit, hp, model),
                train=(x, y, *weights),
                validation=(x, y),
                epochs=N_TRIAL_EPOCHS,
                callback=probe,
            )
        except TypeError as error:
            if "multiple values for keyword argument 'epochs'" not in str(error):
                raise
            raise SpaceError(
                "fit() must leave the number of epochs to its caller: remove epochs= from"
                " model.fit, declare hp.Int('max_epochs', …) to search it, and give epochs the"
                " maximum."
            ) from error
    if not probe.epochs:
        raise SpaceError(
            "fit() must pass its callbacks to model.fit, or call their on_epoch_end after each"
            " epoch; without them no epoch can be evaluated."
        )
    twice = [epoch for number, epoch in enumerate(probe.epochs) if epoch in probe.epochs[:number]]
    if twice:
        raise SpaceError(
            "fit() must count its epochs on if it calls model.fit more than once; it trains epoch"
            f" {twice[0] + 1} twice. Give the second call initial_epoch=, or give no"
            " callbacks to the first."
        )


class _Probe(keras.callbacks.Callback):
    def __init__(self, given: keras.Model) -> None:
        super().__init__()
        self._given = given
        self.epochs: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        require_given_model(self.model, self._given)
        self.epochs.append(epoch)
