"""A server is given adapters while it runs, and says in one line where it does not take them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.openai_server.adapters import (
    base_model,
    check_loads_adapters,
    load_adapter,
    unload_adapter,
)
from schemas.errors import InputError
from schemas.server import ServerSettings
from tests.model_servers.answers import texts
from tests.model_servers.server import ModelServer, serving


@pytest.fixture
def loading() -> Iterator[ModelServer]:
    """A server that loads whatever it is given, except what is in no folder."""

    def load(name: str, path: str) -> None:
        if not Path(path).is_dir():
            raise FileNotFoundError(f"No adapter found for {path}")

    with serving(ModelServer(texts("Final: 3"), load=load)) as running:
        yield running


def at(server: ModelServer) -> ServerSettings:
    return ServerSettings(base_url=server.url)


def test_an_adapter_is_loaded_beside_the_model_and_forgotten(
    loading: ModelServer, tmp_path: Path
) -> None:
    check_loads_adapters(at(loading))
    load_adapter(at(loading), "one", tmp_path)
    assert loading.adapters == {"one": str(tmp_path)}
    assert base_model(at(loading)) == "tiny", "an adapter is no model of its own"
    unload_adapter(at(loading), "one")
    assert not loading.adapters
    with pytest.raises(InputError, match="cannot be found"):
        unload_adapter(at(loading), "one")


def test_an_answer_that_is_lost_does_not_load_it_twice(
    loading: ModelServer, tmp_path: Path
) -> None:
    loading.losing = 1
    load_adapter(at(loading), "one", tmp_path)
    assert loading.every_adapter == ["one"]


def test_a_path_that_the_server_does_not_see_is_said(loading: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not load the adapter, 400: No adapter found") as no:
        load_adapter(at(loading), "one", tmp_path / "gone")
    assert f"must see {tmp_path / 'gone'} under this path" in no.value.remedy


def test_a_server_without_the_requests_is_told_how_vllm_has_them(poor_server: ModelServer) -> None:
    for ask in (
        lambda: check_loads_adapters(at(poor_server)),
        lambda: load_adapter(at(poor_server), "one", Path("/")),
    ):
        with pytest.raises(InputError, match="loads no adapters while it runs") as refused:
            ask()
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in refused.value.remedy


def test_of_several_models_one_must_be_named(
    poor_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "engines.openai_server.adapters.listed", lambda answer: [{"id": "a"}, {"id": "b"}]
    )
    with pytest.raises(InputError, match="the server has 2 models") as refused:
        base_model(at(poor_server))
    assert "--served-model: a, b" in refused.value.remedy
