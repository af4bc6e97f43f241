"""Coverage-guided inputs for the pure readers: `python -m tests.fuzz_atheris --runs N`.

For every input a reader must succeed or raise an error of this program. Each reader is fuzzed in a
process of its own, because Atheris can be started only once in a process. `make fuzz` runs this
module after the property tests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tuning"]):
    from tests.fuzz_inputs import GOOD, READERS, read_table
    from tuning.atomic_io import SCHEMA_VERSION
    from tuning.documents import unstructure
    from tuning.errors import TuningError
    from tuning.inference.manifest import MANIFEST_VERSION, read_manifest
    from tuning.inputs.arrow_tokenizer import tokenize
    from tuning.targets.class_column import to_classes

import pandas as pd

from tests.stored_documents import STORED_FILES, STUDY, TEST_SCORES

Reader = Callable[[Path, bytes], object]

# The document must be shorter than `max_len`.
SHORT_SCORES = replace(TEST_SCORES, scores={}, mistakes=TEST_SCORES.mistakes[:1])


def _table(ending: str) -> Reader:
    def read(folder: Path, data: bytes) -> object:
        path = folder / f"reviews.{ending}"
        path.write_bytes(data)
        return read_table(path)

    return read


def _document(name: str) -> Reader:
    def read(folder: Path, data: bytes) -> object:
        (folder / name).write_bytes(data)
        return READERS[name](folder)

    return read


def _labels(folder: Path, data: bytes) -> object:
    rule = atheris.FuzzedDataProvider(data)
    positive_from, column = rule.ConsumeFloat(), rule.PickValueInList(["stars", "label"])
    words = rule.ConsumeUnicodeNoSurrogates(400).split("\x01")
    return to_classes(pd.Series(words, dtype=str), column=column, positive_from=positive_from)


def _tokens(folder: Path, data: bytes) -> object:
    return tokenize(atheris.FuzzedDataProvider(data).ConsumeUnicodeNoSurrogates(400).split("\x01"))


FUZZED: dict[str, Reader] = {
    **{ending: _table(ending) for ending in GOOD},
    **{name: _document(name) for name in READERS},
    "labels": _labels,
    "tokens": _tokens,
}
# The manifest of an export is shorter than `max_len` without the scores.
SEEDS = {
    **GOOD,
    **{name: path.read_bytes() for name, path in STORED_FILES.items()},
    "search_space.json": STUDY.space_path.read_bytes(),
    **{
        name: json.dumps({"schema_version": version, **unstructure(document)}).encode()
        for name, version, document in (
            ("export.json", MANIFEST_VERSION, read_manifest(STUDY.best_dir)),
            ("test.json", SCHEMA_VERSION, SHORT_SCORES),
        )
    },
}


def fuzz(name: str, *, n_runs: int, seed: int) -> None:
    """Try `n_runs` inputs on a reader, and end the process.

    If an input causes another error, the process ends with a traceback and an exit status other
    than 0.
    """
    Path("test-output").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory() as folder:
        (Path(corpus) / "good").write_bytes(SEEDS.get(name, b"4 stars"))

        def try_one(data: bytes) -> None:
            with contextlib.suppress(TuningError):
                FUZZED[name](Path(folder), data)

        flags = [
            f"-runs={n_runs}",
            f"-seed={seed}",
            "-max_len=4096",
            "-timeout=60",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
        ]
        atheris.Setup([name, *flags, f"-artifact_prefix=test-output/fuzz-{name}-", corpus], try_one)
        atheris.Fuzz()


def main() -> None:
    """Fuzz every reader in a process of its own, print a line for each, and stop at the first
    failure.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="inputs of each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", choices=sorted(FUZZED))
    flags = parser.parse_args()
    if flags.reader:
        fuzz(flags.reader, n_runs=flags.runs, seed=flags.seed)
        return
    started, n_all = time.monotonic(), 0
    for name in FUZZED:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz_atheris",
            "--reader",
            name,
            "--runs",
            str(flags.runs),
            "--seed",
            str(flags.seed),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode != 0:
            print(done.stdout[-4000:], done.stderr[-4000:], sep="\n")
            sys.exit(f"{name}: an input broke it; it is kept as test-output/fuzz-{name}-*")
        stats = dict(
            line.split()[:2] for line in done.stderr.splitlines() if line.startswith("stat::")
        )
        n_all += int(stats["stat::number_of_executed_units:"])
        print(f"{name}: {stats['stat::number_of_executed_units:']} inputs", flush=True)
    print(
        f"{n_all:,} inputs, {time.monotonic() - started:.0f} s, every one read, or refused in this"
        " program's own words"
    )


if __name__ == "__main__":
    main()
