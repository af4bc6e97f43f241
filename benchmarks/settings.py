"""What one call of `make bench` is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tuning.config import DataConfig
from tuning.errors import ArgumentError

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`tiny` takes sizes of seconds, to try the command: its figures mean nothing, and its files
    are kept apart.
    """

    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    n_workers: int = 1
    minutes: float = 30.0
    tiny: bool = False
    folder: Path = Path("results/bench")

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise ArgumentError(f"--minutes must be more than 0; received {self.minutes:g}.")
        if self.n_workers < 1:
            raise ArgumentError(f"--workers must be 1 or more; received {self.n_workers}.")

    @property
    def log_path(self) -> Path:
        """Where the lines of the sides' libraries go."""
        return self.folder / "bench.log"

    def size(self, full: _T, *, tiny: _T) -> _T:
        """One of two sizes."""
        return tiny if self.tiny else full
