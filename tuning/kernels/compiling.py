"""How this package compiles a kernel with Numba, and the arrays that TensorFlow takes from a kernel
without a copy.

Numba stores compiled code in `__pycache__`, for the processor that it was compiled on, and compiles
it again when the kernel's own file changes. It does not notice a change in a file whose kernels
this file's kernels call: kernels that call each other must be in one module.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

# Two settings let LLVM use vector instructions: loops do not test for a division by zero
# (`error_model`), and a product and a sum may be one operation (`contract`).
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An empty array that begins at a multiple of 64 bytes; TensorFlow copies any other array."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)
