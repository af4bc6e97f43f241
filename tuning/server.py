"""What the process that workers are forked from has ready before the first of them starts: Keras, and the kernels compiled."""

import gc

from tuning import training
from tuning.models.fused import compile_kernels

__all__ = ["training"]

compile_kernels()
gc.freeze()  # a worker collects garbage before each trial: 0.2 s where it looks at all that has been imported
