"""A study as a Python object, which `tune` and `load_study` return."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from cyclopts import Parameter

from tuning.api.parameters import (
    Configurations,
    LimitsOption,
    ResultsFolder,
    StorageURL,
    StudyName,
    Trackers,
    WorkersOption,
    folder_of,
    limits_of,
    plain_values,
    workers_of,
)
from tuning.api.tracking import watching
from tuning.config import SPLITS, given
from tuning.display.console import end_script, warn
from tuning.display.logs import import_optuna
from tuning.errors import ArgumentError, MissingFileError, TrackerError
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.objects import is_object, keep, pickle_space

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import plotly.graph_objects as go

    from tuning.api.exports import Export
    from tuning.config import StudyConfig
    from tuning.confirmation.record import Confirmation
    from tuning.search.enqueue import Enqueued
    from tuning.spaces.loading import SearchSpace
    from tuning.study.handle import Status, StudyHandle


@dataclass(frozen=True)
class Configuration:
    """The configuration of a trial, and its values of the metric.

    Args:
        number: number of the trial.
        hyperparameters: value of each hyperparameter by name.
        value: value of the study's metric in the search.
        is_confirmed: whether the confirmation found it to be the best.
        mean: corrected mean of the metric over fresh seeds; None without a confirmation.
        interval: 95 % confidence interval of `mean`; None without a confirmation.

    Example:
        >>> best = tuning.load_study("ngrams-reviews").best
        >>> best.hyperparameters["ngrams"], best.value
    """

    number: int
    hyperparameters: dict[str, Any]
    value: float
    is_confirmed: bool
    mean: float | None = None
    interval: tuple[float, float] | None = None


@contextmanager
def _finding_data() -> Iterator[None]:
    """Add to the message for a missing file of the study that the call takes its new place."""
    try:
        yield
    except MissingFileError as error:
        raise MissingFileError(f"{error} If the file has moved, give its new place.") from error


@contextmanager
def _keeping_random_states() -> Iterator[None]:
    """Keep the states of `random` and `numpy.random`. An export builds and loads models in the
    process of the user: it sets their seeds, and Keras draws further seeds from `random`.
    """
    import numpy as np

    # TensorFlow has no public function that reads or restores the state of its generator.
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


class Study:
    """A study in a results folder, which `make tune` or `tuning.tune` created. Every property reads
    the files and the storage again.

    Args:
        folder: the folder of the study.
        results: the folder of all studies.
        storage: URL of the Optuna storage; None: the file optuna.db in `results`.
        space: the search space, if it is a Python object.

    Example:
        >>> study = tuning.load_study("ngrams-reviews")
        >>> print(study.verdict())
        >>> study.enqueue([{"ngrams": 2}])
    """

    def __init__(
        self,
        folder: StudyDir,
        results: ResultsDir,
        *,
        storage: str | None = None,
        space: Any = None,
    ) -> None:
        self._name, self._opened_in = folder.name, results
        self._storage_url = results.storage_url(storage)
        self._pickled = None if space is None else pickle_space(space)

    @property
    def _results(self) -> ResultsDir:
        return self._opened_in.current

    @property
    def _folder(self) -> StudyDir:
        return StudyDir(self._results.path / self._name)

    def _read(
        self, *, data_dir: str | Path | None = None, **files: str | Path | None
    ) -> StudyHandle:
        from tuning.study.handle import StudyHandle

        for name, path in files.items():
            if not isinstance(path, str | Path | None):
                raise ArgumentError(
                    f"{name} must be the path of the study's files, which have moved; received a"
                    f" {type(path).__name__}."
                )
        folder = None if data_dir is None else folder_of("data_dir", data_dir)
        moved = {name: str(path) for name, path in given(**files, data_dir=folder).items()}
        handle = StudyHandle(self._results, self._folder, self._storage_url, moved)
        for name in SPLITS[1:]:
            if name in moved and name not in handle.record.config.data.files:
                raise ArgumentError(f"{name} must be left out: the study has no such file.")
        if self._pickled is not None:
            keep(handle.config.space, self._pickled)
        return handle

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {str(self._folder.path)!r})"

    @property
    def name(self) -> str:
        """The name of the study."""
        return self._name

    @property
    def path(self) -> Path:
        """The folder of the study."""
        return self._folder.path

    @property
    def config(self) -> StudyConfig:
        """The settings that the study was created with."""
        return self._read().config

    @property
    def space(self) -> SearchSpace:
        """The search space that the study was created with."""
        return self._read().space

    @property
    def optuna_study(self) -> optuna.Study:
        """Optuna's own study, for reading. Configurations are queued with `enqueue`, which checks
        them.

        Raises:
            StudyError: the storage does not contain the study.
            StorageError: the storage can't be opened.
        """
        from tuning.study.study import load_study as load

        return load(self._folder, storage_url=self._storage_url)

    @property
    def confirmation(self) -> Confirmation | None:
        """The confirmation of the best configurations; None before a confirmation."""
        return self._read().confirmation

    @property
    def best(self) -> Configuration | None:
        """The best configuration: the confirmed best, else the best of the search; None before a
        trial is complete.
        """
        from tuning.study.trials import value_of, values_of

        study = self._read()
        best = study.best
        if best is None:
            return None
        return Configuration(
            number=best.trial.number,
            hyperparameters=dict(values_of(best.trial, study.space)),
            value=value_of(best.trial),
            is_confirmed=best.is_confirmed,
            mean=best.mean.value if best.mean else None,
            interval=(best.mean.low, best.mean.high) if best.mean else None,
        )

    def trials_dataframe(self) -> pd.DataFrame:
        """Return one row for each trial, with the columns of `trials.csv`.

        The state is Optuna's name of it, or PAUSED.
        """
        from tuning.report.tables import trials_table

        return trials_table(self._read().summary)

    def status(self) -> Status:
        """Return the values that `make status` prints, such as counts of trials and seconds."""
        from tuning.study.handle import status_of

        return status_of(self._read())

    def verdict(self) -> str:
        """Return sentences about the best configuration and its difference to the baseline."""
        from tuning.report.sentences import verdict

        study = self._read()
        return verdict(study.summary, study.confirmation)

    def learning_curves(self) -> go.Figure:
        """Return Optuna's figure of the metric of each trial after each epoch."""
        from tuning.report.figures import learning_curves

        return learning_curves(self.optuna_study, self._read().summary)

    def history(self) -> go.Figure:
        """Return Optuna's figure of the value of each trial and of the best value so far."""
        from tuning.report.figures import history

        return history(self.optuna_study, self._read().summary)

    def _repr_html_(self) -> str:
        """Return the verdict and the trials as HTML for a notebook."""
        from tuning.display.tables import study_html

        study = self._read()
        return study_html(self.name, study.summary, study.space, study.confirmation)

    @_finding_data()
    @plain_values
    def confirm(
        self,
        *,
        top: int | None = None,
        seeds: int | None = None,
        resplit: bool | None = None,
        workers: WorkersOption = None,
        limits: LimitsOption = None,
        data: str | Path | None = None,
        data_dir: str | Path | None = None,
        validation: str | Path | None = None,
        test: str | Path | None = None,
    ) -> Self:
        """Train the best configurations and the baseline again on fresh seeds.

        The same call continues a confirmation that was stopped. It returns this study, whose
        `verdict()` has the result.

        Args:
            top: number of the best configurations to train again, beside the baseline (default 3).
            seeds: number of fresh seeds for each configuration; the leading two and the baseline
                get two more while their order is not clear (default 3).
            resplit: whether each fresh seed also draws its own training and validation rows, so
                that the result is not about one split (default: as the confirmation has begun, else
                as `tune` has recorded).
            workers: number of training processes, or in Python `Workers(...)` (default: as in the
                search).
            limits: limits of one training, in Python `Limits(...)` (default: those of `Limits`).
            data: path or pattern of the study's files, if they have moved (default: the path that
                the study recorded).
            data_dir: folder of prepared TensorFlow Datasets, if it has moved (default: the folder
                that the study recorded).
            validation: path or pattern of the files of the validation split, if they have moved
                (default: the path that the study recorded).
            test: path or pattern of the files of the test split, if they have moved (default: the
                path that the study recorded).

        Raises:
            StudyError: too few trials are complete, or another process works on the study.
            KeyboardInterrupt: the user interrupted the trainings, outside a notebook.
        """
        from tuning.search import confirm as confirming

        study = self._read(data=data, data_dir=data_dir, validation=validation, test=test)
        with watching(self._folder, metric=study.config.metric) as subscribers:
            _, is_interrupted = confirming.confirm(
                study,
                size=confirming.ConfirmationSize(**given(top=top, n_seeds=seeds, resplit=resplit)),
                workers=workers_of(workers),
                limits=limits_of(limits),
                subscribers=subscribers,
            )
        if is_interrupted:
            end_script()
        return self

    def report(self, *, slice_column: str | None = None) -> Path:
        """Write report.html, one page that opens offline, and trials.csv; return the page's path.

        Args:
            slice_column: name of a column of the data by whose values the report splits the
                accuracy (default: by class and length alone).

        Raises:
            StudyError: no trial is complete, or the data have changed.
            DataError: the data have no such column.
        """
        from tuning.report.page import write_report

        return write_report(self._read(), slice_column=slice_column)[0]

    @_finding_data()
    @_keeping_random_states()
    @plain_values
    def export(
        self,
        path: str | Path | None = None,
        *,
        trial: int | None = None,
        ensemble: str | int | None = None,
        threshold: str | float | None = None,
        slice_column: str | None = None,
        data: str | Path | None = None,
        data_dir: str | Path | None = None,
        validation: str | Path | None = None,
        test: str | Path | None = None,
        log_to: Trackers = (),
    ) -> Export:
        """Retrain the best configuration, score it on the test split, and write the export.

        Args:
            path: new folder for a copy of the export (default: the export is in the study's folder
                alone).
            trial: number of a completed trial (default: the confirmed best, or the best of the
                search if nothing is confirmed).
            ensemble: export the mean of several models instead of a single model; they are chosen
                among the repeats of the confirmation: auto, or how many times a repeat is chosen, 2
                to 20 (default: a single model).
            threshold: probability from which a text is decided for the second of two classes, or
                for one of several labels; or what it is chosen for, on texts on which the models
                were not trained: f1, precision>=0.9 or recall>=0.9 (default 0.5).
            slice_column: name of a column of the data by whose values the report splits the
                accuracy (default: by class and length alone).
            data: path or pattern of the study's files, if they have moved (default: the path that
                the study recorded).
            data_dir: folder of prepared TensorFlow Datasets, if it has moved (default: the folder
                that the study recorded).
            validation: path or pattern of the files of the validation split, if they have moved
                (default: the path that the study recorded).
            test: path or pattern of the files of the test split, if they have moved (default: the
                path that the study recorded).
            log_to: trackers that the study is written to: mlflow:URI, tensorboard:DIR or wandb:DIR
                (default: none).

        Raises:
            ExportError: a format does not give the model's predictions.
            ArgumentError: `path` has files.
            StorageError: `path` can't be written.
        """
        from tuning.api import tracking
        from tuning.api.exports import Export, copy_export, export_best, require_free
        from tuning.targets.thresholds import parse_criterion

        tracking.require_trackers(log_to)
        target = None if path is None else folder_of("path", path)
        if target and target.resolve() == self._folder.best_dir.resolve():
            target = None  # The export is written there anyway.
        if target:
            require_free(target)
        export_best(
            self._read(data=data, data_dir=data_dir, validation=validation, test=test),
            number=trial,
            ensemble=None if ensemble is None else str(ensemble),
            criterion=parse_criterion(None if threshold is None else str(threshold)),
            slice_column=slice_column,
        )
        if log_to:
            try:
                tracking.track(log_to, self._read())
            except TrackerError as error:  # The export is complete, so the call does not fail.
                warn(str(error))
        if target is None:
            return Export(self._folder.best_dir)
        copy_export(self._folder.best_dir, target)
        return Export(target)

    @plain_values
    def enqueue(
        self,
        configurations: Configurations = None,
        *,
        source: Annotated[str | None, Parameter(env_var="FROM")] = None,
        name: str | None = None,
        best: int = 10,
    ) -> Enqueued:
        """Queue configurations in a study, which the next search trains first.

        Args:
            configurations: CSV file whose columns are hyperparameters and whose rows are
                configurations; an empty cell takes its default. In Python also a data frame, a
                dict, a list of dicts, or another study (default: none).
            source: another study, whose best configurations are queued: its name, or with `name`
                the URL of an Optuna storage (default: none).
            name: name of the study in the storage `source` (default: none).
            best: number of configurations that are taken from another study (default 10).

        Raises:
            ArgumentError: both `configurations` and `source` are given, or neither.
            StudyError: the file or the study can't be read, or no name is a hyperparameter of the
                space.
        """
        from tuning.config import require_positive
        from tuning.search import enqueue

        require_positive({"best": best})
        if isinstance(configurations, Study):
            configurations = configurations.optuna_study
        return enqueue.enqueue(self._read(), configurations, source=source, name=name, n_best=best)


def load_study(
    study: StudyName = None,
    *,
    space: Annotated[Any, Parameter(parse=False)] = None,
    results: ResultsFolder = "results",
    storage: StorageURL = None,
) -> Study:
    """Open a study that `make tune` or `tuning.tune` created.

    Args:
        study: name of the study (default: the study that was used last).
        space: the search space, if it is a Python object, such as a function of a notebook. No file
            contains such a space, so a process that trains its models must be given it.
        results: folder of all studies (default results).
        storage: URL of the Optuna storage (default: the file optuna.db in the folder of all
            studies).

    Raises:
        StudyError: the study does not exist; the message lists the studies.
        ArgumentError: `space` is given, and the space of the study is a file.

    Example:
        >>> study = tuning.load_study("ngrams-reviews")
        >>> study.trials_dataframe()
    """
    import_optuna()
    root = ResultsDir(folder_of("results", results))
    opened = Study(root.existing(study), root, storage=storage, space=space)
    if space is not None and not is_object(opened.config.space):
        raise ArgumentError(
            f"space must be left out: that of study {opened.name!r} is {opened.config.space!r}."
        )
    return opened
