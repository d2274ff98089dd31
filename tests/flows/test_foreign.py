"""Logs of other programs are judged, compared or refused, and runs leave in their formats."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from artifacts.foreign.zipped import Members
from flows.cli.parser import main
from tests.artifacts.foreign.samples import FOLDER, LM_EVAL, PROBLEMS, SAMPLES
from tests.data_folder import all_runs

pytestmark = pytest.mark.slow  # each replay reads MLflow's database

DATASET = ("--dataset", str(PROBLEMS))
INSPECT, PARTIAL = str(SAMPLES["inspect"]), str(FOLDER / "inspect-partial.eval")


def asked(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main([*words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all_runs() == []
    return line


def test_a_log_is_judged_with_its_origin_and_its_own_score_beside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = asked(capsys, "select", "--completions", INSPECT, *DATASET)
    assert result["imported"] | {"own_scores": {}} == {
        "format": "inspect", "tool": "inspect_ai", "version": "0.3.285",
        "model": "mockllm/model", "answers": 24, "own_scores": {}, "finish_unknown": 0,
        "with_logprobs": 24, "failed": 0,
    }  # fmt: skip
    assert result["imported"]["own_scores"]["match"] == {"mean": 19 / 24, "rows": 24}
    assert result["metrics"]["pass_rate"] == 5 / 24
    assert "partial" not in result
    # the likelihood rule picks the shorter answer here: each word costs a quarter more
    assert result["metrics"]["selected_pass_rate"]["likelihood"] == pytest.approx(2 / 12)
    (run,) = all_runs()
    assert run.tags["imported_from"] == "inspect_ai 0.3.285"
    assert run.tags["imported_model"] == "mockllm/model"
    again = asked(capsys, "eval", "--completions", result["run_id"])
    assert again["imported"] == result["imported"], "a replay of the replay still knows"


def test_the_first_samples_and_the_first_problems(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("eval", "--completions", str(SAMPLES["trl"]), *DATASET)
    part = asked(capsys, *words, "--samples", "2", "--limit", "3")
    assert (part["samples"], part["metrics"]["completions"]) == (2, 6)
    first = asked(capsys, "eval", "--completions", part["run_id"], "--samples", "1")
    assert (first["samples"], first["metrics"]["completions"]) == (1, 3)
    assert main(["eval", "--completions", part["run_id"], "--samples", "3"]) == 2
    assert "has 2 completions a problem, not 3; give at most 2" in capsys.readouterr().err


def test_a_partial_log_is_refused_or_said_and_is_compared_on_shared_problems(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("eval", "--completions", PARTIAL, *DATASET)
    line = refused(capsys, *words)
    assert "samples/sum-05_epoch_1.json: records an error in place of an answer" in line
    part = asked(capsys, *words, "--allow-missing")
    assert part["partial"] == {
        "asked": 12, "without_answer": 1, "with_fewer": 0, "measured": 11, "samples": 1,
        "unused": 0,
    }  # fmt: skip
    assert (part["metrics"]["problems"], part["imported"]["failed"]) == (11, 1)
    capsys.readouterr()
    assert main(["show", part["run_id"]]) == 0
    shown = capsys.readouterr().out
    assert "partial: of 12 problems 1 have no answer" in shown
    assert "every rate is over the 11 problems with at least 1 answer" in shown

    whole = asked(capsys, "eval", "--completions", INSPECT, *DATASET, "--samples", "1")
    runs = ("compare", whole["run_id"], part["run_id"])
    assert list(asked(capsys, *runs, code=1)["differs"]) == ["dataset"]
    compared = asked(capsys, *runs, "--allow", "dataset")
    assert compared["left_out"] == [1, 0]
    assert compared["difference"] == compared["difference"] | {"problems": 11, "value": 0}
    assert any("B is partial: 11 of 12 problems" in said for said in compared["reading"])
    assert [run["model"] for run in compared["runs"]] == ["mockllm/model"] * 2


def test_the_split_is_found_by_prompts_and_another_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    more = {"id": "x", "prompt": "What is 9 + 9?", "expected_answer": 18, "split": "train"}
    named = [{**row, "id": f"n{n}", "split": "dev"} for n, row in enumerate(rows)]
    dataset = tmp_path / "split.jsonl"
    dataset.write_text("\n".join(json.dumps(row) for row in (more, *named)))
    words = ("eval", "--completions", str(SAMPLES["verifiers"]), "--dataset", str(dataset))
    assert "are to the split dev" in refused(capsys, *words, "--split", "train")
    result = asked(capsys, *words)
    assert result["instrument"]["parts"]["split"] == "dev"
    assert result["metrics"]["pass_rate"] == 6 / 24


def test_what_cannot_be_judged_is_one_line_before_a_run_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.eval"
    cut.write_bytes(SAMPLES["inspect"].read_bytes()[:5000])
    assert "cut.eval: is not a readable zip" in refused(capsys, "eval", "--completions", str(cut))
    line = refused(capsys, "eval", "--completions", str(LM_EVAL))
    assert "row 1: no problem of the dataset arithmetic has the id 'sum-01'" in line
    rows = [json.loads(line) for line in SAMPLES["openai-batch"].read_text().splitlines()]
    rows[1]["response"]["body"]["model"] = "other"
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("\n".join(map(json.dumps, rows)))
    line = refused(capsys, "eval", "--completions", str(mixed), *DATASET)
    assert "row 2: was answered by other, and rows before it by gpt-4o-mini" in line
    line = refused(capsys, "eval", "--completions", f"{tmp_path / 'no.eval'}", *DATASET)
    assert "no such file" in line
    assert "--allow-missing: is for stored completions" in refused(
        capsys, "eval", "--allow-missing"
    )
    assert not list((tmp_path / "home").glob("tables/*/*.parquet")), "nothing half-written"


def turned_round(folder: Path, name: str, id_of: Callable[[int], str | int]) -> Path:
    """inspect's log with other ids, and no target that is a bare integer."""
    order = [json.loads(line)["id"] for line in PROBLEMS.read_text().splitlines()]
    path = folder / name
    old = Members(SAMPLES["inspect"])
    with zipfile.ZipFile(path, "w") as new:
        for member in old.names:
            value = json.loads(old.read(member))
            if member.startswith("samples/"):
                value["id"] = id_of(order.index(value["id"]))
                value["target"] = f"see the solution: {value['target']}"
            new.writestr(member, json.dumps(value))
    return path


def test_ids_that_are_another_datasets_give_no_wrong_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    dataset = tmp_path / "counted.jsonl"
    backwards = [{**row, "id": len(rows) - n} for n, row in enumerate(rows)]
    dataset.write_text("\n".join(map(json.dumps, backwards)))
    words = ("--dataset", str(dataset), "--completions")

    named = turned_round(tmp_path, "named.eval", lambda n: str(n + 1))
    line = refused(capsys, "eval", *words, str(named))
    assert re.search(r"named\.eval, samples/.*: names problem '\d+' and shows the prompt", line)

    counted = turned_round(tmp_path, "counted.eval", lambda n: n + 1)
    result = asked(capsys, "eval", *words, str(counted))
    assert result["metrics"]["pass_rate"] == 5 / 24, "as with the ids that are theirs"


def test_a_log_of_a_newer_format_is_one_line_and_no_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", refuse)
    newer = tmp_path / "newer.eval"
    with zipfile.ZipFile(newer, "w") as file:
        file.writestr("header.json", json.dumps({"version": 3, "status": "success"}))
    traces = tmp_path / "results.jsonl"
    traces.write_text(json.dumps({"verifiers": "0.2.0", "task": "sums", "nodes": []}))
    for path, said in (
        (newer, "newer.eval: is written in format '3' of inspect_ai's logs; up to 2 is read"),
        (traces, "results.jsonl, row 1: is a trace of verifiers' newer format, which is not read"),
    ):
        assert said in refused(capsys, "eval", "--completions", str(path), *DATASET)
    assert not list((tmp_path / "home").glob("tables/*/*.parquet")), "nothing half-written"


@pytest.mark.parametrize(("form", "ending"), [("inspect", ".eval"), ("lm-eval", ".jsonl")])
def test_a_run_leaves_in_a_format_and_comes_back_the_same(
    form: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = asked(capsys, "select", "--completions", INSPECT, *DATASET)
    path = str(tmp_path / f"run{ending}")
    words = ("export", made["run_id"], "--to", form, "--out", path)
    written = asked(capsys, *words)
    assert (written["format"], written["written"]) == (form, path)
    first = Path(path).read_bytes()
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err
    assert asked(capsys, *words[:-1], f"{path}2")["digest"] == written["digest"]
    assert Path(f"{path}2").read_bytes() == first, "the same run is the same bytes"
    back = asked(capsys, "select", "--completions", path, *DATASET)
    assert back["imported"]["tool"] == "threeloops"
    for name in ("metrics", "outcomes", "instrument"):
        assert back[name] == made[name]
    (own,) = back["imported"]["own_scores"].values()
    assert own["mean"] == pytest.approx(made["metrics"]["pass_rate"])


def test_an_exported_log_has_the_types_of_inspect_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = asked(capsys, "eval", "--completions", str(SAMPLES["openai-batch"]), *DATASET)
    path = tmp_path / "run.eval"
    asked(capsys, "export", made["run_id"], "--to", "inspect", "--out", str(path))
    schemas = json.loads(gzip.decompress((FOLDER / "inspect.schema.json.gz").read_bytes()))
    with zipfile.ZipFile(path) as file:
        samples = [json.loads(file.read(n)) for n in file.namelist() if n.startswith("samples/")]
        header = json.loads(file.read("header.json"))
        summaries = json.loads(file.read("summaries.json"))
    jsonschema.validate(header | {"samples": samples[:1]}, schemas["EvalLog"])
    for sample in samples:
        jsonschema.validate(sample, schemas["EvalSample"])
    assert len(samples) == len(summaries) == 24
    with pytest.raises(jsonschema.ValidationError):  # so the schema can refuse
        jsonschema.validate(samples[0] | {"epoch": "one"}, schemas["EvalSample"])


def test_an_exported_line_has_every_field_of_lm_eval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = asked(capsys, "eval", "--completions", str(LM_EVAL), *DATASET)
    path = tmp_path / "samples_run.jsonl"
    asked(capsys, "export", made["run_id"], "--to", "lm-eval", "--out", str(path))
    theirs, ours = (json.loads(one.read_text().splitlines()[0]) for one in (LM_EVAL, path))
    assert set(theirs) - {"exact_match"} <= set(ours)
    for name in ("target", "resps", "target_hash"):
        assert ours[name] == theirs[name]
    for name in set(theirs) - {"exact_match"}:
        assert type(ours[name]) is type(theirs[name])
