"""`tune`: a search, and the confirmation of its best configurations."""

from __future__ import annotations

from typing import Any

import typer

from tuning.api.inputs import default_study
from tuning.api.parameters import chosen_workers, data_settings, objective_settings, preset_place
from tuning.cli.confirm import INTERRUPTED
from tuning.cli.options import (
    RESULTS,
    Data,
    DataDir,
    DropStars,
    LabelColumn,
    PositiveFrom,
    Preset,
    Results,
    Seed,
    SequenceLength,
    Storage,
    TextColumn_,
    VocabSize,
)
from tuning.cli.search_options import (
    Confirm,
    CpusPerWorker,
    DeadSeconds,
    Epochs,
    GpusPerWorker,
    Join,
    KeepGoing,
    MaxLatency,
    MaxParameters,
    Metric,
    MinTexts,
    NewStudy,
    Objectives,
    Pool,
    Pruner,
    RayAddress,
    Sampler,
    SilentSeconds,
    Space,
    TimeoutSeconds,
    TrialMemory,
    Trials,
    TrialSeconds,
    Workers,
)
from tuning.cli.tracking import LogTo
from tuning.commands import with_commands
from tuning.config import given
from tuning.display.console import console
from tuning.display.tables import print_next
from tuning.errors import ArgumentError
from tuning.results import ResultsDir, StudyDir


def tune(
    *,
    study: NewStudy = None,
    space: Space = None,
    preset: Preset = None,
    vocab_size: VocabSize = None,
    sequence_length: SequenceLength = None,
    data: Data = None,
    text_column: TextColumn_ = None,
    label_column: LabelColumn = None,
    data_dir: DataDir = None,
    positive_from: PositiveFrom = None,
    drop_stars: DropStars = None,
    n_trials: Trials = None,
    timeout_seconds: TimeoutSeconds = None,
    epochs: Epochs = None,
    min_texts: MinTexts = None,
    workers: Workers = None,
    pool: Pool = "process",
    ray_address: RayAddress = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    seed: Seed = None,
    metric: Metric = None,
    objectives: Objectives = None,
    max_parameters: MaxParameters = None,
    max_latency_ms: MaxLatency = None,
    sampler: Sampler = None,
    pruner: Pruner = None,
    trial_seconds: TrialSeconds = None,
    trial_memory_mb: TrialMemory = None,
    silent_seconds: SilentSeconds = None,
    keep_going: KeepGoing = False,
    storage: Storage = None,
    join: Join = False,
    dead_seconds: DeadSeconds = None,
    confirm_best: Confirm = True,
    log_to: LogTo = None,
    results: Results = RESULTS,
) -> None:
    """Search for the best configuration and confirm it.

    The same command continues a study that was stopped.

    A study keeps the data, search space, objective, seed, sampler, pruner and epochs that it was
    created with. For an existing study these are the defaults, and other values are refused.
    """
    from tuning.workers.server import start_server

    if pool == "process":
        # The import of Keras in the fork server begins first, because the first trial waits for it.
        start_server()
    from tuning.api.search import SearchCall, search
    from tuning.search.tune import Budget, FailurePolicy

    flags = given(space=space, seed=seed, metric=metric, sampler=sampler, pruner=pruner)
    flags |= given(max_parameters=max_parameters, max_latency_ms=max_latency_ms)
    flags |= given(preset=preset and preset_place(preset))
    flags |= given(vocab_size=vocab_size, sequence_length=sequence_length)
    if objectives is not None:
        flags |= objective_settings(objectives, metric=metric, pruner=pruner)
    data_values = data_settings(
        data=data,
        text_column=text_column,
        label_column=label_column,
        data_dir=data_dir,
        positive_from=positive_from,
        drop_stars=drop_stars,
    )
    flags |= given(data=data_values or None, train=given(epochs=epochs) or None)
    root = ResultsDir(results)
    folder = root.study(study or default_study(space, data))
    chosen = chosen_workers(
        workers,
        pool=pool,
        ray_address=ray_address,
        per_worker=(cpus_per_worker, gpus_per_worker),
        trial_seconds=trial_seconds,
        trial_memory_mb=trial_memory_mb,
        silent_seconds=silent_seconds,
    )
    if join and log_to:
        raise ArgumentError(
            "--log-to must be given on the machine that created the study, which writes the trials"
            " of all machines; it was given with --join."
        )
    if join:
        _fetch_study(folder, flags, study=study, storage=storage)
    call = SearchCall(
        budget=Budget(n_trials=n_trials, timeout_seconds=timeout_seconds, min_texts=min_texts),
        workers=chosen,
        confirms=confirm_best and not join,
        log_to=log_to or (),
        failures=FailurePolicy(keep_going=keep_going, **given(dead_seconds=dead_seconds)),
    )
    if not search(folder, flags, root, storage=storage, call=call):
        raise typer.Exit(INTERRUPTED)
    if join:
        console.print(
            with_commands(
                "Only the machine that created the study confirms its best: type the same"
                f" `make tune` there, or `make confirm STUDY={folder.name}`."
            )
        )
    print_next(folder)


def _fetch_study(
    folder: StudyDir, flags: dict[str, Any], *, study: str | None, storage: str | None
) -> None:
    """Create the local folder of a study that another machine has created."""
    from tuning.study.study import fetch_study

    if study is None or storage is None:
        raise ArgumentError(
            "--join must come with --study, the name of the study, and --storage, the URL of its"
            f" storage; received {study!r} and {storage!r}."
        )
    fetch_study(folder, storage_url=storage, moved=flags)
