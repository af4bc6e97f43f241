"""What the process that workers are forked from has ready before the first of them starts: Keras,
and the kernels compiled.
"""

import gc
import signal

from tuning.kernels.fuse import compile_kernels
from tuning.training import fit as training

__all__ = ["training"]

signal.signal(
    signal.SIGTERM, signal.SIG_IGN
)  # it may reach the whole job: workers end their epoch first. The server ends with the search
compile_kernels()
# a worker collects garbage before each trial: 0.2 s where it looks at all that has been imported
gc.freeze()
