"""Predictions of a model: the view of the texts, class probabilities in large batches, and the
latency of a single review.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tuning.config import is_keras_file
from tuning.errors import SpaceBug
from tuning.inputs.contract import InputView, Rows, Shape, TokenizedTexts
from tuning.inputs.features import TRUNCATING
from tuning.inputs.kinds import FEATURES, IDS, KINDS, TEXTS, kind_of
from tuning.spaces.files import run_user_code
from tuning.spaces.ranges import SMALLEST
from tuning.targets.target import Array, Labels, Target
from tuning.training.architecture import ignores_padding, input_names, other_name
from tuning.training.batching import Batch, View, as_input, evaluation_batches

# Numbers of calls that measure the latency of a single review. If a call takes 10 ms, the
# measurement takes 0.3 s.
N_CALLS, N_WARM_UP_CALLS = 30, 3
# Number of tokens of that review, for a model that takes n-grams only.
N_TOKENS = 100


def make_view(model: keras.Model, values: Mapping[str, Any], texts: TokenizedTexts) -> View:
    kinds = {name: kind_of(name) for name in checked_inputs(model, values)}
    # No other input than token ids reads the answer. XLA would compile the step again for each
    # width of a batch.
    may_vary = IDS in kinds.values() and model.jit_compile is not True and ignores_padding(model)
    shapes = _shapes(model)
    return View(
        {
            name: kind.view(texts, values, shape=shape, ignores_padding=may_vary)
            for (name, kind), shape in zip(kinds.items(), shapes, strict=False)
        }
    )


def checked_inputs(model: keras.Model, values: Mapping[str, Any]) -> tuple[str, ...]:
    names = input_names(model)
    read = {name for kind in map(kind_of, names) for name in kind.hyperparameters}
    for kind in KINDS.values():
        if kind.declared_by in values and TEXTS.name not in names and kind.declared_by not in read:
            raise SpaceBug(
                f"A space must declare {kind.declared_by!r} only for models that take {kind.what};"
                f" this configuration declares {kind.declared_by!r}, but its model has no input"
                f" named {kind.name!r}. Make the model with keras.Input(…, name={kind.name!r}); a"
                " model with its own call takes token ids only.",
            )
    for kind in map(kind_of, names):
        if missing := [name for name in kind.hyperparameters if name not in values]:
            remedy = "" if kind is IDS else f" {other_name(kind.name)}"
            raise SpaceBug(
                f"A space must declare {' and '.join(kind.hyperparameters)} for a model that takes"
                f" {kind.what}; this configuration has no {' and no '.join(missing)}."
                f"{remedy}",
            )
        # Only the model of the defaults is known when the space is loaded.
        for name in kind.hyperparameters:
            value, smallest = values[name], SMALLEST.get(name)
            is_number = isinstance(value, int | float)
            if smallest is not None and not (is_number and value >= smallest):
                raise SpaceBug(
                    f"{name} must be {smallest} or more for a model that takes {kind.what};"
                    f" this configuration has {value!r}. Change its range, and start another"
                    " study.",
                )
    cuts_tokens = not is_keras_file(values.get("preset"))
    if {IDS, FEATURES} <= {*map(kind_of, names)} and cuts_tokens:
        _require_one_cut(values)
    return names


def _require_one_cut(values: Mapping[str, Any]) -> None:
    # The description of an export's input has one length.
    of_words = values["sequence_length"], values.get("truncating", "pre")
    of_encoder = values["feature_length"], TRUNCATING
    if of_words != of_encoder:
        raise SpaceBug(
            "Token ids beside features must be cut as the encoder's tokens are: sequence_length and"
            f" truncating must be {of_encoder}; they are {of_words}.",
        )


def _shapes(model: keras.Model) -> list[Shape]:
    """Return the shape of a text in each of a model's inputs; () if the model declares none."""
    return [tuple(tensor.shape[1:]) for tensor in getattr(model, "inputs", None) or []] or [()]


def example_input(model: keras.Model, values: Mapping[str, Any], *, n_rows: int) -> Batch:
    """Return the input of a model for texts of `sequence_length` unknown words, or of `N_TOKENS`
    words for a model without this hyperparameter.
    """
    n_tokens = int(values.get("sequence_length", N_TOKENS))
    return as_input(
        {
            name: kind_of(name).example(values, shape=shape, n_rows=n_rows, n_tokens=n_tokens)
            for name, shape in zip(input_names(model), _shapes(model), strict=False)
        }
    )


def without_objects(inputs: Batch) -> Any:
    """Return the input of a model with a tensor of strings in the place of an array of `str`, which
    not all of Keras' functions take.
    """
    is_text = isinstance(inputs, np.ndarray) and inputs.dtype == object
    return tf.constant(inputs) if is_text else inputs


def dataset(
    batches: Callable[[], Iterator[Rows]],
    view: View,
    labels: Array | Labels | None,
    *,
    n_batches: int,
    weights: Array | None = None,
) -> tf.data.Dataset:
    """Return batches as a `tf.data.Dataset` of (inputs, labels), of (inputs, labels, weights), or
    of inputs if `labels` is None.

    The inputs of a view that pads to the longest text have a variable width, and Keras therefore
    traces a step only once.

    Args:
        batches: returns the rows of each batch; is called at the start of every epoch.
        labels: the labels as the loss takes them, with one row for each text.
        weights: the weight of each text in the loss, (n,).
    """
    targets = [part for part in (labels, weights) if part is not None]

    def generate() -> Iterator[Any]:
        for rows in batches():
            batch = view.batch(rows)
            yield (batch, *(part[rows] for part in targets)) if targets else batch

    # A generator, because each batch is cut from a memory map: the view may not fit in memory.
    inputs = as_input({name: _spec(part) for name, part in view.inputs.items()})
    specs = [tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in targets]
    signature = (inputs, *specs) if targets else inputs
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    data = data.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2)
    # No setting is left to tune. On one core, an epoch waited up to 1 s for the thread that tunes.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


def _spec(part: InputView) -> tf.TensorSpec:
    return tf.TensorSpec((None, *part.shape), part.dtype)


class Predictor:
    """A model with the traced function of its predictions, which is made for the input shapes of
    the first view. Kernels that replace the code of a layer when the function is traced remain in
    the function.

    `to_probabilities` is the layer that makes probabilities of the model's output; None if the
    output is probabilities.
    """

    # Keras' own `predict` makes a data set, an iterator and a trace, which take 0.05 s in each
    # epoch. A call outside a traced function takes about a second, even for a single text.

    def __init__(
        self, model: keras.Model, to_probabilities: keras.layers.Layer | None = None
    ) -> None:
        self._model, self._to_probabilities = model, to_probabilities
        self._step: Any = None
        self._train_function: Any = None

    def __call__(self, view: View, *, target: Target, rows: Rows | None = None) -> Array:
        """Return the predictions for these rows in ascending order, by default of every
        text, float64 array of shape (n_rows, target.width).
        """
        batches = evaluation_batches(view, rows)
        if not batches:
            return np.empty((0, target.width))
        # `compile` removes the train function: an own `fit` may change and compile its model again.
        if self._step is None or self._train_function is not self._model.train_function:
            self._train_function = self._model.train_function
            self._step = self._traced(view)
        step = self._step
        parts = [step(tf.nest.map_structure(tf.constant, view.batch(batch))) for batch in batches]
        outputs = tf.nest.flatten(
            tf.nest.map_structure(lambda *of_batch: np.concatenate(of_batch), *parts)
        )
        # A single output may be in a list or a dictionary.
        output = np.asarray(outputs[0] if len(outputs) == 1 else outputs)
        probabilities = run_user_code(
            lambda: target.predictions(output),
            doing="reading the model's output",
        )
        ordered: Array = probabilities[np.argsort(np.concatenate(batches))]
        return ordered

    def _traced(self, view: View) -> Any:
        if self._model.run_eagerly:
            return self._predict_step
        signature = as_input({name: _spec(part) for name, part in view.inputs.items()})
        return tf.function(self._predict_step, input_signature=[signature], autograph=False)

    def _predict_step(self, batch: Any) -> Any:
        # Not `predict_step`: the loss and an export do not call it, and the user may have changed
        # what it returns.
        outputs = self._model(batch, training=False)
        if self._to_probabilities is None:
            return outputs
        return keras.tree.map_structure(self._to_probabilities, outputs)


def latency_ms(model: keras.Model, values: Mapping[str, Any]) -> float:
    """Return the latency of a single text of `sequence_length` tokens in milliseconds, or of
    `N_TOKENS` tokens for a model that takes n-grams only: the median of `N_CALLS` calls of the
    traced model on the threads of this process, without the tokenization and the work of a server.
    """
    inputs = tf.nest.map_structure(tf.constant, example_input(model, values, n_rows=1))
    call = tf.function(
        lambda inputs: model(inputs, training=False),
        input_signature=[tf.nest.map_structure(tf.TensorSpec.from_tensor, inputs)],
        autograph=False,
    )
    seconds = []
    for _ in range(N_WARM_UP_CALLS + N_CALLS):
        started = time.perf_counter()
        np.asarray(call(inputs))
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[N_WARM_UP_CALLS:])
