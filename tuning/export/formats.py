"""Write every format of an export and check its parity; a format that fails is left out with the
reason.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuning.atomic_io import translated
from tuning.data.files import Progress
from tuning.errors import ExportError
from tuning.export.manifest import MeasuredFormat, WrittenFormats
from tuning.export.parity import HOSTILE_TEXTS, check_parity
from tuning.export.writers import Source, with_encoder, write_format
from tuning.inference.runtimes import FORMATS, TOKEN_IDS, format_of
from tuning.inputs import tokenizer
from tuning.inputs.contract import Stored
from tuning.inputs.corpus import encode
from tuning.inputs.kinds import IDS
from tuning.targets.target import Array
from tuning.text import utf8
from tuning.training.architecture import is_stock
from tuning.training.vocabularies import keep_in_config

# Number of texts of the test split in a parity check. The hostile texts are checked as well.
N_PARITY_TEXTS = 2_000
# Number of formats that are checked at the same time. With one, the single predictions of
# TensorFlow's three formats took most of an export's time, and a core was idle.
N_CHECKS = 2
# Number of texts for a pretrained encoder, which needs up to a second for a text.
N_ENCODER_TEXTS = 200
# The format that is written first: in 0.1 s, so its check begins while the others are written.
FIRST = "h5"
# The formats that take raw text. An export must contain them, but `keras` may be missing if the
# model has classes of the search space, which Keras can't load.
REQUIRED = ("keras", "saved_model")


@contextlib.contextmanager
def write_formats(
    folder: Path,
    source: Source,
    *,
    test_texts: list[str],
    expect: Callable[[list[str]], Array] | None = None,
    progress: Progress | None = None,
) -> Iterator[Callable[[], WrittenFormats]]:
    """Write a model in every format. Inside the context, each format is compared with the trained
    model by a process of its own, on hostile texts and on some texts of the test split.

    `expect` gives the probabilities to compare with; by default the model itself gives them.

    The value of the context is a function that waits for the checks and returns the formats. A
    format that can't be written or loaded, or that fails its parity check, is removed, and
    `left_out` contains the reason.
    """
    texts = [*HOSTILE_TEXTS, *(test_texts[row] for row in _parity_rows(len(test_texts), source))]
    expected = expect(texts) if expect else pipeline_probabilities(source, texts)
    source = with_encoder(source)
    _write_vocabularies(folder, source)
    with ThreadPoolExecutor(N_CHECKS) as checks:
        check = partial(_check, folder, source=source, texts=texts, expected=expected)
        try:
            outcomes = _write_all(folder, source, partial(checks.submit, check), progress)
            yield partial(_formats_of, folder, source, outcomes, texts=texts, expected=expected)
            wait(outcomes.values())
        except BaseException:  # No further check begins, also after Ctrl-C.
            checks.shutdown(cancel_futures=True)
            raise


def _formats_of(
    folder: Path,
    source: Source,
    outcomes: Mapping[str, Future[MeasuredFormat]],
    *,
    texts: list[str],
    expected: Array,
) -> WrittenFormats:
    written: dict[str, MeasuredFormat] = {}
    left_out: dict[str, str] = {}
    for name in FORMATS:
        path = folder / FORMATS[name].path
        try:
            written[FORMATS[name].path] = outcomes[name].result()
        except ExportError as error:
            with translated(path):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            if _is_required(name, source):
                raise
            left_out[FORMATS[name].path] = str(error).replace(f"{folder.absolute()}/", "")
    return WrittenFormats(
        forms=written,
        left_out=left_out,
        limits=[
            f"The model gives NaN for {text[:40]!r}."
            for text, row in zip(texts, expected, strict=True)
            if np.isnan(row).any()
        ],
        n_parity_texts=len(texts),
    )


def _is_required(name: str, source: Source) -> bool:
    return name in REQUIRED and (name != "keras" or is_stock(source.graph))


def _write_vocabularies(folder: Path, source: Source) -> None:
    with translated(folder):
        for kind in source.kinds:
            if kind.file:
                kind.write(source.vocabulary(kind), folder)
        if source.inputs.takes_texts:  # The model contains its vocabularies.
            keep_in_config(source.graph)
        else:
            shutil.copyfile(tokenizer.__file__, folder / "tokenizer.py")


def _parity_rows(n_texts: int, source: Source) -> npt.NDArray[np.int64]:
    n_most = N_ENCODER_TEXTS if source.inputs.exported.preset else N_PARITY_TEXTS
    return np.unique(np.linspace(0, n_texts - 1, min(n_texts, n_most)).astype(np.int64))


def _write_all(
    folder: Path,
    source: Source,
    check: Callable[[str], Future[MeasuredFormat]],
    progress: Progress | None,
) -> dict[str, Future[MeasuredFormat]]:
    outcomes: dict[str, Future[MeasuredFormat]] = {}
    for number, name in enumerate(sorted(FORMATS, key=lambda name: name != FIRST)):
        if progress:
            progress(f"writing and checking {FORMATS[name].path}", number / len(FORMATS))
        try:
            path = folder / FORMATS[name].path
            if source.inputs.takes_texts and FORMATS[name].takes == TOKEN_IDS:
                raise ExportError(
                    f"{path.name} must contain the model's vectorization of the texts; its format"
                    " has no tables of words."
                )
            with translated(path):
                write_format(name, source, path)
        except ExportError as error:
            # The test split is evaluated after this, and each evaluation counts.
            if _is_required(name, source):
                raise
            outcomes[name] = Future()
            outcomes[name].set_exception(error)
        else:
            outcomes[name] = check(name)
    return outcomes


def _check(
    folder: Path, name: str, *, source: Source, texts: list[str], expected: Array
) -> MeasuredFormat:
    inputs, export_format = source.inputs, format_of(name, source.inputs)
    measurements = check_parity(
        folder, name, inputs=inputs, target=source.target, texts=texts, expected=expected
    )
    return MeasuredFormat(
        **vars(measurements),
        form=name,
        takes=export_format.takes,
        needs=list(export_format.needs),
        bytes=_size(folder / export_format.path),
    )


def pipeline_probabilities(source: Source, texts: list[str]) -> Array:
    """Return the probabilities that the training pipeline gives for raw texts, with this project's
    tokenizer, its view, and the model in memory.
    """
    texts = [utf8(text) for text in texts]
    others: dict[str, Stored] = {}
    for kind in source.kinds:
        others |= kind.encode(texts, source.vocabulary(kind), source.inputs)
    words = source.vocabulary(IDS) if IDS in source.kinds else []
    return source.probabilities(replace(encode(texts, words), others=others))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())
