"""Comparisons of search spaces: a loop over the search of `tune`, and their results in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tuning.config import AUTO, given, number_of_folds, require_positive
from tuning.display.console import console, end_script, print_traceback, warn
from tuning.display.logs import import_optuna
from tuning.display.progress import steps
from tuning.display.tables import print_spaces
from tuning.errors import ArgumentError, SpaceError, StudyError
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.files import find_space, short_name
from tuning.spaces.objects import keep_space, place_of

if TYPE_CHECKING:
    import pandas as pd

    from tuning.report.spaces import SpaceResult
    from tuning.study.handle import StudyHandle

DEFAULT_MINUTES = 10.0
MIN_SPACES = 2
# Types of the columns of `spaces_dataframe`, which may have missing values.
KINDS = {
    **dict.fromkeys(("accuracy", "low", "high", "search_value"), "float64"),
    "n_trials": "Int64",
    "train_seconds": "float64",
    "n_parameters": "Int64",
    "latency_ms": "float64",
}


class Comparison:
    """The studies of a comparison, which `make compare` or `tuning.compare` created. Every property
    reads the files and the storage again.

    Args:
        name: the name of the comparison.
        results: the folder of all studies.
        storage: URL of the Optuna storage; None: the file optuna.db in `results`.

    Example:
        >>> comparison = tuning.load_comparison("compare-reviews")
        >>> print(comparison.verdict())
    """

    def __init__(self, name: str, results: ResultsDir, *, storage: str | None = None) -> None:
        self.name, self._opened_in, self._storage = name, results, storage

    def __repr__(self) -> str:
        return f"Comparison({self.name!r}, {str(self._results.path)!r})"

    @property
    def _results(self) -> ResultsDir:
        return self._opened_in.current

    @property
    def studies(self) -> dict[str, Study]:
        """The study of each space that has begun, by the name of the space."""
        from tuning.report.spaces import comparisons

        root, storage = self._results, self._storage
        return {
            short_name(config.space): Study(root.study(config.study), root, storage=storage)
            for config in (record.config for record in comparisons(root).get(self.name, []))
        }

    @property
    def best(self) -> Study | None:
        """The study of the space with the best mean on fresh seeds; None before a confirmation."""
        confirmed = [result for result in self._space_results() if result.accuracy]
        return self.studies[confirmed[0].space] if confirmed else None

    @property
    def chosen(self) -> Study | None:
        """The study of the space that `verdict` says to choose; None before a confirmation."""
        from tuning.report.spaces import chosen

        result = chosen(self._space_results())
        return self.studies[result.space] if result else None

    def verdict(self) -> str:
        """Return sentences about which space to choose, and why."""
        from tuning.report.spaces import choice

        return " ".join(choice(self._space_results()))

    def spaces_dataframe(self) -> pd.DataFrame:
        """Return one row for each space, the best first.

        The columns are space, study, accuracy, low and high (the corrected mean of the metric on
        fresh seeds, by default the validation accuracy, and its 95 % interval; missing before a
        confirmation), search_value, n_trials, train_seconds (of one training of the best),
        n_parameters and latency_ms.
        """
        import pandas as pd

        rows = []
        for result in self._space_results():
            rows.append(vars(result).copy())
            if mean := result.accuracy:
                rows[-1] |= {"accuracy": mean.value, "low": mean.low, "high": mean.high}
        return pd.DataFrame(rows, columns=["space", "study", *KINDS]).astype(KINDS)

    def _space_results(self) -> list[SpaceResult]:
        from tuning.report.spaces import space_results

        url = self._results.storage_url(self._storage)
        return space_results(self._results, self.name, storage_url=url)

    def _repr_html_(self) -> str:
        from tuning.display.tables import frame_html

        return frame_html(self.name, self.verdict(), self.spaces_dataframe())


def _times(study: StudyHandle) -> tuple[float, float]:
    """Return the seconds that a study was to be searched for, and the seconds of it that are over;
    0 while its best is not confirmed.
    """
    from tuning.study.budget import TOTAL_SECONDS, searched_seconds

    with study.opened() as opened:
        total, searched = opened.user_attrs.get(TOTAL_SECONDS, 0.0), searched_seconds(opened)
    confirmation = study.confirmation
    return total, searched if confirmation and confirmation.is_over else 0.0


def _seconds(minutes: float | None, before: float) -> float:
    if minutes is None:
        return before or 60 * DEFAULT_MINUTES
    if 60 * minutes < before:
        raise ArgumentError(
            f"minutes must be {before / 60:g} or more, which the searches have had; received"
            f" {minutes:g}. Start another comparison (study)."
        )
    return 60 * minutes


def _items_of(spaces: str | Sequence[Any]) -> tuple[Sequence[Any], list[str]]:
    """Return the search spaces and their names."""
    items = spaces.split() if isinstance(spaces, str) else spaces
    if isinstance(items, Path) or callable(items):
        raise ArgumentError(f"spaces must be a list of search spaces; received {spaces!r}.")
    names = [
        short_name(
            find_space(str(item), flag="spaces") if isinstance(item, str | Path) else place_of(item)
        )
        for item in items
    ]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ArgumentError(
            f"spaces must name each search space once; received {twice[0]!r} twice. Two spaces of"
            " the same name must be renamed."
        )
    return items, names


def _settings(
    spaces: Mapping[StudyDir, str],
    flags: Mapping[str, Any],
    root: ResultsDir,
    *,
    folds: int | str | None,
) -> tuple[dict[str, Any], int | str]:
    """Return the settings that the studies of a comparison share, and `folds`, after a check of the
    first.
    """
    from tuning.search.tune import configure
    from tuning.study.prepare import prepare_search
    from tuning.study.study import (
        StudyIdentity,
        read_record,
        refuse_differences,
        refuse_other_settings,
    )

    folder, space = next(iter(spaces.items()))
    config = configure(folder.name, {**flags, "space": space}, folder)
    is_new = not folder.config_path.exists()
    if not is_new:
        refuse_other_settings(folder, config)
    # The data are tokenized here, because the time of no search should include this work.
    wanted = AUTO if folds is None else folds
    with steps() as progress:
        made, corpus = prepare_search(config, results=root, folds=wanted, progress=progress)
    if not is_new:
        fingerprint = read_record(folder).space_fingerprint
        identity = StudyIdentity(
            config=made, data_fingerprint=corpus.fingerprint, space_fingerprint=fingerprint
        )
        refuse_differences(folder, identity)
    settings = {
        "seed": config.seed,
        "metric": config.metric,
        "train": {"epochs": config.train.epochs, "class_weight": config.train.class_weight},
        "data": vars(config.data),
        # All repeats of a comparison that an earlier version began have one split, and all its
        # studies the same words.
        "resplit": None if is_new else bool(config.resplit),
        "counts_validation": None if is_new else bool(config.counts_validation),
    }
    return settings, wanted if is_new else config.train.n_folds


@plain_values
def compare(
    spaces: SpaceSources = (),
    data: DataSource = None,
    *,
    minutes: float | None = None,
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
    stopped, and adds search spaces or minutes to it.

    Args:
        spaces: two or more search spaces, separated by spaces: names in search_spaces/ or paths of
            files; in Python also a list of these, of subclasses of `keras_tuner.HyperModel` or of
            functions `build(hp)` (default: those of the comparison).
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
        SpaceError: a search space does not exist.
        StudyError: the comparison exists with other settings.
        TrackerError: the package of a tracker is not installed.
        KeyboardInterrupt: the user interrupted the searches, outside a notebook.

    Example:
        >>> comparison = tuning.compare(["ngrams", "mean_embedding"], "reviews.csv", minutes=0.4)
        >>> comparison.spaces_dataframe()
        >>> comparison.best.export()
    """
    import_optuna()
    from tuning.report.page import write_report
    from tuning.report.spaces import comparisons, space_results
    from tuning.search import tune as searching
    from tuning.study.budget import study_name
    from tuning.study.handle import StudyHandle

    require_trackers(log_to)
    require_positive({"minutes": minutes})
    items, names = _items_of(spaces)
    source, chosen, limits = source_of(data), workers_of(workers), limits_of(limits)
    root = ResultsDir(folder_of("results", results))
    # The studies' names end with the space's name, and have at most 100 characters.
    home = root.study(f"compare-{data_stem(source.name)}"[:60] if study is None else study)
    url = root.storage_url(storage)
    configs = [record.config for record in comparisons(root).get(home.name, [])]
    if len({*names, *(short_name(config.space) for config in configs)}) < MIN_SPACES:
        raise ArgumentError(
            f"spaces must name {MIN_SPACES} search spaces or more, as in 'baseline_lstm ngrams';"
            f" received {' '.join(names) or 'none'!r}."
        )
    folders = {root.study(config.study): config.space for config in configs}
    times = {folder: _times(StudyHandle(root, folder, url)) for folder in folders}
    for item in items:
        place = keep_space(item)
        folders.setdefault(root.study(study_name(home.name, place)), place)
    seconds = _seconds(minutes, max((total for total, _ in times.values()), default=0.0))
    flags = given(
        seed=seed,
        metric=metric,
        train=given(epochs=epochs, class_weight=class_weight) or None,
        data=source.write(home) or None,
    )
    settings, n_folds = _settings(folders, flags, root, folds=number_of_folds(folds))
    is_complete, failed = True, list[SpaceError]()
    for number, (folder, space) in enumerate(folders.items(), start=1):
        if folder in times and times[folder][1] >= seconds:
            continue
        line = (
            f"{short_name(space)}, space {number} of {len(folders)}: searching until"
            f" {seconds / 60:g} min are over, then confirming (study {folder.name})."
        )
        console.print(escape(line))
        config = searching.configure(folder.name, {**settings, "space": space}, folder)
        try:
            with watching(folder, metric=config.metric, log_to=log_to) as subscribers:
                outcome = searching.tune(
                    config,
                    root,
                    storage_url=url,
                    budget=searching.Budget(total_seconds=seconds, folds=n_folds),
                    workers=chosen,
                    limits=limits,
                    confirms=True,
                    subscribers=subscribers,
                )
            is_complete = outcome.is_complete
        except SpaceError as error:
            failed.append(error)
            warn(f"{short_name(space)} failed, and the others go on: {error}")
            print_traceback(error)
        if not is_complete:
            console.print(f"Interrupted; {repeated()} continues the comparison.")
            break
    found = space_results(root, home.name, storage_url=url)
    print_spaces(found)
    for result in found:
        if is_complete and result.search_value is not None:
            page, _ = write_report(StudyHandle.of(root, result.study, storage))
            console.print(escape(f"Report: {page}"))
    # The table and the reports are written first, because `end_script` raises an exception.
    if not is_complete:
        end_script()
    if len(failed) == len(folders):
        raise SpaceError(f"Every search space failed; the first: {failed[0]}")
    return Comparison(home.name, root, storage=storage)


def load_comparison(
    name: str, *, results: str | Path = "results", storage: str | None = None
) -> Comparison:
    """Open a comparison that `make compare` or `tuning.compare` created.

    Args:
        name: name of the comparison.
        results: the folder of all studies.
        storage: URL of the Optuna storage; None: the file optuna.db in `results`.

    Raises:
        StudyError: the comparison does not exist.

    Example:
        >>> comparison = tuning.load_comparison("compare-reviews")
        >>> comparison.spaces_dataframe()
    """
    import_optuna()
    from tuning.report.spaces import comparisons

    root = ResultsDir(folder_of("results", results))
    names = sorted(comparisons(root))
    if name not in names:
        raise StudyError(
            f"name must be a comparison in {results}, which has {', '.join(names) or 'none'};"
            f" received {name!r}."
        )
    return Comparison(name, root, storage=storage)
