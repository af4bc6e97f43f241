"""Write a trained model in each format. The module `parity` checks the written files."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from tuning.errors import ExportError
from tuning.export.onnx_graph import OPSET, Unsupported, chain, write_graph
from tuning.inputs.contract import Input, ModelInput, TokenizedTexts
from tuning.inputs.corpus import Corpus
from tuning.inputs.kinds import FEATURES, KINDS, TOKENS, kind_of, kinds_in, takes_raw_text
from tuning.spaces.ranges import Values
from tuning.targets.target import Array, Target
from tuning.text import first_line
from tuning.training import prediction
from tuning.training.architecture import (
    as_graph,
    ended_with,
    ignores_padding,
    input_names,
    is_graph,
)


@dataclass(frozen=True)
class Source:
    """A trained model and its configuration, from which its exports are written.

    `corpus` has the vocabularies of its inputs. `to_probabilities` is the layer that makes
    probabilities of the model's output, if it is logits.
    """

    model: keras.Model
    values: Values
    corpus: Corpus
    target: Target
    to_probabilities: keras.layers.Layer | None = None

    @property
    def kinds(self) -> list[Input]:
        # In the order of the model's inputs. `kinds_in(self.inputs)` has the order of `KINDS`.
        return [kind_of(name) for name in input_names(self.model)]

    @cached_property
    def inputs(self) -> ModelInput:
        described: dict[str, Any] = {"vocab_size": 0, "sequence_length": 0}
        described["truncating"] = str(self.values.get("truncating", "pre"))
        for kind in self.kinds:
            described |= kind.describe(self.values)
        return ModelInput(**described)

    def vocabulary(self, kind: Input) -> Any:
        return kind.vocabulary(self.corpus, self.inputs)

    def probabilities(self, texts: TokenizedTexts) -> Array:
        view = prediction.make_view(self.model, self.values, texts)
        return prediction.Predictor(self.model, self.to_probabilities)(view, target=self.target)

    @cached_property
    def graph(self) -> keras.Model:
        """The model's layers as a functional model without the optimizer, whose output is
        probabilities.

        A subclassed model that Keras can't trace is returned unchanged, or before the layer that
        makes probabilities of its output.
        """
        length, layer = self.inputs.sequence_length, self.to_probabilities
        graph = as_graph(self.model, sequence_length=length)
        if layer is None:
            return graph
        try:
            return ended_with(layer, graph, sequence_length=length)
        # The user's code may raise any exception for symbolic tensors.
        except Exception as error:
            raise ExportError(
                "A model of logits must have a call() that Keras can trace, for the layer of"
                f" probabilities; tracing it gave: {first_line(error).rstrip('.')}."
            ) from error

    def call(self, arrays: Mapping[str, Any], **options: Any) -> Any:
        tensors = [arrays[kind.name] for kind in self.kinds]
        output = self.graph(tensors if len(tensors) > 1 else tensors[0], **options)
        # A functional model that was made with a list of outputs gives a list for symbolic tensors.
        return output[0] if isinstance(output, list) else output

    def specs(self, *, length: int | None) -> list[tf.TensorSpec]:
        # An encoder computes the padding, so its tokens have no fixed number.
        fixed = {kind for kind in KINDS.values() if kind.is_cut and kind is not TOKENS}
        return [
            tf.TensorSpec((None, length if kind in fixed else None), tf.int32, name=kind.name)
            for kind in kinds_in(self.inputs)
        ]

    def predictions(self, output: Any) -> Any:
        """Return the model's output as float32 of shape (batch, width)."""
        # The difference 1 - p would be rounded more in half precision.
        output = keras.ops.cast(output, "float32")
        if len(output.shape) != 2:
            output = keras.ops.reshape(output, (-1, math.prod(output.shape[1:])))
        alone = self.target.width == 2 and output.shape[-1] == 1
        return keras.ops.concatenate([1 - output, output], axis=1) if alone else output


def with_encoder(source: Source) -> Source:
    """Return a source that takes tokens in the place of features, with the encoder of the preset
    below its model; it takes texts alone if the preset is a Keras model. A source without features
    is returned unchanged.
    """
    if FEATURES not in source.kinds:
        return source
    inputs: Any
    if source.inputs.exported.takes_texts:
        inputs = keras.Input((), dtype="string", name="text")
        arrays = {
            kind.name: kind.layers(inputs, source.vocabulary(kind), source.inputs)
            for kind in source.kinds
        }
    else:
        arrays = {
            kind.name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=kind.name)
            for kind, tensor in zip(source.kinds, source.graph.inputs, strict=True)
            if kind is not FEATURES
        }
        tokens = keras.Input((None,), dtype="int32", name=TOKENS.name)
        inputs = [*arrays.values(), tokens]
        arrays[FEATURES.name] = FEATURES.layers(tokens, None, source.inputs)
    return replace(
        source,
        model=keras.Model(inputs, source.call(arrays), name="encoder_and_head"),
        values=values_of(source.inputs.exported),
        to_probabilities=None,
    )


def values_of(inputs: ModelInput) -> Values:
    # A configuration has no name of an input that the model does not take.
    return {name: value for name, value in vars(inputs).items() if value}


def write_format(format_name: str, source: Source, path: Path) -> None:
    writers: dict[str, Callable[[Source, Path], None]] = {
        "keras": lambda source, path: raw_text_model(source).save(path),
        "saved_model": _write_saved_model,
        "h5": _write_h5,
        "onnx": _write_onnx,
    }
    write = writers[format_name]  # A format without a writer is a bug, and not left out.
    try:
        with warnings.catch_warnings():
            # Keras warns that `.h5` is a legacy format. The notebook uses this format.
            warnings.simplefilter("ignore")
            write(source, path)
    # A full disk is no fault of the format. It ends the export, and an ExportError would only leave
    # this format out.
    except OSError:
        raise
    except Exception as error:  # Every writer raises errors of its own classes.
        # TensorFlow raises this error for a full disk.
        if format_name == "saved_model" and isinstance(error, tf.errors.OpError):
            raise OSError(error.message) from error
        raise ExportError(
            f"The format of {path.name} must be able to represent the model; writing {path.name}"
            f" raised {type(error).__name__}: {first_line(error)}"
        ) from error


def raw_text_model(source: Source) -> keras.Model:
    """Return the model with a `TextVectorization` layer before it, made of Keras' own layers and
    operations.

    The input is strings of shape (batch,). A model that takes texts is returned unchanged. An
    encoder keeps its inputs, because Keras has no layer for its tokenizer.
    """
    if source.inputs.takes_texts:
        return source.graph
    if not takes_raw_text(source.inputs):
        return _with_inputs_by_kind(source) if is_graph(source.graph) else source.graph
    text = keras.Input((), dtype="string", name="text")
    arrays = {
        kind.name: kind.layers(text, source.vocabulary(kind), source.inputs)
        for kind in kinds_in(source.inputs)
    }
    return keras.Model(text, source.call(arrays), name="classifier")


def _write_saved_model(source: Source, path: Path) -> None:
    """Write a SavedModel with two signatures for strings `text` (batch,), or for `Source.specs`.

    `serving_default` returns `Target.output_name` (batch, width). `classify` returns `label`, a
    string, and its `probability`, both of shape (batch,), as `Target.labels_of` and `confidence`
    do; a target without probabilities has no `classify`.
    """
    raw = raw_text_model(source)
    specs = [tf.TensorSpec((None,), tf.string, name="text")]
    if not takes_raw_text(source.inputs):
        specs = source.specs(length=None)

    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = list(inputs) if len(inputs) > 1 else inputs[0]
        return {source.target.output_name: source.predictions(raw(tensors, training=False))}

    def classify(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return source.target.classify(serve(*inputs)[source.target.output_name])

    archive = keras.export.ExportArchive()
    archive.track(raw)
    labels = {"classify": classify} if source.target.has_probabilities else {}
    for name, function in {"serving_default": serve, **labels}.items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(str(path), verbose=False)


def _write_h5(source: Source, path: Path) -> None:
    """Write `.h5`. A chain of layers is written as a `Sequential`, any other graph as a functional
    model whose inputs have the names and the order of `KINDS`.
    """
    layers, model = chain(source.graph), source.graph
    if layers is not None:
        (ids,), name = model.inputs, source.specs(length=None)[0].name
        model = keras.Sequential([keras.Input(ids.shape[1:], dtype=ids.dtype, name=name), *layers])
    elif is_graph(model):
        model = _with_inputs_by_kind(source)
    model.save(path, include_optimizer=False)
    if layers is None and is_graph(model):
        # Keras 3.15 writes operations, such as a mask, without their module, and can't read them.
        # It reads the configuration that it writes to `.keras` files.
        config = {"class_name": "Functional", "config": model.get_config()}
        # The process of another parity check may hold a copy of the file's lock for a moment.
        with h5py.File(path, "r+", locking=False) as file:
            file.attrs["model_config"] = json.dumps(config)


def _with_inputs_by_kind(source: Source) -> keras.Model:
    names = [kind.name for kind in source.kinds]
    named = {
        name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in zip(names, source.graph.inputs, strict=True)
    }
    outputs = source.graph.call([*named.values()])
    inputs = [named[name] for name in KINDS if name in named]
    return keras.Model(inputs, outputs, name=source.graph.name)


def _write_onnx(source: Source, path: Path) -> None:
    """Write ONNX: this project's own graph if the layers are a chain of supported layers, otherwise
    the graph of tf2onnx, which computes masks in loops over time.
    """
    # A model that reads the padding needs as much of it as in its training.
    of_any_length = ignores_padding(source.model) or not source.inputs.vocab_size
    length = None if of_any_length else source.inputs.sequence_length
    try:
        layers = chain(source.graph)
        if layers is None:
            raise Unsupported("The layers must form a chain.")
        graph = write_graph(
            layers,
            length=length,
            n_classes=source.target.width,
            output_name=source.target.output_name,
            input_name=source.specs(length=length)[0].name,
        )
    except Unsupported:
        import tf2onnx

        specs = source.specs(length=length)
        graph, _ = tf2onnx.convert.from_function(
            _served(source, specs), input_signature=specs, opset=OPSET
        )
    path.write_bytes(graph.SerializeToString())


def _served(source: Source, specs: list[tf.TensorSpec]) -> Any:
    """Return a traced function from the model's inputs to `Target.output_name`."""

    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        arrays = {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)}
        output = source.call(arrays, training=False)
        return {source.target.output_name: source.predictions(output)}

    return tf.function(serve, input_signature=specs, autograph=False)
