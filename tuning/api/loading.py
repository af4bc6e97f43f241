"""Functions that open a study or an export."""

from __future__ import annotations

from pathlib import Path

from tuning.api.exports import Export
from tuning.api.parameters import parameters_in_messages
from tuning.api.study import Study
from tuning.display.logs import import_optuna
from tuning.errors import ArgumentError
from tuning.results import ResultsDir


@parameters_in_messages()
def load_study(
    name: str | None = None, *, results: str | Path = "results", storage: str | None = None
) -> Study:
    """Open a study that `make tune` or `tuning.tune` created.

    Args:
        name: name of the study; None: the study that was tuned last.
        results: the folder of all studies.
        storage: URL of the Optuna storage; None: the file optuna.db in `results`.

    Raises:
        StudyError: the study does not exist; the message lists the studies.
        ArgumentError: `name` is empty.

    Example:
        >>> study = tuning.load_study("ngrams-reviews")
        >>> study.trials_dataframe()
    """
    if name == "":
        raise ArgumentError("name must be the name of a study; received an empty text.")
    import_optuna()
    root = ResultsDir(Path(results))
    return Study(root.existing(name), root, storage=storage)


@parameters_in_messages()
def load_export(path: str | Path) -> Export:
    """Return the export in a folder.

    Raises:
        ExportError: the folder has no export, or an unfinished one.

    Example:
        >>> export = tuning.load_export("results/ngrams-reviews/best")
        >>> export.predict(["I love it", "It broke"])
    """
    return Export(path)
