"""MLflow on a real Postgres with its files in a real S3: every verb, and a version loaded from it.

The server alone has the keys of the bucket. Another experiment lies in the bucket itself, which
clients then reach with keys of their own.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from artifacts.tracking.connection import ASKING, Tracking
from artifacts.tracking.named import EXPERIMENT_NAME, REGISTRY_AT, TRACKING
from flows.cli.parser import main
from policy.model.load import quiet_transformers
from policy.model.tiny import make_tiny_model
from tasks.runtime.runtime import process_runtime
from tests.postgres import PASSWORD
from tests.seaweed import BUCKET, NOBODY, OWNER, READER, SeaweedServer

pytestmark = pytest.mark.engines
VERSION = "models:/threeloops/1"
FIRST_STEPS = 3  # of learning: the reward is 0.6 then, and was 0.01; after 12 it is 0.98
Told = Callable[..., dict[str, Any]]


@pytest.fixture
def told(
    mlflow_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Told]:
    """Run a verb with --json against the server; its flow is a plain call, without Prefect."""
    for name in ASKING:
        monkeypatch.setenv(name, os.environ.get(name, "0"))  # as before afterwards
    monkeypatch.setenv(TRACKING, mlflow_server)
    monkeypatch.setenv(EXPERIMENT_NAME, tmp_path.name)
    for verbs in ("loops", "past_runs"):
        at = f"flows.cli.verbs.{verbs}"
        monkeypatch.setattr(f"{at}.configure_prefect", lambda data_dir: None)
        monkeypatch.setattr(f"{at}.start_prefect", lambda *_: None)
        monkeypatch.setattr(f"{at}.run_flow", _plainly)

    def call(*words: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*words, "--json"]) == code, capsys.readouterr().err
        said = capsys.readouterr().out
        return dict(json.loads(said)) if said else {}

    yield call
    process_runtime().models.forget()


def _plainly(runtime: Any, flow: Any, config: Any, terminal: Any, **more: Any) -> Any:
    more.pop("started", None)
    return flow.fn(config, **more)


@pytest.fixture
def measured(tmp_path: Path) -> list[str]:
    """The options of a small measurement, on a tiny model."""
    sums = [(a, b) for a in range(1, 9) for b in range(1, 10 - a)]
    splits = ["train"] * 24 + ["dev"] * 6 + ["holdout"] * 6
    rows = [
        {"id": f"{a}+{b}", "prompt": f"{a} + {b}?", "expected_answer": a + b, "split": split}
        for (a, b), split in zip(sums, splits, strict=True)
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    tiny = make_tiny_model(tmp_path / "tiny")
    return ["--model", str(tiny), "--dataset", str(path), "--max-new-tokens", "6"]


def test_every_verb_works_on_it_and_another_data_folder_loads_the_version(
    told: Told, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    home = Path(os.environ["THREELOOPS_HOME"])
    first = told("eval", *measured, "--limit", "6", "--samples", "2")
    told("select", *measured, "--limit", "4", "--samples", "2")
    learned = told(
        "learn", *measured, "--limit", "6", "--steps", "2", "--problems-per-step", "4",
        "--samples", "4", "--evaluation-samples", "2",
    )  # fmt: skip
    assert learned["model"]["name"] == VERSION
    of_version = ["--model", VERSION, *measured[2:]]
    second = told("eval", *of_version, "--limit", "6", "--samples", "2")
    assert second["model"]["digest"] == learned["model"]["digest"]
    own = tmp_path / "own.yaml"
    own.write_text('name: own\nversion: 1\nform: chat\ninstruction: "{question}"\n')
    told("eval", *measured, "--limit", "2", "--samples", "1", "--template", str(own))
    prompt = process_runtime().archive.tracking.client.get_prompt_version("prompt.own", 1)
    assert prompt.template == [{"role": "user", "content": "{{question}}"}]
    again = told("rescore", first["run_id"], "--scorer", "last_int@1")
    assert again["changes"]["rows"] == 12
    assert told("compare", first["run_id"], second["run_id"])["comparable"]
    decided = told("promote", "models:/threeloops@candidate", code=1)
    assert decided["decision"] == "refused"
    listed = told("runs", "--children")
    assert {run["run_id"] for run in listed["runs"]} >= {first["run_id"], learned["run_id"]}
    assert [one["candidate"] for one in listed["decisions"]] == [VERSION]
    assert told("show", learned["run_id"])["metrics"] == learned["metrics"]
    assert told("show", decided["run_id"])["reasons"] == decided["reasons"]
    assert told("show", VERSION, "--lineage")["intact"]
    told("export", first["run_id"], "--to", "jsonl", "--out", str(tmp_path / "answers.jsonl"))
    told("export", VERSION, "--to", str(tmp_path / "exported"))
    assert told("tokens", "Final: 42", "--model", VERSION)["tokens"]
    assert told("prompt", "--model", VERSION, *measured[2:4], "--limit", "1")["prompts"]
    asked = told("ask", "1 + 2?", "--expected", "3", "--model", VERSION, "--samples", "2")
    assert len(asked["answers"]) == 2
    assert told("score", "Final: 42", "--expected", "42")["verdict"]["reward"] == 1
    demo = told("demo", *measured[:4], "--limit", "4", "--steps", "1")
    assert told("show", demo["run_id"])["run_id"] == demo["run_id"]
    assert told("sync")["left"] == 0
    assert told("doctor")["damaged"] == 0
    assert not (home / "mlartifacts").exists(), "nothing of a run is kept in the data folder alone"
    assert not (home / "mlflow.db").exists()

    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    assert told("runs")["decisions"] == [*listed["decisions"]]
    told("eval", *of_version, "--limit", "2", "--samples", "1")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with quiet_transformers():
        pipeline = mlflow.transformers.load_model(VERSION)
    assert len(pipeline.tokenizer("Final: 42")["input_ids"]) > 0
    (exported,) = [path.parent for path in (tmp_path / "exported").rglob("model.safetensors")]
    learned_weights = load_file(exported / "model.safetensors")
    loaded = pipeline.model.state_dict()
    assert learned_weights.keys() <= loaded.keys()
    for name, weights in learned_weights.items():
        assert torch.equal(loaded[name].float(), weights.float()), name
    start = load_file(tmp_path / "tiny" / "model.safetensors")
    assert any(not torch.equal(start[name], weights) for name, weights in learned_weights.items())


def test_the_gate_makes_a_champion_there_and_takes_it_back(told: Told, tmp_path: Path) -> None:
    splits = ["train"] * 40 + ["dev"] * 4 + ["holdout"] * 40
    rows = [  # every answer is 5, which is learned in a moment
        {"id": f"{b}", "prompt": f"{b + 5} - {b}?", "expected_answer": 5, "split": split}
        for b, split in enumerate(splits)
    ]
    (tmp_path / "fives.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fives = ["--dataset", str(tmp_path / "fives.jsonl"), "--max-new-tokens", "6"]
    tiny = make_tiny_model(tmp_path / "tiny")

    def learned(model: str, steps: int, seed: int) -> str:
        result = told(
            "learn", "--model", model, *fives, "--steps", str(steps), "--seed", str(seed),
            "--problems-per-step", "8", "--samples", "16", "--learning-rate", "3e-3",
            "--kl-weight", "0", "--schedule", "constant", "--evaluation-samples", "4",
            "--dev-every", "0", "--register-as", "gated",
        )  # fmt: skip
        return str(result["model"]["name"])

    first = learned(str(tiny), FIRST_STEPS, 0)
    assert told("promote", first)["champion"] == first
    told("promote", "--rollback", first, "--reason", "too early", code=1)
    second = learned("models:/gated@champion", 40, 1)
    assert told("promote", second)["champion"] == second
    back = told("promote", "--rollback", second, "--reason", "it says 5 to everything")
    assert (back["decision"], back["champion"]) == ("rolled back", first)
    assert back["rollback"]["reason"] == "it says 5 to everything"
    assert told("show", back["run_id"])["rollback"] == back["rollback"]
    assert told("eval", "--model", "models:/gated@champion", *fives, "--limit", "4")
    decided = [one["decision"] for one in told("runs")["decisions"]]
    assert sorted(decided) == ["promoted", "promoted", "rolled back"]


def test_an_experiment_in_the_bucket_itself_needs_keys_and_rights_there(
    told: Told, measured: list[str], weed: SeaweedServer, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    client = Tracking(process_runtime().data_dir).client
    client.create_experiment("direct", f"s3://{BUCKET}/direct")
    small = [*measured, "--limit", "2", "--samples", "1", "--experiment", "direct"]
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", weed.endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    _refused(told, small, r"wants keys, and there are none; set AWS_ACCESS_KEY_ID")
    for user, where in ((NOBODY, "cannot be reached"), (READER, "MLflow does not keep it")):
        _be(weed, user, monkeypatch)
        _refused(told, small, rf"{where}.*AccessDenied.*right to read and write")
    _be(weed, OWNER, monkeypatch)
    (ended,) = told("runs", "--experiment", "direct")["runs"]
    assert ended["status"] == "FAILED", "the one that could not keep its first file"
    made = told("eval", *small)
    assert told("show", made["run_id"], "--experiment", "direct")["run_id"] == made["run_id"]
    _refused(told, ["show", made["run_id"]], "no such run")


def _be(server: SeaweedServer, user: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be a user of the bucket, and forget who it was."""
    import boto3
    from mlflow.store.artifact import s3_artifact_repo

    for name, value in server.settings(user).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    s3_artifact_repo._cached_get_s3_client.cache_clear()


def _refused(told: Told, words: list[str], reason: str) -> None:
    """The verb says one line with the reason, and no model was loaded for it."""
    verb = words if words[0] == "show" else ["eval", *words]
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("flows.cli.terminal.Terminal.fail", lambda self, line: lines.append(line))
        patch.setattr("tasks.runtime.model_cache.load_policy", None)
        assert told(*verb, code=2) == {}
    (line,) = lines
    assert re.search(reason, line), line
    assert "\n" not in line
    assert NOBODY[1] not in line


def test_the_database_can_be_named_without_a_server_and_shows_no_password(
    told: Told, database: str, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told("runs")  # the server makes the experiment
    monkeypatch.setenv(TRACKING, database)
    monkeypatch.setenv(REGISTRY_AT, database)
    small = [*measured, "--limit", "2", "--samples", "1"]
    _refused(told, small, "kept by an MLflow server, and this is its database")
    monkeypatch.setenv(EXPERIMENT_NAME, "in the database alone")
    made = told("eval", *small)
    assert told("show", made["run_id"])["run_id"] == made["run_id"]
    monkeypatch.setenv(TRACKING, database.replace(PASSWORD, "wrong-password"))
    with pytest.raises(Exception, match="password authentication failed") as caught:
        Tracking(process_runtime().data_dir).client  # noqa: B018  # it asks when it is made
    assert "wrong-password" not in str(caught.value)
    assert "\n" not in str(caught.value)
