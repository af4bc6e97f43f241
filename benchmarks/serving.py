"""The speed of an export: `make serve` with 100 reviews and with one review a request, and `make
predict FILE=`.

The server, the clients and the prediction are separate processes that share the machine's cores.
The models are the baseline's, without and with masked padding, in the ONNX format. Their weights
are not trained, which does not change the times. The reviews are drawn from the data.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.clients import ask, summary_of
from benchmarks.data import resample_frame
from benchmarks.goals import figures
from benchmarks.processes import TUNING
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.data.splits import SplitReviews
from tuning.documents import write
from tuning.inference.manifest import MANIFEST, MANIFEST_VERSION, ExportedFormat, Manifest, digests
from tuning.inference.runtimes import FORMATS

MODELS = {"baseline": False, "masked": True}
VOCAB_SIZE, LENGTH = 33_807, 100
LOADS = {"batches": (100, 4), "single": (1, 32)}  # texts per request, and number of clients
N_BODIES = 50


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
    n_rows, seconds = settings.size(50_000, tiny=300), settings.size(15.0, tiny=0.5)
    frame = resample_frame(splits, n_rows=n_rows, seed=settings.seed)
    texts, models = frame["text"].tolist(), {}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "reviews.csv"
        frame[["text"]].to_csv(path, index=False)
        for model, masked in settings.size(MODELS, tiny={"masked": True}).items():
            folder = Path(name) / model
            sides.run(write_export, folder=folder, texts=texts, masked=masked)
            served = sides.measure(
                f"serving the {model} model", serve, folder=folder, texts=texts, seconds=seconds
            )
            predicted = sides.measure(
                f"predicting {n_rows:,} reviews with the {model} model",
                predict,
                folder=folder,
                path=path,
                n_rows=n_rows,
            )
            models[model] = {**served, "predict": predicted}
    rates = models.values()
    values = {
        "serve_reviews_per_second": min(of["batches"]["reviews_per_second"] for of in rates),
        "serve_p99_ms": max(of["batches"]["p99_ms"] for of in rates),
        "serve_single_per_second": min(of["single"]["reviews_per_second"] for of in rates),
        "predict_reviews_per_second": min(of["predict"]["reviews_per_second"] for of in rates),
    }
    return {**figures(values), "models": models}


def write_export(*, folder: Path, texts: list[str], masked: bool) -> None:
    # The size is the baseline's, and the vocabulary the most frequent words of the texts.
    from tuning.export.writers import Source, write_format
    from tuning.inputs.arrow_tokenizer import tokenize
    from tuning.inputs.corpus import Corpus
    from tuning.models import lstm_classifier
    from tuning.spaces.ranges import Values
    from tuning.targets.kinds import target_of

    folder.mkdir()
    words = [word.decode() for word in tokenize(texts).words.to_pylist()][: VOCAB_SIZE - 2]
    values: Values = {"vocab_size": len(words) + 2, "sequence_length": LENGTH}
    model = lstm_classifier(vocab_size=len(words) + 2, masked=masked)
    source = Source(model, values, Corpus(folder), target_of(("negative", "positive")))
    (folder / "vocabulary.txt").write_bytes("\n".join(words).encode())
    write_format("onnx", source, folder / "model.onnx")
    onnx, path = FORMATS["onnx"], folder / FORMATS["onnx"].path
    exported = ExportedFormat(
        form="onnx", takes=onnx.takes, needs=list(onnx.needs), bytes=path.stat().st_size
    )
    manifest = Manifest(
        study=folder.name,
        class_names=[*source.target.names],
        input=source.inputs,
        forms={onnx.path: exported},
        files=digests(folder),
    )
    write(folder / MANIFEST, manifest, version=MANIFEST_VERSION)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [*TUNING, "serve", "--export", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout  # for mypy: it is a pipe
        if "http://" not in process.stdout.readline():
            raise RuntimeError(f"the server ended with {process.wait()}")
        try:
            yield port
        finally:
            process.terminate()


def serve(*, folder: Path, texts: list[str], seconds: float) -> dict[str, Any]:
    loads = {}
    with serving(folder) as port:
        for name, (n_texts, n_clients) in LOADS.items():
            parts = [
                texts[start : start + n_texts] for start in range(0, N_BODIES * n_texts, n_texts)
            ]
            bodies = [json.dumps({"texts": part}).encode() for part in parts if part]
            # The first second warms the server up, and is not measured.
            asyncio.run(ask(port, bodies, n_clients=n_clients, seconds=min(seconds, 1)))
            latencies = asyncio.run(ask(port, bodies, n_clients=n_clients, seconds=seconds))
            loads[name] = {
                "n_clients": n_clients,
                **summary_of(latencies, texts_a_request=n_texts, seconds=seconds),
            }
    return loads


def predict(*, folder: Path, path: Path, n_rows: int) -> dict[str, Any]:
    paths = ["--export", str(folder), "--file", str(path), "--output", f"{path}.out"]
    started = time.perf_counter()
    done = subprocess.run([*TUNING, "predict", *paths], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    labeled = re.match(r"([\d,]+) rows: ([\d,]+) labeled", done.stdout)
    assert labeled  # for mypy: the command prints this line or fails
    return {
        "n_rows": n_rows,
        "n_labeled": int(labeled[2].replace(",", "")),
        "reviews_per_second": round(n_rows / seconds, 1),
    }
