"""`make serve`: an export's predictions over HTTP, as JSON for programs and as a page for people.

The server has no authentication. uvicorn serves it with its own protocol and settings. With 300
requests of which a half was sent, uvicorn answered all of 3,160 other requests, the slowest in
0.14 s; Granian and Hypercorn did so too. uvicorn closes no connection whose headers are not
complete, so a server that strangers reach needs a proxy before it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import signal
import socket
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from tuning.data.stream import MAX_CHARACTERS
from tuning.errors import ServeError
from tuning.hosts import LOCAL, check_port, refusal_of_port, resolve
from tuning.inference.known_tokens import no_problem
from tuning.inference.load import predictions_of
from tuning.serving.limits import limited
from tuning.templates import render

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from tuning.inference.load import Probabilities
    from tuning.inference.manifest import Manifest
    from tuning.targets.target import Array, Target

MAX_TEXTS = 1_000  # of a request
# Maximum number of texts that wait for the model. Further requests are refused at once.
MAX_WAITING = 20_000
# Maximum size in bytes of headers that are not complete.
MAX_HEAD = 64 * 2**10
# Number of connections from which on uvicorn answers requests with status 503. It is below 1,024
# open files, the usual limit of a process.
MAX_CONNECTIONS = 900
# Maximum number of connections that the operating system holds until asyncio accepts them.
BACKLOG = 128
# Maximum time for the answers to open requests when the server ends.
SHUTDOWN_SECONDS = 10
# Example texts on the page: a positive, a negative and a mixed text.
EXAMPLES = (
    "It works as described, and the battery lasts for days.",
    "It broke after a week, and nobody answers my mails.",
    "A nice case, but the buttons are hard to press.",
)

Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class Texts(BaseModel):
    """Texts to label."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"texts": ["I love it"]}}
    )
    texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True)]


class Prediction(BaseModel):
    """A text's label, the probability of that label, and the probability of every class. A number
    has no probability, and an interval from low to high if it is known.
    """

    label: str | float
    probability: float | None
    probabilities: dict[str, float]
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


class Health(BaseModel):
    """The status of the server, and its export."""

    status: str
    export: Export


class Problem(BaseModel):
    """The reason why a request was refused, in one sentence."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 403, 408, 413, 422, 503)
}


def make_app(
    probabilities: Probabilities,
    manifest: Manifest,
    *,
    hosts: Collection[str] = LOCAL,
    any_address: bool = False,
) -> ASGIApp:
    """Return the application of a model: `/predict`, `/health`, `/openapi.json`, and the page `/`.

    Requests must be for one of `hosts` or an address of loopback, or with `any_address` for any IP
    address.
    """
    # One thread: not every format of a model can be called by several threads at once. Joining the
    # waiting requests into one call of the model gave 0.6 to 1.1 times as many texts a second
    # (`benchmarks/serving.py` for 6 s a load, two ONNX models), so each request is a call.
    thread = ThreadPoolExecutor(1, thread_name_prefix="model")
    n_waiting = 0
    export = Export(study=manifest.study, created=manifest.created)
    page = render("tuning.serving", "try.html", examples=EXAMPLES, max_characters=MAX_CHARACTERS)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        thread.shutdown()

    # FastAPI's pages of the interface load scripts from other servers.
    app = FastAPI(
        title="Text classifier",
        description=f"The model of study {manifest.study!r}. {manifest.target.sentence}",
        version=manifest.created or "0",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own answer repeats the body.
        first = error.errors()[0]
        where = "".join(f"[{x}]" if isinstance(x, int) else f".{x}" for x in first["loc"][1:])
        return JSONResponse({"detail": f"The body is wrong at body{where}: {first['msg']}."}, 422)

    @app.post("/predict", responses=PROBLEMS)
    async def predict(body: Texts) -> Predictions:
        """Label texts."""
        nonlocal n_waiting
        n_texts = len(body.texts)
        if n_waiting + n_texts > MAX_WAITING:
            raise HTTPException(503, "Too many texts wait already.", headers={"Retry-After": "1"})
        n_waiting += n_texts
        try:
            loop = asyncio.get_running_loop()
            outputs = await loop.run_in_executor(thread, probabilities, body.texts)
        finally:
            n_waiting -= n_texts
        predictions = _predictions(body.texts, outputs, manifest.target)
        return Predictions(predictions=predictions, export=export)

    @app.get("/health", responses={403: PROBLEMS[403], 503: PROBLEMS[503]})
    async def health() -> Health:
        """Return the status of the server; the answer does not wait for the model."""
        return Health(status="ok", export=export)

    @app.get("/", include_in_schema=False)
    async def try_page() -> HTMLResponse:
        return HTMLResponse(page)

    return limited(app, hosts=hosts, policy=_policy(page), any_address=any_address)


def _predictions(texts: Sequence[str], outputs: Array, target: Target) -> list[Prediction]:
    predictions = predictions_of(texts, outputs, target, no_problem)
    if None in predictions:
        raise HTTPException(
            422, f"The model gives NaN for text {predictions.index(None)}; leave the text out."
        )
    return [
        Prediction(
            label=each.value,
            probability=None if each.probability is None else round(each.probability, 6),
            probabilities=dict(zip(target.names, row, strict=False)),
            low=each.bounds and each.bounds[0],
            high=each.bounds and each.bounds[1],
        )
        for each, row in zip(predictions, outputs.round(6).tolist(), strict=True)
        if each
    ]


def _policy(page: str) -> str:
    """Return the Content-Security-Policy of a page, which allows the scripts and styles that it
    contains, by their hashes, and requests to this server.
    """
    scripts, styles = (
        re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("script", "style")
    )
    return (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))};"
        f" style-src {' '.join(map(_hash, styles))}; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def listen(host: str, port: int) -> socket.socket:
    check_port(port)
    family, _ = resolve(host)
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ServeError(refusal_of_port("The server", host, port, error)) from error
    # asyncio sets this option for sockets whose protocol is IPPROTO_TCP; the protocol of this
    # socket is 0. Without the option an answer in two parts takes 44 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def run(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM, then answer the open requests and return."""
    # uvicorn replaces this handler while it serves. At its end it restores this handler and sends
    # the signal to its own process again.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(KeyboardInterrupt):
        server(app).run(sockets=[listening])


def server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            # uvicorn warns of each request that is no HTTP, so a client could fill the disk.
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            backlog=BACKLOG,
            # h11 has a limit for incomplete headers; httptools has none.
            http="h11",
            h11_max_incomplete_event_size=MAX_HEAD,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
