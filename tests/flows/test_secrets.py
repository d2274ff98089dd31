"""Planted secrets are in no file, database, log or line that a command leaves, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.flow_engine import run_flow

from flows.cli.parser import main
from flows.orchestration.pipeline_flow import pipeline_flow
from tasks.runtime.runtime import process_runtime
from tests import canaries
from tests.data_folder import all_runs

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.untraced]
ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://someone:canary-of-an-address@127.0.0.1:9/data.jsonl"
CANARIES = {
    "HF_TOKEN": "canary-of-the-hub",
    "MLFLOW_TRACKING_PASSWORD": "canary-of-mlflow",
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-store",
    "PREFECT_API_KEY": "canary-of-prefect",
}
# one good run; one that fails in a task, and quotes what it should not; the same outside of one
PROGRAM = f"""
import os, sys
from flows.cli.parser import main

def quoting(*_, **__):
    secrets = [os.environ[name] for name in {sorted(CANARIES)!r}]
    raise RuntimeError(f"401 for {ADDRESS} with {{secrets}}") from ValueError(secrets[0])

codes = [main(["eval", "--model", sys.argv[1], "--limit", "2", "--max-new-tokens", "4", "--json"])]
import flows.eval, scorers.final_int
with_seed = ["--model", sys.argv[1], "--limit", "2", "--max-new-tokens", "4", "--seed"]
scorer = scorers.final_int.FINAL_INT_1
object.__setattr__(scorer, "score_columns", quoting)
codes.append(main(["eval", *with_seed, "1"]))
flows.eval.aggregate = quoting
flows.eval.score = lambda *_: None
codes.append(main(["eval", *with_seed, "2"]))
codes.append(main(["eval", "--dataset", {ADDRESS!r}]))
codes.append(main(["eval", "--model", {ADDRESS!r}]))
print("codes", *codes, file=sys.stderr)
"""


def told(place: Path) -> list[str]:
    """The files below a folder that have a secret in them, and which."""
    return canaries.told(place, [*CANARIES.values(), "canary-of-an-address"])


def test_no_command_leaves_a_secret_of_its_environment_behind(tmp_path: Path, tiny: str) -> None:
    place = tmp_path / "place"
    for name in ("home", "user", "tmp", "here"):
        (place / name).mkdir(parents=True)
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tiny],
        env=kept
        | CANARIES
        | {
            "PYTHONPATH": str(ROOT),
            "THREELOOPS_HOME": str(place / "home"),
            "HOME": str(place / "user"),
            "TMPDIR": str(place / "tmp"),
        },
        cwd=place / "here",
        capture_output=True,
        timeout=500,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "codes 0 2 70 2 2" in err, err
    (log,) = (place / "home" / "logs").iterdir()
    assert "RuntimeError: 401 for https://***@127.0.0.1:9/data.jsonl" in log.read_text()
    assert f'File "{ROOT}/flows/eval.py"' in log.read_text(), "what is no secret is told"
    databases = {path.name for path in (place / "home").rglob("*.db")}
    assert databases == {"mlflow.db", "prefect.db"}, "both were looked into"
    (place / "stdout").write_text(out)
    (place / "stderr").write_text(err)
    assert told(place) == []


def test_a_file_of_settings_that_is_refused_is_not_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    for text in ("hf_token: canary-of-the-hub\n", f"seed: {ADDRESS}\n", f"dataset: {ADDRESS}\n"):
        file.write_text(text)
        assert main(["eval", "--config", str(file)]) == 2
        assert "canary" not in capsys.readouterr().err
    assert all_runs() == []
    assert told(process_runtime().data_dir.root) == []


@pytest.mark.parametrize(
    ("variable", "arguments"),
    [
        ("THREELOOPS_TRACKING_URI", ["runs"]),
        ("PREFECT_API_URL", ["eval", "--limit", "2"]),
    ],
)
def test_a_server_that_does_not_answer_is_named_without_its_login(
    tmp_path: Path, tiny: str, variable: str, arguments: list[str]
) -> None:
    model = ["--model", tiny] if arguments[0] == "eval" else []
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
    address = "http://someone:canary-of-an-address@127.0.0.1:9/api"
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments, *model],
        env=kept | {"THREELOOPS_HOME": str(tmp_path / "new"), variable: address},
        cwd=ROOT,
        capture_output=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"{variable}=http://127.0.0.1:9/api" in done.stderr.decode()
    (tmp_path / "new" / "stderr").write_bytes(done.stdout + done.stderr)
    assert told(tmp_path / "new") == []


@pytest.mark.usefixtures("prefect_server")
def test_what_a_flow_raises_in_a_worker_is_kept_without_the_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prefect's own worker calls the function of a flow itself, and keeps what it raises."""
    monkeypatch.setenv("HF_TOKEN", CANARIES["HF_TOKEN"])

    def quoting() -> None:
        raise RuntimeError(f"401 for {ADDRESS} with {CANARIES['HF_TOKEN']}")

    flow = pipeline_flow(name="quoting", flow_run_name="quoting")(quoting)
    state: Any = run_flow(flow, return_type="state")
    assert state.is_failed()
    assert "RuntimeError: 401 for https://***@127.0.0.1:9/data.jsonl with ***" in str(state.message)
