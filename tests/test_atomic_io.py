"""Writes of whole files, in folders that are full, read-only, or not folders."""

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuning.atomic_io import read_history, read_json, write_csv, write_json, write_text
from tuning.errors import StorageError
from tuning.export.versions import publish
from tuning.results import ResultsDir

# Constants of <sys/mount.h>.
MS_RDONLY, MS_REMOUNT = 1, 32


def fail_to_rename(self: Path, target: object) -> Path:
    raise OSError(5, "Input/output error")


# Writing


def test_write_text_makes_missing_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "x\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x\n"


def test_write_text_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_text(tmp_path / "c.txt", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["c.txt"]


def test_write_text_keeps_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "c.txt", "a\nb\r\n")
    assert (tmp_path / "c.txt").read_bytes() == b"a\nb\r\n"


def test_write_text_replaces_lone_surrogates(tmp_path: Path) -> None:
    write_text(tmp_path / "c.txt", "a\ud800é")
    assert (tmp_path / "c.txt").read_text(encoding="utf-8") == "a?é"


def test_write_text_renames_what_the_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power, a new name may otherwise have no bytes."""
    calls: list[str] = []
    rename = Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: calls.append("fsync"))
    monkeypatch.setattr(Path, "replace", lambda *paths: [calls.append("rename"), rename(*paths)][1])
    write_text(tmp_path / "c.txt", "x")
    assert calls == ["fsync", "rename"]


def test_write_text_that_fails_in_the_middle_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.txt"
    write_text(path, "old")
    monkeypatch.setattr(Path, "replace", fail_to_rename)
    with pytest.raises(StorageError, match="Input/output error"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_write_text_that_fails_in_the_middle_makes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.txt"
    monkeypatch.setattr(Path, "replace", fail_to_rename)
    with pytest.raises(StorageError):
        write_text(path, "new")
    assert not path.exists()


def test_write_text_overwrites_the_rest_of_a_killed_write(tmp_path: Path) -> None:
    (tmp_path / "c.txt.tmp").write_text("half of a much longer te")
    write_text(tmp_path / "c.txt", "new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"c.txt": "new"}


def test_write_json_that_can_not_be_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}


def test_write_json_is_indented_sorted_and_versioned(tmp_path: Path) -> None:
    write_json(tmp_path / "c.json", {"b": "é", "a": 1})
    assert (tmp_path / "c.json").read_text(
        encoding="utf-8"
    ) == '{\n  "a": 1,\n  "b": "é",\n  "schema_version": 1\n}\n'


def test_write_csv_quotes_what_needs_it(tmp_path: Path) -> None:
    write_csv(tmp_path / "c.csv", [{"a": 1, "b": "x, y"}, {"a": 2, "b": 'say "so"'}])
    assert (tmp_path / "c.csv").read_text() == 'a,b\n1,"x, y"\n2,"say ""so"""\n'


def test_write_csv_takes_rows_of_different_keys(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "c.csv",
        [
            {"epoch": 1, "loss": 0.5},
            {"epoch": 2, "loss": 0.25, "val_precision": 0.75},
            {"epoch": 3},
        ],
    )
    assert (
        tmp_path / "c.csv"
    ).read_text() == "epoch,loss,val_precision\n1,0.5,\n2,0.25,0.75\n3,,\n"
    assert read_history(tmp_path / "c.csv") == [
        {"epoch": 1, "loss": 0.5},
        {"epoch": 2, "loss": 0.25, "val_precision": 0.75},
        {"epoch": 3},
    ]


# Reading


def test_read_json_gives_back_what_was_written(tmp_path: Path) -> None:
    values = {"a": [1, 2.5, None], "b": {"c": "naïve"}}
    write_json(tmp_path / "c.json", values)
    assert read_json(tmp_path / "c.json") == values


@pytest.mark.parametrize(
    "content",
    [{"a": 1}, {"a": 1, "schema_version": 2}, {"a": 1, "schema_version": "1"}, [1], "x", None],
)
def test_read_json_refuses_another_schema_version(tmp_path: Path, content: object) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    with pytest.raises(StorageError, match="must have schema_version 1; it has"):
        read_json(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1} x'])
def test_read_json_refuses_what_is_not_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"c\.json must contain JSON"):
        read_json(path)


def test_read_json_refuses_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"c\.json must contain JSON written by this program"):
        read_json(tmp_path / "c.json")


# Folders that can't be written


def test_write_below_a_regular_file_gives_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    study = ResultsDir(tmp_path / "file" / "results").study("s")
    with pytest.raises(
        StorageError,
        match=(
            r"The results folder must be writable and have space; .*study\.json gave 'Not a"
            r" directory'"
        ),
    ):
        write_json(study.config_path, {})


def test_write_into_a_results_path_that_is_a_file_gives_storage_error(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    with pytest.raises(StorageError, match="choose another folder"):
        write_json(ResultsDir(tmp_path / "results").study("s").config_path, {})


def mount(source: str, target: Path, *, flags: int, options: str) -> None:
    if (
        ctypes.CDLL(None, use_errno=True).mount(
            source.encode(), str(target).encode(), b"tmpfs", flags, options.encode()
        )
        != 0
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder of a file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount("small", disk, flags=0, options="size=64k")
    except OSError as error:
        pytest.skip(f"mounting a tmpfs needs the right to: {error}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_gives_storage_error_and_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "s" / "study.json"
    write_text(path, "old")
    with pytest.raises(StorageError, match=r"have space; .* gave 'No space left on device'"):
        write_text(path, "x" * 200_000)
    assert path.read_text() == "old"


def test_full_disk_keeps_no_part_of_a_failed_write(small_disk: Path) -> None:
    with pytest.raises(StorageError):
        write_text(small_disk / "big.txt", "x" * 200_000)
    assert list(small_disk.iterdir()) == []


def test_read_only_disk_gives_storage_error_and_leaves_the_old_file(small_disk: Path) -> None:
    write_text(small_disk / "study.json", "old")
    mount("small", small_disk, flags=MS_REMOUNT | MS_RDONLY, options="size=64k")
    with pytest.raises(StorageError, match=r"must be writable .* gave 'Read-only file system'"):
        write_text(small_disk / "study.json", "new")
    assert (small_disk / "study.json").read_text() == "old"


def test_publish_on_a_read_only_disk_keeps_the_old_folder(small_disk: Path) -> None:
    for name in ("best", "best.tmp"):
        write_text(small_disk / name / "file.txt", name)
    mount("small", small_disk, flags=MS_REMOUNT | MS_RDONLY, options="size=64k")
    with pytest.raises(StorageError, match="Read-only file system"):
        publish(small_disk / "best.tmp", small_disk / "best", number=2)
    assert (small_disk / "best" / "file.txt").read_text() == "best"


def test_publish_from_another_disk_keeps_the_old_folder(small_disk: Path, tmp_path: Path) -> None:
    write_text(small_disk / "best.tmp" / "file.txt", "new")
    write_text(tmp_path / "best" / "file.txt", "old")
    with pytest.raises(StorageError, match="Invalid cross-device link"):
        publish(small_disk / "best.tmp", tmp_path / "best", number=2)
    assert (tmp_path / "best" / "file.txt").read_text() == "old"
