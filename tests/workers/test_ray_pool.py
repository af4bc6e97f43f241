"""The Ray pool on a real cluster of two nodes on this machine, and errors without a cluster."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from optuna.trial import TrialState

from tests.commands import start, tune_command, wait_for
from tests.faults.study import alive_in_session
from tests.paths import ROOT
from tests.studies import Setting
from tuning.commands import install
from tuning.config import Limits, TrainConfig, Workers
from tuning.errors import PoolError
from tuning.search.confirm import ConfirmationSize, confirm
from tuning.search.events import Progressed
from tuning.study.handle import StudyHandle
from tuning.workers import ray_cluster, ray_pool
from tuning.workers.pool import open_pool
from tuning.workers.ray_cluster import default_gpus, load_ray, node_capacities

# The epochs must last longer than the start of a trial, so that two trials are running at the
# same time.
N_EPOCHS = 60
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Yield a cluster of two nodes with a CPU each; every process of Ray uses 127.0.0.1."""
    load_ray(local=True)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    yield made
    made.shutdown()


@pytest.fixture
def over_ray(cluster: Any) -> dict[str, Any]:
    """Return the arguments of `tune` for the cluster."""
    return {"pool": Workers(pool="ray", ray_address=cluster.address), "n_workers": None}


@pytest.fixture
def setting(tmp_path: Path, reviews_csv: Path, tiny_space: Path) -> Setting:
    made = Setting(tmp_path, reviews_csv, tiny_space)
    made.config = replace(made.config, sampler="random", train=TrainConfig(epochs=3))
    return made


def seen(setting: Setting) -> list[tuple[Any, ...]]:
    return [(t.params, t.state, t.values, t.intermediate_values) for t in setting.study().trials]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    "train", [TrainConfig(epochs=3), TrainConfig(epochs=1, n_folds=3)], ids=lambda train: train.step
)
def test_study_is_the_same_over_both_pools(
    train: TrainConfig, setting: Setting, tmp_path: Path, over_ray: dict[str, Any]
) -> None:
    """The trials pause. A checkpoint is sent from a node to the coordinator, and from the
    coordinator to the worker that continues.
    """
    here = Setting(tmp_path / "here", Path(setting.config.data.data), Path(setting.config.space))
    config = {"sampler": "tpe", "pruner": "asha", "train": train}
    events: list[str] = []
    setting.tune(
        10,
        config=config,
        **{**over_ray, "n_workers": 1},
        on_change=lambda state: events.append(state.event),
    )
    here.tune(10, config=config)
    assert seen(setting) == seen(here)
    assert any(f"goes on after {train.step} 1" in event for event in events)
    study = StudyHandle.of(setting.results, setting.folder.name)
    size = ConfirmationSize(top=2, n_seeds=1)
    confirmation, _ = confirm(study, size=size, workers=over_ray["pool"])
    repeats = {
        setting.folder.repeat_path(finalist.trial, seed, is_resplit=True)
        for finalist in confirmation.finalists
        for seed in finalist.repeats
    }
    assert {*setting.folder.path.glob("repeats/*")} == repeats != set()
    assert list(setting.folder.path.glob("trials/*/checkpoint.npz")) == []


@pytest.mark.slow
@pytest.mark.alone
def test_trials_over_ray_read_the_outputs_of_an_encoder(
    setting: Setting, tmp_path: Path, tiny_preset: Path, over_ray: dict[str, Any]
) -> None:
    here = Setting(tmp_path / "here", Path(setting.config.data.data), Path(setting.config.space))
    config = {
        "space": str(ROOT / "search_spaces" / "frozen_encoder.py"),
        "preset": str(tiny_preset),
        "train": TrainConfig(epochs=1),
    }
    setting.tune(3, config=config, **{**over_ray, "n_workers": 1})
    here.tune(3, config=config)
    assert seen(setting) == seen(here)
    trials = setting.study().trials
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert {trial.params["architecture"] for trial in trials} & {"features", "both"}


@pytest.mark.slow
@pytest.mark.alone
def test_worker_over_a_limit_is_replaced_and_its_trial_fails_with_a_reason(
    setting: Setting, over_ray: dict[str, Any]
) -> None:
    bad = {
        # This loop rarely releases the lock of the interpreter.
        11: "while True: pass",
        12: "import time; time.sleep(600)",
        # The array has 1,900 MiB.
        13: "import numpy as np, time; x = np.ones(1900 * 2**17); time.sleep(600)",
        14: "import numpy as np; x = np.ones(2**40)",
    }
    searched = "(hp.get('vocab_size'), hp.get('sequence_length'))"
    setting.run_in_build(
        "\n".join(f"if {searched} == ({size}, 8):\n    {code}" for size, code in bad.items())
    )

    def enqueue(_: object) -> None:
        for size in bad:
            setting.study().enqueue_trial(
                {"vocab_size": size, "sequence_length": 8, "embedding_dim": 2, "lstm_units": 2}
            )

    limits = Limits(trial_seconds=12.0, silent_seconds=6.0, trial_memory_mb=2000.0)
    outcome = setting.tune(
        2, limits=limits, on_start=enqueue, config={"train": TrainConfig(epochs=1)}, **over_ray
    )
    failed = [
        (t.params["vocab_size"], t.user_attrs["reason"])
        for t in setting.study().trials
        if t.state == TrialState.FAIL
    ]
    reasons = {11: "too long", 12: "silent", 13: "out of memory", 14: "out of memory"}
    assert sorted(failed) == sorted([*reasons.items(), (12, "silent")])
    assert outcome.summary.n_finished == outcome.summary.counts["complete"] == 2


@pytest.mark.slow
@pytest.mark.alone
def test_node_that_dies_in_mid_trial_loses_its_trial_alone(
    setting: Setting, cluster: Any, over_ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET

    placed, nodes, removed = [], set(), []
    place = ray_pool.PlacedFiles.corpus

    def corpus(files: Any, folder: str) -> Any:
        placed.append(place(files, folder))
        return placed[-1]

    def remove_node(_: Progressed) -> None:
        """Remove a node while the trainings of both workers are running.

        The workers wait for an answer of this process after each epoch.
        """
        running = [t for t in setting.study().trials if t.state == TrialState.RUNNING]
        in_training = (0 < len(trial.intermediate_values) < N_EPOCHS for trial in running)
        if removed or len(running) < 2 or not all(in_training):
            return
        locations = load_ray(local=True).experimental.get_object_locations(placed[:1])
        nodes.update(locations[placed[0]]["node_ids"])
        node = cluster.worker_nodes.copy().pop()
        (raylet,) = node.all_processes[PROCESS_TYPE_RAYLET]
        for process in psutil.Process(raylet.process.pid).children(recursive=True):
            # If a machine fails, its workers end at once. If only the raylet ended, they could
            # still complete their trial.
            process.kill()
        removed.append(datetime.now())
        cluster.remove_node(node, allow_graceful=False)

    monkeypatch.setattr(ray_pool.PlacedFiles, "corpus", corpus)
    try:
        outcome = setting.tune(
            4,
            on_change=remove_node,
            config={"train": TrainConfig(epochs=N_EPOCHS, patience=N_EPOCHS)},
            **over_ray,
        )
    finally:
        cluster.add_node(**NODE)
    trials = setting.study().trials
    (lost,) = (t for t in trials if t.state == TrialState.FAIL)
    assert lost.datetime_complete > removed[0]
    assert lost.user_attrs["reason"] == "lost"
    # The lost configuration was trained again.
    assert [t.params for t in trials if t.state == TrialState.COMPLETE].count(lost.params) == 1
    assert outcome.summary.n_finished == outcome.summary.counts["complete"] == 4
    # The token ids are one object with a copy on each node.
    assert len(nodes) == 2
    assert len(set(placed)) == 1
    assert len(placed) == 5


@pytest.mark.slow
@pytest.mark.alone
def test_interrupt_ends_the_ray_that_was_started_for_a_call(
    setting: Setting, tmp_path: Path
) -> None:
    config, flags = setting.config, ("--n-trials", 500, "--epochs", 2, "--pool", "ray")
    command = tune_command(config.space, config.data.data, setting.results.path, *flags)
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RAY_")
    } | {"HOME": str(home)}
    process = start(command, environment)
    wait_for(process, "trial 1 starts")
    started = alive_in_session(process.pid)
    ports = [
        c
        for pid in started
        for c in psutil.Process(pid).net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    ]
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert len(started) > 3
    assert alive_in_session(process.pid) == []
    assert {c.laddr.ip.removeprefix("::ffff:") for c in ports} == {"127.0.0.1"}
    assert "raylet" not in out
    # The token was in the environment of the cluster's processes only.
    assert list(home.glob(".ray")) == []
    assert "RAY_AUTH_MODE is token" in setting.folder.log_path.read_text()


def test_missing_ray_is_a_sentence(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PoolError, match=f"must have Ray, .*{re.escape(install('ray'))}"):
        setting.tune(1, pool=Workers(pool="ray"))


def node(*, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"memory": 8 * 2**30, **resources}}


@pytest.mark.parametrize(
    ("cpus", "gpus", "nodes", "expected"),
    [
        (1, 0, [node(CPU=4), node(CPU=2), node(CPU=9, alive=False)], [4, 2]),
        (1.5, 0, [node(CPU=4), node(CPU=1)], [2]),
        (1, 1, [node(CPU=8, GPU=2), node(CPU=8)], [2]),
        (1, 0.25, [node(CPU=8, GPU=1)], [4]),
        (1, 0, [node(CPU=3, GPU=1)], [3]),
    ],
    ids=["CPUs", "a share of CPUs", "one GPU each", "a share of a GPU", "no GPU"],
)
def test_room_is_what_every_node_holds(
    cpus: float,
    gpus: float,
    nodes: list[dict[str, Any]],
    expected: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, nodes)
    assert node_capacities(cpus=cpus, gpus=gpus) == [(n, 8 * 1024 / n) for n in expected]
    assert default_gpus() == any("GPU" in each["Resources"] for each in nodes)
    # A node may get all of the workers.
    few = [(n, 8 * 1024 / min(n, 2)) for n in expected]
    assert node_capacities(cpus=cpus, gpus=gpus, n_workers=2) == few


@pytest.mark.parametrize(("own", "each"), [(None, 1.0), (0.5, 0.5)])
def test_workers_of_a_cluster_with_gpus_take_one_each_by_default(
    own: float | None, each: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [node(CPU=8, GPU=2), node(CPU=8)])
    monkeypatch.setattr(ray_cluster, "join_cluster", lambda *_, **__: nullcontext())
    monkeypatch.setattr(ray_pool, "RayPool", lambda n, **sizes: nullcontext((n, sizes["gpus"])))
    workers = Workers(pool="ray", gpus_per_worker=own)
    with open_pool(workers, Limits(), log_path=tmp_path / "log") as (opened, _):
        assert opened == (2 / each, each)


def test_cluster_without_room_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [node(CPU=2), node(CPU=4)])
    with pytest.raises(PoolError, match="takes 8 CPUs and 0 GPUs; none has"):
        node_capacities(cpus=8, gpus=0)


def pretend(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, Any]]) -> None:
    """Replace the nodes of the cluster by these nodes."""
    gpus = sum(each["Resources"].get("GPU", 0) for each in nodes)
    ray = SimpleNamespace(nodes=lambda: nodes, cluster_resources=lambda: {"GPU": gpus})
    monkeypatch.setattr(ray_cluster, "load_ray", lambda **_: ray)
