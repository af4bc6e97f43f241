"""The flags of `tune` and `confirm`: the search, its workers, and the limits of a trial."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.config import (
    DEFAULT_TRIALS,
    MIN_TEXTS,
    PRUNERS,
    SAMPLERS,
    StudyConfig,
    TrainConfig,
)
from tuning.metrics import OBJECTIVES

NewStudy = Annotated[
    str | None,
    typer.Option(
        "--study",
        help=(
            "Name of the study (default: search space and data set, as in reviews-movie_reviews)."
        ),
    ),
]
Space = Annotated[
    str | None,
    typer.Option(
        "--space",
        help=(
            "Search space: a name in search_spaces/, the path of a file, or FILE.py:NAME for one"
            f" of its hypermodels (default {StudyConfig.space})."
        ),
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        "--n-trials",
        help=(
            "Total number of finished trials of the study (default: the number of the last call, or"
            f" {DEFAULT_TRIALS} for a new study)."
        ),
    ),
]
TimeoutSeconds = Annotated[
    float | None,
    typer.Option(
        "--timeout-seconds",
        help="Maximum duration of this call's search, in seconds (default: no limit).",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", help=f"Maximum number of epochs of a trial (default {TrainConfig.epochs})."
    ),
]
MinTexts = Annotated[
    int | None,
    typer.Option(
        "--min-texts",
        help=(
            "Minimum number of texts that a trial trains before it is compared with other trials:"
            " a large data set is compared at parts of its first epoch (default"
            f" {MIN_TEXTS})."
        ),
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help=(
            f"Objective of the search, one of {', '.join(OBJECTIVES)}"
            f" (default {StudyConfig.metric})."
        ),
    ),
]
Objectives = Annotated[
    str | None,
    typer.Option(
        "--objectives",
        help=(
            "Several objectives: a metric, then n_params, latency_ms or both, as in"
            " val_accuracy,latency_ms (default: the metric alone)."
        ),
    ),
]
MaxParameters = Annotated[
    int | None,
    typer.Option(
        "--max-parameters",
        help=(
            "Maximum number of parameters of a model; larger models are not trained (default: no"
            " limit)."
        ),
    ),
]
MaxLatency = Annotated[
    float | None,
    typer.Option(
        "--max-latency-ms",
        help=(
            "Maximum latency of a model for a single text, in milliseconds; slower models are not"
            " trained (default: no limit)."
        ),
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        help=f"Optuna sampler, one of {', '.join(SAMPLERS)} (default {StudyConfig.sampler}).",
    ),
]
Pruner = Annotated[
    str | None,
    typer.Option(
        "--pruner",
        help=(
            f"Pruner, one of {', '.join(PRUNERS)} (default: {StudyConfig.pruner}, or none with"
            " --objectives)."
        ),
    ),
]
KeepGoing = Annotated[
    bool,
    typer.Option(
        "--keep-going",
        help=(
            "Let an exception in the search space's code fail only its trial (default: the"
            " exception stops the study)."
        ),
    ),
]
Join = Annotated[
    bool,
    typer.Option(
        "--join",
        help=(
            "Add this machine's workers to a study that another machine has created (default:"
            " create the study, or continue it)."
        ),
    ),
]
Confirm = Annotated[
    bool,
    typer.Option(
        "--confirm/--no-confirm",
        show_default=False,
        help=(
            "Whether to train the best configurations again on fresh seeds after the search"
            " (default --confirm)."
        ),
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help=(
            "Number of training processes (default: one for each GPU, or for each CPU core if there"
            " is no GPU; with --pool ray, as many as the cluster has room for)."
        ),
    ),
]
Pool = Annotated[
    str,
    typer.Option(
        "--pool",
        show_default=False,
        help=(
            "Where trials are trained: process, on this machine, or ray, on a Ray cluster (default"
            " process)."
        ),
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        help=(
            "Address of a running Ray cluster: auto or HOST:PORT (default: this call starts a Ray"
            " cluster of its own on this machine)."
        ),
    ),
]
CpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--cpus-per-worker", help="Number of CPUs that Ray reserves for each worker (default 1)."
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        help=(
            "Number of GPUs that Ray reserves for each worker; 0.5 lets two workers share a GPU"
            " (default: 1 if the cluster has GPUs, otherwise 0)."
        ),
    ),
]
TrialSeconds = Annotated[
    float | None,
    typer.Option(
        "--trial-seconds",
        help="Maximum duration of a trial, in seconds; a longer trial fails (default: no limit).",
    ),
]
TrialMemory = Annotated[
    float | None,
    typer.Option(
        "--trial-memory-mb",
        help=(
            "Maximum memory of a worker, in MB; a trial that needs more fails (default: an equal"
            " share of 90 % of the machine's memory, but at least 2048 MB)."
        ),
    ),
]
SilentSeconds = Annotated[
    float | None,
    typer.Option(
        "--silent-seconds",
        help=(
            "Maximum time, in seconds, in which a worker sends no message and uses no CPU; after it"
            " the worker is replaced and its trial fails (default 60)."
        ),
    ),
]
DeadSeconds = Annotated[
    float | None,
    typer.Option(
        "--dead-seconds",
        help=(
            "Maximum age, in seconds, of this machine's last heartbeat; after it other machines"
            " count this machine as dead and repeat its trials (default 60)."
        ),
    ),
]
