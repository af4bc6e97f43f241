"""The vector instructions against NumPy, and the checksum of their module in the kernel."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tuning.kernels import recurrent_numba, vectors
from tuning.kernels.recurrent_numba import _multiply
from tuning.kernels.recurrent_sequence import _panels
from tuning.kernels.vectors import PANEL


def test_kernel_changes_with_the_instructions_that_it_contains() -> None:
    """Numba would otherwise load code that it compiled from older instructions."""
    text = Path(vectors.__file__).read_bytes()
    assert hashlib.sha256(text).hexdigest()[:16] == recurrent_numba.CHECKSUM


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 4, 5, 6, 7, 13, 29])
@pytest.mark.parametrize("adds", [False, True])
def test_product_is_that_of_numpy(n_rows: int, adds: bool) -> None:
    rng = np.random.default_rng(0)
    depth, columns = 70, 2 * PANEL
    a, b, c = (
        rng.standard_normal(shape, np.float32)
        for shape in ((n_rows, depth), (depth, columns), (n_rows, columns))
    )
    expected = a @ b + (c if adds else 0)
    _multiply(
        n_rows,
        depth,
        (a, 0, depth, 1),
        (_panels(b), 0, PANEL * depth, PANEL),
        2,
        (c, 0, columns),
        adds,
    )
    np.testing.assert_allclose(c, expected, atol=1e-4)
