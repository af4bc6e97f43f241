import shutil
from pathlib import Path

import pytest


@pytest.fixture
def preset(tiny_preset: Path, tmp_path: Path) -> str:
    """A copy of the tiny preset, which a test may change."""
    return str(shutil.copytree(tiny_preset, tmp_path / "preset"))
