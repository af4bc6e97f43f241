"""The fork server: the process from which workers are forked, with Keras loaded and the kernels
compiled.
"""

import gc
import signal

from tuning.kernels.fuse import compile_kernels
from tuning.training import fit
from tuning.training.result import Answer
from tuning.workers.messages import Reply, encode

__all__ = ["fit"]

# SIGTERM may reach the whole job, in which workers end their epoch first. The fork server ends with
# the search.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
compile_kernels()
encode(Reply(Answer.GO_ON))  # loads the converter of messages
# A worker collects garbage before each trial, which takes 0.2 s with all imported objects.
gc.freeze()
