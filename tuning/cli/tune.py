"""`tune`: a search, and the confirmation of its best."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from tuning.cli.confirm import INTERRUPTED, run_confirmation
from tuning.cli.console import console
from tuning.cli.display import LinearDisplay, SearchDisplay
from tuning.cli.logs import logging_to
from tuning.cli.options import (
    RESULTS,
    Data,
    DataDir,
    DropStars,
    LabelColumn,
    PositiveFrom,
    Preset,
    Results,
    SequenceLength,
    Storage,
    TextColumn_,
    VocabSize,
    data_flags,
    given,
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
    NewStudy,
    Objectives,
    Pool,
    Pruner,
    RayAddress,
    Sampler,
    Seed,
    SilentSeconds,
    Space,
    TimeoutSeconds,
    TrialMemory,
    Trials,
    TrialSeconds,
    Workers,
    chosen_workers,
    objective_flags,
)
from tuning.cli.tables import print_next, print_outcome, warn_if_behind
from tuning.config import DataConfig, StudyConfig
from tuning.errors import ArgumentError
from tuning.results import ResultsDir, StudyDir, safe_name
from tuning.spaces.files import short_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuning.confirmation.rounds import Confirmation
    from tuning.data.corpus import Corpus
    from tuning.search.progress import Progressed
    from tuning.search.session import Session
    from tuning.search.tune import Outcome
    from tuning.spaces.loading import SearchSpace


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
    results: Results = RESULTS,
) -> None:
    """Search for the best configuration and confirm it.

    The same command continues a study that was stopped.

    A study keeps the data, search space, objective, seed, sampler, pruner and epochs that it was
    created with. For an existing study these are the defaults, and other values are refused.
    """
    from tuning.workers.server import start_server

    if pool == "process":
        # The first trial waits for the import of Keras in the server, so that it begins first.
        start_server()
    from tuning.search import tune as searching

    flags = given(space=space, seed=seed, metric=metric, sampler=sampler, pruner=pruner)
    flags |= given(max_parameters=max_parameters, max_latency_ms=max_latency_ms)
    flags |= given(preset=preset and preset_place(preset))
    flags |= given(vocab_size=vocab_size, sequence_length=sequence_length)
    if objectives is not None:
        flags |= objective_flags(objectives, metric=metric, pruner=pruner)
    data_values = data_flags(
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
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        trial_seconds=trial_seconds,
        trial_memory_mb=trial_memory_mb,
        silent_seconds=silent_seconds,
    )
    if join:
        _fetch_study(folder, flags, study=study, storage=storage)
    config = searching.configure(folder.name, flags, folder)
    search = partial(
        searching.tune,
        config,
        root,
        storage_url=root.storage_url(storage),
        budget=searching.Budget(n_trials=n_trials, timeout_seconds=timeout_seconds),
        workers=chosen,
        keep_going=keep_going,
        **given(dead_seconds=dead_seconds),
    )
    with logging_to(folder):
        is_complete = _search_and_confirm(
            search, metric=config.metric, confirms=confirm_best and not join
        )
    if not is_complete:
        raise typer.Exit(INTERRUPTED)
    if join:
        console.print(
            "Only the machine that created the study confirms its best: type the same `make tune`"
            " there, or `make confirm`."
        )
    print_next(folder)


def default_study(space: str | None, data: str | None) -> str:
    """The name of a study of this search space and data set: `reviews-movie_reviews`."""
    return f"{short_name(space or StudyConfig.space)}-{data_stem(data)}"[:100]


def preset_place(preset: str) -> str:
    """A preset as a study records it: the absolute path of a folder, or the name or address as it
    is.
    """
    folder = Path(preset).expanduser()
    return str(folder.absolute()) if folder.is_dir() else preset


def data_stem(data: str | None) -> str:
    """The name of a data set in the names of studies: `reviews` for `data/reviews.csv.gz`."""
    return safe_name(
        Path((data or DataConfig.data).removeprefix("tfds:")).name.split(".")[0] or "data"
    )


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


def _search_and_confirm(search: Callable[..., Outcome], *, metric: str, confirms: bool) -> bool:
    """Run a search and show its progress and outcome; then confirm its best, with the same workers.

    Returns:
        Whether both ran to their end: False if the user interrupted one of them.
    """
    from tuning.confirmation.rounds import Confirmation
    from tuning.report.dashboard import DashboardDrawing
    from tuning.search.confirm import confirm_within
    from tuning.search.tune import TuneHooks

    confirmations: list[Confirmation] = []
    with contextlib.ExitStack() as shown, LinearDisplay(metric) as linear:
        display = shown.enter_context(SearchDisplay())

        def start(corpus: Corpus, space: SearchSpace) -> None:
            for note in space.notes:
                console.print(escape(note))
            display.start(corpus, space)
            linear.start(corpus)

        def change(state: Progressed) -> None:
            if any(state.running.values()):
                linear.train()
            linear.show()
            display.change(state)

        def then(session: Session, outcome: Outcome) -> None:
            shown.close()
            linear.train()
            print_outcome(outcome, Confirmation.load(session.folder))
            if confirms and _can_be_confirmed(outcome):
                confirmation = run_confirmation(lambda hooks: confirm_within(session, hooks=hooks))
                confirmations.append(confirmation)
                linear.wait(lambda: session.interrupt.requested)
                warn_if_behind(linear.reference, confirmation)

        hooks = TuneHooks(
            progress=display.prepare,
            on_start=start,
            on_change=change,
            then=then,
            drawing=DashboardDrawing(),
        )
        outcome = search(hooks=hooks)
    return outcome.ended != "interrupted" and all(c.is_over for c in confirmations)


def _can_be_confirmed(outcome: Outcome) -> bool:
    """Whether a search is ready for its confirmation; the reason is printed if it is not."""
    from tuning.search.finalists import MIN_COMPLETE

    if outcome.ended == "interrupted":
        return False
    if outcome.ended == "timeout":
        console.print("Not confirmed: the search is not finished.")
        return False
    if outcome.summary.counts["complete"] < MIN_COMPLETE:
        console.print(f"Not confirmed: fewer than {MIN_COMPLETE} trials are complete.")
        return False
    return True
