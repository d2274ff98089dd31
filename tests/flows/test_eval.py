"""Loop A measures, says so, and a replay of it gives the same bytes without a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from flows.eval import eval_flow
from policy.sampling.sample import sample
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.identity import file_digest
from tests.data_folder import all_runs, find_run

pytestmark = pytest.mark.slow

NEEDED = {"run_id", "loop", "instrument", "metrics", "outcomes", "tables", "model"}


@pytest.mark.usefixtures("prefect_server")
def test_an_evaluation_is_tracked_whole(eval_config: EvalConfig, data_dir: DataDir) -> None:
    result = eval_flow(eval_config)
    assert result.as_json().keys() >= NEEDED
    assert (result.loop, result.changed) == ("A", "nothing")
    assert sum(result.outcomes.values()) == result.metrics.completions == 12
    assert result.metrics.pass_rate_low <= result.metrics.pass_rate
    run = find_run(result.run_id)
    assert run.status == "FINISHED"
    assert run.tags["loop"] == "A"
    assert run.tags["instrument"] == result.instrument.digest
    assert run.tags["model_digest"] == result.model.digest
    assert run.result() == result
    # what `auto` was is recorded; the tests keep every processor at float32
    assert run.config(EvalConfig) == eval_config.model_copy(update={"precision": "float32"})
    for name in ("problems", "completions", "scores"):
        copy = run.folder / "tables" / f"{name}.parquet"
        assert file_digest(copy) == file_digest(Path(result.tables[name]))
    view = json.loads((run.folder / "completions_view.json").read_text())
    assert {"prompt", "completion", "reward", "outcome"} <= set(view["columns"])
    assert len(view["data"]) == 12


def test_the_same_evaluation_gives_the_same_bytes(
    eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = eval_flow.fn(eval_config)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    again = eval_flow.fn(eval_config)
    for name in ("problems", "completions", "scores"):
        one, two = Path(first.tables[name]), Path(again.tables[name])
        assert one != two
        assert one.read_bytes() == two.read_bytes()
    other = eval_flow.fn(eval_config.model_copy(update={"seed": 1}))
    assert Path(other.tables["completions"]).name != one.name
    assert other.instrument == first.instrument, "a seed is no part of the instrument"


def test_a_replay_loads_no_model_and_gives_the_same_score_bytes(
    eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = eval_flow.fn(eval_config)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a replay loaded a model")

    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", refuse)
    monkeypatch.setattr("flows.eval.resolve_policy", refuse)
    for source in (made.run_id, made.tables["completions"]):
        replayed = eval_flow.fn(EvalConfig(completions=source))
        assert replayed.tables == made.tables
        assert replayed.metrics == made.metrics
        assert replayed.instrument == made.instrument
        assert replayed.run_id != made.run_id


def test_completions_of_someone_else_are_scored(tmp_path: Path) -> None:
    dataset = tmp_path / "problems.jsonl"
    dataset.write_text(
        "\n".join(
            json.dumps({"id": i, "prompt": f"What is {i} + 1?", "expected_answer": i + 1})
            for i in range(4)
        )
    )
    answers = tmp_path / "answers.jsonl"
    cut = {"completion": "Fin", "finish_reason": "length"}
    texts = ["Final: 1", "Final: 3", "Final: 3\n", cut]
    rows = [json.dumps({"id": i, "samples": [text]}) for i, text in enumerate(texts)]
    answers.write_text("\n".join(rows))
    result = eval_flow.fn(EvalConfig(dataset=str(dataset), completions=str(answers)))
    assert result.outcomes == {
        "correct": 1,
        "wrong_answer": 1,
        "bad_format": 1,
        "truncated": 1,
    }
    assert result.instrument.parts.sampling == "external"


def test_a_cut_off_generation_goes_on_from_its_last_whole_shard(
    eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = eval_flow.fn(eval_config)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    real, calls = sample, []

    def cut_off(*arguments: object, **named: object) -> object:
        calls.append(named["seed"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("engines.in_process.sample", cut_off)
    with pytest.raises(KeyboardInterrupt):
        eval_flow.fn(eval_config)
    resumed = eval_flow.fn(eval_config)
    assert len(calls) == 3, "the first shard was sampled once"
    assert Path(resumed.tables["scores"]).name == Path(whole.tables["scores"]).name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "no/such/folder"}, "no such folder"),
        ({"model": "models:/nobody/1"}, "no such version in the registry"),
        ({"model": "models:/nobody"}, "is not a registry name"),
        ({"dataset": "none.jsonl"}, "no such file"),
        ({"split": "test"}, "no split 'test'"),
        ({"scorer": "nobody@1"}, "nobody"),
        ({"template": "nobody@1"}, "nobody"),
        ({"completions": "no-such-run"}, "no such run"),
    ],
)
def test_bad_input_is_refused_before_a_model_is_loaded(
    eval_config: EvalConfig,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    reason: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", refuse)
    with pytest.raises(InputError, match=reason):
        eval_flow.fn(eval_config.model_copy(update=change))


def test_a_run_that_fails_is_marked_so(
    eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("engines.in_process.sample", fail)
    with pytest.raises(RuntimeError):
        eval_flow.fn(eval_config)

    (run,) = all_runs()
    assert run.status == "FAILED"
    assert "the disk is full" in run.tags["error"]
    assert run.result() is None
