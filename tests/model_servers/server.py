"""A small model server on loopback that speaks OpenAI's protocol, for tests.

It answers from a tiny model of ours or from what a test tells it, keeps what it was asked, and can
be at fault in the ways in which real servers are.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

Choices = list[dict[str, Any]]
UNKNOWN = ("top_k", "min_p", "repetition_penalty", "return_token_ids", "skip_special_tokens")


@dataclass
class ModelServer:
    """One server: how it answers, what it was asked, and what goes wrong.

    - `refusals`: statuses with headers that the next requests for completions get, in this order.
    - `errors`: whole answers with status 200 that the next requests for completions get.
    - `cuts`: how many of the next requests have their connection cut in the middle of the answer.
    - `hangs`: requests stay open until the client goes away; `open` counts those.
    - `strict`: parameters that OpenAI's protocol does not have are refused.
    - `changes`: what is put in place of parts of an answer.
    - `spoil`: what is done to the choices of every answer.
    - `listless`: it fails when it is asked for its models.
    - `ready`: how many requests for completions are answered before any fault begins.
    - `load`, `unload`: what is done with an adapter, by its name and path; None without the routes;
      `losing` answers to it are lost after the adapter was loaded.
    """

    answer: Callable[[dict[str, Any]], Choices]
    model: str = "tiny"
    url: str = ""
    root: str = ""
    owner: str = "vllm"
    version: str = "0.32.0"
    key: str = ""
    ready: int = 0
    load: Callable[[str, str], None] | None = None
    unload: Callable[[str], None] = lambda name: None
    adapters: dict[str, str] = field(default_factory=dict)
    losing: int = 0
    every_adapter: list[str] = field(default_factory=list)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    cuts: int = 0
    hangs: bool = False
    strict: bool = False
    listless: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    spoil: Callable[[Choices], Choices] = lambda choices: choices
    asked: list[dict[str, Any]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def models(self, request: Request) -> Response:
        if self._refuses(request):
            return JSONResponse({"error": {"message": "wrong key"}}, 401)
        if self.listless:
            return PlainTextResponse("Internal Server Error", 500)
        entry = {"id": self.model, "object": "model", "owned_by": self.owner, "root": self.root}
        adapters = [
            {"id": name, "object": "model", "root": path, "parent": self.model}
            for name, path in self.adapters.items()
        ]
        return JSONResponse({"object": "list", "data": [entry, *adapters]})

    async def load_adapter(self, request: Request) -> Response:
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        if self.load is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        if name in self.adapters:
            loaded = f"The lora adapter '{name}' has already been loaded."
            return JSONResponse({"error": {"message": loaded, "code": 400}}, 400)
        try:
            await asyncio.to_thread(self.load, name, path)
        except Exception as error:
            return JSONResponse({"error": {"message": str(error), "code": 400}}, 400)
        self.adapters[name] = path
        self.every_adapter.append(name)
        if self.losing:
            self.losing -= 1
            return StreamingResponse(_cut(), headers={"content-length": "1000"})
        return Response(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload_adapter(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if self.load is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        if name not in self.adapters:
            missing = {"message": f"The lora adapter '{name}' cannot be found.", "code": 404}
            return JSONResponse({"error": missing}, 404)
        self.unload(name)
        del self.adapters[name]
        return Response(f"Success: LoRA adapter '{name}' removed successfully.")

    async def say_version(self, request: Request) -> Response:
        return JSONResponse({"version": self.version} if self.version else {}, 200)

    async def complete(self, request: Request) -> Response:
        if self._refuses(request):
            return JSONResponse({"error": {"message": "wrong key"}}, 401)
        body = await request.json()
        self.asked.append(body)
        self.at.append(time.monotonic())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._completed(request, body)
        finally:
            self.open -= 1

    def _refuses(self, request: Request) -> bool:
        return bool(self.key) and request.headers.get("authorization") != f"Bearer {self.key}"

    async def _completed(self, request: Request, body: dict[str, Any]) -> Response:
        faulty = len(self.asked) > self.ready
        if faulty and self.hangs:
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
            return Response()
        if faulty and self.refusals:
            status, headers = self.refusals.pop(0)
            return JSONResponse({"error": {"message": f"status {status}"}}, status, headers)
        if faulty and self.errors:
            return JSONResponse(self.errors.pop(0))
        if faulty and self.cuts:
            self.cuts -= 1
            return StreamingResponse(_cut(), headers={"content-length": "1000"})
        if self.strict and (found := [name for name in UNKNOWN if name in body]):
            return JSONResponse({"detail": f"Unexpected fields in the request: {found}"}, 422)
        if body["model"] not in (self.model, *self.adapters):
            missing = {"message": f"The model `{body['model']}` does not exist.", "code": 404}
            return JSONResponse({"error": missing}, 404)
        choices = await asyncio.to_thread(self.answer, body)
        choices = self.spoil(choices) if faulty else choices
        changes = self.changes if faulty else {}
        said = json.dumps({"model": body["model"], "choices": choices, **changes})
        return Response(said, media_type="application/json")


async def _cut() -> AsyncIterator[bytes]:
    yield b'{"model": "ti'
    await asyncio.sleep(0.02)
    raise ConnectionAbortedError


@contextmanager
def serving(server: ModelServer) -> Iterator[ModelServer]:
    """The server on a free port, until the block ends."""
    app = Starlette(
        routes=[
            Route("/v1/models", server.models),
            Route("/version", server.say_version),
            Route("/v1/completions", server.complete, methods=["POST"]),
            Route("/v1/load_lora_adapter", server.load_adapter, methods=["POST"]),
            Route("/v1/unload_lora_adapter", server.unload_adapter, methods=["POST"]),
        ]
    )
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not running.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.started, "the model server did not start"
    port = running.servers[0].sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        running.should_exit = running.force_exit = True
        thread.join(60)
