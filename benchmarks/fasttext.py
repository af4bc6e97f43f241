"""The accuracy of this program's default search and of fastText's autotune after the same minutes.

Both sides search on the same training and validation splits. Then the best configuration of each
side is scored on the test split, after a training on the training split alone. Each side runs alone
in a fresh process with the whole machine. The measured times favor the peer: its time begins when
its texts are in memory, this program's before it reads the file.
"""

from __future__ import annotations

import importlib.util
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from benchmarks import ours
from benchmarks.goals import figures
from benchmarks.processes import cpu_seconds, in_fresh_process
from benchmarks.settings import Settings
from benchmarks.sides import sides_of
from tuning.config import SPLITS, DataConfig, StudyConfig
from tuning.data.corpus import Corpus
from tuning.data.splits import SplitReviews
from tuning.errors import ArgumentError, TuningError
from tuning.results import ResultsDir
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace
from tuning.study.record import read_record
from tuning.study.trials import value_of, values_of
from tuning.workers.messages import train_request

MANY_TRIALS = 10_000  # a number of trials that does not fit in the time
FIGURE = "fasttext_accuracy_gain"
N_SEEDS = 3  # Maximum number of seeds with which fastText's autotune is tried.
# Time that autotune may take after its search, beside twice the time of the search.
SECONDS_TO_END = 60


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """Return the scores and times of both sides, and the difference of the accuracies on the test
    split in percentage points.
    """
    minutes = settings.minutes_of("fasttext")
    if importlib.util.find_spec("fasttext") is None:
        return figures({FIGURE: None}, notes={FIGURE: "fastText is not installed"})
    shared: dict[str, Any] = {"seed": settings.seed, "log_path": settings.log_path}
    sides = sides_of(settings, show=show)
    show(f"this program, {minutes:g} minutes")
    own = sides.measure(
        "ours",
        partial(
            in_fresh_process,
            search,
            data=settings.data,
            seconds=minutes * 60,
            n_trials=settings.size(MANY_TRIALS, tiny=2),
            n_workers=settings.n_workers,
            **shared,
        ),
    )
    show(f"fastText's autotune, {minutes:g} minutes")
    seconds = settings.size(round(minutes * 60), tiny=2)
    peer = sides.measure("fasttext", partial(autotune, splits, seconds=seconds, settings=settings))
    return {
        **figures({FIGURE: 100 * (own["test_accuracy"] - peer["test_accuracy"])}),
        "minutes": minutes,
        "sides": {"ours": own, "fasttext": peer},
        "noise": sides.record(),
    }


def autotune(splits: SplitReviews, *, seconds: int, settings: Settings) -> dict[str, Any]:
    """Run fastText's autotune in a fresh process, with as many threads as this program has workers.
    Return what `fasttext_peer.autotune` returns.

    fastText's autotune sometimes diverges, or does not end. It then begins again with another seed.

    Raises:
        TuningError: autotune diverged or did not end with `N_SEEDS` seeds.
    """
    texts: dict[str, Any] = {
        name: (splits.frames[name]["text"].tolist(), splits.frames[name]["label"].to_numpy())
        for name in SPLITS
    }
    for seed in range(settings.seed, settings.seed + N_SEEDS):
        try:
            return in_fresh_process(
                _autotune,
                log_path=settings.log_path,
                max_seconds=3 * seconds + SECONDS_TO_END,
                seconds=seconds,
                n_threads=settings.n_workers,
                seed=seed,
                **texts,
            )
        except (BrokenProcessPool, FloatingPointError):
            continue
    raise TuningError(f"fastText's autotune must end; it diverged or hung with {N_SEEDS} seeds.")


def _autotune(*, max_seconds: int, **arguments: Any) -> dict[str, Any]:
    from benchmarks.peers import fasttext_peer

    signal.alarm(max_seconds)  # The signal ends the process.
    return fasttext_peer.autotune(**arguments)


def search(
    *, data: DataConfig, seed: int, seconds: float, n_trials: int, n_workers: int
) -> dict[str, Any]:
    """Search with the defaults of `tune`, and score the best trial on the test split.

    Returns:
        `validation_accuracy` and `test_accuracy`; `seconds` and `cpu_seconds` of the whole call of
        `tune`, its workers included, with the training of the best configuration; `n_trials`; and
        the `parameters` of the best configuration.

    Raises:
        ArgumentError: no trial is complete after `seconds`.
    """
    config = StudyConfig(study="fasttext", seed=seed, data=data)
    started, cpu_started = time.perf_counter(), cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        outcome = ours.search(
            config,
            folder=Path(folder),
            n_trials=n_trials,
            n_workers=n_workers,
            timeout_seconds=seconds,
        )
        best = outcome.summary.best
        if best is None:
            raise ArgumentError(
                "--minutes must be enough for a complete trial, which fastText is compared with;"
                f" received {seconds / 60:g}."
            )
        results = ResultsDir(Path(folder))
        record = read_record(results.study(config.study))
        corpus = Corpus(results.cache_dir(record.data_fingerprint))
        test_accuracy = _test_accuracy(best, record.config, outcome.space, corpus)
    return {
        "validation_accuracy": value_of(best),
        "test_accuracy": test_accuracy,
        "seconds": round(time.perf_counter() - started, 3),
        "cpu_seconds": round(cpu_seconds() - cpu_started, 3),
        "n_trials": len(outcome.summary.trials),
        "parameters": values_of(best, outcome.space),
    }


def _test_accuracy(
    trial: FrozenTrial, config: StudyConfig, space: SearchSpace, corpus: Corpus
) -> float:
    """Train a trial's configuration on the training split, for the trial's best number of epochs
    and with its seed. Return the accuracy of the model on the test split.
    """
    from tuning.spaces.loading import load_hypermodel
    from tuning.training import fit, prediction

    path = find_space(config.space)
    request = train_request(
        config, values_of(trial, space), space=space, space_path=path, corpus=corpus
    )
    job = replace(request.job, n_epochs=trial.user_attrs["best_epoch"])
    model, _ = fit.fit(
        load_hypermodel(path),
        job,
        train=corpus.split("train"),
        validation=corpus.split("validation"),
    )
    test = corpus.split("test")
    view = prediction.make_view(model, job.values, test.texts)
    probabilities = prediction.predict(model, view, n_classes=job.n_classes)
    return float(np.mean(probabilities.argmax(axis=1) == test.labels))
