"""An ONNX graph written from a chain of Keras layers, with ONNX's own LSTM and GRU.

The lengths of the texts replace the masks, so the graph has no loop over time. The input is the
token ids `ids`, or `ngrams`, int32 (batch, length), padded with 0 after the text. The output is
`probabilities`, float32 (batch, n_classes).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
from onnx import helper, numpy_helper

from tuning.padding.check import RECURRENT

# onnxruntime 1.13 and later read these versions.
OPSET, IR_VERSION = 17, 8
ACTIVATIONS = {
    "linear": None,
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "softmax": "Softmax",
}
IDENTITIES = (keras.layers.InputLayer, keras.layers.Dropout, keras.layers.SpatialDropout1D)


class Unsupported(Exception):
    """The error for a layer for which this module can't write ONNX."""


def chain(model: keras.Model) -> list[keras.layers.Layer] | None:
    """Return the layers after the input of a model that is a single chain from one input to one
    output; None for other models, and if a layer has a mask of its own.
    """
    if type(model) is keras.Sequential:
        return list(model.layers)
    is_graph = getattr(model, "_is_graph_network", True) and getattr(model, "outputs", None)
    if not is_graph or len(model.outputs) != 1 or len(model.inputs) != 1:
        return None
    layers: list[keras.layers.Layer] = []
    tensor = model.outputs[0]
    while not isinstance(tensor._keras_history[0], keras.layers.InputLayer):
        operation, place, _ = tensor._keras_history
        node = operation._inbound_nodes[place]
        arguments, options = node.arguments.args, dict(node.arguments.kwargs)
        mask = options.pop("mask", None)
        if (
            not isinstance(operation, keras.layers.Layer)
            or not len(arguments) == len(node.output_tensors) == 1
            or not hasattr(arguments[0], "_keras_history")
            or (mask is not None and mask is not getattr(arguments[0], "_keras_mask", None))
            or any(hasattr(value, "shape") for value in keras.tree.flatten(options))  # a state
        ):
            return None
        layers.insert(0, operation)
        tensor = arguments[0]
    known = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    return layers if len(layers) == len(known) and set(layers) == set(known) else None


def write_graph(
    layers: list[keras.layers.Layer],
    *,
    length: int | None,
    n_classes: int,
    output_name: str = "probabilities",
    input_name: str = "ids",
) -> onnx.ModelProto:
    """Return the graph of a chain of layers for ids with `length` columns; None means any number of
    columns.
    """
    graph = _Graph(input_name)
    for layer in layers:
        graph.add(layer)
    if graph.value is None or graph.is_sequence:
        raise Unsupported("The last layer must give one row for each text.")
    if graph.width == 1 and n_classes == 2:
        graph.value = graph.node(
            "Concat",
            [graph.node("Sub", [graph.constant(np.float32(1)), graph.value]), graph.value],
            axis=1,
        )
    graph.node("Identity", [graph.value], outputs=(output_name,))
    ids = helper.make_tensor_value_info(
        input_name, onnx.TensorProto.INT32, ["batch", length or "length"]
    )
    predictions = helper.make_tensor_value_info(
        output_name, onnx.TensorProto.FLOAT, ["batch", n_classes]
    )
    body = helper.make_graph(graph.nodes, "classifier", [ids], [predictions], graph.constants)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """The nodes and constants of a graph that is being written.

    `value` names the output of the last layer: a sequence (length, batch, width), or rows (batch,
    width).
    """

    def __init__(self, input_name: str) -> None:
        self.input_name = input_name
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.value: str | None = None
        self.is_sequence = True
        self.width = 0
        # Name of the lengths of the texts, int32 (batch,). It is empty if nothing is masked.
        self.lengths = ""
        # Name of the mask, float32 (length, batch, 1).
        self.mask = ""

    def node(
        self, kind: str, inputs: list[str], *, outputs: tuple[str, ...] = (), **attributes: Any
    ) -> str:
        names = outputs or (f"{kind.lower()}_{len(self.nodes)}",)
        self.nodes.append(
            helper.make_node(kind, inputs, names, name=f"{kind}_{len(self.nodes)}", **attributes)
        )
        return names[0]

    def constant(self, values: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def axes(self, *axes: int) -> str:
        return self.constant(np.array(axes, dtype=np.int64))

    def add(self, layer: keras.layers.Layer) -> None:
        if type(layer) in IDENTITIES:
            return
        write = {
            keras.layers.Embedding: self._embedding,
            keras.layers.LSTM: self._recurrent,
            keras.layers.GRU: self._recurrent,
            keras.layers.Bidirectional: self._bidirectional,
            keras.layers.GlobalAveragePooling1D: self._average,
            keras.layers.GlobalMaxPooling1D: self._maximum,
            keras.layers.Dense: self._dense,
            keras.layers.Activation: self._activation,
        }.get(type(layer))
        if (
            write is None
            or layer.compute_dtype != "float32"
            or (self.value is None) != (type(layer) is keras.layers.Embedding)
        ):
            raise Unsupported(f"{type(layer).__name__} can't be written at this position.")
        write(layer)

    def _embedding(self, layer: keras.layers.Embedding) -> None:
        by_time = self.node("Transpose", [self.input_name], perm=[1, 0])
        self.value = self.node("Gather", [self.constant(layer.get_weights()[0]), by_time])
        self.width = int(layer.output_dim)
        if layer.mask_zero:
            padding = self.node("Equal", [self.input_name, self.constant(np.int32(0))])
            here = self.node("Cast", [self.node("Not", [padding])], to=onnx.TensorProto.INT32)
            self.lengths = self.node("ReduceSum", [here, self.axes(1)], keepdims=0)
            rows = self.node(
                "Cast", [self.node("Transpose", [here], perm=[1, 0])], to=onnx.TensorProto.FLOAT
            )
            self.mask = self.node("Unsqueeze", [rows, self.axes(2)])

    def _recurrent(self, layer: keras.layers.LSTM | keras.layers.GRU) -> None:
        if layer.go_backwards and layer.return_sequences:
            raise Unsupported("A recurrent layer must not return its sequence in reverse order.")
        every, states = self._run([layer], "reverse" if layer.go_backwards else "forward")
        last = self.node("Squeeze", [states, self.axes(0)])
        self.value, self.is_sequence = last, layer.return_sequences
        if layer.return_sequences:
            self.value = self.node("Squeeze", [every, self.axes(1)])
            # Keras repeats the last output after the end of the text.
            if self.mask and not layer.zero_output_for_mask:
                here = self.node("Cast", [self.mask], to=onnx.TensorProto.BOOL)
                self.value = self.node("Where", [here, self.value, last])

    def _bidirectional(self, layer: keras.layers.Bidirectional) -> None:
        both = [layer.forward_layer, layer.backward_layer]
        if (
            layer.merge_mode != "concat"
            or any(type(inner) not in RECURRENT for inner in both)
            or both[0].go_backwards
        ):
            raise Unsupported("A Bidirectional layer must concatenate two LSTM or GRU layers.")
        every, states = self._run(both, "bidirectional")
        self.is_sequence = layer.return_sequences
        value, order, rows = (
            (every, [0, 2, 1, 3], (0, 0)) if layer.return_sequences else (states, [1, 0, 2], (0,))
        )
        turned = self.node("Transpose", [value], perm=order)
        self.value = self.node("Reshape", [turned, self.axes(*rows, self.width)])

    def _run(self, layers: list[Any], direction: str) -> tuple[str, str]:
        """Add ONNX's LSTM or GRU, and return the names of its outputs.

        The first contains every output (length, directions, batch, units), and the second the last
        output of each direction (directions, batch, units).
        """
        for layer in layers:
            plain = (
                layer.activation is keras.activations.tanh
                and layer.recurrent_activation is keras.activations.sigmoid
                and (layer.return_sequences or not (layer.zero_output_for_mask and self.lengths))
            )
            if not plain or layer.stateful or layer.return_state or not self.is_sequence:
                raise Unsupported(
                    "A recurrent layer must have the default activations, no state, and a sequence"
                    " as its input."
                )
        kinds = {(type(of), of.units, getattr(of, "reset_after", None)) for of in layers}
        if len(kinds) > 1:
            raise Unsupported("A Bidirectional layer must have two layers with equal settings.")
        units = int(layers[0].units)
        self.width = units * len(layers)
        kernels, recurrents, biases = zip(*(_gates(layer) for layer in layers), strict=True)
        weights = [self.constant(np.stack(part)) for part in (kernels, recurrents, biases)]
        inputs = [str(self.value), *weights, *([self.lengths] if self.lengths else [])]
        outputs = (f"every_{len(self.nodes)}", f"states_{len(self.nodes)}")
        kind = type(layers[0]).__name__
        options = {"linear_before_reset": int(layers[0].reset_after)} if kind == "GRU" else {}
        self.node(kind, inputs, outputs=outputs, hidden_size=units, direction=direction, **options)
        return outputs[0], outputs[1]

    def _average(self, layer: keras.layers.GlobalAveragePooling1D) -> None:
        self._require_pooling(layer)
        if self.mask:
            total = self.node(
                "ReduceSum",
                [self.node("Mul", [str(self.value), self.mask]), self.axes(0)],
                keepdims=0,
            )
            self.value = self.node(
                "Div", [total, self.node("ReduceSum", [self.mask, self.axes(0)], keepdims=0)]
            )
        else:
            self.value = self.node("ReduceMean", [str(self.value)], axes=[0], keepdims=0)

    def _maximum(self, layer: keras.layers.GlobalMaxPooling1D) -> None:
        self._require_pooling(layer)
        # Keras' layer takes no mask either: its maximum is over the padding too.
        self.value = self.node("ReduceMax", [str(self.value)], axes=[0], keepdims=0)

    def _require_pooling(self, layer: Any) -> None:
        if not self.is_sequence or layer.keepdims or layer.data_format != "channels_last":
            raise Unsupported(f"{type(layer).__name__} must pool a sequence over time.")
        self.is_sequence = False

    def _dense(self, layer: keras.layers.Dense) -> None:
        weights = layer.get_weights()
        self.value = self.node("MatMul", [str(self.value), self.constant(weights[0])])
        if layer.use_bias:
            self.value = self.node("Add", [self.value, self.constant(weights[1])])
        self.width = int(layer.units)
        self._activation(layer)

    def _activation(self, layer: Any) -> None:
        name = getattr(layer.activation, "__name__", "")
        if name not in ACTIVATIONS or layer.activation is not keras.activations.get(name):
            raise Unsupported(f"The activation {name!r} can't be written.")
        kind = ACTIVATIONS[name]
        if kind:
            self.value = self.node(kind, [str(self.value)])


def _gates(layer: Any) -> tuple[Any, Any, Any]:
    """Return a layer's weights in ONNX's order of gates; Keras has i, f, c, o, or z, r, h as ONNX.

    The shapes are kernel (gates, inputs), recurrent kernel (gates, units) and bias (2 gates), for
    the inputs and for the state.
    """
    cell = layer.cell
    n_gates, order = (4, [0, 3, 1, 2]) if type(layer) is keras.layers.LSTM else (3, [0, 1, 2])

    def ordered(values: Any) -> Any:
        gates = np.split(np.asarray(values), n_gates, axis=-1)
        return np.concatenate([gates[k] for k in order], axis=-1).T

    kernel, recurrent = ordered(cell.kernel), ordered(cell.recurrent_kernel)
    bias = np.zeros(2 * len(kernel), dtype=np.float32)
    if layer.use_bias:  # A GRU with `reset_after` has a bias for the state too.
        values = np.atleast_2d(np.asarray(cell.bias))
        bias[: values.size] = np.concatenate([ordered(row) for row in values])
    return kernel, recurrent, bias
