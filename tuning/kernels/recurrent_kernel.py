"""The kernel of one LSTM or GRU layer as a function of TensorFlow that has a gradient."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops

from tuning.kernels.compiling import Array, Memory
from tuning.kernels.recurrent_sequence import Arguments, Reserve, backward, forward, reserve_shapes

# Maximum number of forward passes of a layer that wait for their gradient: a model seldom calls a
# layer more often. A pass that was dropped is computed again.
MAX_KEPT = 4


class Kernel:
    """The kernel of one layer, and its reserves, which are used again: allocating them in each step
    makes training a tenth slower.
    """

    def __init__(self) -> None:
        self._pass_numbers = itertools.count(1)
        self._kept: OrderedDict[int, Reserve] = OrderedDict()
        self._free: list[Reserve] = []
        self._lock = threading.Lock()
        self._memory = Memory()
        self._registered: set[str] = set()

    def close(self) -> None:
        """Remove this kernel's gradients from TensorFlow's registry, which would otherwise keep
        their graphs until the process ends.
        """
        for name in self._registered:
            del ops.gradient_registry._registry[name]
        self._registered.clear()
        self._kept.clear()
        self._free.clear()
        self._memory.clear()

    def _custom_gradient(self, function: Any) -> Any:
        """Return `tf.custom_gradient` of a function, which also records the names under which a
        graph's function registers its gradient.
        """

        def call(*arguments: tf.Tensor) -> Any:
            known = set(ops.gradient_registry.list())
            result = tf.custom_gradient(function)(*arguments)
            self._registered |= set(ops.gradient_registry.list()) - known
            return result

        return call

    def differentiable(self, *, keep: bool, return_sequences: bool) -> Any:
        """Return the kernel as a TensorFlow function from `Arguments` to the outputs of `forward`.

        Args:
            keep: keep the reserve of each forward pass, because its gradient is likely to follow.
            return_sequences: return the states after every step.
        """
        run_forward = partial(self._forward, keep=keep, return_sequences=return_sequences)

        def run(*arguments: tf.Tensor) -> Any:
            dtype = arguments[0].dtype
            *outputs, pass_number = tf.numpy_function(
                run_forward, arguments, [dtype, dtype, dtype, tf.int64]
            )

            def gradient(*upstream_and_arguments: tf.Tensor) -> Any:
                gradients = tf.numpy_function(
                    self._backward, [pass_number, *upstream_and_arguments], [dtype] * 4
                )
                for tensor, argument in zip(gradients, arguments, strict=False):
                    tensor.set_shape(argument.shape)
                return gradients, _no_second_derivative

            return outputs, lambda *upstream: [
                *self._custom_gradient(gradient)(*upstream, *arguments),
                None,
                None,
            ]

        return self._custom_gradient(run)

    def _forward(
        self, *arguments: Any, keep: bool, return_sequences: bool
    ) -> tuple[Array, Array, Array, np.int64]:
        given = Arguments(*arguments)
        pass_number = next(self._pass_numbers)
        reserve = self._take(given, length=given.x.shape[1] if keep else 1)
        with np.errstate(all="ignore"):  # A training ends at a loss that is not finite.
            outputs = forward(
                given, reserve, return_sequences=return_sequences, memory=self._memory
            )
        with self._lock:
            if keep:
                self._kept[pass_number] = reserve
            else:
                self._free.append(reserve)
            while len(self._kept) > MAX_KEPT:
                self._free.append(self._kept.popitem(last=False)[1])
        return *outputs, np.int64(pass_number)

    def _backward(
        self, pass_number: Any, d_outputs: Array, d_h: Array, d_c: Array, *arguments: Any
    ) -> tuple[Array, Array, Array, Array]:
        given = Arguments(*arguments)
        with self._lock:
            reserve = self._kept.pop(int(pass_number), None)
        with np.errstate(all="ignore"):
            if reserve is None:  # The reserve was not kept, or was dropped (`MAX_KEPT`).
                reserve = self._take(given, length=given.x.shape[1])
                forward(given, reserve, return_sequences=False)
            gradients = backward((d_outputs, d_h, d_c), given, reserve, memory=self._memory)
        with self._lock:
            self._free.append(reserve)
        return gradients

    def _take(self, given: Arguments, *, length: int) -> Reserve:
        """Return a reserve for `length` steps, in the memory of an earlier reserve where its arrays
        are large enough.
        """
        batch, _, features = given.x.shape
        shapes = reserve_shapes(length, features, given.h.shape[1], batch)
        sizes = [int(np.prod(shape)) for shape in shapes]
        with self._lock:
            used = (
                [_whole(array) for array in self._free.pop()]
                if self._free
                else [np.empty(0, given.x.dtype)] * 3
            )
        room = [
            old if old.size >= size else np.empty(size, given.x.dtype)
            for old, size in zip(used, sizes, strict=True)
        ]
        return Reserve(
            *(
                array[:size].reshape(shape)
                for array, size, shape in zip(room, sizes, shapes, strict=True)
            )
        )


def _whole(array: Array) -> Array:
    """Return the array that owns the memory of a view."""
    return array if array.base is None else _whole(array.base)


def _no_second_derivative(*upstream: tf.Tensor) -> None:
    raise NotImplementedError(
        "The kernel of LSTM and GRU layers has no second derivative; a model that needs one must"
        " use a subclass of the layer."
    )
