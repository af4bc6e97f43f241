"""What the process that workers are forked from has ready before the first of them starts: Keras, and the kernels compiled."""

from tuning import training
from tuning.models.fused import compile_kernels

__all__ = ["training"]

compile_kernels()
