"""The calls that train beside a search, with their progress: a confirmation and an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tuning.display.console import warn
from tuning.display.logs import logging_to
from tuning.display.progress import steps
from tuning.display.running import run_confirmation
from tuning.display.tables import print_formats, print_test_scores, warn_if_behind

if TYPE_CHECKING:
    from tuning.config import Limits, Workers
    from tuning.confirmation.rounds import Confirmation
    from tuning.data.files import Progress
    from tuning.export.manifest import FullManifest
    from tuning.search.finalists import Terms
    from tuning.study.handle import StudyHandle


def confirm(
    study: StudyHandle,
    *,
    terms: Terms,
    workers: Workers,
    limits: Limits | None,
) -> Confirmation:
    """Train the best configurations and the baseline again on fresh seeds; or continue a
    confirmation.

    Raises:
        StudyError: too few trials are complete, or another process works on the study.
        SpaceError: the search space has changed.
    """
    from tuning.evaluation.linear_reference import read_linear_reference
    from tuning.search import confirm as confirming

    with logging_to(study.folder):
        confirmation = run_confirmation(
            partial(confirming.confirm, study, terms=terms, workers=workers, limits=limits),
            study=study.name,
        )
        corpus_dir = study.results.cache_dir(study.record.data_fingerprint)
        warn_if_behind(read_linear_reference(corpus_dir), confirmation, study=study.name)
    return confirmation


def export_best(
    study: StudyHandle,
    *,
    number: int | None,
    ensemble: str | None,
    slice_column: str | None,
    moved: Mapping[str, Any] | None = None,
) -> FullManifest:
    """Write the export of a study to its folder `best/`, and print its scores on the test split.

    The arguments have the meanings of `ModelChoice` and `DataNow` in `tuning.export`.

    Raises:
        TuningError: as `export_best`.
    """
    from tuning.workers.server import start_server, stderr_to

    # The fork server imports Keras while this process imports it.
    start_server()
    warnings: list[str] = []  # Printed when standard error is no longer redirected to the log.
    try:
        with logging_to(study.folder), steps() as progress, stderr_to(study.folder.log_path):
            # TensorFlow prints lines when it is imported, so it is imported here.
            from tuning.export import export
            from tuning.export.ensemble import ModelChoice

            choice = ModelChoice(number=number, ensemble=ensemble)
            if ensemble is not None and not moved:
                _train_others(study, progress=progress)
                study = replace(study)  # The confirmation has changed.
            manifest = export.export_best(
                study,
                choice=choice,
                data=export.DataNow(moved=moved or {}, slice_column=slice_column),
                progress=progress,
                warn=warnings.append,
            )
    finally:
        for message in warnings:
            warn(message)
    print_test_scores(manifest)
    print_formats(manifest, study.folder)
    return manifest


def _train_others(study: StudyHandle, *, progress: Progress) -> None:
    """Train the models that a study's confirmation lacks for an ensemble, if it lacks any.

    Raises:
        KeyboardInterrupt: the user interrupted the trainings.
    """
    from tuning.confirmation.plan import due_others
    from tuning.search import confirm as confirming
    from tuning.search.finalists import with_others

    if study.confirmation is None:
        return
    _, due = due_others(with_others(study.confirmation, study.summary, study.space))
    if not due:
        return
    progress("training a model of each other architecture", 0.0)
    trained = confirming.confirm(
        study,
        hooks=confirming.ConfirmHooks(on_change=lambda event, _: progress(event, 0.0)),
        train=confirming.train_others,
    )
    if due_others(trained)[1]:
        raise KeyboardInterrupt
