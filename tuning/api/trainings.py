"""The trainings after a search: the confirmation and the export, with their progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuning.display.console import warn
from tuning.display.logs import logging_to
from tuning.display.progress import steps
from tuning.display.running import run_confirmation
from tuning.display.tables import print_test_scores, warn_if_behind
from tuning.results import ResultsDir, StudyDir

if TYPE_CHECKING:
    from tuning.confirmation.rounds import Confirmation
    from tuning.export.manifest import FullManifest
    from tuning.search.finalists import Terms
    from tuning.search.session import Workers


def confirm(
    results: ResultsDir,
    folder: StudyDir,
    *,
    storage_url: str,
    terms: Terms,
    workers: Workers | None = None,
) -> Confirmation:
    """Train the best configurations and the baseline again on fresh seeds; or continue a
    confirmation.

    Raises:
        StudyError: too few trials are complete, or another process works on the study.
        SpaceError: the search space has changed.
    """
    from tuning.evaluation.linear_reference import read_linear_reference
    from tuning.search import confirm as confirming
    from tuning.study.record import read_record

    with logging_to(folder):
        confirmation = run_confirmation(
            lambda hooks: confirming.confirm(
                results,
                folder,
                storage_url=storage_url,
                terms=terms,
                workers=workers,
                hooks=hooks,
            )
        )
        corpus_dir = results.cache_dir(read_record(folder).data_fingerprint)
        warn_if_behind(read_linear_reference(corpus_dir), confirmation)
    return confirmation


def export_best(
    results: ResultsDir,
    folder: StudyDir,
    *,
    storage_url: str,
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
    from tuning.workers.server import stderr_to

    warnings: list[str] = []  # Printed when standard error is no longer redirected to the log.
    try:
        with logging_to(folder), steps() as progress, stderr_to(folder.log_path):
            # TensorFlow prints lines when it is imported, so it is imported here.
            from tuning.export import export
            from tuning.export.ensemble import ModelChoice

            manifest = export.export_best(
                results,
                folder,
                storage_url=storage_url,
                choice=ModelChoice(number=number, ensemble=ensemble),
                data=export.DataNow(moved=moved or {}, slice_column=slice_column),
                progress=progress,
                warn=warnings.append,
            )
    finally:
        for message in warnings:
            warn(message)
    print_test_scores(manifest)
    return manifest
