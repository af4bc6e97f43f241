"""Load `search_spaces/<name>.py`, read the hyperparameters that it declares, and build its model.

Loading and building run in a worker; the coordinator receives a `SearchSpace`, which is data.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.documents import OMIT_DEFAULT, unstructure
from tuning.errors import SpaceBug, SpaceError
from tuning.spaces.discovery import as_hypermodel, find_hypermodel
from tuning.spaces.exploring import explore, shifted
from tuning.spaces.files import (
    load_module,
    run_user_code,
    short_name,
    source_sha256,
    split_place,
)
from tuning.spaces.hyperparameters import declared, replay
from tuning.spaces.keras_settings import keras_settings_of, record_keras_settings
from tuning.spaces.outputs import note_of_outputs
from tuning.spaces.ranges import Hyperparameter, Values
from tuning.spaces.required import NGRAMS, PRESET, check
from tuning.spaces.sizes import (
    ModelSizes,
    Sizes,
    lacks_sizes,
    sizes_of_model,
    stated_lengths,
    with_sizes,
)
from tuning.spaces.starting_points import adopt_points, points_of, resolve_points
from tuning.spaces.texts import mentions_texts, takes_texts

if TYPE_CHECKING:
    import keras
    import keras_tuner

# Number of tokens of a text with which an own `fit` is tried before the data are known.
N_TRIED_TOKENS = 8


@dataclass(frozen=True)
class SearchSpace:
    """A declared search space as data: its hyperparameters in order of declaration.

    `source_sha256` is the hash of the file, which may change although the hyperparameters do not.
    `starting_points` contains the values of all active hyperparameters for each starting point.
    `notes` contains sentences about sizes that the space does not declare, and about its models.
    `takes_texts` is true if a model of the space takes the texts themselves.
    """

    name: str
    hyperparameters: tuple[Hyperparameter, ...]
    source_sha256: str = ""
    starting_points: tuple[Values, ...] = field(default=(), metadata=OMIT_DEFAULT)
    notes: tuple[str, ...] = field(default=(), metadata=OMIT_DEFAULT)
    takes_texts: bool = field(default=False, metadata=OMIT_DEFAULT)

    @property
    def fingerprint(self) -> str:
        """12 hex digits over the declared hyperparameters. The starting points do not count."""
        text = json.dumps([unstructure(item) for item in self.hyperparameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def takes_ngrams(self) -> bool:
        """Whether a model of this space may take n-grams. Models that take the texts themselves
        make their own, and may have a hyperparameter of this name.
        """
        return not self.takes_texts and any(item.name == NGRAMS for item in self.hyperparameters)

    @property
    def presets(self) -> list[str]:
        """The presets whose tokens a model of this space may take."""
        items = [item for item in self.hyperparameters if item.name == PRESET]
        return list(dict.fromkeys(str(v) for item in items for v in item.choices or [item.default]))

    @property
    def searched(self) -> list[Hyperparameter]:
        """The hyperparameters that are not fixed."""
        return [item for item in self.hyperparameters if item.kind != "fixed"]


def load_hypermodel(path: Path) -> keras_tuner.HyperModel:
    """Execute a space's file and return its hypermodel (`discovery`); `path` may end in `:Name`.

    The file may import the modules beside it (`load_module`). A hypermodel without
    `starting_points` gets the starting points of the file. Settings of Keras that the file changes
    are recorded for its models, and stay as they were for others (`keras_settings_of`).

    Raises:
        SpaceBug: the file raises.
        SpaceError: the file has no hypermodel, or several and no name is given.
    """
    path, name = split_place(path)
    with keras_settings_of(None):
        module = load_module(path)
        hypermodel = as_hypermodel(find_hypermodel(module, file=path.name, name=name), path)
        record_keras_settings(hypermodel)
    adopt_points(hypermodel, module)
    return hypermodel


def has_own_fit(hypermodel: keras_tuner.HyperModel) -> bool:
    """Return whether a hypermodel has a `fit` of its own, of its class or of the instance."""
    import keras_tuner

    return getattr(hypermodel.fit, "__func__", None) is not keras_tuner.HyperModel.fit


def declare(
    path: Path,
    *,
    n_classes: int,
    preset: str | None = None,
    sizes: Sizes | None = None,
    try_fit: Callable[..., None] | None = None,
) -> SearchSpace:
    """Read the hyperparameters that a space declares.

    If `declare_hyperparameters` declares nothing, models are built to find the hyperparameters that
    `build` declares (`exploring`).

    `n_classes`, a fact of the data, is declared as `hp.Fixed` before the space's own declarations,
    because the first declaration of a name wins. `preset` replaces the values of the hyperparameter
    of this name. `sizes` fixes the vocabulary size and the sequence length, and gives them to a
    space that declares none; without `sizes`, such a space stays without them. `try_fit` is called
    after each build of a hypermodel that has its own `fit`, because `fit` may declare
    hyperparameters too.

    Raises:
        SpaceError: a default is outside its range, Optuna can't express a range, a starting point
            is not a configuration of the space, the space takes no `preset`, or its models have
            different values of a size that the space does not declare.
        SpaceBug: the space's own code raises.
    """
    hypermodel = load_hypermodel(path)
    hp = replay({})
    hp.Fixed("n_classes", n_classes)
    run_user_code(lambda: hypermodel.declare_hyperparameters(hp), doing="declaring hyperparameters")
    models: list[ModelSizes] = []
    build_once = partial(_build_once, hypermodel, sizes=sizes, models=models)

    def try_build(hp: Any) -> None:
        # The code need not take every combination of values, nor the machine every size.
        with contextlib.suppress(SpaceBug, MemoryError):
            build_once(hp)

    if len(hp.space) == 1:
        explore(partial(build_once, try_fit=try_fit), hp, vary=try_build)
    space = SearchSpace(short_name(path), declared(hp), source_sha256(path))
    if preset is not None:
        space = _with_preset(space, preset)
    if not models and (
        mentions_texts(path) or (sizes is not None and lacks_sizes(space.hyperparameters))
    ):
        build_once(hp)
    knows_padding = not models  # The space is written for this program.
    if knows_padding and sizes is not None and not space.presets:
        try_build(hp)  # The notes need a model. An encoder would take seconds.
    if sizes is not None and models and lacks_sizes(space.hyperparameters):
        try_build(replay(shifted(hp)))
    of_models = [
        note
        for model in models
        for note in (model.notes if knows_padding else model.notes + model.notes_on_masks)
    ]
    notes = tuple(dict.fromkeys(of_models))
    space = replace(space, takes_texts=any(model.takes_texts for model in models), notes=notes)
    if sizes is not None:
        items, of_sizes = with_sizes(space.hyperparameters, sizes, models, space=space.name)
        space = replace(space, hyperparameters=items, notes=(*of_sizes, *notes))
    check(space)
    points = run_user_code(lambda: points_of(hypermodel), doing="reading its starting points")
    points = sizes.without_fixed(points) if sizes else points
    resolved = resolve_points(points, space.hyperparameters, space=space.name)
    return replace(space, starting_points=resolved)


def _build_once(
    hypermodel: keras_tuner.HyperModel,
    hp: Any,
    *,
    sizes: Sizes | None,
    models: list[ModelSizes],
    try_fit: Callable[..., None] | None = None,
) -> None:
    """Build a model to read its hyperparameters, and add its sizes to `models`."""
    doing = "building the model to read its hyperparameters"
    with keras_settings_of(hypermodel):
        with stated_lengths() as lengths:
            model = run_user_code(lambda: hypermodel.build(hp), doing=doing)
        stated = lengths.pop() if len(lengths) == 1 else None
        of_model = sizes_of_model(model)
        notes = (*of_model.notes, *note_of_outputs(model))
        models.append(replace(of_model, stated_length=stated, notes=notes))
        if try_fit and has_own_fit(hypermodel):
            doing = "trying its fit() on a few rows"
            of_data = (sizes.sequence_length or sizes.usual_length) if sizes else N_TRIED_TOKENS
            length = models[-1].sequence_length or of_data
            run_user_code(
                partial(try_fit, hypermodel, hp, model, sequence_length=length), doing=doing
            )


def _with_preset(space: SearchSpace, preset: str) -> SearchSpace:
    """Return a space whose hyperparameter `preset` has this value.

    Raises:
        SpaceError: the space has no such hyperparameter.
    """
    if not space.presets:
        raise SpaceError(
            f"preset must be given for a space that declares 'preset', such as transformer;"
            f" {space.name} declares none."
        )
    changed = tuple(
        replace(item, kind="fixed", default=preset, choices=()) if item.name == PRESET else item
        for item in space.hyperparameters
    )
    return replace(space, hyperparameters=changed)


def build(
    hypermodel: keras_tuner.HyperModel, values: Values, *, known: Sequence[str] = ()
) -> tuple[Any, keras.Model]:
    """Build the model of a configuration, and return the `HyperParameters` that `build` read and
    the compiled model.

    Raises:
        SpaceBug: the space's code raises, returns no compiled model, or declares a hyperparameter
            whose name is not in `known` (an empty `known` allows any name).
        SpaceError: the model takes texts together with another input.
    """
    import keras

    hp = replay(values)
    run_user_code(lambda: hypermodel.declare_hyperparameters(hp), doing="declaring hyperparameters")
    model = run_user_code(lambda: hypermodel.build(hp), doing="building the model")
    if not isinstance(model, keras.Model) or not model.compiled:
        raise SpaceBug(
            f"build(hp) must return a compiled keras.Model; it returned {model!r}.", traceback=""
        )
    takes_texts(model)  # Raises an error for inputs that texts can't be given to.
    check_declared(hp, known)
    return hp, model


def require_same_space(now: SearchSpace, recorded: SearchSpace, *, path: Path, doing: str) -> None:
    """Refuse a space that differs from the space recorded in a study.

    Raises:
        SpaceError: the hyperparameters have changed since the search.
    """
    if now.fingerprint != recorded.fingerprint:
        raise SpaceError(
            f"{doing} must use the space of its search; {path.name} was {recorded.fingerprint} then"
            f" and is {now.fingerprint} now. Put the file back, or start another study."
        )


def check_declared(hp: Any, known: Sequence[str]) -> None:
    """Refuse hyperparameters that were not declared before the search.

    Raises:
        SpaceBug: a name is not in `known`, and `known` is not empty.
    """
    late = sorted({item.name for item in hp.space} - set(known)) if known else []
    if late:
        raise SpaceBug(
            f"Every hyperparameter must be declared before the search; {', '.join(late)} appeared"
            " during a trial. Declare it, with all others, in declare_hyperparameters(hp), or put"
            " it under hp.conditional_scope.",
            traceback="",
        )
