"""`confirm`: a confirmation of the best configurations on fresh seeds."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.api.parameters import chosen_workers
from tuning.cli.options import RESULTS, Results, Storage, Study
from tuning.cli.search_options import (
    CpusPerWorker,
    GpusPerWorker,
    Pool,
    RayAddress,
    SilentSeconds,
    TrialMemory,
    TrialSeconds,
    Workers,
)
from tuning.config import given
from tuning.results import ResultsDir

INTERRUPTED = 130  # Exit status that a shell gives a program which Ctrl-C ended.


def confirm(
    *,
    study: Study = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            help=(
                "Number of the best configurations to train again, beside the baseline (default 5)."
            ),
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", help="Maximum number of fresh seeds for each configuration (default 5)."
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            help=(
                "Maximum worker time of the confirmation, as a share of the search's worker time"
                " (default 0.25, and more if three seeds of the two best and the baseline need it)."
            ),
        ),
    ] = None,
    pruned: Annotated[
        int | None,
        typer.Option(
            "--pruned",
            help=(
                "Maximum number of pruned trials to train to their last epoch, if time is left"
                " (default 5)."
            ),
        ),
    ] = None,
    workers: Workers = None,
    pool: Pool = "process",
    ray_address: RayAddress = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    trial_seconds: TrialSeconds = None,
    trial_memory_mb: TrialMemory = None,
    silent_seconds: SilentSeconds = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Train the best configurations and the baseline again on fresh seeds.

    The same command continues a confirmation that was stopped.
    """
    from tuning.api import trainings
    from tuning.search.finalists import Terms

    chosen = chosen_workers(
        workers,
        pool=pool,
        ray_address=ray_address,
        per_worker=(cpus_per_worker, gpus_per_worker),
        trial_seconds=trial_seconds,
        trial_memory_mb=trial_memory_mb,
        silent_seconds=silent_seconds,
    )
    root = ResultsDir(results)
    folder = root.existing(study)
    confirmation = trainings.confirm(
        root,
        folder,
        storage_url=root.storage_url(storage),
        terms=Terms(**given(top=top, n_seeds=seeds, share=share, n_pruned=pruned)),
        workers=chosen,
    )
    if not confirmation.is_over:
        raise typer.Exit(INTERRUPTED)
