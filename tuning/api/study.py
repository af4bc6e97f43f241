"""A study as a Python object, which `tune` and `load_study` return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.api.configuration import Configuration, configuration_of
from tuning.api.parameters import public
from tuning.config import given
from tuning.results import ResultsDir, StudyDir

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import plotly.graph_objects as go

    from tuning.api.exchange import Target, WarmStart
    from tuning.api.exports import Export
    from tuning.config import StudyConfig
    from tuning.confirmation.rounds import Confirmation
    from tuning.spaces.loading import SearchSpace
    from tuning.study.summary import Summary


@public
class Study:
    """A study in a results folder, which `make tune` or `tuning.tune` created. Every property reads
    the files and the storage again.

    Args:
        folder: the folder of the study.
        results: the folder of all studies.
        storage: URL of the Optuna storage; None: the file optuna.db in `results`.

    Example:
        >>> study = tuning.load_study("ngrams-reviews")
        >>> print(study.verdict())
        >>> study.enqueue([{"ngrams": 2}])
    """

    def __init__(
        self, folder: StudyDir, results: ResultsDir, *, storage: str | None = None
    ) -> None:
        self._folder, self._results = folder, results
        self._storage_url = results.storage_url(storage)

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {str(self._folder.path)!r})"

    @property
    def name(self) -> str:
        """The name of the study."""
        return self._folder.name

    @property
    def path(self) -> Path:
        """The folder of the study."""
        return self._folder.path

    @property
    def config(self) -> StudyConfig:
        """The settings that the study was created with."""
        from tuning.study.study import recorded_config

        return recorded_config(self._folder)

    @property
    def space(self) -> SearchSpace:
        """The search space that the study was created with."""
        from tuning.study.study import recorded_space

        return recorded_space(self._folder)

    @property
    def optuna_study(self) -> optuna.Study:
        """Optuna's own study, for reading: its changes have no effect on a running search.

        Raises:
            StudyError: the storage does not contain the study.
            StorageError: the storage can't be opened.
        """
        from tuning.study.study import load_study as load

        return load(self._results, self._folder, storage_url=self._storage_url)

    @property
    def confirmation(self) -> Confirmation | None:
        """The confirmation of the best configurations; None before a confirmation."""
        from tuning.confirmation.rounds import Confirmation

        return Confirmation.load(self._folder)

    @property
    def best(self) -> Configuration | None:
        """The best configuration: the confirmed best, else the best of the search; None before a
        trial is complete.
        """
        from tuning.study.summary import best_of

        best = best_of(self._summary(), self.confirmation)
        return None if best is None else configuration_of(best, self.space)

    def trials_dataframe(self) -> pd.DataFrame:
        """Return one row for each trial, with the columns of `trials.csv`."""
        from tuning.report.tables import trials_table

        return trials_table(self._summary())

    def verdict(self) -> str:
        """Return sentences about the best configuration and its difference to the baseline."""
        from tuning.report.sentences import verdict

        return verdict(self._summary(), self.confirmation)

    def confirm(
        self, *, top: int | None = None, seeds: int | None = None, share: float | None = None
    ) -> Confirmation:
        """Train the best configurations and the baseline on fresh seeds, or continue such a call.

        Args:
            top: number of configurations beside the baseline (default 5).
            seeds: maximum number of fresh seeds of each configuration (default 5).
            share: maximum worker time, as a share of the search's worker time (default 0.25, or
                more if three seeds of the two best and the baseline need more).

        Raises:
            StudyError: too few trials are complete, or another process works on the study.
        """
        from tuning.api import trainings
        from tuning.search.finalists import Terms

        return trainings.confirm(
            self._results,
            self._folder,
            storage_url=self._storage_url,
            terms=Terms(**given(top=top, n_seeds=seeds, share=share)),
        )

    def report(self, *, slice_column: str | None = None) -> Path:
        """Write `report.html`, one page that opens offline, and return its path.

        Args:
            slice_column: column of the data by whose values the accuracy is split.

        Raises:
            StudyError: no trial is complete, or the data have changed.
            DataError: the data have no such column.
        """
        from tuning.report.page import write_report

        url = self._storage_url
        page, _ = write_report(
            self._results, self._folder, storage_url=url, slice_column=slice_column
        )
        return page

    def export(
        self,
        path: str | Path | None = None,
        *,
        trial: int | None = None,
        ensemble: int | str | None = None,
        slice_column: str | None = None,
    ) -> Export:
        """Retrain the best configuration, score it on the test split, and write the export.

        Args:
            path: a new folder for a copy; None: the export is in the study's folder alone.
            trial: number of a completed trial (default: the best).
            ensemble: "auto", or how many times a trained model of the confirmation is chosen, 2 to
                20, for a mean of several models (default: a single model).
            slice_column: column of the data by whose values the accuracy is split.

        Raises:
            ExportError: a format does not give the model's predictions.
            ArgumentError: `path` has files.
        """
        from tuning.api import trainings
        from tuning.api.exports import Export, copy_export, require_free

        target = None if path is None else Path(path)
        if target:
            require_free(target)
        trainings.export_best(
            self._results,
            self._folder,
            storage_url=self._storage_url,
            number=trial,
            ensemble=None if ensemble is None else str(ensemble),
            slice_column=slice_column,
        )
        if target is None:
            return Export(self._folder.best_dir)
        copy_export(self._folder.best_dir, target)
        return Export(target)

    def log_to(self, *trackers: str) -> None:
        """Write the study, with its export if it has one, to trackers.

        Args:
            trackers: "mlflow:URI", "tensorboard:DIR" or "wandb:DIR".

        Raises:
            TrackerError: a package is missing, or a tracker can't be reached or written.
        """
        from tuning.api.tracking import track

        track(trackers, self._folder, self._results, storage_url=self._storage_url)

    def import_kerastuner(self, project: str | Path, *, as_finished: bool = False) -> WarmStart:
        """Queue the configurations of a KerasTuner project, which the next search trains first.

        Args:
            project: folder of the project, with its `oracle.json`.
            as_finished: add the trials with their scores instead, and train nothing.

        Raises:
            StudyError: the folder has no readable project, or the project has another objective.
        """
        from tuning.api import exchange

        with self._opened() as target:
            return exchange.import_kerastuner(target, Path(project), as_finished=as_finished)

    def import_optuna(self, url: str, name: str, *, as_finished: bool = False) -> WarmStart:
        """Queue the configurations of another Optuna study, which the next search trains first.

        Args:
            url: URL of the storage of that study.
            name: name of that study.
            as_finished: add the trials with their values instead, and train nothing.

        Raises:
            StudyError: the study does not exist, or has other directions or objectives.
            StorageError: the storage can't be read.
        """
        from tuning.api import exchange

        with self._opened() as target:
            return exchange.import_optuna(target, url, name, as_finished=as_finished)

    def enqueue(
        self,
        configurations: str | Path | pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    ) -> WarmStart:
        """Queue configurations, which the next search trains first.

        Args:
            configurations: the path of a CSV file, a data frame, a dict or a list of dicts; the
                names are hyperparameters, and a missing value is the default.

        Raises:
            StudyError: the file can't be read, or no name is a hyperparameter of the space.
        """
        from tuning.api import exchange

        with self._opened() as target:
            return exchange.enqueue(target, configurations)

    def export_hyperparameters(self, output: str | Path = ".") -> list[Path]:
        """Write the best hyperparameters for KerasTuner and for Optuna, and return the two paths.

        Raises:
            StudyError: no trial is complete.
        """
        from tuning.api.exchange import write_best_values

        place, url = (self._results, self._folder), self._storage_url
        return write_best_values(*place, storage_url=url, output=Path(output))[1]

    def learning_curves(self) -> go.Figure:
        """Return a figure of the metric after each epoch, with pruned trials."""
        from tuning.report.figures import learning_curves

        return learning_curves(self._summary(), self.confirmation)

    def history(self) -> go.Figure:
        """Return a figure of the value of each trial and of the best value so far."""
        from tuning.report.figures import history

        return history(self.optuna_study, self._summary())

    def _opened(self) -> AbstractContextManager[Target]:
        from tuning.api.exchange import opened

        return opened(self._results, self._folder, storage_url=self._storage_url)

    def _summary(self) -> Summary:
        from tuning.study.summary import read_summary

        return read_summary(self._results, self._folder, storage_url=self._storage_url)

    def _repr_html_(self) -> str:
        """Return the verdict and the trials as HTML for a notebook."""
        from tuning.display.tables import study_html

        return study_html(self.name, self._summary(), self.space, self.confirmation)
