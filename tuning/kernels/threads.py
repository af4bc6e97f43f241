"""The threads on which the kernels of this process compute the parts of a batch.

A batch is always cut into the same parts, and their sums are added in the same order. The results
therefore do not depend on the number of threads.

The coordinator imports this module with that of the workers, so Numba is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait


class _Threads:
    """The threads of this process: the calling thread alone until `set`. Other threads start when a
    kernel needs them.
    """

    def __init__(self) -> None:
        self._n_threads = 1
        self._pool: ThreadPoolExecutor | None = None

    def set(self, n_threads: int) -> None:
        if n_threads == self._n_threads:
            return
        if self._pool is not None:
            self._pool.shutdown()
        self._n_threads, self._pool = n_threads, None

    def run(self, calls: Sequence[Callable[[], None]]) -> None:
        """Run calls that write to different memory, on the threads of this process, and wait for
        them. The calls must release the interpreter's lock.
        """
        if self._n_threads == 1 or len(calls) == 1:
            for call in calls:
                call()
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._n_threads, thread_name_prefix="kernel")
        futures = [self._pool.submit(call) for call in calls]
        wait(futures)  # After an error no call may still write.
        for future in futures:
            future.result()


_threads = _Threads()
set_threads, run_parts = _threads.set, _threads.run
