"""How a trial and a search can end, in the words that stored studies use."""

from __future__ import annotations

from enum import StrEnum


class FailureReason(StrEnum):
    """Why a trial failed, or was not trained; the attribute `reason` of a stored trial."""

    NAN_LOSS = "NaN loss"
    NO_EPOCH = "no epoch"
    NO_METRIC = "no metric"
    OUT_OF_MEMORY = "out of memory"
    OVER_A_LIMIT = "over a limit"
    TOO_LONG = "too long"
    SILENT = "silent"
    LOST = "lost"
    BUG = "bug"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class StopReason(StrEnum):
    """Why a training stops before its last epoch."""

    PRUNED = "pruned"
    PAUSED = "paused"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    FINISHED_ELSEWHERE = "finished elsewhere"


class SearchEnd(StrEnum):
    """Why a search ended."""

    FINISHED = "finished"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    EXHAUSTED = "exhausted"
