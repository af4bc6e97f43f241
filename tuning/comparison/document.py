"""The document of a comparison, `comparison.json`: the studies that are compared, their minutes,
and the state of each study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from tuning import documents
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.documents import OMIT_DEFAULT
from tuning.errors import ArgumentError, StudyError
from tuning.results import ResultsDir, StudyDir, safe_name
from tuning.spaces.files import find_space, short_name

DEFAULT_MINUTES = 10.0
MIN_SPACES = 2


@dataclass(frozen=True, kw_only=True)
class ComparedReference:
    """A reference model that was trained on the training split.

    Attributes:
        accuracy: its accuracy on the validation split.
        seconds: the time for training it.
    """

    name: str
    about: str
    accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ComparedSpace:
    """A search space of a comparison, and the state of its study.

    Attributes:
        space: name or path of the search space.
        study: name of its study.
        seconds: duration of its search so far, with the start of the workers.
        curve: each improvement of the best validation accuracy after any epoch of any trial, as
            (seconds of the search, value).
        is_searched: whether the search is over.
        is_over: whether the best configuration of the search is confirmed.
        latency_ms: latency of the best model for a single text; None if it was not measured.
        measured_trial: number of the trial whose model was measured; None in older documents.
        failure: the reason why the search or its confirmation failed; None without a failure.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    space: str
    study: str
    seconds: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)
    is_searched: bool = False
    is_over: bool = False
    latency_ms: float | None = None
    measured_trial: int | None = field(default=None, metadata=OMIT_DEFAULT)
    failure: str | None = None

    @property
    def name(self) -> str:
        """Name of the search space without its folder."""
        return short_name(self.space)

    def at(self, seconds: float, best: float | None) -> Self:
        """Return the space after an event of its search, whose best value so far is `best`."""
        seconds, curve = round(seconds, 1), self.curve
        if best is not None and (not curve or best > curve[-1][1]):
            curve = [*curve, (seconds, best)]
        return replace(self, seconds=seconds, curve=curve)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The settings of a comparison, and its search spaces.

    Attributes:
        minutes: duration of each search.
        seed: seed of the data split, the samplers and the trainings.
        epochs: maximum number of epochs of a trial.
        data_fingerprint: fingerprint of the data; empty before the data are read the first time.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    minutes: float
    seed: int
    epochs: int = field(default=TrainConfig.epochs, metadata=OMIT_DEFAULT)
    data: DataConfig
    spaces: list[ComparedSpace]
    data_fingerprint: str = ""
    references: list[ComparedReference] = field(default_factory=list)

    @property
    def unfinished(self) -> list[ComparedSpace]:
        """The spaces that must still be searched or confirmed; spaces that failed are included."""
        return [space for space in self.spaces if not space.is_over]

    @property
    def is_interrupted(self) -> bool:
        """Whether a space is unfinished and has not failed: the user has interrupted the call."""
        return any(space.failure is None for space in self.unfinished)

    def with_space(self, changed: ComparedSpace) -> Self:
        """Return the comparison with a new state of one of its spaces."""
        spaces = [changed if space.study == changed.study else space for space in self.spaces]
        return replace(self, spaces=spaces)

    def config_of(self, space: ComparedSpace) -> StudyConfig:
        """Return the configuration of a space's study."""
        return StudyConfig(
            study=space.study,
            space=space.space,
            seed=self.seed,
            data=self.data,
            train=TrainConfig(epochs=self.epochs),
        )

    def save(self, folder: StudyDir) -> None:
        """Write `comparison.json`."""
        documents.write(folder.comparison_path, self)

    @classmethod
    def load(cls, folder: StudyDir) -> Self:
        """Read `comparison.json`.

        Raises:
            StorageError: the file can't be read.
            StudyError: it does not contain a comparison.
        """
        return documents.read(
            folder.comparison_path,
            cls,
            error=StudyError,
            remedy="Remove the file and type `make compare` again; finished searches stay.",
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """The values of one call of `make compare`; None and empty values were not given.

    Args:
        spaces: names or paths of search spaces.
        minutes: duration of each search.
        epochs: maximum number of epochs of a trial.
        data: values of `DataConfig`.

    Raises:
        ArgumentError: a value is out of range, or a space is named twice.
        SpaceError: a space does not exist.
    """

    spaces: Sequence[str] = ()
    minutes: float | None = None
    seed: int | None = None
    epochs: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [short_name(find_space(space, flag="--spaces")) for space in self.spaces]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ArgumentError(
                f"--spaces must name each search space once; received {twice!r} twice. Two files of"
                " the same name must be renamed."
            )
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise ArgumentError(f"--minutes must be more than 0; received {self.minutes:g}.")
        if self.epochs is not None and self.epochs < 1:
            raise ArgumentError(f"--epochs must be 1 or more; received {self.epochs}.")


def require_no_study(folder: StudyDir) -> None:
    """Check that a folder can be the folder of a comparison.

    Raises:
        StudyError: the folder contains a study.
    """
    if folder.config_path.exists():
        raise StudyError(
            f"A comparison must have a name of its own; {folder.name!r} is a study. Name another"
            " one with --study."
        )


def begin(folder: StudyDir, request: Request) -> Comparison:
    """Return the comparison of a call: a new comparison, or the comparison in `folder` with the
    further spaces of the call, or with more minutes for every space.

    Raises:
        ArgumentError: the call names fewer than two spaces, or fewer minutes than the comparison
            has.
        StudyError: the comparison has another seed or number of epochs, `folder` contains a study,
            or the name of a study would be too long.
    """
    require_no_study(folder)
    if folder.comparison_path.exists():
        return _continued(Comparison.load(folder), folder, request)
    spaces = [_space(name, folder) for name in request.spaces]
    if len(spaces) < MIN_SPACES:
        raise ArgumentError(
            f"--spaces must name {MIN_SPACES} search spaces or more, as in 'baseline_lstm ngrams';"
            f" received {' '.join(request.spaces) or 'none'!r}."
        )
    return Comparison(
        minutes=request.minutes or DEFAULT_MINUTES,
        seed=StudyConfig.seed if request.seed is None else request.seed,
        epochs=request.epochs or TrainConfig.epochs,
        data=DataConfig(**request.data),
        spaces=spaces,
    )


def _continued(old: Comparison, folder: StudyDir, request: Request) -> Comparison:
    minutes = request.minutes or old.minutes
    if minutes < old.minutes:
        raise ArgumentError(
            f"--minutes must be {old.minutes:g} or more, which the searches of {folder.name!r}"
            f" have had; received {minutes:g}. Start another comparison with --study NAME."
        )
    for name in ("seed", "epochs"):
        before, now = getattr(old, name), getattr(request, name)
        if now not in (None, before):
            raise StudyError(
                f"Comparison {folder.name!r} must be continued with the {name} it was created with,"
                f" {before}; received {now}. Start another comparison with --study NAME."
            )
    called = [_space(name, folder) for name in request.spaces]
    known, named = ({space.study for space in spaces} for spaces in (old.spaces, called))
    added = [space for space in called if space.study not in known]
    # A space that failed, and that a call with spaces does not name any more, was given up.
    spaces = [s for s in old.spaces if s.failure is None or not named or s.study in named]
    if minutes > old.minutes:
        spaces = [replace(space, is_searched=False, is_over=False) for space in spaces]
    data = replace(old.data, **request.data)
    return replace(old, minutes=minutes, data=data, spaces=[*spaces, *added])


def _space(name: str, folder: StudyDir) -> ComparedSpace:
    results = ResultsDir(folder.path.parent)
    return ComparedSpace(
        space=name, study=results.study(f"{folder.name}-{safe_name(short_name(name))}").name
    )


def on_data(comparison: Comparison, fingerprint: str, *, name: str) -> Comparison:
    """Return a comparison with the fingerprint of its data.

    Raises:
        StudyError: the comparison was created on other data.
    """
    if comparison.data_fingerprint not in ("", fingerprint):
        raise StudyError(
            f"Comparison {name!r} must be continued on its data, which have fingerprint"
            f" {comparison.data_fingerprint}; {comparison.data.data} now has {fingerprint}. Put the"
            " data back, or start another comparison with --study NAME."
        )
    return replace(comparison, data_fingerprint=fingerprint)
