"""Whole searches of a space, replayed on tables of measured trainings (`benchmarks.curves`): this
program beside random draws, Optuna's defaults with Hyperband, KerasTuner's BayesianOptimization and
Hyperband, and two facades of SMAC3, if it is installed.

    make bench-search

The curve of the study's seed counts as the truth of a configuration. Each training adds the
difference of two seeds of a measured configuration of the same branch, divided by √2: a value
varies as between seeds, and the truth is known. A configuration that was not measured has the truth
of the nearest one.

All sides get the worker seconds that this program's search and confirmation took. The result of a
side is the truth of the configuration that it names in the end: the confirmed best, SMAC3's
incumbent, or another peer's best completed trial. Its regret is the best truth of the table minus
this truth.
"""

from __future__ import annotations

import heapq
import importlib.util
import itertools
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from benchmarks.curves import Noise, Table, read_table
from benchmarks.peers.oracles import ORACLES, Peer
from benchmarks.program import program, run
from benchmarks.record import describe_machine, markdown_table
from benchmarks.replay import search_and_confirm
from tuning.atomic_io import write_json
from tuning.config import StudyConfig
from tuning.evaluation.statistics import mean_interval
from tuning.metrics import sign
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace, declare

PEERS = dict(ORACLES)
if importlib.util.find_spec("smac"):
    from benchmarks.peers.smac_peer import SMAC_PEERS

    PEERS |= SMAC_PEERS

OURS = "this program"
# A search of 100 trials is not a default: its replay beside the others takes minutes for a seed.
N_TRIALS, N_WORKERS, N_SEEDS = (20, 50), (2, 8), 30
RECORD = Path("results/bench/search.json")
FIGURE = RECORD.with_suffix(".html")


def search_of_peer(
    peer: Peer, table: Table, space: SearchSpace, *, seconds: float, n_workers: int, noise: Noise
) -> int | None:
    """Search for `seconds` of each worker, and return the number of the measured training that is
    nearest to what the peer names; None before the first trial is complete.
    """
    direction, order = sign(table.metric), itertools.count()
    best: tuple[float, int] | None = None
    # Each event has its time, a number that decides between equal times, and what it does.
    events: list[tuple[float, int, Callable[[float], None]]] = []
    idle = 0

    def schedule(moment: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(events, (moment, next(order), happens))

    def start(now: float) -> None:
        nonlocal idle
        proposal = peer.ask()
        if proposal is None:
            idle += 1
            return
        training = table.nearest(proposal.values, space)
        end = proposal.last_epoch + 1 - training.first_epoch
        curve = noise.curve(training, seed=proposal.seed)[:end]
        # The epochs before are those of an earlier training, which this one continues.
        n_before = proposal.first_epoch + 1 - training.first_epoch if proposal.first_epoch else 0
        begin = min(n_before, len(curve) - 1)

        def end_epoch(i: int, now: float) -> None:
            nonlocal best, idle
            seen = [direction * value for value in curve[: i + 1]]
            is_last = i + 1 >= len(curve)
            goes_on = peer.goes_on(proposal, i + training.first_epoch, curve[i])
            if goes_on and not is_last:
                schedule(now + training.epoch_seconds, partial(end_epoch, i + 1))
                return
            if goes_on:
                best = max(best or (-math.inf, 0), (max(seen), training.number))
            peer.tell(proposal, direction * max(seen), is_complete=goes_on)
            n_free, idle = idle + 1, 0
            for _ in range(n_free):
                start(now)

        # Epoch 0, the evaluation before the training, takes no epoch.
        n_epochs = min(begin + training.first_epoch, 1)
        after = now + training.start_seconds + n_epochs * training.epoch_seconds
        schedule(after, partial(end_epoch, begin))

    for _ in range(n_workers):
        start(0.0)
    while events and events[0][0] <= seconds:
        now, _, happens = heapq.heappop(events)
        happens(now)
    named = peer.incumbent()
    if named is not None:
        return table.nearest(named, space).number
    return None if best is None else best[1]


def compare(
    path: Path,
    *,
    seed: int,
    n_trials: int,
    n_workers: int,
    peers: Sequence[str] = tuple(PEERS),
    **changes: Any,
) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    table = read_table(path)
    space = declare(find_space(table.space), n_classes=table.n_classes)
    truths = {training.number: table.truth(training) for training in table.trainings}
    noise = Noise(table, space, seed=seed)
    ours = search_and_confirm(
        table,
        space,
        seed=seed,
        n_trials=n_trials,
        n_workers=n_workers,
        noise=noise,
        **changes,
    )
    seconds = ours["worker_seconds"]
    chosen = {OURS: ours["chosen"]}
    for name in peers:
        with tempfile.TemporaryDirectory() as folder:
            chosen[name] = search_of_peer(
                PEERS[name](table, space, seed=seed, n_trials=n_trials, folder=Path(folder)),
                table,
                space,
                seconds=seconds / n_workers,
                n_workers=n_workers,
                noise=noise,
            )
    regrets = {
        name: math.nan if number is None else sign(table.metric) * (table.best - truths[number])
        for name, number in chosen.items()
    }
    linear = math.nan if table.linear is None else table.linear
    return {
        **regrets,
        "worker_seconds": seconds,
        "confirmation": ours["confirmation"],
        "ahead_of_linear": sign(table.metric) * (truths[ours["chosen"]] - linear),
    }


def summary_of(searches: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the mean regret of each side, and its difference to this program's with half of the
    95 % interval by seed. Seeds in which a peer had no complete trial are left out of its figures.
    """
    sides: dict[str, Any] = {}
    for name in [each for each in (OURS, *PEERS) if each in searches[0]]:
        pairs = [(s[name], s[OURS]) for s in searches if not math.isnan(s[name])]
        regrets, behind = [x for x, _ in pairs], [x - own for x, own in pairs]
        sides[name] = {"regret": statistics.mean(regrets), "n": len(pairs)}
        if len(pairs) > 1:
            regret, mean = mean_interval(regrets), mean_interval(behind)
            sides[name]["half_interval_of_regret"] = regret.high - regret.value
            if name != OURS:
                sides[name] |= {"behind": mean.value, "half_interval": mean.high - mean.value}
    means = {
        name: statistics.mean(search[name] for search in searches)
        for name in ("worker_seconds", "confirmation")
    }
    n_behind = sum(search["ahead_of_linear"] < 0 for search in searches)
    return {"sides": sides, **means, "n_behind_linear": n_behind}


def figure_of(kinds: Sequence[dict[str, Any]]) -> go.Figure:
    """Draw the mean regret of each side over the worker seconds of a search, with 95 % intervals by
    seed: one plot for each table and number of workers.
    """
    points = pd.DataFrame(
        {
            "plot": f"{kind['table']}, {kind['n_workers']} workers",
            "side": name,
            "worker seconds": kind["worker_seconds"],
            "mean regret": side["regret"],
            "interval": side.get("half_interval_of_regret", 0.0),
        }
        for kind in kinds
        for name, side in kind["sides"].items()
    )
    figure = px.line(
        points,
        x="worker seconds",
        y="mean regret",
        error_y="interval",
        color="side",
        facet_col="plot",
        facet_col_wrap=2,
        markers=True,
        template="plotly_white",
        height=400 * math.ceil(points["plot"].nunique() / 2),
    )
    figure.update_traces(line_width=3, selector={"name": OURS})
    figure.for_each_annotation(lambda title: title.update(text=title.text.removeprefix("plot=")))
    figure.update_xaxes(matches=None, showticklabels=True, rangemode="tozero")
    return figure.update_yaxes(rangemode="tozero")


def main(
    tables: list[Path],
    *,
    n_trials: int | None = None,
    seeds: int = N_SEEDS,
    peer: Sequence[str] = (),
    sampler: str = StudyConfig.sampler,
    pruner: str = StudyConfig.pruner,
    workers: int = 1,
) -> None:
    """Replay the searches, print a table, and write a record and a figure.

    Args:
        tables: tables of `benchmarks.curves`.
        n_trials: number of trials (default: 20 and 50).
        seeds: number of searches of each kind.
        peer: name of a program to compare with; may be repeated (default: all).
        sampler: this program's sampler.
        pruner: this program's pruner.
        workers: number of searches at the same time.
    """
    record: dict[str, Any] = {"machine": describe_machine(), "seeds": seeds, "searches": []}
    rows: list[list[str]] = []
    sizes = N_TRIALS if n_trials is None else (n_trials,)
    if PEERS == ORACLES:
        print("SMAC3 is not installed and left out; type `.venv/bin/pip install smac`.")
    with ProcessPoolExecutor(workers) as pool:
        for path, size, n_workers in itertools.product(tables, sizes, N_WORKERS):
            options: dict[str, Any] = {"n_trials": size, "n_workers": n_workers}
            ours: dict[str, Any] = {"sampler": sampler, "pruner": pruner}
            jobs = [
                pool.submit(compare, path, seed=seed, peers=peer or [*PEERS], **options, **ours)
                for seed in range(seeds)
            ]
            searches = [job.result() for job in jobs]
            summary = summary_of(searches)
            kind: dict[str, Any] = {"table": path.stem, **options}
            record["searches"].append({**kind, **ours, **summary, "by_seed": searches})
            write_json(RECORD, record)
            for name, side in summary["sides"].items():
                behind = (
                    f"{side['behind']:+.4f} ± {side['half_interval']:.4f}"
                    if "behind" in side
                    else ""
                )
                rows.append([*map(str, kind.values()), name, f"{side['regret']:.4f}", behind])
            print(
                f"{path.stem}, {size} trials, {n_workers} workers: done; the best is behind the"
                f" tuned linear model in {summary['n_behind_linear']} of {seeds} searches",
                flush=True,
            )
    figure_of(record["searches"]).write_html(FIGURE, config={"displayModeBar": False})
    columns = ("table", "trials", "workers", "side", "mean regret", "behind this program")
    print(markdown_table(columns, rows))


if __name__ == "__main__":
    run(program(main))
