"""The commands about an exported model: `predict` and `serve`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from tuning.api.parameters import ResultsFolder, StudyName
from tuning.commands import install, of_study, typed
from tuning.display.console import console, error_console, printable, server_url, warn
from tuning.display.progress import stderr_console, steps
from tuning.errors import ArgumentError, ExportError, ServeError
from tuning.hosts import LOCAL, is_loopback
from tuning.results import ResultsDir
from tuning.text import json_line

if TYPE_CHECKING:
    from tuning.data.files import Progress
    from tuning.data.stream import Row
    from tuning.inference.label_files import Counts, Labeled
    from tuning.inference.manifest import Manifest

# Seconds between two lines with the progress of a file, where no terminal shows a bar.
LINE_SECONDS = 30.0


def predict(
    *,
    text: str | None = None,
    file: str | None = None,
    output: Path | None = None,
    text_column: str | None = None,
    study: StudyName = None,
    export: Path | None = None,
    json: bool = False,
    results: ResultsFolder = "results",
) -> None:
    """Label one text, or each row of a file, with an exported model.

    Args:
        text: text to label (default: none; file must be given).
        file: path or pattern of data files, or path of a .txt file with one text a line (default:
            none; text must be given).
        output: file for the labeled rows of file (default: NAME.predictions.csv in the current
            folder; standard output as JSON).
        text_column: name of the column of texts in file (default: the text column of the training
            data).
        export: folder of an export (default: the newest export of the study).
        json: write one JSON object a line (default: words for a text, CSV for a file).
    """
    from tuning.inference.manifest import read_manifest

    if (text is None) == (file is None):
        raise ArgumentError(
            f"predict needs either text or file; received {'both' if text else 'neither'}."
        )
    if text is not None and (output or text_column):
        name = "output" if output else "text_column"
        raise ArgumentError(f"{name} must come with file; received {output or text_column!r}.")
    folder = export or _newest(ResultsDir(Path(results).expanduser()), study)
    manifest = read_manifest(folder)
    if text is not None:
        _predict_text(folder, manifest, text, as_json=json)
    else:
        _predict_file(
            folder, manifest, file or "", output=output, text_column=text_column, as_json=json
        )


def _newest(results: ResultsDir, study: str | None) -> Path:
    from tuning.inference.manifest import MANIFEST

    chosen = results.existing(study)
    folder = chosen.best_dir
    exported = sorted(path.parts[-3] for path in results.path.glob(f"*/best/{MANIFEST}"))
    if chosen.name not in exported:
        named = f", or name a study that has one (study): {', '.join(exported)}"
        raise ExportError(
            f"Study {chosen.name!r} must have a finished export; it has none. Type"
            f" `{typed('export-best', **of_study(chosen.path))}` first{named if exported else ''}."
        )
    return folder


def _labeled(folder: Path, manifest: Manifest, rows: Iterable[Row]) -> Iterator[Labeled]:
    from tuning.inference.known_tokens import load_problem_of
    from tuning.inference.label_files import label
    from tuning.inference.load import load_fastest

    probabilities = load_fastest(folder, manifest)
    problem_of = load_problem_of(folder, manifest)
    return label(rows, probabilities, manifest.target, problem_of=problem_of)


def _predict_text(folder: Path, manifest: Manifest, text: str, *, as_json: bool) -> None:
    from tuning.data.stream import MAX_CHARACTERS, Row, problem_of
    from tuning.inference.label_files import json_values, probability_text
    from tuning.targets.labels import NO_LABEL
    from tuning.targets.number import rounded_text
    from tuning.workers.server import stderr_to

    problem = problem_of(text)
    if problem:
        raise ArgumentError(
            f"text must be UTF-8 with 1 to {MAX_CHARACTERS:,} characters; received {problem}."
        )
    # TensorFlow prints lines to standard error when it is imported.
    with stderr_to(Path(os.devnull)):
        ((_, prediction),) = next(_labeled(folder, manifest, [Row("", 1, text, "")]))
    if prediction is None:
        raise ExportError(
            f"The model in {folder} gives NaN for this text, because the text contains no word. Try"
            " another text."
        )
    if as_json:
        sys.stdout.write(json_line(json_values(prediction)) + "\n")
        return
    label, shown = prediction.label or NO_LABEL, probability_text(prediction, 4)
    if isinstance(prediction.value, float):
        label = rounded_text(prediction.value)
    if prediction.bounds:
        shown = f"[{', '.join(map(rounded_text, prediction.bounds))}]"
    console.print(f"{escape(printable(label, 80))}  {escape(shown)}".rstrip())
    if prediction.problem:
        warn(f"{prediction.problem}, so the label says little about this text.")


def _predict_file(
    folder: Path,
    manifest: Manifest,
    pattern: str,
    *,
    output: Path | None,
    text_column: str | None,
    as_json: bool,
) -> None:
    from tuning.data.stream import stream_rows
    from tuning.inference import label_files
    from tuning.workers.server import stderr_to

    columns: set[str] = set()
    if output is None and not as_json:
        output = label_files.default_output(pattern)
    with stderr_console() as own, steps(own) as progress, stderr_to(Path(os.devnull)):
        on_read = partial(progress, f"labeling {Path(pattern).name}")
        rows = stream_rows(
            pattern,
            text_column=text_column,
            trained_on=manifest.text_column,
            on_read=on_read if own.is_terminal else _at_intervals(progress, pattern),
            on_column=columns.add,
        )
        # A wrong output is refused before the model is loaded, which takes seconds with TensorFlow.
        label_files.check_output(output, pattern)
        labeled = _labeled(folder, manifest, rows)
        write: Callable[..., Counts] = label_files.write_json_rows
        if not as_json:
            has_bounds = manifest.target.margin is not None
            write = partial(label_files.write_csv_rows, has_bounds=has_bounds)
        with (
            label_files.whole_file(output) if output else contextlib.nullcontext(sys.stdout)
        ) as file:
            counts = write(labeled, file)
    # Rows on standard output, which may be the output file too, must have nothing between them.
    is_file = output is not None and not label_files.is_device(output)
    summary_console = console if is_file else error_console
    summary_console.print(escape(printable(label_files.sentence(counts), 1_000)))
    if columns:
        names = printable(", ".join(sorted(columns)), 1_000)
        summary_console.print(escape(f"Text column: {names}"))
    if output:
        summary_console.print(escape(f"Predictions: {output}"))


def _at_intervals(progress: Progress, pattern: str) -> Callable[[float], None]:
    """Return a function that takes the share that is read, and prints it every `LINE_SECONDS`."""
    # Without a terminal, standard error of a short run has warnings and errors alone.
    last = time.monotonic()

    def on_read(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            progress(f"labeling {Path(pattern).name}: {share:.0%}", share)

    return on_read


def serve(
    *,
    study: StudyName = None,
    export: Path | None = None,
    host: str = LOCAL[0],
    port: int = 8000,
    allow_host: Sequence[str] = (),
    results: ResultsFolder = "results",
) -> None:
    """Serve the predictions of an export on 127.0.0.1 until Ctrl-C.

    The server has no authentication: do not open it to other machines.

    Args:
        export: folder of an export (default: the newest export of the study).
        host: name or address of this machine to listen on; any but a loopback address lets other
            machines in (default 127.0.0.1).
        port: TCP port of the server (default 8000).
        allow_host: further host names that a request's URL may contain, such as reviews.example.org
            (default: only localhost, 127.0.0.1 and the host).
    """
    try:
        from tuning.serving import app as serving
    except ModuleNotFoundError as error:
        raise ServeError(
            f"serve needs the packages of the extra serve; {error.name} is not installed. Type"
            f" `{install('serve')}`."
        ) from error
    from tuning.inference import load as predicting
    from tuning.inference.manifest import read_manifest
    from tuning.workers.server import stderr_to

    folder = export or _newest(ResultsDir(Path(results).expanduser()), study)
    manifest = read_manifest(folder)
    is_local = is_loopback(host)
    # The port is taken first, so a port that is in use is refused before the model is loaded.
    with serving.listen(host, port) as listening:
        with stderr_to(Path(os.devnull)):
            probabilities = predicting.load_fastest(folder, manifest)
        hosts = {*LOCAL, host.lower(), *(name.lower() for name in allow_host)}
        app = serving.make_app(
            probabilities,
            manifest,
            hosts=hosts,
            any_address=not is_local,
        )
        if not is_local:
            warn(f"{host} is open to other machines, and the server has no authentication.")
        console.print(escape(f"{folder}: {server_url(host, port)}  (Ctrl-C ends it)"))
        serving.run(app, listening)
