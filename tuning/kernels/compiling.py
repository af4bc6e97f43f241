"""The settings with which Numba compiles a kernel, and the arrays that TensorFlow takes from a
kernel without a copy.

Numba stores compiled code in `__pycache__`, for the processor that it was compiled on, and compiles
a kernel again when the kernel's own file changes. The cache is not invalidated by a change in a
file whose kernels this file's kernels call, so kernels that call each other are in one module.
"""

import math
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.floating[Any]]

# Two settings let LLVM use vector instructions: loops do not test for a division by zero
# (`error_model`), and a product and a sum may be one operation (`contract`).
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


ALIGNMENT = 64  # TensorFlow copies an array that does not begin at a multiple of this.


class Memory:
    """Arrays that TensorFlow takes from a kernel without a copy, in memory that is used again when
    neither TensorFlow nor Python refers to it any more.
    """

    # Without this class, the system gives each array new pages, and clears them, which takes a
    # seventh of the time of a training step with a large embedding.

    def __init__(self) -> None:
        self._blocks: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array whose values are not set."""
        size = math.prod(shape) * dtype.itemsize
        with self._lock:
            block = self._free_block(size + ALIGNMENT)
            start = -block.ctypes.data % ALIGNMENT
            return block[start : start + size].view(dtype).reshape(shape)

    def _free_block(self, size: int) -> npt.NDArray[np.uint8]:
        for k in range(len(self._blocks)):
            # An array that only the list refers to has two references: the list, and the argument.
            if sys.getrefcount(self._blocks[k]) == 2:
                if self._blocks[k].size < size:
                    self._blocks[k] = np.empty(size, np.uint8)
                return self._blocks[k]
        self._blocks.append(np.empty(size, np.uint8))
        return self._blocks[-1]

    def clear(self) -> None:
        self._blocks.clear()
