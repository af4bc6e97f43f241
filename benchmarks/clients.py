"""Clients of the server for `make bench-serving`.

Each client sends its next request as soon as it has received the response to its last request.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Any

import numpy as np


async def ask(port: int, bodies: list[bytes], *, n_clients: int, seconds: float) -> list[float]:
    """Return the latency of every request in milliseconds; each client has one connection."""
    until = time.perf_counter() + seconds
    of_clients = await asyncio.gather(
        *(
            _client(port, bodies[number:] + bodies[:number], until=until)
            for number in range(n_clients)
        )
    )
    return [latency for latencies in of_clients for latency in latencies]


async def _client(port: int, bodies: list[bytes], *, until: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies: list[float] = []
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(request("/predict", bodies[len(latencies) % len(bodies)]))
        status, content = await read_answer(reader)
        if status != HTTPStatus.OK:
            raise RuntimeError(f"the server returned {status}: {content[:200]!r}")
        latencies.append((time.perf_counter() - started) * 1000)
    writer.close()
    await writer.wait_closed()
    return latencies


def request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type:"
        f" application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
    length = next(
        line.partition(b":")[2]
        for line in rest.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    return int(status.split()[1]), await reader.readexactly(int(length))


def summary_of(latencies: list[float], *, texts_a_request: int, seconds: float) -> dict[str, Any]:
    p50, p99 = np.percentile(latencies, (50, 99))
    return {
        "texts_a_request": texts_a_request,
        "n_requests": len(latencies),
        "reviews_per_second": round(len(latencies) * texts_a_request / seconds, 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "most_ms": round(max(latencies), 2),
    }
