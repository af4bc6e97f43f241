"""What a built model takes: its inputs, the embeddings that take them, and sentences about a model
that reads its input otherwise than users expect.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuning.errors import SpaceError
from tuning.inputs.kinds import NGRAMS, TOKENS
from tuning.inputs.tokenizer import FIRST_WORD_ID
from tuning.spaces.files import STATELESS, run_user_code, split_place
from tuning.spaces.objects import pickled_of

if TYPE_CHECKING:
    import keras

# The file of a search space contains a match if a model of the space takes texts.
_SIGNS = re.compile(r"TextVectorization|tf\.string\b|[\"']string[\"']")


def takes_texts(model: keras.Model) -> bool:
    """Return whether a model takes texts: its input is strings, or it has no declared input, and
    contains a `TextVectorization`.
    """
    import keras

    inputs = getattr(model, "inputs", None) or []
    if not inputs:
        return any(
            isinstance(layer, keras.layers.TextVectorization)
            for layer in model._flatten_layers(include_self=False)
        )
    if all(tensor.dtype != "string" for tensor in inputs):
        return False
    shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
    if len(inputs) > 1:
        names = ", ".join(repr(tensor.name) for tensor in inputs)
        raise SpaceError(
            "A model that takes texts must have no other input; this model has the inputs"
            f" {names}. Compute the other input from the texts, or take token ids and no texts."
        )
    if shapes[0] not in ((), (1,)):
        raise SpaceError(
            "The input of a model that takes texts must have one text in a row:"
            " keras.Input((), dtype='string') or keras.Input((1,), dtype='string'); this model's"
            f" input has the shape {shapes[0]}."
        )
    return True


def names_of_inputs(model: keras.Model) -> tuple[str, ...]:
    """Return the names in the order of `model.inputs`; for a dictionary of inputs, its keys."""
    struct = getattr(model, "_inputs_struct", None)  # a Sequential has none
    if isinstance(struct, dict):
        return tuple(sorted(struct))  # Keras orders the inputs of a dictionary by their keys.
    return tuple(tensor.name for tensor in getattr(model, "inputs", None) or [])


def embeddings_of_ids(model: keras.Model) -> list[keras.layers.Embedding]:
    """Return the embeddings that take a model's input. If no embedding is known to take the input,
    as in a subclassed model, the embeddings with the most rows are returned: the others may embed
    the positions.
    """
    import keras

    embeddings = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.Embedding)
    ]
    n_rows = max((layer.input_dim for layer in embeddings), default=0)
    direct = [layer for layer in embeddings if takes_input(model, layer)]
    return direct or [layer for layer in embeddings if layer.input_dim == n_rows]


def takes_input(model: keras.Model, layer: keras.Layer) -> bool:
    """Return whether a layer is known to take an input of the model as it is."""
    import keras

    if isinstance(model, keras.Sequential) and layer is model.layers[0]:
        return True  # A Sequential that is not built has no tensors.
    inputs = {id(tensor) for tensor in getattr(model, "inputs", None) or []}
    return any(id(t) in inputs for node in layer._inbound_nodes for t in node.input_tensors)


def mentions_texts(path: Path) -> bool:
    if (pickled := pickled_of(path)) is not None:  # It has the names that the code uses.
        return b"TextVectorization" in pickled or b"string" in pickled
    return _SIGNS.search(split_place(path)[0].read_text(errors="replace")) is not None


# A model of n-grams is called with a text of `N_IDS` n-grams and each number of padding columns.
# Outputs that differ by less than `TOLERANCE`, or by this share of them, differ by rounding errors.
# The probabilities of an average without a mask differed by 0.009.
N_IDS, N_PADDING, TOLERANCE = 32, (1, 96), 1e-5
# Standard deviation of the noise on the weights. Keras draws embeddings up to 0.05.
NOISE = 0.05


def notes_of(model: keras.Model) -> tuple[str, ...]:
    layers = list(model._flatten_layers(include_self=False))
    names = names_of_inputs(model)
    encoder = next((layer for layer in layers if _is_backbone(layer)), None)
    if encoder is not None and TOKENS.name not in names:
        return (
            f"{type(encoder).__name__} gets the word ids of this program. If its weights are"
            " pretrained, declare 'preset' and name the model's input 'tokens': then it gets the"
            " tokens of its preset.",
        )
    notes = []
    if TOKENS.name not in names and run_user_code(
        lambda: any(map(_has_given_rows, embeddings_of_ids(model))), doing="drawing its embeddings"
    ):
        notes.append(
            "The rows of an Embedding are given, and belong to other words than the token ids of"
            " this program. Let the model take the texts, with TextVectorization(vocabulary=words),"
            " whose first word has the id 2, and put two rows before those of the words."
        )
    # An encoder, whose input is `tokens`, takes seconds and memory for a call.
    is_tried = NGRAMS.name in names and TOKENS.name not in names
    if is_tried and run_user_code(
        lambda: _reads_padding_of_ngrams(model), doing="calling the model with n-grams"
    ):
        notes.append(
            "The output of the model depends on the padding of its n-grams, and so on the other"
            " texts of a batch. Use Embedding(mask_zero=True), or mean_over_words of"
            " tuning.models.words."
        )
    return tuple(notes)


def notes_on_masks(model: keras.Model) -> tuple[str, ...]:
    """Return a sentence about a recurrent layer that is known to read the padding. In a graph, a
    recurrent layer may get a mask of its own, and a layer of the user may make one. A layer such as
    Conv1D before the recurrent layer drops the mask, so that the advice would change nothing.
    """
    import keras

    layers = list(model._flatten_layers(include_self=False))
    recurrent = [layer for layer in layers if isinstance(layer, keras.layers.RNN)]
    masks = [
        getattr(layer, "mask_zero", isinstance(layer, keras.layers.Masking)) for layer in layers
    ]
    is_stock = all(type(layer).__module__.startswith("keras.") for layer in layers)
    if not recurrent or any(masks) or type(model) is not keras.Sequential or not is_stock:
        return ()
    before = itertools.takewhile(lambda layer: layer is not recurrent[0], layers)
    of_ids = itertools.dropwhile(
        lambda layer: not isinstance(layer, keras.layers.Embedding), before
    )
    if not all(layer.supports_masking for layer in [*of_ids][1:]):
        return ()
    return (
        f"The {type(recurrent[0]).__name__} reads the padding, which follows each text here: give"
        " the Embedding mask_zero=True.",
    )


def _is_backbone(layer: Any) -> bool:
    # The names of the base classes are compared, because KerasHub may not be installed.
    names = {f"{base.__module__.split('.')[0]}.{base.__name__}" for base in type(layer).__mro__}
    return "keras_hub.Backbone" in names


def _has_given_rows(layer: keras.layers.Embedding) -> bool:
    """Return whether the rows of the words in an embedding are given: they differ, and no random
    initializer has drawn them. The rows of the padding and of unknown words may be given.
    """
    import keras

    initializer = layer.embeddings_initializer
    if initializer is None:
        return False

    def draw() -> npt.NDArray[Any]:
        values = initializer((layer.input_dim, layer.output_dim), dtype=layer.variable_dtype)
        return np.asarray(values)[FIRST_WORD_ID:]

    drawn = draw()
    rows = np.asarray(layer.embeddings)[FIRST_WORD_ID:] if layer.built else drawn
    # A random initializer of Keras draws the same values again, a function may draw others.
    if (rows == rows[:1]).all() or not np.array_equal(drawn, draw()):
        return False
    is_stock = hasattr(initializer, "seed") or isinstance(initializer, keras.initializers.Identity)
    return not (is_stock and np.array_equal(rows, drawn))


def _reads_padding_of_ngrams(model: keras.Model) -> bool:
    """Return whether the output of a model depends on the number of padding columns after its
    n-grams. A graph that is not known to skip them is called with two numbers.
    """
    import keras

    from tuning.padding.check import is_ignored

    if is_ignored(model._functional if type(model) is keras.Sequential else model):
        return False
    draw = np.random.default_rng(0)
    weights = model.get_weights()
    # Weights of zeros would hide what the trained model reads.
    noisy = [w + draw.normal(0, NOISE, w.shape) if w.dtype.kind == "f" else w for w in weights]
    model.set_weights(noisy)

    def output_for(n_padding: int) -> npt.NDArray[Any]:
        outputs = model(_ngrams(model, n_padding), training=False)
        (output,) = keras.tree.flatten(outputs)  # A model may return it in a dictionary.
        return np.asarray(output)

    try:
        few, again, many = map(output_for, (N_PADDING[0], *N_PADDING))
    finally:
        model.set_weights(weights)
    # A model may draw numbers in a call, too.
    return np.array_equal(few, again, equal_nan=True) and not np.allclose(
        few, many, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
    )


def _ngrams(model: keras.Model, n_padding: int) -> Any:
    """Return a model's input for a text of n-grams and padding; other inputs have ones."""
    inputs = {
        name: np.ones((1, *(size or N_IDS for size in tensor.shape[1:])), np.int32)
        for name, tensor in zip(names_of_inputs(model), model.inputs, strict=True)
    }
    rows = min((layer.input_dim for layer in embeddings_of_ids(model)), default=N_IDS)
    n_ids = max(min(N_IDS, rows - FIRST_WORD_ID), 1)
    inputs[NGRAMS.name] = np.zeros((1, n_ids + n_padding), np.int32)
    inputs[NGRAMS.name][0, :n_ids] = FIRST_WORD_ID + np.arange(n_ids)
    return inputs if len(inputs) > 1 else inputs[NGRAMS.name]


def refuse_vectors(model: keras.Model) -> None:
    if _is_read_by_dense(model):
        raise SpaceError(
            "A Dense layer would read token ids as quantities. Let the model take the texts, with"
            ' TextVectorization(max_tokens=n, output_mode="tf_idf", pad_to_max_tokens=True), or put'
            " an Embedding before the layer."
        )


def _is_read_by_dense(model: keras.Model) -> bool:
    """Return whether a dense layer is known to read a model's input, of which the layers before it
    keep the quantities.
    """
    import keras
    from keras.src.ops import core, numpy

    layers = keras.layers
    keeping = (
        *(layers.Flatten, layers.Reshape, layers.Rescaling, layers.Activation, layers.ReLU),
        *(layers.Dropout, layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout),
        *(layers.BatchNormalization, layers.LayerNormalization, layers.Normalization),
        *(core.Cast, numpy.Reshape, numpy.TrueDivide, numpy.Divide),
    )
    if isinstance(model, keras.Sequential):
        first = next((layer for layer in model.layers if not isinstance(layer, keeping)), None)
        return isinstance(first, layers.Dense)
    reached = {id(tensor) for tensor in getattr(model, "inputs", None) or []}
    for operation in getattr(model, "operations", ()):
        for node in operation._inbound_nodes:
            if reached.isdisjoint(map(id, node.input_tensors)):
                continue
            if isinstance(operation, layers.Dense):
                return True
            if isinstance(operation, keeping):
                reached |= set(map(id, node.outputs))
    return False


def refuse_states(model: keras.Model) -> None:
    """Refuse a stateful recurrent layer: its states have one row for each row of a fixed batch."""
    import keras

    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise SpaceError(f"{type(layer).__name__} ({layer.name!r}) is stateful. {STATELESS}.")


def refuse_unknown_steps(model: keras.Model) -> None:
    """Refuse a `TimeDistributed` with an unknown number of time steps.

    In a traced function, Keras 3.15 then applies the inner layer to as many steps as the batch has
    rows: it leaves steps out, or reads beyond the last step.
    """
    import keras

    for layer in model._flatten_layers(include_self=False):
        if not isinstance(layer, keras.layers.TimeDistributed) or not layer.built:
            continue
        if layer.get_build_config()["input_shape"][1] is None:
            raise SpaceError(
                f"TimeDistributed ({layer.name!r}) must have a fixed number of time steps: for an"
                " unknown one, Keras takes the batch size. Give keras.Input (or the"
                " TextVectorization) a length, or call the inner layer without TimeDistributed."
            )
