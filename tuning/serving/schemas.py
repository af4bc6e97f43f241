"""The bodies of requests and answers, their limits, and the message for a wrong body."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuning.data.stream import MAX_CHARACTERS
from tuning.serving.connections import BYTES_PER_SECOND, MAX_HEAD, REQUEST_SECONDS
from tuning.serving.guard import MAX_BODY

MAX_TEXTS = 1_000
# Maximum number of errors that are searched for a reason; a body of 4 MiB can have 700,000 errors.
MAX_ERRORS = 3 * MAX_TEXTS

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
    """A text's class, the probability of that class, and the probability of every class. The
    problem is how many tokens of the text are known, if none or few are, or else empty. A number
    has no probability, and an interval from low to high if it is known.
    """

    label: str | float
    probability: float | None
    probabilities: dict[str, float]
    problem: str
    low: float | None = None
    high: float | None = None


class Export(BaseModel):
    """The export whose model made the predictions."""

    study: str
    created: str


class Predictions(BaseModel):
    """A prediction for each text, in the order of the texts."""

    predictions: list[Prediction]
    export: Export


class Effect(BaseModel):
    """A word as the tokenizer writes it, its count in the text, and what the probability of the
    label, or the number, loses without the word.
    """

    word: str
    count: int
    effect: float


class Explanation(BaseModel):
    """A prediction with the effects of the words on its label, the largest effect first."""

    prediction: Prediction
    words: list[Effect]
    n_words_left_out: int
    export: Export


class Health(BaseModel):
    """The status of the server, and its export."""

    status: str
    export: Export


class Problem(BaseModel):
    """The reason why a request was refused, in one sentence."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": about}
    for status, about in {
        403: "The request is for another host's name.",
        408: f"The request did not arrive within {REQUEST_SECONDS:g} seconds, and 1 more for each"
        f" {BYTES_PER_SECOND:,} bytes of the body.",
        413: f"The body has more than {MAX_BODY:,} bytes.",
        415: "The content type of the body is not application/json.",
        422: "The body does not have this shape, or is over a limit.",
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


def reason_of(error: ValidationError, *, shape: str) -> str:
    """Return a sentence about a body of another shape, which repeats no part of the body."""
    errors = (
        error.errors(include_url=False, include_input=False)
        if error.error_count() <= MAX_ERRORS
        else ()
    )
    for entry in errors:
        if entry["type"] in SENTENCES:
            place = [part for part in entry["loc"] if part not in ("OneText", "ManyTexts")]
            where = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in place)
            return SENTENCES[entry["type"]].format(
                where=where, error=entry.get("ctx", {}).get("error", "")
            )
    return f"The body must be {shape} and must have no other field."


def request_body(*models: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the OpenAPI schema that describes a body.

    The routes read the body themselves, because FastAPI repeats a wrong body in its answer.
    Therefore FastAPI can't make this part of the schema.
    """
    schemas = [model.model_json_schema() for model in models]
    schema = {"anyOf": schemas} if len(schemas) > 1 else schemas[0]
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    }
