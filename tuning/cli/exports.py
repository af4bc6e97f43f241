"""The commands about an exported model: `export-best`, `predict` and `serve`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tuning.cli.options import (
    HOST,
    RESULTS,
    Export,
    Host,
    MovedData,
    MovedDataDir,
    Results,
    SliceColumn,
    Storage,
    Study,
)
from tuning.cli.tracking import LogTo
from tuning.commands import install
from tuning.config import given
from tuning.display.console import console, error_console, printable, server_url, warn
from tuning.display.progress import row_progress
from tuning.display.tables import print_formats, print_next_of_export
from tuning.errors import ArgumentError, ServeError
from tuning.hosts import LOCAL, is_loopback
from tuning.results import ResultsDir
from tuning.text import json_line

if TYPE_CHECKING:
    from tuning.inference.manifest import Manifest

DEFAULT_PORT = 8000


def export_best(
    *,
    study: Study = None,
    trial: Annotated[
        int | None,
        typer.Option(
            "--trial",
            help=(
                "Number of a completed trial to export (default: the confirmed best, or the best of"
                " the search if nothing is confirmed)."
            ),
        ),
    ] = None,
    ensemble: Annotated[
        str | None,
        typer.Option(
            "--ensemble",
            help=(
                "Export the mean of several models instead of a single model; they are chosen among"
                " the repeats of the confirmation: auto, or how many times a repeat is chosen, 2 to"
                " 20 (default: a single model)."
            ),
        ),
    ] = None,
    slice_column: SliceColumn = None,
    data: MovedData = None,
    data_dir: MovedDataDir = None,
    log_to: LogTo = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Retrain the best configuration, score it on the test split, and write results/STUDY/best/."""
    from tuning.api import tracking, trainings

    tracking.require_trackers(log_to or ())
    root = ResultsDir(results)
    folder = root.existing(study)
    manifest = trainings.export_best(
        root,
        folder,
        storage_url=root.storage_url(storage),
        number=trial,
        ensemble=ensemble,
        slice_column=slice_column,
        # A new place of the same data: the fingerprint of the data is compared.
        moved=given(data=data, data_dir=data_dir),
    )
    print_formats(manifest, folder)
    tracking.track_or_warn(log_to or (), folder, root, storage_url=root.storage_url(storage))
    print_next_of_export(folder)


def predict(
    *,
    study: Study = None,
    text: Annotated[
        str | None,
        typer.Option("--text", help="Text to label (default: none; --file must be given)."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            help=(
                "Path or pattern of data files, or path of a .txt file with one text a line"
                " (default: none; --text must be given)."
            ),
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help=(
                "File for the labeled rows of --file (default: NAME.predictions.csv in the current"
                " folder; standard output with --json)."
            ),
        ),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column",
            help=(
                "Name of the column of texts in --file (default: the text column of the training"
                " data)."
            ),
        ),
    ] = None,
    export: Export = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Write one JSON object a line (default: words for --text, CSV for --file).",
        ),
    ] = False,
    results: Results = RESULTS,
) -> None:
    """Label one text, or each row of a file, with an exported model."""
    from tuning.export.versions import newest
    from tuning.inference.manifest import read_manifest

    if (text is None) == (file is None):
        raise ArgumentError(
            f"predict needs either --text or --file; received {'both' if text else 'neither'}."
        )
    folder = export or newest(ResultsDir(results).existing(study))
    manifest = read_manifest(folder)
    if text is not None:
        _predict_text(folder, text, as_json=as_json)
    else:
        _predict_file(
            folder, manifest, file or "", output=output, text_column=text_column, as_json=as_json
        )


def _predict_text(folder: Path, text: str, *, as_json: bool) -> None:
    from tuning.data.stream import MAX_CHARACTERS, problem_of
    from tuning.inference import load as predicting
    from tuning.inference.label_files import json_values
    from tuning.workers.server import stderr_to

    problem = problem_of(text)
    if problem:
        raise ArgumentError(
            f"--text must be UTF-8 with 1 to {MAX_CHARACTERS:,} characters; received {problem}."
        )
    with stderr_to(Path(os.devnull)):
        (prediction,) = predicting.classify(folder, [text])
    if as_json:
        sys.stdout.write(json_line(json_values(prediction)) + "\n")
        return
    label = escape(printable(prediction.label, 80))
    console.print(f"{label}  {prediction.probability:.4f}")
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
    from tuning.inference import load as predicting
    from tuning.inference.known_tokens import load_problem_of
    from tuning.workers.server import stderr_to

    columns: set[str] = set()
    if output is None and not as_json:
        output = label_files.default_output(pattern)
    with row_progress() as progress, stderr_to(Path(os.devnull)):
        rows = stream_rows(
            pattern,
            text_column=text_column,
            trained_on=manifest.text_column,
            on_read=progress.read,
            on_column=columns.add,
        )
        label_files.check_output(output, pattern)
        probabilities = predicting.load_fastest(folder, manifest)
        problem_of = load_problem_of(folder, manifest)
        labeled = label_files.label(
            rows, probabilities, manifest.class_names, problem_of=problem_of
        )
        write = label_files.write_json_rows if as_json else label_files.write_csv_rows
        with (
            label_files.whole_file(output) if output else contextlib.nullcontext(sys.stdout)
        ) as file:
            counts = write(labeled, file, lambda counts: progress.show(counts.n_rows))
    # Rows on standard output, which may be the output file too, must have nothing between them.
    is_file = output is not None and not label_files.is_device(output)
    summary_console = console if is_file else error_console
    summary_console.print(escape(printable(label_files.sentence(counts), 1_000)))
    if columns:
        names = printable(", ".join(sorted(columns)), 1_000)
        summary_console.print(escape(f"Text column: {names}"))
    if output:
        summary_console.print(escape(f"Predictions: {output}"))


def serve(
    *,
    study: Study = None,
    export: Export = None,
    host: Host = HOST,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            show_default=False,
            help=f"TCP port of the server (default {DEFAULT_PORT}).",
        ),
    ] = DEFAULT_PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            help=(
                "Further host name that a request's URL may contain, such as reviews.example.org;"
                " may be repeated (default: only localhost, 127.0.0.1 and the value of --host)."
            ),
        ),
    ] = None,
    results: Results = RESULTS,
) -> None:
    """Serve the predictions of an export on 127.0.0.1 until Ctrl-C.

    The server has no authentication: do not open it to other machines.
    """
    serving = _serving()
    from tuning.export.versions import newest
    from tuning.inference import load as predicting
    from tuning.inference.known_tokens import load_problem_of
    from tuning.inference.manifest import read_manifest
    from tuning.workers.server import stderr_to

    folder = export or newest(ResultsDir(results).existing(study))
    manifest = read_manifest(folder)
    is_local = is_loopback(host)
    with serving.listen(host, port) as listening:
        with stderr_to(Path(os.devnull)):
            probabilities = predicting.load_fastest(folder, manifest)
        problem_of = load_problem_of(folder, manifest)
        hosts = {*LOCAL, host.lower(), *(name.lower() for name in allow_host or [])}
        app = serving.make_app(
            probabilities,
            manifest,
            problem_of=problem_of,
            hosts=hosts,
            any_address=not is_local,
        )
        if not is_local:
            warn(f"{host} is open to other machines, and the server has no authentication.")
        console.print(escape(f"{folder}: {server_url(host, port)}  (Ctrl-C ends it)"))
        serving.run(app, listening)


def _serving() -> Any:
    """Return the module `tuning.serving.app`.

    Raises:
        ServeError: the packages of the extra `serve` are not installed.
    """
    try:
        from tuning.serving import app as serving
    except ModuleNotFoundError as error:
        raise ServeError(
            f"serve needs the packages of the extra serve; {error.name} is not installed. Type"
            f" `{install('serve')}`."
        ) from error
    return serving
