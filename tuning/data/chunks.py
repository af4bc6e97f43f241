"""Many texts in chunks that Arrow and NumPy work on outside Python's lock, on all cores.

Threads, not processes: nothing is started, pickled or lost, and a small data set pays nothing.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tuning.hardware import core_quota

T = TypeVar("T")

BOUNDARY = b" \xff "  # around the texts of a chunk: UTF-8 has no byte 0xff
CHUNK_BYTES = 2_000_000  # tokenised fastest of 0.5 to 8 million


def map_chunks(
    function: Callable[[pd.Series], T],
    texts: pd.Series,
    *,
    n_threads: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Generator[T]:
    """What the function gives for each chunk, in their order; a few chunks are worked on at a time,
    on one thread a core.
    """
    n_threads = n_threads or available_cores()
    with ThreadPoolExecutor(n_threads) as threads:
        waiting: deque[Future[T]] = deque()
        for chunk in split_up(texts, chunk_bytes):
            waiting.append(threads.submit(function, chunk))
            if len(waiting) > 2 * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def split_up(texts: pd.Series, chunk_bytes: int = CHUNK_BYTES) -> Iterator[pd.Series]:
    """Chunks of texts that follow each other, of about so many bytes together, one text
    at least.
    """
    numbers = byte_lengths(texts).cumsum() // chunk_bytes
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    for start, end in itertools.pairwise([*starts, len(texts)]):
        yield texts.iloc[start:end]


def byte_lengths(texts: pd.Series) -> npt.NDArray[np.int64]:
    """The length of each text in UTF-8."""
    lengths: npt.NDArray[np.int64] = pc.binary_length(
        pa.array(texts, type=pa.large_string())
    ).to_numpy()
    return lengths


def joined(texts: pd.Series | list[str], *, end: bytes) -> bytes:
    """The texts in UTF-8, each followed by `end`."""
    array: Any = pa.array(texts, type=pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    whole = pa.ListArray.from_arrays(
        pa.array([0, len(array)], pa.int32()), array.cast(pa.large_binary())
    )
    text: bytes = pc.binary_join(whole, pa.scalar(end, pa.large_binary()))[0].as_py()
    return text + end if len(array) else b""


def available_cores() -> int:
    """The cores that this process may use."""
    n_cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = core_quota()
    return n_cores if quota is None else max(min(n_cores, int(quota)), 1)
