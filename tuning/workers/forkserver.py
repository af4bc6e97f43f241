"""The fork server, the process from which workers are forked. It loads Keras and compiles the
kernels once for all workers.
"""

import gc
import signal

from tuning.kernels.fuse import compile_kernels
from tuning.training import fit
from tuning.training.result import Answer
from tuning.workers.messages import Reply, encode

__all__ = ["fit"]  # The import loads Keras.

# A job scheduler may send SIGTERM to all processes of a job. The fork server ends when the
# coordinator ends.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
compile_kernels()
encode(Reply(Answer.GO_ON))  # The first message loads the converter of messages.
# A worker collects garbage before each trial, which would take 0.2 s with all imported objects.
gc.freeze()
