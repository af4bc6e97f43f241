"""A study as a Python object, which `tune` and `load_study` return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tuning.api.parameters import chosen_workers, public, public_function
from tuning.api.study_view import StudyView
from tuning.config import given
from tuning.display.console import end_script
from tuning.display.logs import import_optuna
from tuning.errors import ArgumentError
from tuning.results import ResultsDir

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from tuning.api.exchange import Target, WarmStart
    from tuning.api.exports import Export


@public
class Study(StudyView):
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

    def confirm(
        self,
        *,
        top: int | None = None,
        seeds: int | None = None,
        share: float | None = None,
        pruned: int | None = None,
        workers: int | None = None,
        pool: str = "process",
        ray_address: str | None = None,
        cpus_per_worker: float | None = None,
        gpus_per_worker: float | None = None,
        trial_seconds: float | None = None,
        trial_memory_mb: float | None = None,
        silent_seconds: float | None = None,
    ) -> Self:
        """Train the best configurations and the baseline on fresh seeds, or continue such a call,
        and return this study, whose `verdict()` has the result.

        Args:
            top: number of configurations beside the baseline (default 5).
            seeds: maximum number of fresh seeds of each configuration (default 5).
            share: maximum worker time, as a share of the search's worker time (default 0.25, or
                more if three seeds of the two best and the baseline need more).
            pruned: maximum number of pruned trials to train to their last epoch (default 5).
            workers: number of training processes (default: one for each GPU or core).
            pool: "process" for workers on this machine, "ray" for workers on a Ray cluster.
            ray_address: address of a running Ray cluster (default: this call starts Ray).
            cpus_per_worker, gpus_per_worker: what Ray reserves for each worker.
            trial_seconds, trial_memory_mb, silent_seconds: limits of a training, after which it
                fails.

        Raises:
            StudyError: too few trials are complete, or another process works on the study.
            KeyboardInterrupt: the user interrupted the trainings, outside a notebook.
        """
        from tuning.api import trainings
        from tuning.search.finalists import Terms

        confirmation = trainings.confirm(
            self._results,
            self._folder,
            storage_url=self._storage_url,
            terms=Terms(**given(top=top, n_seeds=seeds, share=share, n_pruned=pruned)),
            workers=chosen_workers(
                workers,
                pool=pool,
                ray_address=ray_address,
                per_worker=(cpus_per_worker, gpus_per_worker),
                trial_seconds=trial_seconds,
                trial_memory_mb=trial_memory_mb,
                silent_seconds=silent_seconds,
            ),
        )
        if not confirmation.is_over:
            end_script()
        return self

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
        data: str | Path | None = None,
        data_dir: str | Path | None = None,
    ) -> Export:
        """Retrain the best configuration, score it on the test split, and write the export.

        Args:
            path: a new folder for a copy; None: the export is in the study's folder alone.
            trial: number of a completed trial (default: the best).
            ensemble: "auto", or how many times a repeat of the confirmation is chosen, 2 to 20, for
                a mean of several models (default: a single model).
            slice_column: column of the data by whose values the accuracy is split.
            data, data_dir: the place of the study's data, if they have been moved.

        Raises:
            ExportError: a format does not give the model's predictions.
            ArgumentError: `path` has files.
        """
        from tuning.api import trainings
        from tuning.api.exports import Export, copy_export, require_free

        target = None if path is None else Path(path).expanduser()
        if target and target.resolve() == self._folder.best_dir.resolve():
            target = None  # The export is written there anyway.
        if target:
            require_free(target)
        trainings.export_best(
            self._results,
            self._folder,
            storage_url=self._storage_url,
            number=trial,
            ensemble=None if ensemble is None else str(ensemble),
            slice_column=slice_column,
            moved=given(
                data=data and str(data), data_dir=data_dir and str(Path(data_dir).expanduser())
            ),
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
            return exchange.import_kerastuner(
                target, Path(project).expanduser(), as_finished=as_finished
            )

    def import_optuna(
        self,
        study: optuna.Study | StudyView | str,
        name: str | None = None,
        *,
        as_finished: bool = False,
    ) -> WarmStart:
        """Queue the configurations of another Optuna study, which the next search trains first.

        Args:
            study: the other study, or the URL of its storage.
            name: name of the other study in that storage.
            as_finished: add the trials with their values instead, and train nothing.

        Raises:
            ArgumentError: a URL comes without a name, or a study with a name.
            StudyError: the study does not exist, or has other directions or objectives.
            StorageError: the storage can't be read.
        """
        from tuning.api import exchange

        with self._opened() as target:
            other = study.optuna_study if isinstance(study, StudyView) else study
            return exchange.import_optuna(target, other, name, as_finished=as_finished)

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
        return write_best_values(*place, storage_url=url, output=Path(output).expanduser())[1]

    def _opened(self) -> AbstractContextManager[Target]:
        from tuning.api.exchange import opened

        return opened(self._results, self._folder, storage_url=self._storage_url)


@public_function
def load_study(
    name: str | None = None, *, results: str | Path = "results", storage: str | None = None
) -> Study:
    """Open a study that `make tune` or `tuning.tune` created.

    Args:
        name: name of the study; None: the study that was used last.
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
    root = ResultsDir(Path(results).expanduser())
    return Study(root.existing(name), root, storage=storage)
