"""Writes of whole files, in folders that are full, read-only, or not folders."""

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuning.atomic_io import (
    read_history,
    read_json,
    replace_folder,
    write_csv,
    write_json,
    write_text,
)
from tuning.errors import StorageError
from tuning.results import ResultsDir

# Constants of <sys/mount.h>.
MS_RDONLY, MS_REMOUNT = 1, 32


@pytest.mark.parametrize(
    ("text", "written"), [("a\nb\r\n", b"a\nb\r\n"), ("a\ud800é", "a?é".encode())]
)
def test_write_text_leaves_one_file(text: str, written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    path.parent.mkdir(parents=True)
    path.with_name("c.txt.tmp").write_text("half of a much longer te")  # A process was killed.
    write_text(path, text)
    assert path.read_bytes() == written
    assert [p.name for p in path.parent.iterdir()] == ["c.txt"]


def test_write_text_renames_what_the_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power, a new name may otherwise have no bytes."""
    calls: list[str] = []
    rename = Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: calls.append("fsync"))
    monkeypatch.setattr(Path, "replace", lambda *paths: [calls.append("rename"), rename(*paths)][1])
    write_text(tmp_path / "new" / "c.txt", "x")
    assert calls == ["fsync", "rename"]


def test_write_that_fails_in_the_middle_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_rename(self: Path, target: object) -> Path:
        raise OSError(5, "Input/output error")

    path = tmp_path / "c.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    monkeypatch.setattr(Path, "replace", fail_to_rename)
    for name in ("c.json", "new.json"):
        with pytest.raises(StorageError, match="Input/output error"):
            write_json(tmp_path / name, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert not (tmp_path / "new.json").exists()


def test_write_csv_takes_rows_of_different_keys(tmp_path: Path) -> None:
    """Keras may evaluate every second epoch only."""
    path, first, last = tmp_path / "c.csv", {"epoch": 1, "loss": 0.5}, {"epoch": 3}
    rows = [first, {"epoch": 2, "loss": 0.25, "val_precision": 0.75}, last]
    write_csv(path, rows)
    assert path.read_text() == "epoch,loss,val_precision\n1,0.5,\n2,0.25,0.75\n3,,\n"
    assert read_history(path) == rows
    write_csv(path, [{"a": 1, "b": "x, y"}, {"a": 2, "b": 'say "so"'}])
    assert path.read_text() == 'a,b\n1,"x, y"\n2,"say ""so"""\n'


@pytest.mark.parametrize(
    "content",
    [{"a": 1}, {"a": 1, "schema_version": 2}, {"a": 1, "schema_version": "1"}, [1], "x", None],
)
def test_read_json_refuses_another_schema_version(tmp_path: Path, content: object) -> None:
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(StorageError, match="must have schema_version 1; it has"):
        read_json(tmp_path / "c.json")


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b'{"a": 1} x'])
def test_read_json_refuses_what_is_not_json(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"c\.json must contain JSON"):
        read_json(tmp_path / "c.json")


@pytest.mark.parametrize("below", ["", "results"])
def test_write_below_a_file_names_the_folder(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    study = ResultsDir(tmp_path / "file" / below).study("s")
    with pytest.raises(StorageError, match=r"results folder must be writable.*Not a directory"):
        write_json(study.config_path, {})


def mount(source: str, target: Path, *, flags: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(source.encode(), str(target).encode(), b"tmpfs", flags, b"size=64k") != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder of a file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount("small", disk, flags=0)
    except OSError as error:
        pytest.skip(f"mounting a tmpfs needs the right to: {error}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_leaves_the_old_file_and_no_part_of_a_new_one(small_disk: Path) -> None:
    path = small_disk / "study.json"
    write_text(path, "old")
    for name in ("study.json", "big.txt"):
        with pytest.raises(StorageError, match="No space left on device"):
            write_text(small_disk / name, "x" * 200_000)
    assert [p.name for p in small_disk.iterdir()] == ["study.json"]
    assert path.read_text() == "old"


def test_read_only_disk_keeps_its_files_and_folders(small_disk: Path) -> None:
    for name in ("best", "best.tmp"):
        write_text(small_disk / name / "file.txt", name)
    mount("small", small_disk, flags=MS_REMOUNT | MS_RDONLY)
    with pytest.raises(StorageError, match=r"must be writable .*Read-only file system"):
        write_text(small_disk / "best" / "file.txt", "new")
    with pytest.raises(StorageError, match="Read-only file system"):
        replace_folder(small_disk / "best.tmp", small_disk / "best")
    assert (small_disk / "best" / "file.txt").read_text() == "best"


def test_folder_from_another_disk_keeps_the_old_folder(small_disk: Path, tmp_path: Path) -> None:
    write_text(small_disk / "best.tmp" / "file.txt", "new")
    write_text(tmp_path / "best" / "file.txt", "old")
    with pytest.raises(StorageError, match="Invalid cross-device link"):
        replace_folder(small_disk / "best.tmp", tmp_path / "best")
    assert (tmp_path / "best" / "file.txt").read_text() == "old"


def test_folder_replaces_another_one(tmp_path: Path) -> None:
    new, folder = tmp_path / "best.tmp", tmp_path / "best"
    for text in ("first", "second"):
        write_text(new / "file.txt", text)
        write_text(tmp_path / "best.old" / "file.txt", "of a killed process")
        replace_folder(new, folder)
        assert (folder / "file.txt").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["best"]
    with pytest.raises(StorageError, match="must be writable"):
        replace_folder(new, folder)  # There is no new folder.
    assert (folder / "file.txt").read_text() == "second"
