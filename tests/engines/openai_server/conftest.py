"""A server around the tiny model, one that gives text alone, and problems to ask them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from artifacts.store.data_dir import DataDir
from artifacts.store.policy_folders import PolicyFolders
from engines.openai_server import asking
from engines.openai_server.servers import Servers
from schemas.config import GenerationSettings, SamplingSettings
from schemas.server import ServerSettings
from tests.model_servers.answers import Answer, by_model, texts
from tests.model_servers.server import ModelServer, serving

pytest.importorskip("openai", reason="needs the extra server")


@pytest.fixture(scope="session")
def tiny_answers(tiny: str) -> Answer:
    return by_model(tiny)


@pytest.fixture
def server(tiny_answers: Answer, tiny: str) -> Iterator[ModelServer]:
    """A server that gives everything, and says where its model lies."""
    with serving(ModelServer(tiny_answers, root=tiny)) as running:
        yield running


@pytest.fixture
def poor_server() -> Iterator[ModelServer]:
    """A server that gives text alone and says nothing of itself."""
    with serving(ModelServer(texts("Final: 3"), owner="", version="")) as running:
        yield running


@pytest.fixture
def servers(data_dir: DataDir) -> Servers:
    return Servers(PolicyFolders(data_dir))


@pytest.fixture
def problems() -> pa.Table:
    sums = [(a, b) for a in range(1, 4) for b in range(1, 3)]
    return pa.table(
        {
            "problem_id": [f"{a}+{b}" for a, b in sums],
            "prompt": [f"{a} + {b}?" for a, b in sums],
            "expected_answer": [str(a + b) for a, b in sums],
        }
    )


@pytest.fixture
def settings(tiny: str) -> Callable[..., GenerationSettings]:
    """A function from a server, and what is set otherwise, to how it is asked."""

    def made(server: ModelServer, **given: object) -> GenerationSettings:
        of_server = {
            name: given.pop(name) for name in list(given) if name in ServerSettings.model_fields
        }
        sampling = {
            name: given.pop(name) for name in list(given) if name in SamplingSettings.model_fields
        }
        whole = {
            "template": "few_shot_chat@1",
            "samples": 3,
            "seed": 0,
            "shard_size": 64,
            "sampling": SamplingSettings.model_validate({"max_new_tokens": 6} | sampling),
            "server": ServerSettings.model_validate(
                {"base_url": server.url, "tokenizer": tiny} | of_server
            ),
        }
        return GenerationSettings.model_validate(whole | given)

    return made


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.01)
