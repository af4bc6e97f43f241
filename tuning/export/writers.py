"""Write a trained model in each format: Keras, SavedModel, `.h5`, ONNX, LiteRT. The module `parity`
checks the written files.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tuning.errors import ExportError
from tuning.export.onnx_graph import OPSET, Unsupported, chain, write_graph
from tuning.training.architecture import as_graph, ignores_padding


@dataclass(frozen=True)
class Source:
    """A trained model, and the values from which its exports are written.

    `words` are the words of the ids 2, 3, …. `truncating` names the end of a long text that is
    dropped ("pre" or "post").
    """

    model: keras.Model
    words: list[str]
    sequence_length: int
    truncating: str
    class_names: list[str]

    @cached_property
    def graph(self) -> keras.Model:
        """The model's layers as a functional model without the optimizer.

        A subclassed model that Keras can't trace is returned unchanged.
        """
        return as_graph(self.model, sequence_length=self.sequence_length)

    def probabilities(self, output: tf.Tensor) -> tf.Tensor:
        """Return the model's output with a column for each class, of shape (batch, n_classes)."""
        alone = len(self.class_names) == 2 and output.shape[-1] == 1
        return tf.concat([1 - output, output], axis=1) if alone else output


def write_format(format_name: str, source: Source, path: Path) -> None:
    """Write a model in one format. `format_name` is a key of `FORMATS`.

    Raises:
        ExportError: if the format can't represent the model.
        OSError: if the disk is full or read-only.
    """
    writers: dict[str, Callable[[Source, Path], None]] = {
        "keras": lambda source, path: raw_text_model(source).save(path),
        "saved_model": _write_saved_model,
        "h5": _write_h5,
        "onnx": _write_onnx,
        "litert": lambda source, path: _write_litert(source, path, optimizations=[]),
        "litert_int8": lambda source, path: _write_litert(
            source, path, optimizations=[tf.lite.Optimize.DEFAULT]
        ),
    }
    try:
        with warnings.catch_warnings():
            # Keras warns that `.h5` is a legacy format. The notebook uses this format.
            warnings.simplefilter("ignore")
            writers[format_name](source, path)
    except OSError:
        raise
    except Exception as error:  # Every writer raises errors of its own classes.
        # TensorFlow raises this error for a full disk.
        if format_name == "saved_model" and isinstance(error, tf.errors.OpError):
            raise OSError(error.message) from error
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"The format of {path.name} must be able to represent the model; writing {path.name}"
            f" raised {type(error).__name__}: {first}"
        ) from error


def raw_text_model(source: Source) -> keras.Model:
    """Return the model with a `TextVectorization` layer before it, made of Keras' own layers and
    operations.

    The input is strings of shape (batch,). The output is the output of the model.
    """
    text = keras.Input((), dtype="string", name="text")
    cut = source.sequence_length if source.truncating == "post" else None
    ids = keras.layers.TextVectorization(
        vocabulary=source.words, output_sequence_length=cut, name="tokenize"
    )(text)
    if source.truncating == "pre":
        ids = _keep_end(ids, source.sequence_length)
    return keras.Model(text, source.graph(ids), name="classifier")


def _keep_end(ids: Any, sequence_length: int) -> Any:
    """Return the last `sequence_length` ids of each row, int32 (batch, sequence_length), padded
    with 0 after the text.

    The id 0 must occur in the padding only.
    """
    ops = keras.ops
    ids = ops.pad(ids, [[0, 0], [0, sequence_length]])
    lengths = ops.sum(ops.cast(ops.not_equal(ids, 0), "int32"), axis=1, keepdims=True)
    starts = ops.maximum(ops.subtract(lengths, sequence_length), 0)
    positions = ops.add(starts, np.arange(sequence_length, dtype=np.int32)[None, :])
    return ops.cast(ops.take_along_axis(ids, positions, axis=1), "int32")


def _write_saved_model(source: Source, path: Path) -> None:
    """Write a SavedModel with two signatures, whose input `text` is strings of shape (batch,).

    `serving_default` returns `probabilities` (batch, n_classes). `classify` returns `label`, a
    string, and its `probability`, both of shape (batch,).
    """
    raw, names = raw_text_model(source), tf.constant(source.class_names)

    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": source.probabilities(raw(text, training=False))}

    def classify(text: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = serve(text)["probabilities"]
        return {
            "label": tf.gather(names, tf.argmax(probabilities, axis=1)),
            "probability": tf.reduce_max(probabilities, axis=1),
        }

    archive = keras.export.ExportArchive()
    archive.track(raw)
    for name, function in (("serving_default", serve), ("classify", classify)):
        archive.add_endpoint(
            name, function, input_signature=[tf.TensorSpec((None,), tf.string, name="text")]
        )
    archive.write_out(str(path), verbose=False)


def _write_h5(source: Source, path: Path) -> None:
    """Write `.h5`. A chain of layers is written as a `Sequential`, because Keras 3.15 writes the
    mask of a functional model as an operation that it can't read from `.h5`.
    """
    layers, model = chain(source.graph), source.graph
    if layers is not None:
        (ids,) = model.inputs
        model = keras.Sequential([keras.Input(ids.shape[1:], dtype=ids.dtype, name="ids"), *layers])
    model.save(path, include_optimizer=False)


def _write_onnx(source: Source, path: Path) -> None:
    """Write ONNX: this project's own graph if the layers are a chain of supported layers, otherwise
    the graph of tf2onnx, which computes masks in loops over time.
    """
    length = None if ignores_padding(source.model) else source.sequence_length
    try:
        layers = chain(source.graph)
        if layers is None:
            raise Unsupported("The layers must form a chain.")
        graph = write_graph(layers, length=length, n_classes=len(source.class_names))
    except Unsupported:
        import tf2onnx

        ids = tf.TensorSpec((None, length), tf.int32, name="ids")
        graph, _ = tf2onnx.convert.from_function(
            _served(source, ids), input_signature=[ids], opset=OPSET
        )
    path.write_bytes(graph.SerializeToString())


def _write_litert(source: Source, path: Path, *, optimizations: list[Any]) -> None:
    """Write LiteRT for one text of a fixed length at a time. With any other shape the conversion
    needs TensorFlow's own operations, which LiteRT does not have.
    """
    ids = tf.TensorSpec((1, source.sequence_length), tf.int32, name="ids")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        archive = keras.export.ExportArchive()
        archive.track(source.graph)
        archive.add_endpoint("serving_default", _served(source, ids))
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = True
        converter.optimizations = optimizations
        path.write_bytes(converter.convert())


def _served(source: Source, ids: tf.TensorSpec) -> Any:
    """Return a traced function from token ids to `probabilities`."""
    return tf.function(
        lambda ids: {"probabilities": source.probabilities(source.graph(ids, training=False))},
        input_signature=[ids],
    )
