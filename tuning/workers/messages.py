"""The messages between the coordinator and a worker, as JSON.

| the coordinator sends | the worker answers |
|---|---|
| `Declare` | `SpaceDeclared` |
| `Train` | `EpochEnded` after each epoch, and waits for a `Reply` |
| | then `TrainingEnded`, `ModelRefused` or `TrainingFailed` |
| any request | `ErrorRaised`, if the code of the worker or of the search space raised |
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, get_args

from tuning import errors
from tuning.config import StudyConfig
from tuning.data.rows import Redraw
from tuning.documents import structure, unstructure
from tuning.inputs.corpus import Corpus
from tuning.inputs.kinds import NGRAMS
from tuning.outcomes import FailureReason
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values
from tuning.spaces.sizes import Sizes
from tuning.targets.target import Target
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob


@dataclass(frozen=True)
class Declare:
    """A request to load a space. `is_weighted`: whether texts have weights in the loss."""

    path: str
    target: Target
    preset: str | None = None
    sizes: Sizes | None = None
    is_weighted: bool = False


@dataclass(frozen=True)
class Train:
    """A request to train one model. `corpus` is the folder of the tokenized data set;
    `takes_texts`: whether models of the space take texts.
    """

    space_path: str
    corpus: str
    job: TrainingJob
    takes_texts: bool


@dataclass(frozen=True)
class Reply:
    """The answer to an `EpochEnded`: what the training does next. `n_threads` is the number of
    threads for the kernels of the training; None: the number in the settings of the worker.
    """

    answer: Answer
    n_threads: int | None = None


@dataclass(frozen=True)
class SpaceDeclared:
    space: SearchSpace


@dataclass(frozen=True)
class EpochEnded:
    """An epoch has ended; the worker waits for a `Reply`."""

    epoch: Epoch


@dataclass(frozen=True)
class TrainingEnded:
    result: FitResult


@dataclass(frozen=True)
class ModelRefused:
    """A model was not trained, because it is larger or slower than allowed."""

    result: FitResult


@dataclass(frozen=True)
class TrainingFailed:
    """A training has failed for a named reason, or its worker was replaced."""

    reason: FailureReason
    detail: str


@dataclass(frozen=True)
class ErrorRaised:
    """`error` is the name of a class in `tuning.errors`, or "bug" for any other exception."""

    error: str
    message: str
    traceback: str


Request = Declare | Train | Reply
Ending = TrainingEnded | ModelRefused | TrainingFailed | ErrorRaised
Response = SpaceDeclared | EpochEnded | Ending
Message = Request | Response

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    return json.dumps({"kind": type(message).__name__, **unstructure(message)}).encode()


def decode(data: bytes) -> Message:
    values = json.loads(data)
    kind = _KINDS[values.pop("kind")]
    return structure(values, kind)


def checked_answer(answer: Response | None, *, ending: Callable[[], str]) -> Response:
    """Return the answer of a worker. `ending` describes how a worker without an answer ended."""
    if answer is None:
        raise errors.SpaceError(f"A worker must not end before it has answered; it {ending()}.")
    if isinstance(answer, ErrorRaised):
        raise_error(answer)
    return answer


def raise_error(message: ErrorRaised) -> NoReturn:
    if message.error in ("SpaceBug", "bug"):
        raise errors.SpaceBug(message.message, traceback=message.traceback)
    raise getattr(errors, message.error)(message.message)


def train_request(
    config: StudyConfig, values: Values, *, space: SearchSpace, space_path: Path, corpus: Corpus
) -> Train:
    job = TrainingJob(
        values=values,
        target=corpus.target,
        train=config.train,
        seed=config.seed,
        metric=config.metric,
        known=tuple(item.name for item in space.hyperparameters),
        redraw=Redraw.into_folds(seed=config.seed, n_folds=config.train.n_folds),
        n_ngram_ids=NGRAMS.n_ids(corpus, space, values),
    )
    folder = str(corpus.folder.absolute())
    return Train(str(space_path), folder, job, takes_texts=space.takes_texts)
