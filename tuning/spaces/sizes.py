"""The vocabulary size and the sequence length of a space that does not declare them, or that a user
fixes from outside.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.errors import SpaceError
from tuning.inputs.kinds import FEATURES, IDS, KINDS, kind_of, require_readable
from tuning.spaces.models import (
    embeddings_of_ids,
    names_of_inputs,
    notes_of,
    notes_on_masks,
    refuse_states,
    refuse_unknown_steps,
    refuse_vectors,
    takes_input,
    takes_texts,
)
from tuning.spaces.ranges import REQUIRED, Hyperparameter

if TYPE_CHECKING:
    import keras


USUAL_LENGTH = "the 95th percentile of the training texts' lengths"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes that a user fixes (None: the space or the data decide), and the sizes of the data:
    the rows for all words that are counted, padding and unknown included, and the 95th
    percentile of the number of tokens of a training text.
    """

    vocab_size: int | None
    sequence_length: int | None
    all_rows: int
    usual_length: int

    def fixed(self, name: str) -> int | None:
        # `sequence_length` also fixes the number of tokens that a frozen encoder reads.
        size = "sequence_length" if name == FEATURES.declared_by else name
        return getattr(self, size) if size in REQUIRED else None

    def without_fixed(self, points: Any) -> Any:
        if not isinstance(points, list | tuple):
            return points
        return [
            {name: value for name, value in point.items() if self.fixed(name) is None}
            if isinstance(point, dict)
            else point
            for point in points
        ]


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of the texts that a model takes: the rows of the embedding of its token ids, and
    the length of its input. A size that the model does not have is None. A model that takes the
    texts themselves has no such sizes.

    `takes_ids` is true if this embedding is known to take the token ids as they are.
    `stated_length` is the `input_length` of the model's embeddings, which Keras 3 ignores. `notes`
    contains a sentence for each way in which the model misreads its input, and `notes_on_masks` a
    sentence if a recurrent layer reads the padding.
    """

    vocab_size: int | None
    sequence_length: int | None
    takes_texts: bool = False
    takes_ids: bool = False
    stated_length: int | None = None
    notes: tuple[str, ...] = ()
    notes_on_masks: tuple[str, ...] = ()


def sizes_of_model(model: Any, *, stated_length: int | None) -> ModelSizes:
    """Return the sizes of a model; both are None for an object that is not a Keras model."""
    import keras

    if not isinstance(model, keras.Model):
        return ModelSizes(None, None)
    refuse_states(model)
    refuse_unknown_steps(model)
    if takes_texts(model):
        return ModelSizes(None, None, takes_texts=True)
    names = names_of_inputs(model)
    require_readable(names)
    tensors = getattr(model, "inputs", None) or []
    if FEATURES.name not in names:
        large = next((tensor for tensor in tensors if len(tensor.shape) > 2), None)
        if large is not None:
            raise SpaceError(
                "The input of a model must be token ids of shape (length,), or one text; this"
                f" model's input has the shape {large.shape[1:]}. Let an Embedding give the"
                " vectors."
            )
        refuse_vectors(model)
    inputs = [tensor for tensor in tensors if len(tensor.shape) == 2]
    embeddings = embeddings_of_ids(model)
    has_ids_alone = all(kind_of(name) is IDS for name in names)
    return ModelSizes(
        vocab_size=min((layer.input_dim for layer in embeddings), default=None),
        takes_ids=has_ids_alone and all(takes_input(model, layer) for layer in embeddings),
        sequence_length=inputs[0].shape[1] if len(inputs) == 1 else None,
        stated_length=stated_length,
        notes=notes_of(model),
        notes_on_masks=notes_on_masks(model),
    )


@contextlib.contextmanager
def stated_lengths() -> Iterator[set[int]]:
    """Return a context in which models are built, with the set of the `input_length` of their
    embeddings: Keras 3 takes this argument and ignores it.
    """
    import keras

    lengths: set[int] = set()
    original = keras.layers.Embedding.__init__

    def recording(self: keras.layers.Embedding, *args: Any, **kwargs: Any) -> None:
        if isinstance(kwargs.get("input_length"), int):
            lengths.add(kwargs["input_length"])
        original(self, *args, **kwargs)

    keras.layers.Embedding.__init__ = recording
    try:
        yield lengths
    finally:
        keras.layers.Embedding.__init__ = original


def lacks_sizes(items: Sequence[Hyperparameter]) -> bool:
    """Return whether a size is missing. Models of other inputs than token ids need none."""
    names = {item.name for item in items}
    return not names & {kind.declared_by for kind in KINDS.values()} and not names >= set(REQUIRED)


def with_sizes(
    items: tuple[Hyperparameter, ...],
    sizes: Sizes,
    models: Sequence[ModelSizes],
    *,
    space: str,
) -> tuple[tuple[Hyperparameter, ...], tuple[str, ...]]:
    """Return hyperparameters with the sizes that a user fixes and the sizes that are missing, and a
    sentence about the source of each missing size: the user, the models, or the data.
    """
    _require_rows(items, sizes, models, space=space)
    items = tuple(
        Hyperparameter(name=item.name, kind="fixed", default=fixed, conditions=item.conditions)
        if (fixed := sizes.fixed(item.name)) is not None
        else item
        for item in items
    )
    if not lacks_sizes(items):
        return items, ()
    notes, names = [], {item.name for item in items}
    if models and all(model.takes_texts for model in models):
        unused = [name for name in REQUIRED if name not in names and getattr(sizes, name)]
        if unused:
            raise SpaceError(
                f"{unused[0]} must be given for a space that declares {unused[0]}, or whose"
                f" models take token ids; the models of {space} take the texts themselves."
            )
        return items, ()
    for name in REQUIRED:
        if name not in names:
            value, source = _size(name, sizes, models, space=space)
            items = (*items, Hyperparameter(name=name, kind="fixed", default=value))
            notes.append(f"{space} declares no {name}: it is {value}, {source}.")
    return items, tuple(notes)


def _require_rows(
    items: Sequence[Hyperparameter], sizes: Sizes, models: Sequence[ModelSizes], *, space: str
) -> None:
    """Refuse a default of the vocabulary that the model of the defaults, the first, has too few
    rows for. A model of other values may have more.
    """
    rows = models[0].vocab_size if models and models[0].takes_ids else None
    if rows is None or sizes.vocab_size is not None:
        return
    for item in items:
        default = item.default if item.name == "vocab_size" and not item.conditions else None
        if isinstance(default, int) and min(default, sizes.all_rows) > rows:
            raise SpaceError(
                f"vocab_size must be at most {rows}, the rows of the embedding in {space}; the"
                f" space declares {default}."
            )


def _size(name: str, sizes: Sizes, models: Sequence[ModelSizes], *, space: str) -> tuple[int, str]:
    fixed, is_vocabulary = sizes.fixed(name), name == "vocab_size"
    in_models = {size for model in models if (size := getattr(model, name)) is not None}
    # A vocabulary may be smaller than every embedding; an input has one length.
    if len(in_models) > 1 and (fixed is None or not is_vocabulary):
        raise SpaceError(
            f"A space whose models have different sizes must declare {name}; the models of {space}"
            f" have {' and '.join(map(str, sorted(in_models)))}. Call the hyperparameter {name}."
        )
    if fixed is not None:
        if is_vocabulary and fixed > min(in_models, default=fixed):
            raise SpaceError(
                f"{name} must be at most {min(in_models)}, the rows of the embedding in {space};"
                f" received {fixed}."
            )
        if not is_vocabulary and in_models - {fixed}:
            raise SpaceError(
                f"{name} must be {in_models.pop()}, the length of the model's input in {space};"
                f" received {fixed}."
            )
        return fixed, f"the value of {name}"
    if in_models:
        part = "rows of the model's embedding" if is_vocabulary else "length of the model's input"
        return in_models.pop(), f"the {part}"
    if is_vocabulary:
        return sizes.all_rows, "the rows for all words that are counted"
    stated = {model.stated_length for model in models} - {None}
    if len(stated) == 1 and (length := stated.pop()):
        return length, "the input_length of the model's Embedding"
    return sizes.usual_length, USUAL_LENGTH


def advice_on_length(notes: Sequence[str], message: str) -> str:
    """Return what to do about an error of a layer that needs longer texts, if their length was
    taken from the data; empty for other errors.
    """
    note = next((note for note in notes if note.endswith(f"{USUAL_LENGTH}.")), "")
    if not note or not re.search("negative dimension|zero or negative", message, re.IGNORECASE):
        return ""
    return f" {note} For longer texts, give sequence_length, and study another name."
