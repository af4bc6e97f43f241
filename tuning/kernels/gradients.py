"""Functions of TensorFlow with gradients of their own."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops


class CustomGradients:
    """Functions with gradients of their own, whose names TensorFlow forgets at `close`."""

    # TensorFlow's registry would otherwise keep the gradients and their graphs until the end of the
    # process: a worker grew by 25 MB in each trial.

    def __init__(self) -> None:
        self._registered: set[str] = set()

    def of(self, function: Any) -> Any:
        """Return `tf.custom_gradient` of a function, which also records the names under which a
        graph's function registers its gradient.
        """

        def call(*arguments: Any) -> Any:
            known = set(ops.gradient_registry.list())
            result = tf.custom_gradient(function)(*arguments)
            self._registered |= set(ops.gradient_registry.list()) - known
            return result

        return call

    def close(self) -> None:
        for name in self._registered:
            del ops.gradient_registry._registry[name]
        self._registered.clear()

    def last(self, function: Any, advice: str) -> Any:
        """Return a function without a gradient, as a gradient is: a model that needs its gradient
        ends with an error. The gradient of an operation of NumPy would be None.
        """

        def refuse(*upstream: Any) -> None:
            raise NotImplementedError(advice)

        return self.of(lambda *arguments: (function(*arguments), refuse))
