"""Adapters that a server loads beside its model while it runs, as vLLM does.

Each is loaded under a name and from a path of its own. Under a name that was there before, a server
may still answer with what it computed for the earlier weights.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from artifacts.text.visible import printable
from engines.openai_server.asking import Asking
from engines.openai_server.client import ask_server
from engines.openai_server.faults import AnswerError
from engines.openai_server.probe import SHOWN, listed
from schemas.errors import InputError
from schemas.server import ServerSettings

LOAD, UNLOAD = "/load_lora_adapter", "/unload_lora_adapter"
NOBODY = "threeloops-none"  # a name that no adapter has
LOADED = "has already been loaded"
NO_ROUTE = "answers 404: Not Found"
HOW = (
    "vLLM does where it was started with --enable-lora --max-lora-rank R and "
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
)


def check_loads_adapters(server: ServerSettings) -> None:
    """InputError where the server has no way to load an adapter."""
    try:
        _send(server, UNLOAD, {"lora_name": NOBODY})
    except AnswerError as refusal:
        if refusal.status == 404 and NO_ROUTE not in refusal.what:
            return  # it knows the request, and has no such adapter
        if refusal.status // 10 != 40:
            raise
        raise _loads_none() from None


def load_adapter(server: ServerSettings, name: str, folder: Path) -> None:
    """Have the server load the adapter in a folder, which it must see under the same path.

    The name must be one that was never used. Raises InputError in one line where it does not.
    """
    try:
        _send(server, LOAD, {"lora_name": name, "lora_path": str(folder)})
    except InputError as refusal:
        if LOADED in refusal.what:
            return  # by a request whose answer was lost: nobody else has the name
        if NO_ROUTE in refusal.what:
            raise _loads_none() from None
        raise InputError(
            refusal.what.replace("the server answers", "the server does not load the adapter,"),
            refusal.where,
            f"the server must see {folder} under this path, and take this rank: {HOW}",
        ) from None


def unload_adapter(server: ServerSettings, name: str) -> None:
    """Have the server forget an adapter; InputError where it does not have it."""
    _send(server, UNLOAD, {"lora_name": name})


def base_model(server: ServerSettings) -> str:
    """The name of the one model of a server that is no adapter; InputError for none or several."""

    async def work(asking: Asking) -> Any:
        return await asking.get("/models")

    names = [
        str(one.get("id")) for one in listed(ask_server(server, work)) if not one.get("parent")
    ]
    if len(names) == 1:
        return names[0]
    shown = ", ".join(printable(name[:100]) for name in names[:SHOWN])
    raise InputError(
        f"the server has {len(names)} models",
        "--base-url",
        f"name one by --served-model: {shown}" if names else "ask one that has the model",
    )


def _send(server: ServerSettings, path: str, body: Mapping[str, str]) -> None:
    def work(asking: Asking) -> Awaitable[Any]:
        return asking.post(path, body)

    ask_server(server, work)


def _loads_none() -> InputError:
    return InputError("the server loads no adapters while it runs", "--base-url", HOW)
