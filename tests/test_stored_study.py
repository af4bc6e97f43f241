"""A study, its cache and its export that version 0.1.0 wrote: the study can be read, resumed and
reported, and the export predicts.

The tests use the command line alone, so that they need no change when modules move.
`fixtures/study_0_1/README.md` describes how the files were made. `expected.json` contains the
values of version 0.1.0.
"""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Ran
from tests.paths import ROOT

STORED = ROOT / "tests" / "fixtures" / "study_0_1"
EXPECTED: dict[str, Any] = json.loads((STORED / "expected.json").read_text(encoding="utf-8"))
SAME_STUDY = ("--space", "tiny.py", "--data", "reviews.csv", "--epochs", 4, "--workers", 1)
N_FINISHED = 10  # Trials 10 and 11 are paused.
CONFIRMED_BEST = 2
COLUMN = ("--text-column", "text")  # The study was trained on the column review_body.

# Processors round differently, and so do kernels that Numba has just compiled and kernels that
# Numba loads from its cache. The largest measured difference of a loss was 6e-8, between a
# processor with AVX-512 and Numba's "generic" processor without oneDNN. An accuracy changes only if
# a probability is as close to 0.5 as this difference, so accuracies have no tolerance.
LOSS_TOLERANCE = 1e-4
PROBABILITY_TOLERANCE = 1e-5


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the stored study, make the copy the working directory, and return the study's folder."""
    shutil.copytree(STORED, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "stored"


def cached(study: Path) -> dict[str, tuple[int, int]]:
    """Return the inode and the time of change of each file of the stored cache but the card, which
    does not say yet how stars became classes.
    """
    files = (study.parent / "cache" / EXPECTED["status"]["fingerprints"]["data"]).iterdir()
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in files
        if path.name != "data_card.json"
    }


def read_json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trial_rows(study: Path) -> list[dict[str, Any]]:
    """Return the trials of `trials.csv` in the layout of `expected.json`, without their epochs."""
    names = EXPECTED["resumed_trials"][0]["params"]
    return [
        {
            "number": int(row["number"]),
            "state": row["state"],
            "value": float(row["value"]) if row["value"] else None,
            "params": {name: int(row[name]) for name in names},
        }
        for row in read_csv(study / "trials.csv")
    ]


def expected_rows() -> list[dict[str, Any]]:
    columns = ("number", "state", "value", "params")
    return [{name: trial[name] for name in columns} for trial in EXPECTED["resumed_trials"]]


def assert_epochs(study: Path, number: int, *, n_epochs: int | None = None) -> None:
    """Compare the first `n_epochs` epochs of a trial, by default all, with the epochs of 0.1.0."""
    epochs, expected = (
        read_csv(study / "trials" / f"{number:04d}" / "history.csv"),
        EXPECTED["resumed_trials"][number],
    )
    losses, accuracies = (
        [float(row[name]) for row in epochs][:n_epochs] for name in ("val_loss", "val_accuracy")
    )
    assert losses == pytest.approx(expected["val_loss"][:n_epochs], abs=LOSS_TOLERANCE)
    assert accuracies == pytest.approx(expected["val_accuracy"][:n_epochs])


def assert_predictions(done: Ran, *, tolerance: float) -> None:
    """Compare the lines of `predict --json` with the predictions of version 0.1.0."""
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["text"], row["label"]) for row in rows] == [
        (row["text"], row["label"]) for row in EXPECTED["predictions"]
    ]
    probabilities = [row["probability"] for row in rows]
    assert probabilities == pytest.approx(
        [row["probability"] for row in EXPECTED["predictions"]], abs=tolerance
    )


def test_status_reads_a_stored_study(stored: Path, run_cli: Callable[..., Ran]) -> None:
    """Version 0.1.0 named the best trial of the search; later versions name the confirmed best."""
    status = json.loads(run_cli("status", "--study", "stored", "--json").out)
    best = EXPECTED["resumed_trials"][CONFIRMED_BEST]
    expected = EXPECTED["status"] | {
        "best_trial": CONFIRMED_BEST,
        "best_value": best["value"],
        "best_params": best["params"],
    }
    assert {name: status[name] for name in expected} == expected


def test_report_shows_a_stored_study(stored: Path, run_cli: Callable[..., Ran]) -> None:
    assert run_cli("report", "--study", "stored").code == 0
    rows = trial_rows(stored)
    assert rows[:N_FINISHED] == expected_rows()[:N_FINISHED]
    assert [(row["state"], row["value"]) for row in rows[N_FINISHED:]] == [("RUNNING", None)] * 2
    page, confirmation = (
        (stored / "report.html").read_text(encoding="utf-8"),
        read_json(stored / "confirmation.json"),
    )
    completed = [row["value"] for row in rows if row["state"] == "COMPLETE"]
    repeats = [
        value for finalist in confirmation["finalists"] for value in finalist["repeats"].values()
    ]
    losses = [model["test"]["loss"] for model in read_json(stored / "test.json")["scores"].values()]
    assert [value for value in (*completed, *repeats, *losses) if f"{value:.4f}" not in page] == []


def test_data_card_reads_the_stored_cache(stored: Path, run_cli: Callable[..., Ran]) -> None:
    before, card = cached(stored), run_cli("data-card", "--data", "reviews.csv")
    assert EXPECTED["status"]["fingerprints"]["data"] in card.out
    assert cached(stored) == before


@pytest.mark.parametrize("format_name", ["onnx", "keras"])
def test_stored_export_predicts(
    format_name: str, stored: Path, run_cli: Callable[..., Ran]
) -> None:
    if format_name == "keras":  # `predict` prefers ONNX where the export has it.
        manifest = read_json(stored / "best" / "export.json")
        del manifest["forms"]["model.onnx"], manifest["files"]["model.onnx"]
        (stored / "best" / "export.json").write_text(json.dumps(manifest), encoding="utf-8")
        (stored / "best" / "model.onnx").unlink()
    assert_predictions(
        run_cli("predict", "--study", "stored", "--file", "texts.csv", *COLUMN, "--json"),
        tolerance=PROBABILITY_TOLERANCE,
    )


@pytest.mark.slow
def test_stored_study_is_resumed(stored: Path, run_cli: Callable[..., Ran]) -> None:
    """Paused trials continue from their checkpoints, and the sampler continues its streams.

    The values are those of version 0.1.0.
    """
    before = cached(stored)
    resumed = run_cli("tune", "--study", "stored", *SAME_STUDY, "--n-trials", 14, "--no-confirm")
    assert resumed.code == 0, resumed.err
    run_cli("report", "--study", "stored")
    assert trial_rows(stored) == expected_rows()
    for number in range(14):
        assert_epochs(stored, number)
    assert cached(stored).items() >= before.items()


@pytest.mark.slow
def test_new_study_of_the_same_seed_repeats_the_stored_values(
    stored: Path, run_cli: Callable[..., Ran]
) -> None:
    before = cached(stored)
    assert (
        run_cli("tune", "--study", "again", *SAME_STUDY, "--n-trials", 3, "--no-confirm").code == 0
    )
    run_cli("report", "--study", "again")
    again = stored.with_name("again")
    assert [row["params"] for row in trial_rows(again)] == [
        row["params"] for row in expected_rows()[:3]
    ]
    # The prunings may differ, because the call asks for three trials and not for six.
    for number in range(3):
        n_epochs = len(read_csv(again / "trials" / f"{number:04d}" / "history.csv"))
        assert_epochs(again, number, n_epochs=n_epochs)
    assert cached(stored).items() >= before.items()


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_resumed_study_is_confirmed_and_exported(stored: Path, run_cli: Callable[..., Ran]) -> None:
    """The repeats of the stored confirmation are kept.

    The same trial is exported with the same scores and probabilities.
    """
    confirmed = {
        finalist["trial"]: finalist["repeats"]
        for finalist in read_json(stored / "confirmation.json")["finalists"]
    }
    exported = read_json(stored / "best" / "export.json")
    assert run_cli("tune", "--study", "stored", *SAME_STUDY, "--n-trials", 14).code == 0
    assert run_cli("export-best", "--study", "stored", "--trial", CONFIRMED_BEST).code == 0
    repeats = {
        finalist["trial"]: finalist["repeats"]
        for finalist in read_json(stored / "confirmation.json")["finalists"]
    }
    assert {trial: repeats[trial] | values for trial, values in confirmed.items()} == {
        trial: repeats[trial] for trial in confirmed
    }
    manifest = read_json(stored / "best" / "export.json")
    for model in ("best", "baseline"):
        scores, before = manifest["scores"][model]["test"], exported["scores"][model]["test"]
        assert scores["loss"] == pytest.approx(before["loss"], abs=LOSS_TOLERANCE)
        assert scores["accuracy"] == pytest.approx(before["accuracy"])
    assert [len(values["test_looks"]) for values in (exported, manifest)] == [1, 2]
    assert (stored / "best.1" / "export.json").exists()
    assert_predictions(
        run_cli("predict", "--study", "stored", "--file", "texts.csv", *COLUMN, "--json"),
        tolerance=LOSS_TOLERANCE,
    )
