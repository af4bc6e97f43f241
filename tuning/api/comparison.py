"""Comparisons of search spaces: a loop over the search of `tune`, and one table of its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tuning.api.inputs import data_stem, source_of
from tuning.api.parameters import (
    ClassWeight,
    DataSource,
    LimitsOption,
    ResultsFolder,
    SpaceSources,
    StorageURL,
    Trackers,
    WorkersOption,
    folder_of,
    limits_of,
    plain_values,
    workers_of,
)
from tuning.api.study import Study
from tuning.api.tracking import require_trackers, watching
from tuning.commands import repeated
from tuning.config import AUTO, MAX_TRIALS, StudyConfig, given, number_of_folds, require_positive
from tuning.display.console import console, end_script, print_traceback, warn
from tuning.display.logs import import_optuna
from tuning.display.progress import steps
from tuning.display.tables import print_spaces
from tuning.errors import ArgumentError, SpaceError
from tuning.results import ResultsDir, StudyDir, safe_name
from tuning.spaces.files import find_space, short_name
from tuning.spaces.objects import keep_space, place_of

if TYPE_CHECKING:
    import pandas as pd

    from tuning.report.spaces import SpaceResult
    from tuning.study.handle import StudyHandle

MIN_SPACES = 2
COLUMNS = [
    *("space", "study", "mean", "low", "high", "n_trials"),
    *("train_seconds", "n_parameters", "latency_ms"),
]


@dataclass(frozen=True)
class Comparison:
    """The studies of a comparison, which `tuning.compare` returns. Every property reads the files
    and the storage again.

    Attributes:
        name: the name of the comparison.
        studies: the study of each search space that has been searched, by the name of the space.
    """

    name: str
    studies: Mapping[str, Study]

    @property
    def best(self) -> Study | None:
        """The study of the space with the best mean on fresh seeds; None before a confirmation."""
        results = self._space_results()
        return self.studies[results[0].space] if results and results[0].mean else None

    def verdict(self) -> str:
        """Return a sentence about the best search space and its lead over each other one."""
        from tuning.report.spaces import verdict

        return verdict(self._space_results())

    def spaces_dataframe(self) -> pd.DataFrame:
        """Return one row for each search space, the best first.

        The columns are space, study, mean, low and high (the corrected mean of the metric on fresh
        seeds, and its 95 % interval; missing before a confirmation), n_trials, train_seconds (of
        one training of the best), n_parameters and latency_ms.
        """
        import pandas as pd

        rows = []
        for result in self._space_results():
            mean = result.mean
            bounds = {"mean": mean.value, "low": mean.low, "high": mean.high} if mean else {}
            rows.append({**vars(result), **bounds})
        return pd.DataFrame(rows, columns=COLUMNS).convert_dtypes()

    def _space_results(self) -> list[SpaceResult]:
        from tuning.report.spaces import space_results

        return space_results(study._read() for study in self.studies.values())

    def _repr_html_(self) -> str:
        from tuning.display.tables import frame_html

        return frame_html(self.name, self.verdict(), self.spaces_dataframe())


@plain_values
def compare(
    spaces: SpaceSources,
    data: DataSource = None,
    *,
    minutes: float = 10.0,
    study: str | None = None,
    metric: str | None = None,
    class_weight: ClassWeight = None,
    seed: int | None = None,
    epochs: int | None = None,
    folds: str | int | None = None,
    workers: WorkersOption = None,
    limits: LimitsOption = None,
    log_to: Trackers = (),
    results: ResultsFolder = "results",
    storage: StorageURL = None,
) -> Comparison:
    """Search several search spaces for the same time, confirm the best of each, and compare them.

    Each search space gets a study of its own. The same call continues a comparison that was
    stopped. Further spaces and more minutes are added to it.

    Args:
        spaces: two or more search spaces, separated by spaces: names in search_spaces/ or paths of
            files; in Python also a list of these, of subclasses of `keras_tuner.HyperModel` or of
            functions `build(hp)` (default: none; required).
        minutes: duration of the search of each space, in minutes (default 10).
        study: name of the comparison (default: of the data set, as in compare-movie_reviews).
        metric: objective of the searches, as in `tune` (default val_accuracy, or by kind
            val_quadratic_kappa, val_f1_micro or val_mae).
        class_weight: weights of the classes in the loss, as in `tune` (default: all rows count
            equally).
        seed: random seed of the data split, the samplers and each training (default 0).
        epochs: maximum number of epochs of a training (default 5).
        folds: number of folds of the rows that are not test, as in `tune`, or auto: 5 for fewer
            than 5,000 rows (default auto).

    Raises:
        ArgumentError: a value is out of range, or fewer than two spaces are named.
        DataError: the data can't be read, or have no such column.
        SpaceError: a search space does not exist, or the search of every space failed.
        StudyError: a study of the comparison exists with other settings or data.
        TrackerError: the package of a tracker is not installed.
        KeyboardInterrupt: the user interrupted the searches, outside a notebook.

    Example:
        >>> comparison = tuning.compare(["ngrams", "mean_embedding"], "reviews.csv", minutes=0.4)
        >>> comparison.spaces_dataframe()
        >>> comparison.best.export()
    """
    import_optuna()
    from tuning.report.page import write_report
    from tuning.search import tune as searching
    from tuning.study.handle import StudyHandle

    require_trackers(log_to)
    require_positive({"minutes": minutes})
    items, seconds = _items_of(spaces), 60 * minutes
    places = {name: keep_space(item) for name, item in items.items()}
    source, chosen, limits = source_of(data), workers_of(workers), limits_of(limits)
    root = ResultsDir(folder_of("results", results))
    url = root.storage_url(storage)
    # The studies' names end with the space's name, and have at most 100 characters.
    home = root.study(f"compare-{data_stem(source.name)}"[:60] if study is None else study)
    settings = given(
        seed=seed,
        metric=metric,
        train=given(epochs=epochs, class_weight=class_weight) or None,
        data=source.write(home) or None,
    )
    folders = {name: root.study(f"{home.name}-{safe_name(name)}") for name in items}
    n_folds = number_of_folds(AUTO if folds is None else folds)
    config = searching.configure(home.name, settings, home)
    _prepare(config, [*folders.values()], root, folds=n_folds)
    is_complete, failed, studies = True, list[SpaceError](), dict[str, Study]()
    for number, (name, folder) in enumerate(folders.items(), start=1):
        handle = StudyHandle(root, folder, url)
        left = _seconds_left(handle, seconds) if folder.config_path.exists() else seconds
        if left > 0:
            console.print(
                escape(
                    f"{name}, space {number} of {len(folders)}: searching for {left / 60:.3g} min,"
                    f" then confirming (study {folder.name})."
                )
            )
            own = searching.configure(folder.name, {**settings, "space": places[name]}, folder)
            try:
                with watching(folder, metric=own.metric, log_to=log_to) as subscribers:
                    is_complete = searching.tune(
                        own,
                        root,
                        storage_url=url,
                        budget=searching.Budget(
                            n_trials=MAX_TRIALS, timeout_seconds=left, folds=n_folds
                        ),
                        workers=chosen,
                        limits=limits,
                        confirms=True,
                        subscribers=subscribers,
                    ).is_complete
            except SpaceError as error:
                failed.append(error)
                warn(f"{name} failed, and the others go on: {error}")
                print_traceback(error)
                continue
            if not is_complete:
                console.print(f"Interrupted; {repeated()} continues the comparison.")
                break
            _set_searched(handle, home.name, seconds)
        space = items[name]
        is_object = not isinstance(space, str | Path)
        studies[name] = Study(folder, root, storage=storage, space=space if is_object else None)
    comparison = Comparison(home.name, studies)
    print_spaces(comparison._space_results())
    for one in studies.values():
        if (handle := one._read()).best:
            page, _ = write_report(handle)
            console.print(escape(f"Report: {page}"))
    # The table and the reports are written first, because `end_script` raises an exception.
    if not is_complete:
        end_script()
    if failed and not studies:
        raise SpaceError(f"Every search space failed; the first: {failed[0]}")
    return comparison


def _items_of(spaces: str | Sequence[Any]) -> dict[str, Any]:
    """Return the search spaces by their names."""
    if isinstance(spaces, Path) or callable(spaces):
        raise ArgumentError(f"spaces must be a list of search spaces; received {spaces!r}.")
    items: dict[str, Any] = {}
    for item in spaces.split() if isinstance(spaces, str) else spaces:
        is_path = isinstance(item, str | Path)
        name = short_name(find_space(str(item), flag="spaces") if is_path else place_of(item))
        if name in items:
            raise ArgumentError(
                f"spaces must name each search space once; received {name!r} twice. Two spaces of"
                " the same name must be renamed."
            )
        items[name] = item
    if len(items) < MIN_SPACES:
        raise ArgumentError(
            f"spaces must name {MIN_SPACES} search spaces or more, as in 'baseline_lstm ngrams';"
            f" received {' '.join(items) or 'none'!r}."
        )
    return items


def _prepare(
    config: StudyConfig, folders: Sequence[StudyDir], root: ResultsDir, *, folds: int | str | None
) -> None:
    """Tokenize the data, because the time of no search should include this work, and refuse other
    settings or data than those of the studies that exist.
    """
    from tuning.study.prepare import prepare_search
    from tuning.study.study import StudyIdentity, read_record, refuse_differences

    with steps() as progress:
        made, corpus = prepare_search(config, results=root, folds=folds, progress=progress)
    for folder in folders:
        if folder.config_path.exists():
            record = read_record(folder)
            identity = StudyIdentity(
                config=replace(made, study=folder.name, space=record.config.space),
                data_fingerprint=corpus.fingerprint,
                space_fingerprint=record.space_fingerprint,
            )
            refuse_differences(folder, identity)


def _set_searched(handle: StudyHandle, name: str, seconds: float) -> None:
    from tuning.report.spaces import COMPARISON

    with handle.opened() as study:
        study.set_user_attr(COMPARISON, {"name": name, "seconds": seconds})


def _seconds_left(handle: StudyHandle, seconds: float) -> float:
    """Return the seconds for which a study must still be searched. Of a search that was stopped,
    only the time in which trials were trained counts.
    """
    from optuna.trial import TrialState

    from tuning.report.spaces import COMPARISON

    with handle.opened() as study:
        before = float(study.user_attrs.get(COMPARISON, {}).get("seconds", 0.0))
        # A trial that a kill interrupted is failed by the next call, long after its training.
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    if before >= seconds:
        return 0.0
    searched, end = timedelta(), datetime.min
    for trial in sorted(trials, key=lambda trial: trial.datetime_start or end):
        if trial.datetime_start and trial.datetime_complete:
            searched += max(trial.datetime_complete - max(trial.datetime_start, end), timedelta())
            end = max(trial.datetime_complete, end)
    # At least a second: the best is not confirmed yet, and a search ends with the confirmation.
    return max(seconds - max(searched.total_seconds(), before), 1.0)
