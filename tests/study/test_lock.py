"""The lock of a study's folder, and the file that names its holder."""

import os
import socket
from pathlib import Path

import pytest
from filelock import FileLock

from tuning.atomic_io import read_json
from tuning.errors import StudyError
from tuning.results import StudyDir
from tuning.study.lock import holder_of, is_locked, study_lock


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return StudyDir(tmp_path / "results" / "s")


def refusal(folder: StudyDir) -> str:
    with pytest.raises(StudyError, match="Only one process") as error, study_lock(folder):
        pass
    return str(error.value)


def test_lock_names_its_holder_while_it_is_held(folder: StudyDir) -> None:
    with study_lock(folder):
        holder = read_json(folder.lock_holder_path)
        message = refusal(folder)
        assert folder.lock_path.exists()  # The refused call does not remove a new folder.
    assert sorted(holder) == ["host", "pid", "since"]
    assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
    assert f"by process {os.getpid()} on {holder['host']} since {holder['since']} (" in message
    assert not folder.lock_holder_path.exists()


def test_holder_is_known_while_the_lock_is_held(folder: StudyDir) -> None:
    with study_lock(folder):
        holder = holder_of(folder)
        text = folder.lock_holder_path.read_text()
    assert holder and (holder.pid, holder.host) == (os.getpid(), socket.gethostname())
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.lock_holder_path.write_text(text)  # As after kill -9.
    assert holder_of(folder) is None


@pytest.mark.parametrize("content", ["", '{"schema_version": 1, "pid": 7}'])
def test_lock_whose_holder_can_t_be_read_is_another_process_s(
    content: str, folder: StudyDir
) -> None:
    with study_lock(folder):
        folder.lock_holder_path.write_text(content)
        assert "is locked by another process (" in refusal(folder)


def test_folder_of_a_study_that_was_never_created_is_removed(folder: StudyDir) -> None:
    def fail() -> None:
        with study_lock(folder):
            folder.log_path.write_text("a line")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not folder.path.parent.exists()


def test_lock_that_may_not_be_opened_counts_as_held(
    folder: StudyDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of another user, whose study must not be touched."""
    folder.lock_path.parent.mkdir(parents=True)
    folder.lock_path.touch()
    assert not is_locked(folder.lock_path)

    def refuse(self: FileLock, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert is_locked(folder.lock_path)
