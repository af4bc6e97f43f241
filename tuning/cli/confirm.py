"""`confirm`: the best configurations again, on fresh seeds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tuning.cli.console import console
from tuning.cli.display import steps
from tuning.cli.logs import logging_to
from tuning.cli.options import RESULTS, Results, Storage, Study, given
from tuning.cli.search_options import (
    CpusPerWorker,
    GpusPerWorker,
    Pool,
    RayAddress,
    SilentSeconds,
    TrialMemory,
    TrialSeconds,
    Workers,
    chosen_workers,
)
from tuning.cli.tables import print_confirmation, warn_if_behind
from tuning.results import ResultsDir

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuning.confirmation.rounds import Confirmation
    from tuning.search.confirm import ConfirmHooks

INTERRUPTED = 130  # the exit status that a shell gives a program which Ctrl-C ended


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
    from tuning.evaluation.linear_reference import read_linear_reference
    from tuning.search import confirm as confirming
    from tuning.search.finalists import Terms
    from tuning.study.record import read_record

    chosen = chosen_workers(
        workers,
        pool=pool,
        ray_address=ray_address,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        trial_seconds=trial_seconds,
        trial_memory_mb=trial_memory_mb,
        silent_seconds=silent_seconds,
    )
    root = ResultsDir(results)
    folder = root.existing(study)
    terms = Terms(**given(top=top, n_seeds=seeds, share=share, n_pruned=pruned))
    confirm_study = partial(
        confirming.confirm,
        root,
        folder,
        storage_url=root.storage_url(storage),
        terms=terms,
        workers=chosen,
    )
    with logging_to(folder):
        confirmation = run_confirmation(lambda hooks: confirm_study(hooks=hooks))
        corpus_dir = root.cache_dir(read_record(folder).data_fingerprint)
        warn_if_behind(read_linear_reference(corpus_dir), confirmation)
    if not confirmation.is_over:
        raise typer.Exit(INTERRUPTED)


def run_confirmation(confirm: Callable[[ConfirmHooks], Confirmation]) -> Confirmation:
    """Run a confirmation, show its progress, and print its result."""
    from tuning.report.confirmation import plan
    from tuning.report.dashboard import DashboardDrawing
    from tuning.search.confirm import ConfirmHooks

    with steps() as progress:

        def start(confirmation: Confirmation, n_workers: int) -> None:
            text = plan(confirmation, n_workers=n_workers)
            if text:
                console.print(escape(text))

        def change(event: str, confirmation: Confirmation) -> None:
            share = confirmation.spent_seconds / confirmation.budget_seconds
            progress(event, min(share, 1.0))

        progress("confirming the best on fresh seeds", 0.0)
        hooks = ConfirmHooks(
            progress=progress, on_start=start, on_change=change, drawing=DashboardDrawing()
        )
        confirmation = confirm(hooks)
    print_confirmation(confirmation)
    if not confirmation.is_over:
        console.print("Interrupted; the same command continues the confirmation.")
    return confirmation
