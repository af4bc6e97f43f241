"""`make serve`: an export's predictions over HTTP, as JSON for programs and as a page for people.

The server has no authentication.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import TypeAdapter, ValidationError
from starlette.routing import Route

from tuning.errors import ServeError
from tuning.hosts import LOCAL, check_port, refusal_of_port, resolve
from tuning.inference.known_tokens import ProblemOf, no_problem
from tuning.inference.label_files import BOUNDS
from tuning.inference.load import predictions_of
from tuning.serving.connections import Connection
from tuning.serving.guard import guarded
from tuning.serving.label_file import add_routes
from tuning.serving.microbatch import Busy, MicroBatcher
from tuning.serving.occlusion import effects, hide_words
from tuning.serving.pages import docs_page, policy, try_page
from tuning.serving.schemas import (
    PROBLEMS,
    Explanation,
    Health,
    ManyTexts,
    OneText,
    Predictions,
    reason_of,
    request_body,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from tuning.inference.load import Probabilities
    from tuning.inference.manifest import Manifest
    from tuning.targets.target import Array, Target

# Maximum number of connections that the operating system holds until asyncio accepts them. asyncio
# accepts all of them at once, before `MAX_CONNECTIONS` is checked. With a backlog of 256, a flood
# of new connections opened more than 1,024 files, the usual limit of a process, and asyncio then
# accepts no connection for a second.
BACKLOG = 128
# Maximum time for the answers to open requests when the server ends.
SHUTDOWN_SECONDS = 10


def make_app(
    probabilities: Probabilities,
    manifest: Manifest,
    *,
    problem_of: ProblemOf = no_problem,
    hosts: Collection[str] = LOCAL,
    any_address: bool = False,
) -> ASGIApp:
    """Return the application of a model: `/predict`, `/explain`, `/health`, `/openapi.json`, and
    the pages `/` and `/docs`.

    Requests must be for one of `hosts` or an address of loopback, or with `any_address` for any IP
    address.
    """
    batcher = MicroBatcher(probabilities)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()

    # The fields of `schemas.Export`.
    export = {
        "study": manifest.study,
        "created": manifest.created,
    }
    app = FastAPI(
        title="Text classifier",
        description=f"The model of study {manifest.study!r}. {manifest.target.sentence}",
        version=manifest.created or "0",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    async def outputs_of(texts: list[str]) -> Array:
        try:
            return await batcher.run(texts)
        except Busy as error:
            raise HTTPException(
                503,
                "Too many requests or texts wait already; ask again later.",
                headers={"Retry-After": "1"},
            ) from error

    of_predict = TypeAdapter[Any](OneText | ManyTexts)

    @app.post(
        "/predict",
        response_model=Predictions,
        responses=PROBLEMS,
        openapi_extra=request_body(OneText, ManyTexts, example={"texts": ["I love it"]}),
    )
    async def predict(request: Request) -> JSONResponse:
        """Label one text or many."""
        body = await _parsed(request, of_predict, shape='{"text": "…"} or {"texts": ["…", "…"]}')
        texts = [body.text] if isinstance(body, OneText) else body.texts
        outputs = await outputs_of(texts)
        predictions = _predictions(texts, outputs, manifest.target, problem_of)
        return JSONResponse({"predictions": predictions, "export": export})

    of_explain = TypeAdapter[Any](OneText)

    @app.post(
        "/explain",
        response_model=Explanation,
        responses=PROBLEMS,
        openapi_extra=request_body(OneText, example={"text": "I love it"}),
    )
    async def explain(request: Request) -> JSONResponse:
        """Label a text, and give the effect of each word on the label: the model predicts the text
        again without the word, for up to 200 different words of its input (fewer in a long text).
        """
        body = await _parsed(request, of_explain, shape='{"text": "…"}')
        hidden = hide_words(body.text, manifest.input)
        outputs = await outputs_of(list(hidden.texts))
        (prediction,) = _predictions([body.text], outputs[:1], manifest.target, problem_of)
        words = [vars(word) for word in effects(hidden, outputs, manifest.target)]
        return JSONResponse(
            {
                "prediction": prediction,
                "words": words,
                "n_words_left_out": hidden.n_left_out + len(hidden.words) - len(words),
                "export": export,
            }
        )

    @app.get("/health", response_model=Health, responses={403: PROBLEMS[403]})
    async def health() -> JSONResponse:
        """Return the status of the server; the answer does not wait for the model."""
        return JSONResponse({"status": "ok", "export": export})

    add_routes(app, batcher, manifest, problem_of)
    # The page /docs describes the routes that exist when it is made.
    pages = {"/": try_page(), "/docs": docs_page(app.openapi())}
    app.router.routes += [
        Route(path, HTMLResponse(page), methods=["GET"]) for path, page in pages.items()
    ]
    return guarded(app, hosts=hosts, policy=policy(pages.values()), any_address=any_address)


async def _parsed(request: Request, adapter: TypeAdapter[Any], *, shape: str) -> Any:
    # Before a browser sends this type for a page of another server, it asks this server for
    # permission, which is refused.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "The header Content-Type must be application/json.")
    try:
        return adapter.validate_json(await request.body())
    except ValidationError as error:
        raise HTTPException(422, reason_of(error, shape=shape)) from error


def _predictions(
    texts: Sequence[str], outputs: Array, target: Target, problem_of: ProblemOf
) -> list[dict[str, Any]]:
    predictions = predictions_of(texts, outputs, target, problem_of)
    if None in predictions:
        raise HTTPException(
            422,
            f"The model gives NaN for text {predictions.index(None)}, which has no word of its"
            " vocabulary.",
        )
    return [
        {
            "label": each.value,
            "probability": None if each.probability is None else round(each.probability, 6),
            "probabilities": dict(zip(target.names, row, strict=False)),
            "problem": each.problem,
            **dict(zip(BOUNDS, each.bounds or (), strict=False)),
        }
        for each, row in zip(predictions, outputs.round(6).tolist(), strict=True)
        if each
    ]


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
            http=Connection,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
