"""An export as a Python object."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.api.parameters import public
from tuning.errors import ArgumentError
from tuning.inference.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    import pandas as pd


@public
class Export:
    """A model in a folder, which labels raw texts.

    Args:
        path: the folder that `Study.export` or `make export-best` wrote, or a copy of it.

    Raises:
        ExportError: the folder has no export, or an unfinished one.

    Example:
        >>> export = tuning.load_export("results/ngrams-reviews/best")
        >>> export.class_names
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(self.path)

    def __repr__(self) -> str:
        return f"Export({str(self.path)!r})"

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return [*self.manifest.class_names]

    def predict(self, texts: Sequence[str]) -> pd.DataFrame:
        """Return a data frame with a row for each text and the columns text, label and probability,
        which is the probability of the label.

        Raises:
            ArgumentError: `texts` is a single text.
            ExportError: the model can't be loaded, or gives NaN for a text.
        """
        import pandas as pd

        from tuning.inference.load import classify

        if isinstance(texts, str):
            raise ArgumentError(f"texts must be a list of texts; received the text {texts[:60]!r}.")
        rows = [vars(prediction) for prediction in classify(self.path, list(texts))]
        return pd.DataFrame(rows, columns=["text", "label", "probability"])


def require_free(target: Path) -> None:
    """Check that a folder does not exist or is empty.

    Raises:
        ArgumentError: the folder has files, or the path is a file.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ArgumentError(
            f"The folder of an export must be empty or new; {target} has files. Name another one."
        )


def copy_export(source: Path, target: Path) -> None:
    """Copy an export into a folder that passed `require_free`. After an error the folder is
    unchanged.
    """
    part = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part)
    Path(part).replace(target)
