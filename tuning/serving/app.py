"""`make serve`: an export's predictions over HTTP, for programs as JSON and for people as a page.
It has no authentication.
"""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import TypeAdapter, ValidationError

from tuning.errors import ServeError
from tuning.serving.bodies import (
    PROBLEMS,
    Explanation,
    Health,
    ManyTexts,
    OneText,
    Predictions,
    reason,
    request_body,
)
from tuning.serving.connections import Connection
from tuning.serving.guard import LOCAL, guarded, is_address
from tuning.serving.microbatch import Busy, MicroBatcher
from tuning.serving.occlusion import effects, hide_words
from tuning.serving.pages import docs_page, policy, try_page

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from tuning.evaluation.metrics import Array
    from tuning.inference.load import Probabilities
    from tuning.inference.manifest import Manifest

# Connections that the system holds until they are accepted, and that asyncio accepts at a time,
# before they are counted. With 256, a flood of new connections opened more than 1,024 files, the
# usual limit of a process, and asyncio then accepts no connection for a second.
BACKLOG = 128
SHUTDOWN_SECONDS = 10  # for requests that are being answered when the server is told to end


def make_app(
    probabilities: Probabilities,
    manifest: Manifest,
    *,
    hosts: Collection[str] = LOCAL,
    any_address: bool = False,
) -> ASGIApp:
    """The application over a model: `/predict`, `/explain`, `/health`, `/openapi.json`, and the
    pages `/` and `/docs`.
    """
    batcher = MicroBatcher(probabilities)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()

    export = {
        "study": manifest.study,
        "number": manifest.export_number,
        "created": manifest.created,
    }
    app = FastAPI(
        title="Text classifier",
        description=(
            f"Labels texts with the model of study {manifest.study!r}:"
            f" {', '.join(manifest.class_names)}."
        ),
        version=manifest.created or "0",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_routes(app, batcher, manifest, export)
    _add_pages(app, export)
    return guarded(app, hosts=hosts, policy=policy(), any_address=any_address)


def _add_routes(
    app: FastAPI, batcher: MicroBatcher, manifest: Manifest, export: dict[str, Any]
) -> None:
    names, seen = manifest.class_names, manifest.input
    one, one_or_many = TypeAdapter[Any](OneText), TypeAdapter[Any](OneText | ManyTexts)

    async def ask(texts: list[str]) -> Array:
        try:
            return await batcher.run(texts)
        except Busy as error:
            raise HTTPException(
                503,
                "Too many requests or texts wait already; ask again later.",
                headers={"Retry-After": "1"},
            ) from error

    @app.post(
        "/predict",
        response_model=Predictions,
        responses=PROBLEMS,
        openapi_extra=request_body(one_or_many, {"texts": ["I love it"]}),
    )
    async def predict(request: Request) -> JSONResponse:
        """Label one text or many."""
        asked = await _parsed(request, one_or_many, shape='{"text": "…"} or {"texts": ["…", "…"]}')
        outputs = await ask([asked.text] if isinstance(asked, OneText) else asked.texts)
        return JSONResponse({"predictions": _predictions(outputs, names), "export": export})

    @app.post(
        "/explain",
        response_model=Explanation,
        responses=PROBLEMS,
        openapi_extra=request_body(one, {"text": "I love it"}),
    )
    async def explain(request: Request) -> JSONResponse:
        """Label a text and say which words moved the label: each different word that the model sees
        is hidden once, up to 200 of them.
        """
        asked = await _parsed(request, one, shape='{"text": "…"}')
        hidden = hide_words(
            asked.text, sequence_length=seen.sequence_length, truncating=seen.truncating
        )
        outputs = await ask(list(hidden.texts))
        (found,) = _predictions(outputs[:1], names)
        words = [
            {"word": word.word, "count": word.count, "effect": round(word.effect, 6) + 0.0}
            for word in effects(hidden, outputs)
        ]
        return JSONResponse(
            {
                "prediction": found,
                "words": words,
                "n_words_left_out": hidden.n_left_out,
                "export": export,
            }
        )


async def _parsed(request: Request, adapter: TypeAdapter[Any], *, shape: str) -> Any:
    """The body as an object. A browser asks before it sends JSON to another page's server, and gets
    no leave; so JSON must be called so.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "The header Content-Type must be application/json.")
    try:
        return adapter.validate_json(await request.body())
    except ValidationError as error:
        raise HTTPException(422, reason(error, shape=shape)) from error


def _predictions(outputs: Array, names: list[str]) -> list[dict[str, Any]]:
    (without,) = np.nonzero(np.isnan(outputs).any(axis=1))
    if without.size:
        raise HTTPException(
            422, f"The model gives no number for text {without[0]}, which has no word that it sees."
        )
    winners = outputs.argmax(axis=1).tolist()
    return [
        {
            "label": names[winner],
            "probability": row[winner],
            "probabilities": dict(zip(names, row, strict=True)),
        }
        for winner, row in zip(winners, outputs.round(6).tolist(), strict=True)
    ]


def _add_pages(app: FastAPI, export: dict[str, Any]) -> None:
    @app.get("/health", response_model=Health, responses={403: PROBLEMS[403]})
    async def health() -> JSONResponse:
        """Whether the server is awake; it answers while the model works, too."""
        return JSONResponse({"status": "ok", "export": export})

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(try_page())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    return host in LOCAL or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ServeError: the port is in use or not allowed, or the host is not this machine.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"--port must lie in 1..65535; received {port}.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise ServeError(
            f"The server needs a free port on {host}; {port} gave {said!r}. Name another with"
            " --port (make: PORT=)."
        ) from error
    # asyncio does so for sockets that say they are TCP, which this one does not: an answer in two
    # parts then takes 44 ms
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def run(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM, then answer what was asked and end."""
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # uvicorn puts its own in this place, and sends itself the signal again at the end
    with contextlib.suppress(KeyboardInterrupt):
        server(app).run(sockets=[listening])


def server(app: ASGIApp) -> uvicorn.Server:
    """The server with its limits, before it runs."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            backlog=BACKLOG,
            http=Connection,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
