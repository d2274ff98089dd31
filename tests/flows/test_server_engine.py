"""Loops A and B by a model server: measured, resumed, compared; loop C needs an adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.store.parquet_table import provenance_of
from engines.openai_server import asking
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.selection import selection_flow
from schemas.config import EvalConfig, SamplingSettings, SelectionConfig
from schemas.engine import NOT_KNOWN
from schemas.errors import InputError
from schemas.server import ServerSettings
from tests.data_folder import all_runs, find_run
from tests.model_servers.answers import Answer, by_model, texts
from tests.model_servers.server import ModelServer, serving

pytest.importorskip("openai", reason="needs the extra server")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny_answers(tiny: str) -> Answer:
    return by_model(tiny)


@pytest.fixture
def server(tiny_answers: Answer) -> Iterator[ModelServer]:
    with serving(ModelServer(tiny_answers)) as running:
        yield running


@pytest.fixture
def poor_server() -> Iterator[ModelServer]:
    with serving(ModelServer(texts("Final: 3"), owner="", version="")) as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.01)


def asked_of(running: ModelServer, tokenizer: str | None, **given: Any) -> dict[str, Any]:
    """What a configuration says where a server answers six problems in two shards."""
    return {
        "model": "tiny",
        "limit": 6,
        "samples": 2,
        "shard_size": 4,
        "sampling": SamplingSettings(max_new_tokens=6),
        "server": ServerSettings(base_url=running.url, tokenizer=tokenizer),
        **given,
    }


def poor(running: ModelServer) -> dict[str, Any]:
    settings = ServerSettings(base_url=running.url, extra_body="{}")
    return asked_of(running, None, server=settings, template="few_shot_plain@1")


def kept_everywhere(folder: Path) -> Iterator[tuple[Path, bytes]]:
    return ((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def test_an_evaluation_by_a_server_is_tracked_whole_and_never_says_where_it_is(
    server: ModelServer, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-this-is-nobody-elses")
    result = eval_flow.fn(EvalConfig(**asked_of(server, tiny)))
    assert result.engine is not None
    assert (result.engine.name, result.engine.gives) == ("vllm", "tokens")
    assert (result.model.name, result.model.digest, result.model.folder) == ("tiny", None, None)
    table = pq.read_table(result.tables["completions"])
    assert table["logprobs"].null_count == table["token_ids"].null_count == 0
    made = provenance_of(table)
    assert json.loads(made.setting("engine")) == result.engine.model_dump()
    assert "numerics" not in made.config
    run = find_run(result.run_id)
    assert run.tags["engine"] == "vllm 0.32.0, dtype not known, model digest not known"
    kept = run.result()
    assert kept is not None
    assert kept.as_json() == result.as_json()
    address = server.url.removeprefix("http://").removesuffix("/v1").encode()
    for path, content in kept_everywhere(tmp_path / "home"):
        assert address not in content, path
        assert b"nobody-elses" not in content, path


@pytest.mark.usefixtures("prefect_server")
def test_prefect_is_not_told_where_the_server_is(server: ModelServer, tiny: str) -> None:
    from prefect.client.orchestration import get_client

    result = eval_flow(EvalConfig(**asked_of(server, tiny)))
    assert result.metrics.completions == 12
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
    assert runs
    address = server.url.removeprefix("http://").removesuffix("/v1")
    assert [run for run in runs if address in run.model_dump_json()] == []
    told = [run.parameters.get("config", {}) for run in runs]
    assert any(config.get("server", {}).get("tokenizer") == tiny for config in told)


def test_the_instrument_is_that_of_this_process(server: ModelServer, tiny: str) -> None:
    by_server = eval_flow.fn(EvalConfig(**asked_of(server, tiny)))
    here = eval_flow.fn(EvalConfig(**asked_of(server, tiny, server=None, model=tiny)))
    assert here.instrument == by_server.instrument
    assert here.engine is None


def test_what_was_asked_before_is_taken_from_the_store(server: ModelServer, tiny: str) -> None:
    config = EvalConfig(**asked_of(server, tiny))
    first = eval_flow.fn(config)
    asked = len(server.asked)
    again = eval_flow.fn(config)
    assert again.tables == first.tables
    assert len(server.asked) == asked + 1, "only who it is was asked again"
    server.version = "0.33.0"
    other = eval_flow.fn(config)
    assert other.tables["completions"] != first.tables["completions"], "another engine, other rows"
    assert other.tables["scores"] != first.tables["scores"]


def test_a_run_that_was_cut_off_goes_on_at_the_shard_where_it_stopped(
    server: ModelServer, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvalConfig(**asked_of(server, tiny))
    whole = eval_flow.fn(config)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    server.asked.clear()
    server.ready, server.spoil = 1 + 4, lambda choices: choices[:1]
    with pytest.raises(InputError, match="gave 1 samples where 2"):
        eval_flow.fn(config)
    (run,) = all_runs()
    assert run.status == "FAILED"
    assert list((tmp_path / "other/tables/scores").glob("*")) == []
    server.asked.clear()
    server.spoil = lambda choices: choices
    resumed = eval_flow.fn(config)
    assert len(server.asked) == 1 + 2, "the first shard was kept"
    assert Path(resumed.tables["scores"]).name == Path(whole.tables["scores"]).name


def test_a_server_that_gives_text_alone_is_measured_and_selected_from(
    poor_server: ModelServer,
) -> None:
    measured = eval_flow.fn(EvalConfig(**poor(poor_server)))
    assert measured.engine is not None
    assert measured.engine.gives == "text"
    assert measured.metrics.valid_format_rate == 1
    selected = selection_flow.fn(SelectionConfig(**poor(poor_server)))
    assert set(selected.selected) == {"oracle", "majority", "random"}
    gone = ServerSettings(base_url="http://127.0.0.1:9/v1")  # a replay asks no server
    replayed = eval_flow.fn(EvalConfig(completions=measured.run_id, server=gone))
    assert replayed.metrics == measured.metrics
    assert replayed.engine == measured.engine
    likelihood = SelectionConfig(**poor(poor_server), pick=("likelihood",))
    with pytest.raises(InputError, match="--pick likelihood: the server gives text without"):
        selection_flow.fn(likelihood)
    assert len(all_runs()) == 3, "which is seen before a run begins"


def test_a_selection_by_a_server_with_tokens_has_the_likelihood_rule(
    server: ModelServer, tiny: str
) -> None:
    result = selection_flow.fn(SelectionConfig(**asked_of(server, tiny)))
    assert "likelihood" in result.selected


def test_compare_shows_both_engines_and_refuses_only_where_it_is_asked_to(
    server: ModelServer, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here = eval_flow.fn(EvalConfig(**asked_of(server, tiny, server=None, model=tiny)))
    first = eval_flow.fn(EvalConfig(**asked_of(server, tiny)))
    second = eval_flow.fn(EvalConfig(**asked_of(server, tiny, seed=1)))
    assert main(["compare", first.run_id, second.run_id, "--json"]) == 0
    captured = capsys.readouterr()
    compared = json.loads(captured.out)
    assert [run["engine"]["version"] for run in compared["runs"]] == ["0.32.0", "0.32.0"]
    assert compared["runs"][0]["model_digest"] is None
    assert any("whether its weights stayed the same" in line for line in compared["reading"])
    assert "vllm 0.32.0, dtype not known" in captured.err
    assert main(["compare", here.run_id, first.run_id]) == 0
    shown = capsys.readouterr().out
    assert "threeloops 0.1.0" in shown
    assert "float32" in shown
    assert main(["compare", here.run_id, first.run_id, "--same-engine"]) == 1
    assert "not known to come from the same engine, in name" in capsys.readouterr().err
    # a precision that nobody knows is not the same
    assert main(["compare", first.run_id, second.run_id, "--same-engine"]) == 1
    assert "same engine, in dtype" in capsys.readouterr().err
    assert main(["compare", here.run_id, here.run_id, "--same-engine"]) == 0


def test_runs_whose_server_was_told_more_are_compared_only_where_that_is_allowed(
    server: ModelServer, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = eval_flow.fn(EvalConfig(**asked_of(server, tiny)))
    told = ServerSettings(base_url=server.url, tokenizer=tiny, extra_body='{"min_p": 0.5}')
    second = eval_flow.fn(EvalConfig(**asked_of(server, tiny, server=told)))
    assert main(["compare", first.run_id, second.run_id]) == 1
    captured = capsys.readouterr()
    assert "different instruments, in sampling; --allow sampling compares them" in captured.err
    assert '"extra_body":{"min_p":0.5}' in "".join(captured.out.split())
    assert main(["compare", first.run_id, second.run_id, "--allow", "sampling"]) == 0


def test_lineage_and_runs_know_a_server_by_its_name(
    server: ModelServer, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = eval_flow.fn(EvalConfig(**asked_of(server, tiny)))
    assert "model_digest" not in find_run(result.run_id).tags, "what is tagged counts at the gate"
    assert main(["show", result.run_id, "--lineage", "--json"]) == 0
    links = json.loads(capsys.readouterr().out)["links"]
    assert {link["state"] for link in links} == {"matches"}
    assert main(["show", result.run_id]) == 0
    assert f"engine: vllm 0.32.0, dtype {NOT_KNOWN}" in capsys.readouterr().out
    assert main(["runs", "--model", "tiny", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 1


@pytest.mark.parametrize("verb", ["eval", "select"])
def test_a_server_that_cannot_be_used_ends_in_one_line_and_leaves_no_run(
    verb: str, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--base-url", server.url, "--limit", "2"]) == 2
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("threeloops: --template few_shot_chat@1: few_shot_chat@1 is a chat")
    plain = [verb, "--base-url", server.url, "--limit", "2", "--template", "few_shot_plain@1"]
    assert main(plain) == 2
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert line == "threeloops: --model default: the server has no such model; it has tiny"
    assert all_runs() == []


def test_loop_c_refuses_a_server_without_an_adapter(
    server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["learn", "--base-url", server.url, "--model", "tiny"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("threeloops: --base-url: loop C changes weights")
    assert server.asked == []


def test_the_options_of_a_server_are_checked(
    server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, said in (
        (["--base-url", "ftp://x/v1"], "is no address"),
        (["--base-url", server.url, "--num-concurrent", "0"], "--num-concurrent 0: is less than 1"),
        (["--base-url", server.url, "--extra-body", "[1]"], "is no JSON object"),
        (["--base-url", server.url, "--extra-body", '{"n": 2}'], "says n, which other settings"),
        (["--num-concurrent", "2"], "--base-url: no server is named"),
        (["--base-url", server.url, "--completions", "x.parquet"], "--base-url with --completions"),
    ):
        assert main(["eval", *given]) == 2
        *_, line = capsys.readouterr().err.strip().splitlines()
        assert said in line


def test_a_printed_configuration_leaves_the_address_out_and_can_be_read(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", "--base-url", server.url, "--max-retries", "2", "--print-config"]
    assert main(asked) == 0
    written = capsys.readouterr().out
    assert "127.0.0.1" not in written
    assert "  max_retries: 2" in written
    file = tmp_path / "settings.yaml"
    file.write_text(written)
    assert main(["eval", "--config", str(file), "--base-url", server.url, "--print-config"]) == 0
    assert capsys.readouterr().out == written
    assert main(["eval", "--print-config"]) == 0
    file.write_text(capsys.readouterr().out)
    assert main(["eval", "--config", str(file), "--print-config"]) == 0
