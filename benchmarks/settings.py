"""The settings of one call of `make bench`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tuning.config import DataConfig
from tuning.errors import ArgumentError

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`tiny` chooses sizes that take seconds. Their figures mean nothing, and their records have
    other names.
    """

    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    n_workers: int = 1
    minutes: float = 30.0
    tiny: bool = False
    repeats: int = 2
    folder: Path = Path("results/bench")

    def __post_init__(self) -> None:
        if not self.minutes > 0:  # also NaN
            raise ArgumentError(f"--minutes must be more than 0; received {self.minutes:g}.")
        if self.n_workers < 1:
            raise ArgumentError(f"--workers must be 1 or more; received {self.n_workers}.")
        if self.repeats < 0:
            raise ArgumentError(f"--repeats must be 0 or more; received {self.repeats}.")

    def size(self, full: _T, *, tiny: _T) -> _T:
        return tiny if self.tiny else full
