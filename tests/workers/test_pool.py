"""Tests that both pools must pass: the messages of workers, their deaths, and the resources that
they release. Tests of the process pool alone follow.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.numbered import TWO, numbered
from tests.paths import ROOT
from tests.texts import make_reviews, substitute
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.data.rows import Redraw
from tuning.errors import SpaceBug, SpaceError
from tuning.evaluation.predictions import read_probabilities
from tuning.outcomes import FailureReason
from tuning.results import ResultsDir
from tuning.spaces.loading import SearchSpace, declare
from tuning.spaces.objects import keep_space
from tuning.study.prepare import prepare_corpus
from tuning.training.result import Answer, FitResult, TrainingJob
from tuning.workers.messages import (
    Declare,
    EpochEnded,
    ErrorRaised,
    Reply,
    Response,
    Train,
    TrainingEnded,
    TrainingFailed,
)
from tuning.workers.pool import AnyPool, AnyWorker, Pool, declared_space
from tuning.workers.ray_cluster import join_cluster
from tuning.workers.ray_pool import RayPool
from tuning.workers.worker import usage_of

# A worker that has not answered after this time is assumed to hang.
ANSWER_SECONDS = 60.0

QUICK = """
import os
import sys

import keras
import keras_tuner


class Quick(keras_tuner.HyperModel):
    def declare_hyperparameters(self, hp):
        hp.Int("vocab_size", 10, 40, default=30)
        hp.Int("sequence_length", 4, 16, default=8)

    def build(self, hp):
        layers = keras.layers
        model = keras.Sequential([
            keras.Input((None,), dtype="int32"),
            layers.Embedding(hp.get("vocab_size"), 2), layers.GlobalAveragePooling1D(),
            layers.Dropout(0.5), layers.Dense(1, "sigmoid"),
        ])
        model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", run_eagerly=True)
        return model


hypermodel = Quick()
"""
VALUES = {"n_classes": 2, "vocab_size": 30, "sequence_length": 8}


BOTH = ["process", pytest.param("ray", marks=pytest.mark.slow)]
# Part of the attribute `ending` of a dead worker.
MISSED = {"process": "ended with exit status", "ray": "was lost with process"}


@pytest.fixture(scope="module", params=BOTH)
def pool(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AnyPool]:
    """Yield two workers with one thread each, in processes or in a Ray cluster of this module. A
    test that loses a worker replaces it.
    """
    log_path = tmp_path_factory.mktemp("pool") / "tuning.log"
    notebook: dict[str, Any] = {"__name__": "__main__"}
    exec(QUICK, notebook)
    space = Path(keep_space(notebook["Quick"]))
    if request.param == "process":
        with Pool(2, log_path=log_path, n_cores=2, space=space) as pool:
            yield pool
        return
    with (
        join_cluster(None, log_path=log_path),
        RayPool(2, cpus=1, gpus=0, space=space) as ray_pool,
    ):
        yield ray_pool


@pytest.fixture
def missed(pool: AnyPool) -> str:
    return MISSED["process" if isinstance(pool, Pool) else "ray"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tokenized corpus of 120 reviews."""
    folder = tmp_path_factory.mktemp("corpus")
    make_reviews(120).to_csv(folder / "reviews.csv", index=False)
    config = StudyConfig(study="s", data=DataConfig(data=str(folder / "reviews.csv")))
    return prepare_corpus(config, results=ResultsDir(folder / "results"))[0].folder


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(tmp_path: Path, *, old: str = "", new: str = "", name: str = "quick") -> Path:
    """Write the search space "quick" with `old` replaced by `new`, and return its path."""
    path = tmp_path / f"{name}.py"
    path.write_text(QUICK)
    if old:
        substitute(path, old, new)
    return path


def training(space_path: Path, corpus: Path, **changes: Any) -> Train:
    values = {
        "values": VALUES,
        "target": TWO,
        "train": TrainConfig(epochs=2, batch_size=64, patience=9),
        "seed": 5,
        "known": tuple(VALUES),
    }
    job = TrainingJob(**{**values, **changes})
    return Train(str(space_path), str(corpus), job, takes_texts=False)


def result_of(messages: list[Response]) -> FitResult:
    assert isinstance(messages[-1], TrainingEnded), messages
    return messages[-1].result


def declare_in(pool: AnyPool, path: Path, *, n_classes: int = 2) -> SearchSpace:
    return declared_space(pool, Declare(str(path), numbered(n_classes)))


def next_message(pool: AnyPool, worker: AnyWorker) -> Response | None:
    """Return the next message of this worker, or None if the worker died."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        for sender, message in pool.wait(1.0):
            if sender is worker:
                return message
    raise TimeoutError(f"no message from worker {worker.settings.number}")


def finish(
    pool: AnyPool,
    workers: list[AnyWorker],
    *,
    answer: Answer = Answer.GO_ON,
    n_threads: int | None = None,
) -> dict[AnyWorker, list[Response]]:
    """Answer epochs until each worker has sent another message; return all of their messages."""
    seen: dict[AnyWorker, list[Response]] = {worker: [] for worker in workers}
    deadline = time.monotonic() + ANSWER_SECONDS
    while any(not messages or isinstance(messages[-1], EpochEnded) for messages in seen.values()):
        assert time.monotonic() < deadline, seen
        for worker, message in pool.wait(1.0):
            assert message is not None, worker.settings
            seen[worker].append(message)
            if isinstance(message, EpochEnded):
                worker.send(Reply(answer, n_threads))
    return seen


def train_one(
    pool: AnyPool,
    message: Train,
    *,
    answer: Answer = Answer.GO_ON,
    n_threads: int | None = None,
) -> list[Response]:
    worker = ready_worker(pool)
    worker.send(message)
    return finish(pool, [worker], answer=answer, n_threads=n_threads)[worker]


def ready_worker(pool: AnyPool, number: int = 0) -> AnyWorker:
    """Return a worker after its start."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while not pool.workers[number].is_ready:
        assert time.monotonic() < deadline
        pool.wait(1.0)
    return pool.workers[number]


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended. A Ray cluster ends its processes with a delay."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int | None) -> bool:
    """An orphan may stay a zombie if no process reaps it."""
    assert pid
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=ANSWER_SECONDS,
    )


HEAVY = ("tensorflow", "keras", "keras_tuner", "ray")
COORDINATOR = """
import tuning.search.loop, tuning.report.page, tuning.report.dashboard
import tuning.search.tune, tuning.workers.ray_pool
"""
SEARCH = """
import tuning.display.progress, tuning.cli.app, tuning.search.tune
import tuning.evaluation.linear_reference, tuning.study.summary
from tuning.report.dashboard import annotate
"""
HELP = """
import runpy
sys.argv = ["tuning", *{}]
try:
    runpy.run_module("tuning", run_name="__main__")
except SystemExit as ended:
    assert not ended.code
"""


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (COORDINATOR, HEAVY),
        (SEARCH, ("plotly", "matplotlib", "sklearn")),
        (HELP.format(["--help"]), (*HEAVY, "optuna")),
        (HELP.format(["tune", "--help"]), (*HEAVY, "optuna")),
    ],
    ids=["coordinator", "search", "help", "help of tune"],
)
def test_packages_are_loaded_only_where_they_are_used(code: str, absent: tuple[str, ...]) -> None:
    show = f"print([name for name in {absent} if name in sys.modules])"
    done = run_python(f"import sys\n{code}\n{show}")
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["[]"]), done.stderr


@pytest.mark.parametrize("n_classes", [2, 5])
def test_declare_in_a_worker_equals_declare_here(pool: AnyPool, n_classes: int) -> None:
    for path in sorted((ROOT / "search_spaces").glob("*.py")):
        answer = declare_in(pool, path, n_classes=n_classes)
        assert answer == declare(path, n_classes=n_classes)


def test_worker_trains_a_model_of_a_class_of_a_notebook(pool: AnyPool, corpus: Path) -> None:
    place = Path("python:Quick")
    space = declare_in(pool, place, n_classes=2)
    assert [item.name for item in space.searched] == ["vocab_size", "sequence_length"]
    assert result_of(train_one(pool, training(place, corpus))).history


def test_worker_trains_on_the_rows_that_its_job_draws(
    pool: AnyPool, quick: Path, corpus: Path
) -> None:
    def losses(redraw: Redraw | None) -> list[float]:
        messages = train_one(pool, training(quick, corpus, redraw=redraw))
        return [epoch.metrics["val_loss"] for epoch in result_of(messages).history]

    one, other = Redraw(seed=5), Redraw(seed=6)
    assert losses(one) == losses(one) != losses(other)
    assert losses(one) != losses(None)


def test_worker_trains_on_each_fold_and_goes_on_after_a_pause(
    pool: AnyPool, quick: Path, corpus: Path, tmp_path: Path
) -> None:
    job = training(quick, corpus, redraw=Redraw(seed=5, n_folds=3))
    whole = result_of(train_one(pool, job))
    assert [epoch.number for epoch in whole.history] == [1, 2, 3]
    paused = replace(job, job=replace(job.job, checkpoint=str(tmp_path / "checkpoint.npz")))
    assert result_of(train_one(pool, paused, answer=Answer.PAUSE)).paused
    resumed = result_of(train_one(pool, replace(paused, job=replace(paused.job, resume=True))))
    assert [epoch.metrics for epoch in resumed.history] == [e.metrics for e in whole.history]
    path = tmp_path / "repeat.npz"
    train_one(pool, replace(job, job=replace(job.job, n_epochs=1, predictions=str(path))))
    kept = read_probabilities(path)
    assert kept is not None and kept.shape == (102, 2)  # All rows but the 18 of the test split.


def test_two_workers_train_at_once_and_agree(pool: AnyPool, quick: Path, corpus: Path) -> None:
    for worker in pool.workers:
        worker.send(training(quick, corpus))
    seen = finish(pool, list(pool.workers))
    first, second = (
        [epoch.metrics for epoch in result_of(messages).history] for messages in seen.values()
    )
    assert first == second
    assert len({worker.pid for worker in pool.workers}) == 2


def test_results_are_equal_on_the_threads_of_an_idle_worker(
    pool: AnyPool, tmp_path: Path, corpus: Path
) -> None:
    space = write(tmp_path, old="layers.GlobalAveragePooling1D()", new="layers.LSTM(4)")
    message = training(space, corpus, train=TrainConfig(epochs=3, batch_size=64, patience=9))
    alone, shared = (
        result_of(train_one(pool, message, n_threads=n_threads)) for n_threads in (None, 2)
    )
    assert alone.n_fused_layers == 1
    assert [epoch.metrics for epoch in alone.history] == [epoch.metrics for epoch in shared.history]


def test_worker_sends_why_a_configuration_is_infeasible(
    pool: AnyPool, tmp_path: Path, corpus: Path
) -> None:
    path = write(tmp_path, old="SGD(0.5)", new='SGD(float("nan"))')
    (message,) = train_one(pool, training(path, corpus))
    assert isinstance(message, TrainingFailed)
    assert message.reason is FailureReason.NAN_LOSS


def test_space_bug_while_declaring_arrives_with_its_traceback(
    pool: AnyPool, tmp_path: Path
) -> None:
    path = write(tmp_path, old="hypermodel = Quick()", new="hypermodel = Quick(1 / 0)")
    with pytest.raises(SpaceBug, match=r"loading quick\.py: ZeroDivisionError") as raised:
        declare_in(pool, path)
    assert f'File "{path}", line ' in raised.value.traceback
    # The worker goes on after an error. Ray reads a file once, so the second space is another file.
    other = tmp_path / "other"
    other.mkdir()
    path = write(other, old="hypermodel = Quick()", new="hypermodel = 3")
    with pytest.raises(SpaceError, match="must define hypermodel") as refused:
        declare_in(pool, path)
    assert type(refused.value) is SpaceError


def test_error_that_is_no_tuning_error_arrives_with_its_traceback(
    pool: AnyPool, quick: Path, corpus: Path
) -> None:
    (answer,) = train_one(pool, training(quick, corpus, values={**VALUES, "truncating": "both"}))
    assert isinstance(answer, ErrorRaised)
    assert answer.error == "bug"
    assert answer.message.startswith("ValueError: truncating")
    assert "Traceback" in answer.traceback and "worker.py" in answer.traceback


def test_killed_worker_is_seen_and_replaced(
    pool: AnyPool, quick: Path, corpus: Path, missed: str
) -> None:
    worker, other = ready_worker(pool), pool.workers[1]
    assert worker.pid
    worker.send(training(quick, corpus))
    assert next_message(pool, worker)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for_end(worker.pid)
    worker.send(Declare(str(quick), TWO))  # A message to a dead worker is lost.
    assert next_message(pool, worker) is None
    new = pool.replace(worker)
    assert pool.workers == [new, other]
    assert new.settings == worker.settings
    assert missed in worker.ending
    assert result_of(train_one(pool, training(quick, corpus)))
    assert new.pid != worker.pid


def test_ask_of_a_worker_that_dies_says_so(pool: AnyPool, tmp_path: Path, missed: str) -> None:
    worker = ready_worker(pool)
    path = write(tmp_path, old="hypermodel = Quick()", new="os._exit(3)")
    with pytest.raises(SpaceError, match=f"must not end before it has answered; it {missed}"):
        declare_in(pool, path)
    pool.replace(worker)


def test_worker_ignores_ctrl_c(pool: AnyPool, quick: Path) -> None:
    worker = ready_worker(pool)
    assert worker.pid
    # After this answer the worker has started.
    declare_in(pool, quick)
    os.kill(worker.pid, signal.SIGINT)
    assert declare_in(pool, quick)


def test_worker_output_goes_to_the_log(
    pool: AnyPool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = (
        'print("by print", flush=True)\nprint("by stderr", file=sys.stderr)\nos.write(1, b"by'
        ' descriptor\\n")\n'
    )
    space = write(tmp_path, old="hypermodel =", new=f"{noise}hypermodel =")
    workers = [ready_worker(pool, number) for number in (0, 1)]
    for worker in workers:
        worker.send(Declare(str(space), TWO))
        # After this answer the worker has redirected its output.
        assert next_message(pool, worker)
    logs = {
        Path(f"/proc/{worker.pid}/fd/{descriptor}").readlink()
        for worker in workers
        for descriptor in (1, 2)
    }
    log = "".join(path.read_text() for path in logs)
    assert all(line in log for line in ("by print", "by stderr", "by descriptor"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "training"])
def test_worker_ends_by_itself_when_its_connection_closes(
    tmp_path: Path, quick: Path, corpus: Path, busy: bool
) -> None:
    with Pool(1, log_path=tmp_path / "tuning.log") as pool:
        worker = pool.workers[0]
        worker.send(training(quick, corpus) if busy else Declare(str(quick), TWO))
        assert next_message(pool, worker)
        worker.connection.close()
        worker.process.join(ANSWER_SECONDS)
        assert worker.process.exitcode == 0


def test_leaving_a_pool_by_an_error_ends_its_workers(
    tmp_path: Path, quick: Path, corpus: Path
) -> None:
    with contextlib.suppress(RuntimeError), Pool(2, log_path=tmp_path / "tuning.log") as pool:
        idle, busy = pool.workers
        busy.send(
            training(quick, corpus, train=TrainConfig(epochs=500, batch_size=1, patience=500))
        )
        assert is_running(idle.process.pid)
        assert is_running(busy.process.pid)
        raise RuntimeError
    assert not any(is_running(worker.pid) for worker in (idle, busy))


@pytest.mark.slow
def test_killed_coordinator_leaves_no_process(tmp_path: Path, quick: Path) -> None:
    code = f"""
import os, signal
from multiprocessing import forkserver
from pathlib import Path
from tuning.targets.kinds import target_of
from tuning.workers.messages import Declare
from tuning.workers.pool import Pool

pool = Pool(2, log_path=Path({str(tmp_path)!r}) / "tuning.log")
pool.call(Declare({str(quick)!r}, target_of("ab")))
print(forkserver._forkserver._forkserver_pid, *(worker.pid for worker in pool.workers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = run_python(code)
    left = {int(pid) for pid in killed.stdout.split()}
    assert (killed.returncode, len(left)) == (-signal.SIGKILL, 3)
    for pid in left:
        wait_for_end(pid)


@pytest.mark.parametrize(("n_workers", "n_cores", "n_threads"), [(2, 5, 2), (3, 2, 1)])
def test_pool_shares_the_cores(
    tmp_path: Path, n_workers: int, n_cores: int, n_threads: int
) -> None:
    with Pool(n_workers, log_path=tmp_path / "tuning.log", n_cores=n_cores) as pool:
        settings = [worker.settings for worker in pool.workers]
    assert [each.number for each in settings] == list(range(n_workers))
    assert {each.n_threads for each in settings} == {n_threads}


def test_output_of_the_server_goes_to_the_log_of_the_study(tmp_path: Path) -> None:
    """The server writes before the study has a folder, and its output is copied once."""
    code = f"""
import multiprocessing
import os
from pathlib import Path

from tuning.workers import server

multiprocessing.set_forkserver_preload = lambda names: None
server.start_server()
os.write(server._output()[0], b"a line of the server" + os.linesep.encode())
log = Path({str(tmp_path)!r}) / "tuning.log"
server.copy_server_output(log)
server.copy_server_output(log)
"""
    assert run_python(code).returncode == 0
    assert (tmp_path / "tuning.log").read_text().count("a line of the server") == 1


def test_command_starts_the_server_before_it_imports_the_search(tmp_path: Path) -> None:
    code = f"""
import sys

from tuning.cli import app
from tuning.workers import server


def start_server():
    assert not {{"optuna", "pandas", "numpy", "tensorflow"}} & set(sys.modules)
    sys.exit(7)


server.start_server = start_server
app.app(["tune", "--results", {str(tmp_path)!r}])
"""
    assert run_python(code).returncode == 7


def test_memory_that_workers_share_is_not_their_own(tmp_path: Path) -> None:
    """Data are memory-mapped, and all workers map the same pages."""
    size = 64 * 2**20
    np.zeros(size, np.uint8).tofile(tmp_path / "data")
    before = usage_of(psutil.Process()).memory_mb
    mapped = np.memmap(tmp_path / "data", np.uint8, mode="r")
    assert int(mapped.sum()) == 0
    assert usage_of(psutil.Process()).memory_mb - before < 32
    own = np.ones(size, np.uint8)
    assert int(own.sum()) == size
    assert usage_of(psutil.Process()).memory_mb - before > 32
