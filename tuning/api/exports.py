"""Exports: a written export as a Python object, and the call that writes one."""

from __future__ import annotations

import math
import reprlib
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tuning.api.parameters import folder_of, plain_values
from tuning.display.console import console, warn
from tuning.display.logs import import_optuna, logging_to
from tuning.display.progress import steps
from tuning.display.tables import print_formats, print_test_scores
from tuning.errors import ArgumentError, ExportError, StorageError
from tuning.inference.manifest import MANIFEST, MANIFEST_VERSION, REMEDY, Manifest, read_manifest

if TYPE_CHECKING:
    import pandas as pd

    from tuning.evaluation.scores import Scores
    from tuning.export.manifest import FullManifest
    from tuning.inference.known_tokens import ProblemOf
    from tuning.inference.load import Prediction, Probabilities
    from tuning.study.handle import StudyHandle
    from tuning.targets.target import Array
    from tuning.targets.thresholds import Criterion


class Export:
    """A model in a folder, which labels raw texts.

    The first call of `predict` checks the files of the model and loads it. The object keeps the
    model, also if the files change later.

    Args:
        path: the folder that `Study.export` or `make export-best` wrote, or a copy of it.

    Raises:
        ExportError: the folder has no export, or an unfinished one.

    Example:
        >>> export = tuning.load_export("results/ngrams-reviews/best")
        >>> export.class_names
        >>> export.predict(["I love it"], probabilities=True)
        >>> export.scores[["model", "accuracy", "accuracy_low", "accuracy_high"]]
    """

    def __init__(self, path: str | Path) -> None:
        folder = folder_of("path", path)
        self.manifest: Manifest = read_manifest(folder)
        # The model is loaded later, when the working directory may be another.
        self.path = folder.absolute()
        self._model: tuple[Probabilities, ProblemOf] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the object without its model, so that another process can load the model."""
        return {**vars(self), "_model": None}

    def __repr__(self) -> str:
        return f"Export({str(self.path)!r})"

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return [*self.manifest.class_names]

    @property
    def scores(self) -> pd.DataFrame:
        """The scores on the test split: a row for each of the exported model, the baseline and the
        reference models, the exported model first.

        The column model has the name of the model. Each score, such as accuracy, has three columns:
        accuracy, and accuracy_low and accuracy_high, the bounds of its 95 % interval. A number that
        is not defined is NaN.
        """
        import pandas as pd

        from tuning.documents import read
        from tuning.evaluation.scores import SplitScores

        import_optuna()  # The module `test_split` imports Optuna.
        from tuning.evaluation.test_split import BEST, named_entries

        path = self.path / MANIFEST
        document = read(
            path, SplitScores, error=ExportError, remedy=REMEDY, version=MANIFEST_VERSION
        )
        best = document.scores[BEST]
        entries = sorted(named_entries(document).items(), key=lambda entry: entry[1] is not best)
        return pd.DataFrame([_row(name, scores) for name, scores in entries])

    @plain_values
    def predict(self, texts: Iterable[str], *, probabilities: bool = False) -> pd.DataFrame:
        """Return a data frame with a row for each text and the columns text, label, probability,
        which is the probability of the label, and problem. The problem is how many tokens of the
        text are known, if none or fewer than half are, or else empty. Predictions of numbers also
        have the columns low and high, the bounds of their 90 % intervals.

        Args:
            texts: a list or a pandas Series of texts. The rows have the index of the Series.
            probabilities: whether the frame has a further column for each class; the column
                probability_NAME is the probability of the class NAME.

        Raises:
            ArgumentError: `texts` is a single text or a data frame, or has a value that is not a
                text.
            ExportError: the model can't be loaded, or gives NaN for a text.
        """
        import numpy as np
        import pandas as pd

        from tuning.data.tables import clean

        # pandas stores its own dtype of texts in UTF-8, which refuses a lone surrogate.
        cleaned = clean(pd.Series(_checked(texts), dtype=object)).tolist()
        outputs, predictions = self._predicted(cleaned)
        target = self.manifest.target
        columns: dict[str, Any] = {
            "text": cleaned,
            "label": [each.value for each in predictions],
            "probability": [each.probability for each in predictions],
        }
        if probabilities:
            columns |= {f"probability_{name}": outputs[:, n] for n, name in enumerate(target.names)}
        columns["problem"] = [each.problem for each in predictions]
        names = ["label"] if target.has_probabilities else []
        if target.margin is not None:
            bounds = np.array([each.bounds for each in predictions]).reshape(-1, 2)
            columns |= {"low": bounds[:, 0], "high": bounds[:, 1]}
        index = texts.index if isinstance(texts, pd.Series) else None
        return pd.DataFrame(columns, index=index).astype(
            dict.fromkeys(("text", *names, "problem"), "str")
        )

    def _predicted(self, texts: Sequence[str]) -> tuple[Array, list[Prediction]]:
        from tuning.inference.known_tokens import load_problem_of
        from tuning.inference.load import load_fastest, predictions_of

        if self._model is None:
            problem_of = load_problem_of(self.path, self.manifest)
            self._model = load_fastest(self.path, self.manifest), problem_of
        probabilities, problem_of = self._model
        outputs = probabilities(texts)
        predictions = predictions_of(texts, outputs, self.manifest.target, problem_of)
        if None in predictions:
            raise ExportError(
                f"The model in {self.path} gives NaN for the text at position"
                f" {predictions.index(None)}, because the text contains no word. Leave this text"
                " out."
            )
        return outputs, [each for each in predictions if each]


def _row(name: str, scores: Scores) -> dict[str, str | float]:
    row: dict[str, str | float] = {"model": name}
    for score in scores.test:
        columns = (score, f"{score}_low", f"{score}_high")
        for column, number in zip(columns, scores.interval(score), strict=True):
            row[column] = math.nan if number is None else number
    return row


def _checked(texts: object) -> list[str]:
    import pandas as pd

    is_other = isinstance(texts, str | bytes | Mapping | pd.DataFrame)
    if is_other or not isinstance(texts, Iterable):
        raise ArgumentError(
            "texts must be a list of texts, such as ['I love it'], or a column of a data frame;"
            f" received a {type(texts).__name__}."
        )
    values = list(texts)
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise ArgumentError(
                "Every value of texts must be a text; received"
                f" {reprlib.repr(value)} at position {position}. Leave missing values out, for"
                " example with dropna(), and convert other values with str()."
            )
    return values


def load_export(path: str | Path) -> Export:
    """Return the export in a folder.

    Raises:
        ExportError: the folder has no export, or an unfinished one.

    Example:
        >>> export = tuning.load_export("results/ngrams-reviews/best")
        >>> export.predict(["I love it", "It broke"])
    """
    return Export(path)


def export_best(
    study: StudyHandle,
    *,
    number: int | None,
    ensemble: str | None,
    slice_column: str | None,
    criterion: Criterion | None,
) -> FullManifest:
    """Write the export of a study to its folder `best/`, and print its scores on the test split."""
    from tuning.workers.server import start_server, stderr_to

    # The fork server imports Keras while this process imports it.
    start_server()
    # The warnings are printed when standard error is no longer redirected to the log.
    warnings: list[str] = []
    try:
        with logging_to(study.folder), steps() as progress, stderr_to(study.folder.log_path):
            # TensorFlow prints lines when it is imported, so it is imported here.
            from tuning.export import export
            from tuning.export.ensemble import require_probabilities
            from tuning.export.threshold import require_thresholds
            from tuning.inputs.corpus import Corpus
            from tuning.report.threshold import threshold_advice

            choice = export.ExportChoice(number=number, ensemble=ensemble, criterion=criterion)
            corpus = Corpus(study.results.cache_dir(study.record.data_fingerprint))
            # A threshold or ensemble that the target does not allow is refused before a training.
            if corpus.is_written:
                if criterion:
                    require_thresholds(corpus.target)
                if ensemble is not None:
                    require_probabilities(corpus.target)
            manifest = export.export_best(
                study,
                choice,
                slice_column=slice_column,
                progress=progress,
                warn=warnings.append,
            )
    finally:
        for message in warnings:
            warn(message)
    print_test_scores(manifest)
    print_formats(manifest, study.folder)
    if choice == export.ExportChoice() and (advice := threshold_advice(study)):
        console.print(escape(advice))
    return manifest


def require_free(target: Path) -> None:
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ArgumentError(
            f"The folder of an export must be empty or new; {target}"
            f" {'has files' if target.is_dir() else 'is a file'}. Name another one."
        )
    # Permissions do not tell whether a file system such as /proc takes files, so one is written.
    try:
        existing = next(folder for folder in target.resolve().parents if folder.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise _unwritable(target, error, remedy="Name another one.") from error


def copy_export(source: Path, target: Path) -> None:
    """Copy an export into a folder that passed `require_free`."""
    folder = target.resolve()
    part = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        shutil.copytree(source, part)
        # The folder contains the whole export or nothing, also after an error.
        part.replace(folder)
    except OSError as error:
        remedy = f"The export itself is in {source}, and can be copied."
        raise _unwritable(target, error, remedy=remedy) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unwritable(target: Path, error: OSError, *, remedy: str) -> StorageError:
    return StorageError(
        f"The folder of an export must be writable and have space; {target} gave"
        f" {error.strerror or str(error)!r}. {remedy}"
    )
