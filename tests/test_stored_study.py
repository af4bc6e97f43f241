"""Studies, their caches and their exports that earlier versions wrote: a study is read, resumed,
reported, confirmed and exported, and the export predicts.

The tests use the command line alone, so that they need no change when modules move. The README of
each fixture describes how the files were made. `expected.json` contains the values of the version
that wrote them.
"""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Ran
from tests.paths import ROOT

FIXTURES = ROOT / "tests" / "fixtures"
SAME_STUDY = ("--space", "tiny.py", "--data", "reviews.csv", "--epochs", 4, "--workers", 1)
COLUMN = ("--text-column", "text")  # The studies were trained on the column review_body.


@dataclass(frozen=True)
class Stored:
    """A copy of a stored study in the working directory.

    Attributes:
        name: the folder of the fixture.
        path: the study's folder.
        flags: further flags of `tune`.
        exported: the trial that was exported.
        named_best: the trial that `status` names, if the version that wrote it named another.
    """

    name: str
    path: Path
    flags: tuple[object, ...]
    exported: int
    named_best: int | None = None

    @cached_property
    def expected(self) -> dict[str, Any]:
        return read_json(FIXTURES / self.name / "expected.json")

    @property
    def n_finished(self) -> int:
        """Number of trials that are not paused."""
        status = self.expected["status"]
        return int(status["n_complete"] + status["n_pruned"])

    @property
    def same_study(self) -> tuple[object, ...]:
        return (*SAME_STUDY, *self.flags)


STUDIES: dict[str, dict[str, Any]] = {
    # Version 0.1.0 named the best trial of the search; later versions name the confirmed best.
    "study_0_1": {"flags": (), "exported": 2, "named_best": 2},
    "study_9520875": {"flags": ("--min-texts", 60), "exported": 1},
}

# Processors round differently, and so do kernels that Numba has just compiled and kernels that
# Numba loads from its cache. The largest measured difference of a loss was 6e-8, between a
# processor with AVX-512 and Numba's "generic" processor without oneDNN. An accuracy changes only if
# a probability is as close to 0.5 as this difference, so accuracies have no tolerance.
LOSS_TOLERANCE = 1e-4
PROBABILITY_TOLERANCE = 1e-5


@pytest.fixture(params=STUDIES)
def stored(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Stored:
    """Copy a stored study, and make the copy the working directory."""
    shutil.copytree(FIXTURES / request.param, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Stored(request.param, tmp_path / "results" / "stored", **STUDIES[request.param])


def cached(stored: Stored) -> dict[str, tuple[int, int]]:
    """Return the inode and the time of change of each file of the stored cache but the card, which
    does not say yet how stars became classes, and the file of the rows, which is not there yet.
    """
    fingerprint = stored.expected["status"]["fingerprints"]["data"]
    files = (stored.path.parent / "cache" / fingerprint).iterdir()
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in files
        if path.name not in ("data_card.json", "linear_reference.json", "rows.npz")
        and path.is_file()
    }


def read_json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trial_rows(study: Path) -> list[dict[str, Any]]:
    """Return the trials of `trials.csv` in the layout of `expected.json`, without their epochs."""
    names = ("architecture", "vocab_size", "sequence_length", "embedding_dim", "lstm_units")
    names += ("ngrams", "ngram_vocab_size", "ngram_c")
    return [
        {
            "number": int(row["number"]),
            "state": row["state"],
            "value": float(row["value"]) if row["value"] else None,
            "params": {
                name: row[name] if name == "architecture" else float(row[name])
                for name in names
                if row.get(name)
            },
        }
        for row in read_csv(study / "trials.csv")
    ]


def trained_epochs(study: Path, number: int) -> list[dict[str, str]]:
    """Return the epochs of a trial without epoch 0, the evaluation of a fitted model, which the
    stored studies lack.
    """
    rows = read_csv(study / "trials" / f"{number:04d}" / "history.csv")
    return [row for row in rows if float(row["epoch"])]


def expected_rows(stored: Stored) -> list[dict[str, Any]]:
    columns = ("number", "state", "value", "params")
    return [{name: trial[name] for name in columns} for trial in stored.expected["resumed_trials"]]


def assert_epochs(
    stored: Stored, number: int, *, name: str = "stored", n_epochs: int | None = None
) -> None:
    """Compare the first `n_epochs` epochs of a trial of the study `name`, by default all, with the
    epochs of the version that wrote the study.
    """
    expected = stored.expected["resumed_trials"][number]
    epochs = trained_epochs(stored.path.with_name(name), number)
    losses, accuracies = (
        [float(row[metric]) for row in epochs][:n_epochs] for metric in ("val_loss", "val_accuracy")
    )
    assert losses == pytest.approx(expected["val_loss"][:n_epochs], abs=LOSS_TOLERANCE)
    assert accuracies == pytest.approx(expected["val_accuracy"][:n_epochs])


def assert_predictions(done: Ran, stored: Stored, *, tolerance: float) -> None:
    """Compare the lines of `predict --json` with the stored predictions."""
    rows, expected = map(json.loads, done.out.splitlines()), stored.expected["predictions"]
    labels, probabilities = zip(
        *(((row["text"], row["label"]), row["probability"]) for row in rows), strict=True
    )
    assert [*labels] == [(row["text"], row["label"]) for row in expected]
    assert [*probabilities] == pytest.approx(
        [row["probability"] for row in expected], abs=tolerance
    )


def test_status_reads_a_stored_study(stored: Stored, run_cli: Callable[..., Ran]) -> None:
    status = json.loads(run_cli("status", "--study", "stored", "--json").out)
    expected = stored.expected["status"]
    if stored.named_best is not None:
        best = stored.expected["resumed_trials"][stored.named_best]
        expected = expected | {
            "best_trial": stored.named_best,
            "best_value": best["value"],
            "best_params": best["params"],
        }
    assert {name: status[name] for name in expected} == expected


def test_report_shows_a_stored_study(stored: Stored, run_cli: Callable[..., Ran]) -> None:
    assert run_cli("report", "--study", "stored").code == 0
    rows, n_finished = trial_rows(stored.path), stored.n_finished
    assert rows[:n_finished] == expected_rows(stored)[:n_finished]
    assert {(row["state"], row["value"]) for row in rows[n_finished:]} == {("PAUSED", None)}
    page, confirmation = (
        (stored.path / "report.html").read_text(encoding="utf-8"),
        read_json(stored.path / "confirmation.json"),
    )
    completed = [row["value"] for row in rows if row["state"] == "COMPLETE"]
    repeats = [
        value for finalist in confirmation["finalists"] for value in finalist["repeats"].values()
    ]
    test = read_json(stored.path / "test.json")
    losses = [model["test"]["loss"] for model in test["scores"].values()]
    assert [value for value in (*completed, *repeats, *losses) if f"{value:.4f}" not in page] == []


def test_data_card_shows_the_data_of_a_new_study(
    stored: Stored, run_cli: Callable[..., Ran]
) -> None:
    """A new study of so few rows has folds, and so other words than the stored study."""
    before, card = cached(stored), run_cli("data-card", "--data", "reviews.csv")
    assert card.code == 0, card.err
    shown = " ".join(card.out.replace("│", " ").split())  # A narrow table breaks its lines.
    assert "different words in the training and the validation split" in shown
    assert stored.expected["status"]["fingerprints"]["data"] not in card.out
    assert cached(stored) == before


@pytest.mark.parametrize("format_name", ["onnx", "keras"])
def test_stored_export_predicts(
    format_name: str, stored: Stored, run_cli: Callable[..., Ran]
) -> None:
    best = stored.path / "best"
    if format_name == "keras":  # `predict` prefers ONNX where the export has it.
        manifest = read_json(best / "export.json")
        del manifest["forms"]["model.onnx"], manifest["files"]["model.onnx"]
        (best / "export.json").write_text(json.dumps(manifest), encoding="utf-8")
        (best / "model.onnx").unlink()
    assert_predictions(
        run_cli("predict", "--study", "stored", "--file", "texts.csv", *COLUMN, "--json"),
        stored,
        tolerance=PROBABILITY_TOLERANCE,
    )


@pytest.mark.slow
def test_new_study_of_the_same_seed_repeats_the_stored_values(
    stored: Stored, run_cli: Callable[..., Ran]
) -> None:
    before, space = cached(stored), Path("tiny.py")
    # A point that names its own n-grams does not get those of the linear model, as all points then.
    point = '"architecture": "ngrams"'
    space.write_text(space.read_text().replace(f"{{{point}}}", f'{{{point}, "ngrams": 2}}'))
    flags = ("--study", "again", *stored.same_study, "--n-trials", 3, "--no-confirm")
    flags += ("--folds", 1)
    assert run_cli("tune", *flags).code == 0
    run_cli("report", "--study", "again")
    again = stored.path.with_name("again")
    assert [row["params"] for row in trial_rows(again)] == [
        row["params"] for row in expected_rows(stored)[:3]
    ]
    # The prunings may differ, because the call asks for three trials and not for six.
    for number in range(3):
        n_epochs = len(trained_epochs(again, number))
        assert_epochs(stored, number, name="again", n_epochs=n_epochs)
    assert cached(stored).items() >= before.items()


@pytest.mark.journey
@pytest.mark.usefixtures("onnx_alone")
def test_resumed_study_is_confirmed_and_exported(
    stored: Stored, run_cli: Callable[..., Ran]
) -> None:
    """Paused trials continue from their checkpoints, and the sampler continues its streams. The
    repeats of the stored confirmation are kept.

    The same trial is exported with the same scores and probabilities.
    """

    def repeats() -> dict[int, dict[str, float]]:
        finalists = read_json(stored.path / "confirmation.json")["finalists"]
        return {finalist["trial"]: finalist["repeats"] for finalist in finalists}

    before, confirmed = cached(stored), repeats()
    exported = read_json(stored.path / "best" / "export.json")
    assert run_cli("tune", "--study", "stored", *stored.same_study, "--n-trials", 14).code == 0
    run_cli("report", "--study", "stored")
    assert trial_rows(stored.path) == expected_rows(stored)
    for number in range(14):
        assert_epochs(stored, number)
    assert cached(stored).items() >= before.items()
    assert run_cli("export-best", "--study", "stored", "--trial", stored.exported).code == 0
    assert {trial: repeats()[trial] | values for trial, values in confirmed.items()} == {
        trial: repeats()[trial] for trial in confirmed
    }
    manifest = read_json(stored.path / "best" / "export.json")
    for model in ("best", "baseline"):
        scores, before = manifest["scores"][model]["test"], exported["scores"][model]["test"]
        assert scores["loss"] == pytest.approx(before["loss"], abs=LOSS_TOLERANCE)
        assert scores["accuracy"] == pytest.approx(before["accuracy"])
    assert [len(values["test_looks"]) for values in (exported, manifest)] == [1, 2]
    assert_predictions(
        run_cli("predict", "--study", "stored", "--file", "texts.csv", *COLUMN, "--json"),
        stored,
        tolerance=LOSS_TOLERANCE,
    )
