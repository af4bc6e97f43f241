"""Folders that are built once: built again if a file has changed, and completed if possible."""

import shutil
from pathlib import Path

import pytest

from tuning.data.folders import build_once

FILES = ("train/ids.bin", "orders.npy", "words.txt", "tokenizer.json")


def build(folder: Path, built: list[Path], *, version: str = "1", goes_on: bool = False) -> None:
    def write(temporary: Path) -> None:
        built.append(temporary)
        (temporary / "train").mkdir(exist_ok=True)
        for name in FILES:
            (temporary / name).write_text(f"contents of {name}")
        (temporary / "version").write_text(version)

    def is_current(of: Path) -> bool:
        return (of / "version").exists() and (of / "version").read_text() == version

    build_once(folder, write, is_current=is_current, goes_on=lambda of: goes_on and is_current(of))


@pytest.mark.parametrize("name", [*FILES, "train", "checksums.json"])
@pytest.mark.parametrize("how", ["removed", "changed"])
def test_folder_is_built_once_and_again_if_a_file_is_damaged(
    name: str, how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, built = tmp_path / "parent" / "a", list[Path]()
    for _ in range(2):
        build(folder, built)
    assert len(built) == 1 and not caplog.messages
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    elif how == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    build(folder, built)
    assert len(built) == 2
    assert "have changed; the folder is built again" in caplog.text
    assert (folder / "train" / "ids.bin").read_text() == "contents of train/ids.bin"


@pytest.mark.parametrize(
    ("version", "goes_on", "stays"), [("1", True, True), ("1", False, False), ("2", True, False)]
)
def test_files_of_an_ended_process_stay_if_they_are_current_and_can_be_completed(
    version: str, goes_on: bool, stays: bool, tmp_path: Path
) -> None:
    build(tmp_path / "a", [])
    (tmp_path / "a").rename(tmp_path / "a.tmp")
    (tmp_path / "a.tmp" / "more").touch()
    build(tmp_path / "a", [], version=version, goes_on=goes_on)
    assert (tmp_path / "a" / "more").exists() == stays


def test_folder_of_another_version_is_built_again(tmp_path: Path) -> None:
    built: list[Path] = []
    for version in ("1", "2", "2"):
        build(tmp_path / "a", built, version=version)
    assert len(built) == 2
