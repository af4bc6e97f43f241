"""The threads on which the kernels of this process compute the parts of a batch.

A batch is always cut into the same parts, and their sums are added in the same order. The results
therefore do not depend on the number of threads.

The coordinator imports this module with that of the workers, so Numba is not imported here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

_n_threads = 1


def set_threads(n_threads: int) -> None:
    global _n_threads  # noqa: PLW0603
    _n_threads = n_threads


@functools.cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="kernel")


def run_parts(calls: Sequence[Callable[[], None]]) -> None:
    """Run calls that write to different memory, on the threads of this process, and wait for them.
    The calls must release the interpreter's lock.
    """
    if _n_threads == 1 or len(calls) == 1:
        for call in calls:
            call()
        return
    futures = [_pool(_n_threads).submit(call) for call in calls]
    wait(futures)  # After an error no call may still write.
    for future in futures:
        future.result()
