"""What a request asks and an answer says, their limits, and one sentence for a body
that is wrong.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tuning.data.stream import MAX_CHARACTERS
from tuning.serving.connections import MAX_HEAD, REQUEST_SECONDS
from tuning.serving.guard import MAX_BODY

MAX_TEXTS = 1_000
MAX_ERRORS = 3 * MAX_TEXTS  # that are looked at for a reason: a body of 4 MiB can hold 700,000

Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class OneText(BaseModel):
    """A text to label."""

    model_config = ConfigDict(extra="forbid")
    text: Text


class ManyTexts(BaseModel):
    """Texts to label."""

    model_config = ConfigDict(extra="forbid")
    texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]


class Prediction(BaseModel):
    """A text's class, the probability of it, and that of every class."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Export(BaseModel):
    """Which model answered."""

    study: str
    number: int | None
    created: str


class Predictions(BaseModel):
    """A prediction for each text, in their order."""

    predictions: list[Prediction]
    export: Export


class Effect(BaseModel):
    """A word as the model knows it, how often it stands in the text, and the probability that the
    label loses without it.
    """

    word: str
    count: int
    effect: float


class Explanation(BaseModel):
    """A prediction with the words that moved it, the largest effect first."""

    prediction: Prediction
    words: list[Effect]
    n_words_left_out: int
    export: Export


class Health(BaseModel):
    """The server is awake."""

    status: str
    export: Export


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": about}
    for status, about in {
        403: "The request is for another host's name.",
        408: f"The request did not arrive within {REQUEST_SECONDS} seconds.",
        413: f"The body has more than {MAX_BODY:,} bytes.",
        415: "The body is not called application/json.",
        422: "The body is not of this shape, or over a limit.",
        431: f"The headers have more than {MAX_HEAD:,} bytes.",
        503: "Too many requests or texts wait already, or the server has too many connections.",
    }.items()
}
SENTENCES = {
    "json_invalid": "The body must be JSON in UTF-8; {error}.",
    "string_too_long": (
        f"A text must have at most {MAX_CHARACTERS:,} characters; {{where}} has more."
    ),
    "string_too_short": "A text must have a character or more; {where} has none.",
    "string_type": "A text must be a string; {where} is none.",
    "list_type": "texts must be a list of strings.",
    "too_long": f"A request must have at most {MAX_TEXTS:,} texts; this one has more.",
    "too_short": "A request must have a text or more; this one has none.",
}


def reason(error: ValidationError, *, shape: str) -> str:
    """One sentence for a body that is not of the shape that was asked for. It repeats nothing of
    the body.
    """
    errors = (
        error.errors(include_url=False, include_input=False)
        if error.error_count() <= MAX_ERRORS
        else ()
    )
    for one in errors:
        if one["type"] in SENTENCES:
            place = [part for part in one["loc"] if part not in ("OneText", "ManyTexts")]
            where = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in place)
            return SENTENCES[one["type"]].format(
                where=where, error=one.get("ctx", {}).get("error", "")
            )
    return f"The body must be {shape} and hold nothing else."


def request_body(adapter: TypeAdapter[Any], example: dict[str, Any]) -> dict[str, Any]:
    """The body in the OpenAPI schema; it is read here instead of by FastAPI, which repeats a bad
    body in its answer.
    """
    schema = adapter.json_schema()
    for name, definition in schema.pop("$defs", {}).items():
        schema = json.loads(
            json.dumps(schema).replace(
                json.dumps({"$ref": f"#/$defs/{name}"}), json.dumps(definition)
            )
        )
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    }
