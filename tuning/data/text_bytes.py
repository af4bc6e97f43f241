"""Many texts at once, as bytes in UTF-8: their lengths, their concatenation, and chunks of them.

Arrow and NumPy work outside Python's lock, so threads can use all cores; processes would have to
be started, and would need a copy of the texts.
"""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tuning.hardware import available_cores

T = TypeVar("T")

# Separator around each text of a chunk. The byte 0xff does not occur in UTF-8.
BOUNDARY = b" \xff "
CHUNK_BYTES = 2_000_000  # the fastest size in a measurement of 0.5 to 8 million bytes


def map_chunks(function: Callable[[pd.Series], T], texts: pd.Series) -> Generator[T]:
    n_threads = available_cores()
    with ThreadPoolExecutor(n_threads) as threads:
        waiting: deque[Future[T]] = deque()
        for chunk in split_up(texts):
            waiting.append(threads.submit(function, chunk))
            # The chunks and results that wait need memory, so only some are submitted before.
            if len(waiting) > 2 * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def split_up(texts: pd.Series) -> Iterator[pd.Series]:
    """Split texts into chunks of about `CHUNK_BYTES` bytes in UTF-8, at least one text each."""
    numbers = byte_lengths(texts).cumsum() // CHUNK_BYTES
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    for start, end in itertools.pairwise([*starts, len(texts)]):
        yield texts.iloc[start:end]


def byte_lengths(texts: pd.Series) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64]
    lengths = pc.binary_length(pa.array(texts, type=pa.large_string())).to_numpy()
    return lengths


def joined(texts: pd.Series | list[str], *, end: bytes) -> bytes:
    array: Any = pa.array(texts, type=pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    whole = pa.ListArray.from_arrays(
        pa.array([0, len(array)], pa.int32()), array.cast(pa.large_binary())
    )
    text: bytes = pc.binary_join(whole, pa.scalar(end, pa.large_binary()))[0].as_py()
    return text + end if len(array) else b""


def offsets_of(lengths: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return the start of each text's first token, and the end of the last text, int64 (n + 1,)."""
    return np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *lengths]))
