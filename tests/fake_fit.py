"""A training of the linear model that trains nothing."""

from pathlib import Path

from tuning.evaluation.linear_reference import (
    BackgroundFit,
    LinearReference,
    NgramSettings,
    Weighting,
)

CHOSEN = NgramSettings(2, Weighting.RARITY, 30.0)


class FakeFit(BackgroundFit):
    """A training that ends at the poll after `n_polls` others, and fails if `settings` is None."""

    def __init__(self, settings: NgramSettings | None = CHOSEN, *, n_polls: int = 0) -> None:
        super().__init__()
        self.niceness: int | None = None  # of a training that was started
        self._settings, self._n_left = settings, n_polls

    def start(self, folder: Path, *, niceness: int = 0) -> None:
        if self.niceness is None:
            self.niceness = niceness

    @property
    def is_running(self) -> bool:
        return self.niceness is not None and self._n_left >= 0

    def poll(self) -> LinearReference | None:
        if not self.is_running:
            return None
        self._n_left -= 1
        if self.is_running or self._settings is None:
            return None
        self.reference = LinearReference(
            about="pairs", scores={"accuracy": 0.9}, seconds=1.0, settings=self._settings
        )
        return self.reference
