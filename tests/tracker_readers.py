"""What trackers contain, read with their own packages in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MLFLOW = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
(experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
runs = {}
for run in client.search_runs([experiment.experiment_id]):
    name = run.info.run_name
    assert name not in runs, f"{name} is there twice"
    runs[name] = {
        "id": run.info.run_id,
        "status": run.info.status,
        "seconds": (run.info.end_time - run.info.start_time) / 1000 if run.info.end_time else None,
        "tags": run.data.tags,
        "params": run.data.params,
        "metrics": {
            key: [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        },
    }
print(json.dumps(runs))
"""
WANDB = """
import json, struct, sys
from wandb.proto import wandb_internal_pb2

# The package has no reader. The format is that of LevelDB's logs, after a header of 7 bytes: blocks
# of 32 KiB with fragments (CRC-32, length, type: 1 whole, 2 first, 3 middle, 4 last).
data = open(sys.argv[1], "rb").read()
assert data[:4] == b":W&B"
records, part, place = [], b"", 7
while place + 7 <= len(data):
    if 32768 - place % 32768 < 7:
        place += 32768 - place % 32768
        continue
    _, length, kind = struct.unpack_from("<IHB", data, place)
    part += data[place + 7 : place + 7 + length]
    place += 7 + length
    if kind in (1, 4):
        records.append(part)
        part = b""

def values(items):
    return {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}

read = {"history": [], "summary": {}, "config": {}, "artifacts": []}
for data in records:
    record = wandb_internal_pb2.Record.FromString(data)
    kind = record.WhichOneof("record_type")
    if kind == "history":
        read["history"].append(values(record.history.item))
    elif kind == "summary":
        read["summary"] |= values(record.summary.update)
    elif kind == "run":
        run = record.run
        read |= {"group": run.run_group, "name": run.display_name}
        read["config"] |= values(run.config.update)
    elif kind in ("artifact", "request"):
        artifact = record.artifact if kind == "artifact" else record.request.log_artifact.artifact
        read["artifacts"].append([artifact.type, artifact.name])
print(json.dumps(read))
"""


def output_of(program: str, *arguments: str, cwd: Path) -> Any:
    """Return the JSON that a program prints. It runs outside of the checkout."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def mlflow_runs(uri: str, *, cwd: Path) -> dict[str, Any]:
    """Return the runs of the only experiment of an MLflow store, by name."""
    runs: dict[str, Any] = output_of(MLFLOW, uri, cwd=cwd)
    return runs


def wandb_runs(folder: Path) -> dict[str, Any]:
    """Return the offline runs in a folder, by name."""
    runs: dict[str, Any] = {}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        run = output_of(WANDB, str(path), cwd=folder)
        assert run["name"] not in runs, f"{run['name']} is there twice"
        runs[run["name"]] = run
    return runs


def tensorboard_run(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    """Return the scalars and the texts in a folder of TensorBoard, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder)).Reload()
    tags = read.Tags()
    scalars = {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in tags["scalars"]}
    strings = {tag: read.Tensors(tag)[0].tensor_proto.string_val for tag in tags["tensors"]}
    return scalars, {tag: value[0].decode() for tag, value in strings.items() if value}
