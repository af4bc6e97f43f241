"""A training step of KerasHub's `TransformerEncoder`, the layer of BERT, ELECTRA, RoBERTa and
DistilBERT, on a CPU with instructions for bfloat16. TensorFlow computes the matrix products in
bfloat16, and `encoder_numba` what stands between two products, in one pass over the elements.

The layers stay KerasHub's own: `fuse` replaces their `call` while a model trains, and a prediction
runs KerasHub's code. The values are those of Keras, with the same elements dropped, but what goes
into a product and comes out of it is rounded to bfloat16 (`tests/kernels/test_encoder.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tuning.kernels import encoder_numba as loops
from tuning.kernels.compiling import Array, Memory
from tuning.kernels.gradients import CustomGradients
from tuning.kernels.threads import run_parts

BFLOAT16 = tf.bfloat16.as_numpy_dtype
# KerasHub's layer and its GELU are known by their names, because KerasHub need not be installed.
LAYER = "keras_hub.src.layers.modeling.transformer_encoder", "TransformerEncoder"
BY_TANH = "keras_hub.src.utils.keras_utils", "gelu_approximate"
# A batch is cut into as many parts for any number of threads, so sums do not depend on it.
PARTS = 8
SECOND_DERIVATIVE = (
    "The kernel of encoders has no second derivative; for a model that needs one, set"
    " TF_ENABLE_ONEDNN_OPTS=0."
)


def fuse(
    model: keras.Model, *, on_bfloat16: Callable[[], None] = lambda: None
) -> list[keras.layers.Layer]:
    """Replace the `call` of a model's transformer layers by the kernel, where its conditions hold.
    Return the changed layers, for `unfuse`. The kernel calls `on_bfloat16` first.

    The conditions: KerasHub's class and `call`, float32, one axis of tokens, the normalization
    after the residual, GELU (exact or by tanh), biases, dropout below 1, and no LoRA. The kernel
    computes a call in training with a padding mask or none.
    """
    layers = list(dict.fromkeys(filter(_is_supported, model._flatten_layers())))
    for layer in layers:
        layer.call = partial(_call, layer, Operations(), on_bfloat16)
    return layers


def unfuse(layers: list[keras.layers.Layer]) -> None:
    for layer in layers:
        layer.call.args[1].close()
        del layer.call


def _is_supported(layer: keras.layers.Layer) -> bool:
    if _name(type(layer)) != LAYER or not layer.built:
        return False
    attention, inner = layer._self_attention_layer, layer._feedforward_intermediate_dense
    products = [*_projections(attention), attention._output_dense]
    products += [inner, layer._feedforward_output_dense]
    dropouts = [layer._self_attention_dropout, layer._feedforward_dropout]
    dropouts.append(attention._dropout_layer)
    parts = [attention, *_norms(layer), *products, *dropouts]
    own = {keras.layers.MultiHeadAttention, keras.layers.LayerNormalization}
    own |= {keras.layers.EinsumDense, keras.layers.Dense, keras.layers.Dropout}
    return (
        layer.compute_dtype == "float32"
        and not layer.normalize_first
        and (_is_exact(inner.activation) or _name(inner.activation) == BY_TANH)
        # Compared by `type`, because a subclass may compute something else.
        and all(type(part) in own for part in parts)
        and not any(map(has_own_call, [layer, *parts]))
        and attention._attention_axes == (1,)
        # With dropout of 1, Keras draws no random numbers, and most weights get no gradient.
        and all(part.rate < 1 for part in dropouts)
        and all(part.bias is not None for part in products)
        and not any(part.quantization_mode or part.lora_enabled for part in products)
    )


def has_own_call(layer: keras.layers.Layer) -> bool:
    """Return whether a `call` was set on the layer itself, which may compute anything."""
    return "call" in vars(layer)


def _name(named: Any) -> tuple[str, str]:
    return getattr(named, "__module__", ""), getattr(named, "__name__", "")


def _is_exact(activation: Any) -> bool:
    return activation is keras.activations.gelu


def _projections(attention: Any) -> list[Any]:
    return [attention._query_dense, attention._key_dense, attention._value_dense]


def _norms(layer: Any) -> list[Any]:
    return [layer._self_attention_layer_norm, layer._feedforward_layer_norm]


def _call(  # noqa: PLR0913, PLR0917 - KerasHub's arguments follow three bound ones
    layer: Any,
    operations: Operations,
    on_bfloat16: Callable[[], None],
    inputs: tf.Tensor,
    padding_mask: Any = None,
    attention_mask: Any = None,
    training: Any = None,
    return_attention_scores: bool = False,
) -> Any:
    """Do what the layer's own `call` does."""
    # Keras' masks, of an `Embedding` with `mask_zero`, hide tokens too.
    masks = attention_mask, getattr(inputs, "_keras_mask", None)
    is_masked = any(mask is not None for mask in masks)
    if training is not True or return_attention_scores or is_masked:
        return type(layer).call(
            layer, inputs, padding_mask, attention_mask, training, return_attention_scores
        )
    on_bfloat16()
    attention, width = layer._self_attention_layer, inputs.shape[-1]
    batch, length = tf.unstack(tf.shape(inputs)[:2])
    if padding_mask is None:
        padding_mask = tf.ones((batch, length))
    x = tf.reshape(inputs, (-1, width))
    projections, n_heads = _projections(attention), attention._num_heads
    kernel = tf.concat([tf.reshape(part.kernel, (width, -1)) for part in projections], axis=1)
    queries, keys, values = operations.heads(
        tf.reshape(_product(_rounded(x), kernel), (batch, length, 3, n_heads, attention._key_dim)),
        tf.stack([tf.convert_to_tensor(part.bias) for part in projections]),
    )
    weights = operations.attention(
        tf.matmul(queries, keys, transpose_b=True),
        # Keras casts a mask to integers, and repeats one of a single text or token.
        tf.broadcast_to(tf.cast(tf.cast(padding_mask, tf.int32), tf.bool), (batch, length)),
        scale=attention._inverse_sqrt_key_dim,
        dropout=attention._dropout_layer if attention._dropout else None,
    )
    context = tf.transpose(tf.matmul(weights, values), (0, 2, 1, 3))
    kernel = tf.reshape(attention._output_dense.kernel, (-1, width))
    first, second = _norms(layer)
    x, rounded = operations.normalization(
        _product(tf.reshape(context, (-1, kernel.shape[0])), kernel),
        attention._output_dense.bias,
        x,
        layer._self_attention_dropout,
        first,
    )
    inner, outer = layer._feedforward_intermediate_dense, layer._feedforward_output_dense
    activated = operations.gelu(
        _product(rounded, inner.kernel), inner.bias, is_exact=_is_exact(inner.activation)
    )
    x, _ = operations.normalization(
        _product(activated, outer.kernel), outer.bias, x, layer._feedforward_dropout, second
    )
    return tf.ensure_shape(tf.reshape(x, tf.shape(inputs)), inputs.shape)


def _rounded(x: Any) -> tf.Tensor:
    return tf.cast(x, tf.bfloat16)


def _product(x: tf.Tensor, kernel: Any) -> tf.Tensor:
    return tf.matmul(x, _rounded(kernel))


class Operations:
    """The loops of one layer as functions of TensorFlow that have gradients. `encoder_numba`
    documents their arrays.
    """

    def __init__(self) -> None:
        self._memory = Memory()
        self._gradients = CustomGradients()

    def close(self) -> None:
        self._gradients.close()
        self._memory.clear()

    def _array(self, shape: tuple[int, ...], dtype: Any = BFLOAT16) -> Array:
        return self._memory.array(shape, np.dtype(dtype))

    def _gradient(
        self,
        function: Callable[..., list[Array]],
        given: list[tf.Tensor],
        *,
        like: Sequence[tf.Tensor],
    ) -> Any:
        """Return the gradients of the tensors `like` by a function of NumPy."""

        def run(*given: tf.Tensor) -> Any:
            return _numpy(function, list(given), like=like)

        return self._gradients.last(run, SECOND_DERIVATIVE)(*given)

    def heads(self, x: tf.Tensor, bias: tf.Tensor) -> Any:
        """Return queries, keys and values, each (n_texts, n_heads, length, columns)."""

        def forward(x: Array, bias: Array) -> list[Array]:
            n_texts, length, n_parts, n_heads, n_columns = x.shape
            outputs = self._array((n_parts, n_texts, n_heads, length, n_columns))
            _in_parts(n_texts, loops.heads, [x, bias, outputs])
            return [outputs]

        def backward(upstream: Array) -> list[Array]:
            n_parts, n_texts, n_heads, length, n_columns = upstream.shape
            d_x = self._array((n_texts, length, n_parts, n_heads, n_columns))
            sums = np.zeros((PARTS, n_parts, n_heads, n_columns), np.float32)
            _in_parts(n_texts, loops.heads_gradient, [upstream, d_x], sums)
            return [d_x, sums.sum(0)]

        def run(x: tf.Tensor, bias: tf.Tensor) -> Any:
            n_texts, length, n_parts, n_heads, n_columns = x.shape
            shape = n_parts, n_texts, n_heads, length, n_columns
            (outputs,) = _numpy(forward, [x, bias], like=[tf.TensorSpec(shape, tf.bfloat16)])
            return outputs, lambda upstream: self._gradient(backward, [upstream], like=[x, bias])

        return tf.unstack(self._gradients.of(run)(x, bias))

    def attention(
        self, scores: tf.Tensor, is_token: tf.Tensor, *, scale: float, dropout: Any
    ) -> tf.Tensor:
        """Return the attention weights after dropout."""
        uniform, rate = _uniform(dropout, scores)
        numbers = np.float32(scale), np.float32(rate)

        def forward(scores: Array, is_token: Array, uniform: Array) -> list[Array]:
            weights = [self._array(scores.shape) for _ in made]
            given = scores, is_token, uniform, *numbers
            _in_parts(len(scores), loops.attention, [*given, weights[0], weights[-1]])
            return weights

        def backward(*given: Array) -> list[Array]:
            d_scores = self._array(given[0].shape)
            _in_parts(len(d_scores), loops.attention_gradient, [*given, *numbers, d_scores])
            return [d_scores]

        # Without dropout there is one array of weights, otherwise a second one after dropout.
        made = [scores] * (2 if rate else 1)

        def run(scores: tf.Tensor) -> Any:
            weights = _numpy(forward, [scores, is_token, uniform], like=made)
            return weights[-1], lambda upstream: self._gradient(
                backward, [upstream, weights[0], is_token, uniform], like=[scores]
            )

        return self._gradients.of(run)(scores)

    def normalization(
        self, x: tf.Tensor, bias: Any, residual: tf.Tensor, dropout: Any, norm: Any
    ) -> Any:
        """Return the normalization of residual + dropout of (x + bias), float32 and bfloat16."""
        uniform, rate = _uniform(dropout, x)
        numbers = np.float32(rate), np.float32(norm.epsilon)

        def forward(  # noqa: PLR0917 - `tf.numpy_function` passes positional arguments
            x: Array, bias: Array, residual: Array, gamma: Array, beta: Array, uniform: Array
        ) -> list[Array]:
            outputs, normalized = (self._array(x.shape, np.float32) for _ in range(2))
            inverse, rounded = self._array(x.shape[:1], np.float32), self._array(x.shape)
            given = x, bias, residual, uniform, *numbers, gamma, beta
            _in_parts(len(x), loops.normalization, [*given, normalized, inverse, outputs, rounded])
            return [outputs, rounded, normalized, inverse]

        def backward(  # noqa: PLR0917
            d_outputs: Array,
            d_rounded: Array,
            normalized: Array,
            inverse: Array,
            gamma: Array,
            uniform: Array,
        ) -> list[Array]:
            shape = normalized.shape
            d_x, d_residual = self._array(shape), self._array(shape, np.float32)
            sums = np.zeros((PARTS, 3, shape[1]), np.float32)
            given = d_outputs, d_rounded, normalized, inverse, uniform, numbers[0], gamma
            _in_parts(len(d_x), loops.normalization_gradient, [*given, d_x, d_residual], sums)
            return [d_x, d_residual, *sums.sum(0)]

        def run(
            x: tf.Tensor, bias: tf.Tensor, residual: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
        ) -> Any:
            outputs, rounded, *kept = _numpy(
                forward,
                [x, bias, residual, gamma, beta, uniform],
                like=[residual, x, residual, residual[:, 0]],
            )

            def gradient(*upstream: tf.Tensor) -> Any:
                d_x, d_residual, d_bias, d_gamma, d_beta = self._gradient(
                    backward,
                    [*upstream, *kept, gamma, uniform],
                    like=[x, residual, bias, gamma, beta],
                )
                return d_x, d_bias, d_residual, d_gamma, d_beta

            return (outputs, rounded), gradient

        bias, gamma, beta = map(tf.convert_to_tensor, (bias, norm.gamma, norm.beta))
        return self._gradients.of(run)(x, bias, residual, gamma, beta)

    def gelu(self, x: tf.Tensor, bias: Any, *, is_exact: bool) -> tf.Tensor:
        """Return GELU of x + bias."""

        def forward(x: Array, bias: Array) -> list[Array]:
            outputs = self._array(x.shape)
            _in_parts(len(x), loops.gelu, [x, bias, is_exact, outputs])
            return [outputs]

        def backward(upstream: Array, x: Array, bias: Array) -> list[Array]:
            d_x, sums = self._array(x.shape), np.zeros((PARTS, len(bias)), np.float32)
            _in_parts(len(x), loops.gelu_gradient, [upstream, x, bias, is_exact, d_x], sums)
            return [d_x, sums.sum(0)]

        def run(x: tf.Tensor, bias: tf.Tensor) -> Any:
            (outputs,) = _numpy(forward, [x, bias], like=[x])
            return outputs, lambda upstream: self._gradient(
                backward, [upstream, x, bias], like=[x, bias]
            )

        return self._gradients.of(run)(x, tf.convert_to_tensor(bias))


def _numpy(
    function: Callable[..., list[Array]],
    given: list[tf.Tensor],
    *,
    like: Sequence[tf.Tensor | tf.TensorSpec],
) -> Any:
    """Return the tensors of a function of NumPy, with the types and static shapes of `like`."""
    # Outside a graph, a list of one result is returned as this result.
    results = tf.nest.flatten(tf.numpy_function(function, given, [each.dtype for each in like]))
    for result, tensor in zip(results, like, strict=True):
        result.set_shape(tensor.shape)
    return results


def _in_parts(n_rows: int, loop: Callable[..., None], given: Sequence[Any], sums: Any = ()) -> None:
    """Call a loop for each part of the rows, with its ends, what is given, and the part's sums."""
    # Numba does not know bfloat16: a loop gets the bits of these numbers.
    given = [x.view(np.uint16) if getattr(x, "dtype", None) == BFLOAT16 else x for x in given]
    ends = [n_rows * part // PARTS for part in range(PARTS + 1)]
    run_parts([partial(loop, *ends[k : k + 2], *given, *sums[k : k + 1]) for k in range(PARTS)])


def _uniform(dropout: Any, x: tf.Tensor) -> tuple[tf.Tensor, float]:
    """Return the random numbers that the layer `Dropout` would compare with its rate, and the rate;
    no numbers for the rate 0.
    """
    if dropout is None or not dropout.rate:
        return tf.zeros([0] * x.shape.rank), 0.0
    seed = tf.math.floormod(dropout.seed_generator.next(), tf.int32.max - 1)
    return tf.random.stateless_uniform(tf.shape(x), tf.cast(seed, tf.int32)), dropout.rate
