"""How a trial, a training and a search can end. Stored studies contain these values."""

from __future__ import annotations

from enum import StrEnum


class FailureReason(StrEnum):
    """The reason why a trial failed or was not trained. A stored trial has it as `reason`."""

    NAN_LOSS = "NaN loss"
    NO_EPOCH = "no epoch"
    NO_METRIC = "no metric"
    REFUSED = "refused by the space"
    OUT_OF_MEMORY = "out of memory"
    OVER_A_LIMIT = "over a limit"
    TOO_LONG = "too long"
    SILENT = "silent"
    LOST = "lost"
    BUG = "bug"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


# Reasons that lie in the configuration and its seed: the same training fails again in the same way.
# Every other reason may lie in the machine, a limit or the code, which may differ in another call.
LASTING = (
    *(FailureReason.NAN_LOSS, FailureReason.NO_EPOCH, FailureReason.NO_METRIC),
    FailureReason.REFUSED,
)

# Reasons that lie in the worker, which ended unexpectedly or sent no message. The same training is
# started again, until it has failed in this way `MAX_LOST` times: a training that ends its worker
# twice may be the reason itself.
LOST_REASONS = (FailureReason.LOST, FailureReason.SILENT)
MAX_LOST = 2


class StopReason(StrEnum):
    PRUNED = "pruned"
    PAUSED = "paused"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    FINISHED_ELSEWHERE = "finished elsewhere"


class SearchEnd(StrEnum):
    FINISHED = "finished"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    EXHAUSTED = "exhausted"
