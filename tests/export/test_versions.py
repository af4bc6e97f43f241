"""The newest export is in `best/`, and the last few earlier exports are beside it. If a process
dies while it exports, the study keeps a complete export.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.servers import MANIFEST
from tuning.atomic_io import write_json
from tuning.documents import write
from tuning.errors import StorageError
from tuning.export.versions import (
    N_KEPT,
    earlier,
    is_finished,
    newest,
    next_number,
    publish,
    recover,
)
from tuning.inference.manifest import digests, read_manifest
from tuning.results import StudyDir
from tuning.study.lock import export_lock


def export(folder: Path, number: int) -> Path:
    """Write a finished export of one file, and return its folder."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text(f"model {number}")
    manifest = replace(MANIFEST, export_number=number, files=digests(folder))
    write(folder / "export.json", manifest, version=2)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_newest_stands_in_best_and_the_last_few_beside_it(tmp_path: Path) -> None:
    best = tmp_path / "best"
    for number in range(1, N_KEPT + 4):
        assert next_number(best) == number
        publish(export(tmp_path / "best.tmp", number), best, number=number)
        assert read_manifest(best).export_number == number
    assert names(tmp_path) == [
        "best",
        *(f"best.{number}" for number in range(number - N_KEPT, number)),
    ]
    assert list(earlier(best)) == [number - 1, number - 2]
    assert all(
        read_manifest(path).export_number == number for number, path in earlier(best).items()
    )


def test_export_of_an_earlier_version_of_the_program_is_kept_too(tmp_path: Path) -> None:
    best = tmp_path / "best"
    best.mkdir()
    write_json(best / "export.json", {"class_names": ["a", "b"]})
    assert next_number(best) == 2
    publish(export(tmp_path / "best.tmp", 2), best, number=2)
    assert names(tmp_path) == ["best", "best.1"]


def test_publish_without_a_finished_folder_changes_nothing(tmp_path: Path) -> None:
    best = export(tmp_path / "best", 1)
    for _ in range(2):
        with pytest.raises(StorageError, match="The results folder must be writable"):
            publish(tmp_path / "best.tmp", best, number=2)
    assert names(tmp_path) == ["best"]
    assert is_finished(best)


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from tuning.export import versions

folder, point, seen = Path(sys.argv[1]), int(sys.argv[2]), []

def dies(real):
    def call(*arguments, **options):
        if len(seen) == point:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(real)
        return real(*arguments, **options)
    return call

Path.replace, shutil.rmtree = dies(Path.replace), dies(shutil.rmtree)
versions.publish(folder / "best.tmp", folder / "best", number=4)
"""


@pytest.mark.parametrize(
    ("point", "number_before", "number_after"), [(0, 3, 3), (1, None, 4), (2, 4, 4)]
)
def test_process_killed_while_it_publishes_leaves_a_whole_export(
    tmp_path: Path, point: int, number_before: int | None, number_after: int
) -> None:
    """The process is killed before the first rename, between both renames, or before the oldest
    export is removed.
    """
    study = StudyDir(tmp_path)
    for name, number in (("best.1", 1), ("best.2", 2), ("best", 3), ("best.tmp", 4)):
        export(tmp_path / name, number)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, str(point)], cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert (
        read_manifest(study.best_dir).export_number if study.best_dir.exists() else None
    ) == number_before
    assert read_manifest(newest(study)).export_number == number_after
    assert is_finished(study.best_dir)
    assert {read_manifest(path).export_number for path in tmp_path.glob("best*/")} >= {
        2,
        3,
        number_after,
    }


def test_recovery_takes_no_unfinished_export(tmp_path: Path) -> None:
    for name, number in (("best.1", 1), ("best.2", 2), ("best.tmp", 3)):
        export(tmp_path / name, number)
    (tmp_path / "best.tmp" / "export.json").unlink()
    (tmp_path / "best.2" / "model.onnx").write_text("half")
    best = tmp_path / "best"
    recover(best)
    assert read_manifest(best).export_number == 1
    # An export after a recovery finds a free number.
    publish(export(tmp_path / "new.tmp", 3), best, number=next_number(best))
    assert {"best", "best.2", "best.3"} <= {*names(tmp_path)}


def test_card_that_the_user_changed_is_no_damage(tmp_path: Path) -> None:
    folder = export(tmp_path / "best.1", 1)
    (folder / "README.md").write_text("card")
    write(folder / "export.json", replace(read_manifest(folder), files=digests(folder)), version=2)
    (folder / "README.md").write_text("card, with its license")
    assert is_finished(folder)
    (folder / "model.onnx").write_text("other")
    assert not is_finished(folder)


def test_newest_leaves_an_export_that_is_being_written_alone(tmp_path: Path) -> None:
    study = StudyDir(tmp_path)
    export(tmp_path / "best.tmp", 1)
    script = (
        "import sys; from pathlib import Path; from tuning.results import StudyDir; from"
        " tuning.export.versions import newest\n"
    )
    with export_lock(study):
        subprocess.run(
            [sys.executable, "-c", f"{script}newest(StudyDir(Path({os.fspath(tmp_path)!r})))"],
            cwd=ROOT,
            check=True,
        )
        assert "best" not in names(tmp_path)
    assert newest(study).exists()
